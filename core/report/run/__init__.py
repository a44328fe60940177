"""The report of a run: one page to keep and to pass on."""
