"""Adapters: what they target, how they are injected, and the files that hold them."""
