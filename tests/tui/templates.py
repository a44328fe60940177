"""The engine's texts as they stand in its code: the templates that are given to `Message`, errors, findings …

A template is a literal, so this only looks at calls. What is wrong with a call (a template that is put
together while it runs, a place without a value, a value without a place) is a fault that a test names.
"""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from fishtune.core import errors
from fishtune.core.config.strict import complaint
from fishtune.core.dataset.usage import DropReason
from fishtune.core.hardware.memory.estimate import Part
from fishtune.core.hardware.readings import DriverState, GpuState
from fishtune.core.jobs.record import JobState
from fishtune.core.judge.faults import SpeechFaultKind
from fishtune.core.messages import names_of
from pydantic import ValidationError
from pydantic_core import InitErrorDetails
from pydantic_core.core_schema import ErrorType

ROOT = Path(__file__).parents[2]
NOT_SHOWN = (
    "core/cli/",  # the command line is in English
    "core/hardware/doctor/",  # fishtune doctor, likewise
    "core/jobs/lines.py",  # lines of logs
    "core/jobs/worker.py",
    "core/demo/checkpoint.py",  # makes test models
)
"""Whose texts the wizard never shows."""
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
} | {
    "TextError",
    "ConnectionBrokenError",
    "ForeignFileError",
    "OtherCodesError",
    "TornCodesError",
    "NoCodesError",
}
"""Calls that take a message and a hint."""
PLACES_OF_TEMPLATES = {
    **dict.fromkeys(ERRORS, (0, 1)),
    "kind": (0, 1, 2, 3),  # what functions call an error, or a finding, that they are given
    "Message": (0,),
    "StopRequested": (0,),
    "check_stop": (0,),
    "warn": (0, 1),
    "guard": (0, 1),
    "phase": (0,),
    "plural": (1, 2),
    "error": (2, 3),
    "warning": (2, 3),
    "ProgressMeter": (1,),
}
ENUMERATIONS: tuple[type[StrEnum], ...] = (DropReason, DriverState, GpuState, Part, SpeechFaultKind, JobState)
"""Those whose values are words on the screen."""
SYSTEM_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT),
    *(errno.EROFS, errno.EIO, errno.EMFILE, errno.ENAMETOOLONG, errno.ESTALE, errno.EBUSY, errno.ELOOP),
    *(errno.EXDEV, errno.EMLINK, errno.EFBIG, errno.ENOMEM, errno.EINVAL, errno.ENOTEMPTY, errno.EEXIST),
    *(errno.EOPNOTSUPP, errno.ENOLCK, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ENETUNREACH),
)
COMPLAINTS: tuple[tuple[ErrorType, dict[str, object]], ...] = (
    *((kind, {}) for kind in ("int_parsing", "int_type", "int_from_float", "float_parsing", "float_type")),
    *((kind, {}) for kind in ("finite_number", "bool_parsing", "bool_type", "string_type", "list_type")),
    ("dict_type", {}),
    ("model_type", {"class_name": "Table"}),
    ("string_pattern_mismatch", {"pattern": "x"}),
    *(("string_too_short", {"min_length": number}) for number in (1, 2)),
    *((kind, {name: 0}) for kind, name in (("greater_than", "gt"), ("greater_than_equal", "ge"))),
    *((kind, {name: 0}) for kind, name in (("less_than", "lt"), ("less_than_equal", "le"))),
    ("literal_error", {"expected": "'a' or 'b'"}),
)
"""Kinds of pydantic's complaints that fields of our settings can give, with what their texts name."""


def engine_texts() -> dict[str, str]:
    """Return every template of the engine and the file it is from, in the order of the files."""
    found: dict[str, str] = {}
    for path in files():
        name = str(path.relative_to(ROOT))
        if not name.startswith(NOT_SHOWN):
            for text in templates_in(ast.parse(path.read_text(encoding="utf-8"))):
                if is_text(text):
                    found.setdefault(text, name)
    for enumeration in ENUMERATIONS:
        for member in enumeration:
            found.setdefault(member.value, enumeration.__name__)
    for number in SYSTEM_ERRORS:
        found.setdefault(os.strerror(number), "the operating system")
    for text in complaints_of_pydantic():
        found.setdefault(text, "pydantic")
    return found


def files() -> list[Path]:
    """Return the engine's modules."""
    return sorted((ROOT / "core").rglob("*.py"))


def templates_in(tree: ast.AST) -> Iterator[str]:
    """Yield the templates of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for argument in _template_arguments(node):
                yield from _literals(argument)


def faults_in(tree: ast.AST) -> Iterator[str]:
    """Yield what is wrong with a module's templates, as `line: what`."""
    texts = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_put_together(node.value, literals=True)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        arguments = list(_template_arguments(node))
        for argument in arguments:
            if _is_put_together(argument) or (isinstance(argument, ast.Name) and argument.id in texts):
                yield f"{node.lineno}: not a literal: {ast.unparse(argument)}"
        literals = [text for argument in arguments for text in _literals(argument)]
        values = {keyword.arg for keyword in node.keywords} | (
            {"number"} if called(node) == "plural" else set()
        )
        if None in values:
            continue  # `**values`: a helper that hands on what it was given
        named = {name for text in literals for name in names_of(text)}
        yield from (f"{node.lineno}: no value for {{{name}}}" for name in sorted(named - values))
        if literals and len(literals) >= len(arguments) and called(node) in PLACES_OF_TEMPLATES:
            unused = values - named - {"number", "frequency", "done", "total", "unit"}
            yield from (f"{node.lineno}: {name} fills no place" for name in sorted(filter(None, unused)))


def called(node: ast.Call) -> str:
    """Return the name of what is called, without what it is an attribute of."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def is_text(template: str) -> bool:
    """Return whether a template has anything to translate: a word that is not part of a flag or a path."""
    fixed = re.sub(r"\{\w+(:[^}]*)?\}", "", template)
    return bool(re.search(r"(?<![\w\-./<|'=])[A-Za-z]+(?![\w(=/|])", fixed))


def _template_arguments(node: ast.Call) -> Iterator[ast.expr]:
    for place in PLACES_OF_TEMPLATES.get(called(node), ()):
        if place < len(node.args):
            yield node.args[place]


def _literals(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if text:
            yield text
        case ast.IfExp():
            yield from _literals(node.body)
            yield from _literals(node.orelse)
        case ast.BoolOp():
            for value in node.values:
                yield from _literals(value)


def _is_put_together(node: ast.expr, *, literals: bool = False) -> bool:
    """Whether an expression makes a text while it runs (or, with `literals`, is one that nobody marked)."""
    match node:
        case ast.JoinedStr():
            return True
        case ast.Constant(value=str(text)):
            return literals and " " in text
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return True
        case ast.Call():
            return called(node) in {"format", "join"} and isinstance(node.func, ast.Attribute)
        case ast.IfExp():
            return any(_is_put_together(part, literals=literals) for part in (node.body, node.orelse))
        case ast.BoolOp():
            return any(_is_put_together(part, literals=literals) for part in node.values)
    return False


def complaints_of_pydantic() -> Iterator[str]:
    """Yield the templates that `config.strict` makes of pydantic's complaints."""
    for kind, context in COMPLAINTS:
        details = InitErrorDetails(type=kind, input=None, ctx=context)
        error = ValidationError.from_exception_data("Table", [details])
        yield complaint(error.errors()[0]).template
