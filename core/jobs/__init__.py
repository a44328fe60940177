"""Stages as processes: start, follow, stop, find again.

A job is a folder `results/NAME/jobs/ID` with `job.json` (what runs, where, since when), `events.jsonl`
(what it says) and `log.txt` (its output). One process writes them; everybody else only reads.
"""
