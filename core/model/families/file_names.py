"""What families call alike: the configuration, and weights that `torch.save` wrote under flat names."""

CONFIG = "config.json"
WEIGHTS = "model.pth"
