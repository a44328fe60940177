"""What pages with recordings to be heard have in common: recordings, players, looks, texts."""
