"""Training: which clips are seen when, the loss, adapters, checkpoints, and the checks around them."""
