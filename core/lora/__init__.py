"""Adapters: what they target, how they are injected, and the files that hold them."""

import logging

# Where it is installed `peft` loads it, and it tells of another package that it would like to have.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
