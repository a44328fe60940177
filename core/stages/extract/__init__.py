"""Turns recordings into codes."""
