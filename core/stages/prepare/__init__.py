"""From raw recordings to a data set."""
