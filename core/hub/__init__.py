"""The model hub: what is asked of it, and how files come from it, whole or in parts, and are checked."""
