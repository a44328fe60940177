"""The DualAR transformer: configuration, modules, and the weights' file format apart."""
