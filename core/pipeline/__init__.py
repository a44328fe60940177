"""A project's steps, their chain, and the history of a run."""
