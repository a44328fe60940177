"""Brings recordings to one loudness."""
