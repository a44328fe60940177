"""Shards of packed sentences: the wire format, a reader and writer, and an index for random access."""
