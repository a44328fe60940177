"""Checks a data set."""
