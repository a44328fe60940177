"""Checks a checkpoint directory."""
