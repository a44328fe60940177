"""Speaks a text."""
