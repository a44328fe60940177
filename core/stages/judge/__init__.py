"""Judges recordings: their words, voice, pace, pitch and sound."""
