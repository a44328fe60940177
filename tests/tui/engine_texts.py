"""Every text of the engine that a person may read, taken from its code.

A text is what the code builds it from: constants, f-strings, sums and choices of these. Names and numbers
become `{}`. A choice (`"a" if few else "b"`, also one that went through a local variable) gives one
text for each branch, so that what is looked up at run time is what stands in the catalogue.
Everything counts unless its place in the code shows that it is not for people; so a new module, error or
finding is collected without being named anywhere.
"""

from __future__ import annotations

import ast
import errno
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fishtune.core.jobs.record import JobState
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ErrorType

ROOT = Path(__file__).parents[2]
PLACE = "{}"
NOT_SHOWN = (
    "core/cli/",  # the command line is in English
    "core/config/settings/train.py",  # panels of the command's help
    "core/hardware/doctor.py",  # fishtune doctor, likewise
    "core/jobs/lines.py",  # lines of logs
    "core/jobs/worker.py",
    "core/demo/checkpoint.py",  # makes test models
    "core/stages/audition/texts.py",  # spoken by models
)
"""What the wizard never shows as text: whole files."""
_MOST_BRANCHES = 12
_SPOKEN_BY_MODELS = {"Speak out the provided text.", "The quick brown fox jumps over the lazy dog."}
_STATES = {"state": tuple(JobState)}
"""Variables that become one of a few words."""
_QUIET_CALLS = {
    *("log", "Log", "compile", "match", "fullmatch", "search", "findall", "finditer", "sub", "getLogger"),
    *("startswith", "endswith", "split", "rsplit", "partition", "removeprefix", "removesuffix", "cast"),
    *("find", "encode", "debug", "info", "run", "Popen", "CDLL", "writelines", "print"),
}
"""Calls whose arguments are no texts: logs, patterns, programs."""
_SHOWN_ENUMERATIONS = {"DropReason", "DriverState", "GpuState", "Part", "FindingKind"}
"""Those whose values are words on the screen; the others' are names for scripts."""
_PROGRAMMING_ERRORS = {"RuntimeError", "AssertionError", "NotImplementedError", "TypeError", "KeyError"}
_COUNTED = (
    *("{} s", "sound"),
    *("1 clip of 1 speaker", "{} clips of 1 speaker", "{} clips of {} speakers"),
    *(
        text
        for noun in ("clip", "recording", "speaker", "checkpoint", "shard")
        for text in (f"1 {noun}", f"{{}} {noun}s")
    ),
)
"""What has no place of its own in the code: `core.pipeline.steps` counts with nouns that are arguments."""
_SYSTEM_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT),
    *(errno.EROFS, errno.EIO, errno.EMFILE, errno.ENAMETOOLONG, errno.ESTALE, errno.EBUSY, errno.ELOOP),
    *(errno.EXDEV, errno.EMLINK, errno.EFBIG, errno.ENOMEM, errno.EINVAL, errno.ENOTEMPTY, errno.EEXIST),
    *(errno.EOPNOTSUPP, errno.ENOLCK, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ENETUNREACH),
)
_COMPLAINTS: dict[ErrorType, dict[str, object]] = {
    **{
        kind: {}
        for kind in (
            *("int_parsing", "int_type", "int_from_float", "float_parsing", "float_type", "finite_number"),
            *("bool_parsing", "bool_type", "string_type", "list_type", "dict_type"),
        )
    },
    "model_type": {"class_name": ""},
    "string_pattern_mismatch": {"pattern": ""},
    "string_too_short": {"min_length": 1},
    "greater_than": {"gt": 0},
    "greater_than_equal": {"ge": 0},
    "less_than": {"lt": 0},
    "less_than_equal": {"le": 0},
    "literal_error": {"expected": ""},
}
"""Kinds of pydantic's complaints that fields of our settings can give, with what their texts name."""


