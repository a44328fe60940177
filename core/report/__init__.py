"""Pages for people: each is one HTML file that holds all it shows and asks the network for nothing."""
