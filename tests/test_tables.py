"""JSON and TOML with bounds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fishtune.core.errors import MalformedFileError
from fishtune.core.tables import DEEPEST, parse_json, parse_toml, read_json, read_toml


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        '{"a": ' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1),
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": 9223372036854775808}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "\\ud800"}',
        '{"\\udfff": 1}',
        b'\xff{"a": 1}',
        "",
        '{"a": 1} x',
    ],
)
def test_json_out_of_bounds_is_one_typed_error(text: str | bytes) -> None:
    with pytest.raises(MalformedFileError, match=r"^f\.json is not valid JSON: .*\."):
        parse_json(text, "f.json")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "9" * 5000,
        "a = nan",
        "a = inf",
        "a = 1e999",
        "a = 9223372036854775808",
        "a = 0x" + "f" * 30,
        "a = 1,5",
        "[" + ".".join(["a"] * 100) + "]",
        "a = 9999-99-99",
        b"a = '\xe9'",
    ],
)
def test_toml_out_of_bounds_is_one_typed_error(text: str | bytes) -> None:
    with pytest.raises(MalformedFileError, match=r"^f\.toml is not valid TOML: .*\."):
        parse_toml(text, "f.toml")


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "f") == {"a": 1}
    assert parse_toml(b"\xef\xbb\xbfa = 1\r\n", "f") == {"a": 1}


def test_ordinary_values_come_through(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"a": [1, 2.5, "é", null, true, -9223372036854775807]}', encoding="utf-8")
    assert read_json(file) == {"a": [1, 2.5, "é", None, True, -9223372036854775807]}


def test_a_file_that_is_larger_than_any_table_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.touch()
    os.truncate(file, 10 << 30)  # sparse: reading it would take memory
    with pytest.raises(MalformedFileError, match=r"larger than such a file can be \(1,048,576 bytes\)"):
        read_toml(file)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.json")
    with pytest.raises(MalformedFileError, match=r"f\.json is a named pipe, not a file\."):
        read_json(tmp_path / "f.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=r"f\.json does not exist\."):
        read_json(tmp_path / "f.json")


@pytest.mark.parametrize(
    "content",
    ["x" + ".x" * 400_000 + " = 1", "[" + '"x" . ' * 400_000 + "x]", "x = {" + "a.'b'." * 99 + "a = 1}"],
)
def test_a_key_of_very_many_parts_is_refused_before_it_is_parsed(content: str) -> None:
    with pytest.raises(MalformedFileError, match="lie more than 64 deep"):
        parse_toml(content, "x.toml")


def test_dots_that_make_no_key_are_no_depth() -> None:
    content = f"# {'. ' * 200}{'.' * 200}\na = '{'x.' * 200}'\nb = [{'0.5, ' * 200}]\nc.d.e = 1\n"
    assert parse_toml(content, "x.toml")["c"] == {"d": {"e": 1}}
