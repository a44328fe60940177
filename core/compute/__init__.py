"""What both networks share: layers, weights, devices, ranks."""
