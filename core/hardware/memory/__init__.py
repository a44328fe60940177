"""What a stage needs of a device's memory, and what fits."""
