"""The stages: one folder each, named as its command, with `run.py` (`run(settings, reporter) -> result`)."""
