"""The listening page: what base, checkpoints and the user's own recordings say, side by side, to be heard."""
