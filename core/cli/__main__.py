"""`python -P -m fishtune.core.cli`: the command `fishtune`, also for torchrun."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
