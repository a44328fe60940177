"""Listening to a checkpoint: it speaks a few sentences, and what is wrong with them is found.

`record` imports no torch: the wizard and the choice of a checkpoint read results with it.
"""
