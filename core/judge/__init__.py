"""What listens, what is wrong with speech, and which checkpoint is the best."""
