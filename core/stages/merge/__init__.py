"""Merges an adapter into its base."""
