"""The checks of `fishtune doctor`: what this machine has and what is wrong with it."""
