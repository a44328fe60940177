"""What a step or a screen opens over itself to ask or show one thing."""
