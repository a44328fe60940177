"""What is wrong with generated speech, and which checkpoint is the best."""
