"""A demonstration that needs nothing from outside: recordings, a tiny checkpoint, and the whole chain."""
