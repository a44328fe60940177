"""GPUs and their memory: what is there, what a run needs, what fits."""
