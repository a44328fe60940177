"""The folder of recordings: `SPEAKER/NAME.{mp3,wav,flac}`, transcripts and codes beside them."""
