"""Packs codes and transcripts into shards."""
