"""All benchmarks of the CPU that have limits, in one table beside them.

    python benchmarks/all.py [NAME …]

NAME is a module of this folder, such as `packing`; without one, all are run. Exits with 1 if a limit is
exceeded. A benchmark joins by a function `measures` and its name below. Nothing here is a test, because a
loaded machine would fail it; ratios are to something that is measured in the same run.
"""

from __future__ import annotations

import importlib
import sys

from measures import show

NAMES = ("limits", "packing")


def main(names: list[str]) -> int:
    """Run the benchmarks of these names; return 1 if a limit is exceeded, 2 if there is no such benchmark."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"There is no benchmark {unknown[0]!r}. Name any of: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    is_within = [show(name, importlib.import_module(name).measures()) for name in names or NAMES]
    return 0 if all(is_within) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
