"""The fishtune engine: everything that the wizard and the command line do, without a screen."""
