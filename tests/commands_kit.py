"""Commands one after another in one program: what all of them import is imported once."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_PROGRAM = r"""
import json, os, sys
from fishtune.core.cli import app, main
app.command()
exec(sys.argv[2])
for arguments in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        sys.argv[1:] = arguments
        main()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(2, f"<<ended with {code}>>".encode())
"""
_END = re.compile(r"<<ended with (-?\d+)>>")


@dataclass(frozen=True)
class Ended:
    """What a command said, and its exit code."""

    said: str
    code: int


def in_one_program(commands: Iterable[list[str]], before: str = "") -> list[str]:
    """Return the program that runs commands of `fishtune`, each in a process of its own.

    Args:
        before: Python that is run once, before the commands.
    """
    return [sys.executable, "-P", "-c", _PROGRAM, json.dumps(list(commands)), before]


def told_apart(output: str) -> list[Ended]:
    """Return what each command said, of all that their program wrote to its errors or to a terminal."""
    *parts, rest = _END.split(output)
    assert not rest.strip(), rest
    return [Ended(said, int(code)) for said, code in zip(parts[::2], parts[1::2], strict=True)]