def engine_texts() -> dict[str, str]:
    """Return every text of the engine and the file it is from, in the order of the files."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "core").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not name.startswith(NOT_SHOWN):
            for text in texts_of(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(text, name)
    for text in _COUNTED:
        found.setdefault(text, "core/pipeline/steps.py")
    for number in _SYSTEM_ERRORS:
        found.setdefault(os.strerror(number), "the operating system")
    for text in _complaints_of_pydantic():
        found.setdefault(text, "pydantic")
    return found


def texts_of(tree: ast.Module) -> list[str]:
    """Return the texts of a module."""
    reader = _Reader(tree)
    found = [text for node in reader.wholes() for text in reader.options(node) if is_text(text)]
    found += [
        line.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name in _SHOWN_ENUMERATIONS
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    ]
    found += [
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and called(node) == "ProgressMeter"
        for text in reader.options(node.args[1])
        if text != PLACE
    ]
    return list(dict.fromkeys(found))


def is_text(text: str) -> bool:
    """Return whether a template has words that can be translated: more than a name, a flag or a unit."""
    fixed = text.replace(PLACE, "")
    words = re.findall(r"(?<![\w\-./<|'=])[A-Za-z][a-z]+(?![\w(=/|])", fixed)
    if text.startswith("import "):
        return False  # a program that a hint gives to be run
    return " " in text and bool(words) and "\n" not in text and text not in _SPOKEN_BY_MODELS


def called(node: ast.Call) -> str:
    """Return the name of what is called, without what it is an attribute of."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self._used: set[ast.AST] = set()
        self._resolving: list[str] = []

    def wholes(self) -> list[ast.expr]:
        """Return the expressions that are texts of their own and not parts of others."""
        found = [node for node in ast.walk(self._tree) if _is_string(node) and self._is_shown(node)]
        for node in found:
            list(self.options(node))  # notes which local variables went into others
        return [node for node in found if node not in self._used]

    def _is_shown(self, node: ast.AST) -> bool:
        child, parent = node, self._parents.get(node)
        if isinstance(parent, ast.Expr | ast.JoinedStr | ast.FormattedValue):
            return False  # documentation; a part of a text
        if isinstance(parent, ast.BinOp | ast.IfExp) and _is_string(parent):
            return False
        while parent is not None and not isinstance(parent, ast.stmt):
            if isinstance(parent, ast.Compare | ast.Subscript) or getattr(parent, "attr", "") == "join":
                return False
            if isinstance(parent, ast.GeneratorExp) and isinstance(parent.elt, ast.Compare):
                return False
            if isinstance(parent, ast.Call) and child is not parent.func and called(parent) in _QUIET_CALLS:
                return False
            child, parent = parent, self._parents.get(parent)
        if isinstance(parent, ast.Raise) and isinstance(parent.exc, ast.Call):
            return called(parent.exc) not in _PROGRAMMING_ERRORS
        if isinstance(parent, ast.AnnAssign) and child is parent.annotation:
            return False
        return not isinstance(parent, ast.Assert)

    def options(self, node: ast.AST) -> Iterator[str]:
        """Yield the templates that an expression may become."""
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.IfExp() if _is_string(node):
                yield from self.options(node.body)
                yield from self.options(node.orelse)
            case ast.BinOp(op=ast.Add()) if _is_string(node):
                yield from self._product([list(self.options(node.left)), list(self.options(node.right))])
            case ast.JoinedStr():
                yield from self._product([self._part(value) for value in node.values])
            case _:
                yield PLACE

    def _part(self, value: ast.expr) -> list[str]:
        if not isinstance(value, ast.FormattedValue):
            return list(self.options(value))
        inside = value.value
        if isinstance(inside, ast.IfExp) and _is_string(inside):
            return list(self.options(inside))
        if isinstance(inside, ast.Name) and inside.id in _STATES:
            return list(_STATES[inside.id])
        if isinstance(inside, ast.Name) and inside.id not in self._resolving:
            assigned = self._assigned(inside)
            self._resolving.append(inside.id)  # `text = f"{text} more"` would have no end
            options = [option for expression in assigned for option in self.options(expression)]
            self._resolving.pop()
            if options:
                self._used.update(assigned)
                return options
        return [PLACE]

    def _assigned(self, name: ast.Name) -> list[ast.expr]:
        scope: ast.AST | None = name
        while scope is not None and not isinstance(scope, ast.FunctionDef):
            scope = self._parents.get(scope)
        if scope is None:
            return []
        values = [
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name.id for target in node.targets)
        ]
        return (
            values if len(values) == 1 and isinstance(values[0], ast.IfExp) and _is_string(values[0]) else []
        )

    @staticmethod
    def _product(parts: list[list[str]]) -> Iterable[str]:
        branches = 1
        for number, options in enumerate(parts):
            branches *= len(options)
            if branches > _MOST_BRANCHES:
                parts = [*parts[:number], *([PLACE] if len(rest) > 1 else rest for rest in parts[number:])]
                break
        return ["".join(choice) for choice in itertools.product(*parts)]


def _is_string(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.JoinedStr():
            return True
        case ast.BinOp(op=ast.Add()):
            return _is_string(node.left) or _is_string(node.right)
        case ast.IfExp():
            return _is_string(node.body) and _is_string(node.orelse)
        case _:
            return False


def _complaints_of_pydantic() -> Iterator[str]:
    for kind, context in _COMPLAINTS.items():
        text = PydanticKnownError(kind, context).message_template
        for plural in ("", "s") if "{expected_plural}" in text else ("",):
            one = re.sub(r"{\w+}", PLACE, text.replace("{expected_plural}", plural))
            yield one[0].lower() + one[1:]
    yield "input is not a valid path for {}"
