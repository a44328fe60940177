"""Downloads a base model."""
