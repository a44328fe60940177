"""Judges recordings: their words, voice, pace, pitch and sound.

`recordings` finds what is to be judged, `listening` is what listens, as far as it is installed and at hand,
and `run` puts both together.
"""
