"""Texts as data: what fills a template in, what survives a border, and what a foreign file may not do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.errors import DataError, FishtuneError, StopRequested
from fishtune.core.events import Warned, decode_event, encode_event
from fishtune.core.messages import AS_DATA, Message, as_data, first_of, from_data, joined, named, near, plural
from pydantic import BaseModel


class Holder(BaseModel):
    what: Message


def test_a_message_is_its_english_text_and_keeps_what_it_was_made_from() -> None:
    message = Message("{file} has {size:,} bytes, {share:.0%}.", file=Path("a.wav"), size=12_345, share=0.5)
    assert message == "a.wav has 12,345 bytes, 50%."
    assert message.values == {"file": "a.wav", "size": 12_345, "share": 0.5}
    assert str(message) is message
    assert pickle.loads(pickle.dumps(message)).values == message.values


def test_numbers_of_numpy_are_numbers() -> None:
    assert Message("{n:,} {x:.1f}", n=np.int64(1234), x=np.float32(0.25)).values == {"n": 1234, "x": 0.25}


def test_a_text_without_places_is_taken_as_it_is_and_braces_are_doubled_beside_places() -> None:
    assert Message("a {b} {{c}}") == "a {b} {{c}}"
    assert Message("{{x}} {b}", b=1) == "{x} 1"
    assert Message("{file}: {text}", file="{text}", text="{file}") == "{text}: {file}"


def test_telling_an_error_never_fails() -> None:
    assert Message("{gone} {size:,}", size="many") == "{gone} many"


def test_errors_share_their_values_and_cross_processes_whole() -> None:
    error = DataError("{file} is empty.", "Record {file} again.", file="a.wav")
    assert (error.message, error.hint) == ("a.wav is empty.", "Record a.wav again.")
    assert str(error) == "a.wav is empty. Record a.wav again."
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, DataError)
    assert again.hint.template == "Record {file} again."
    assert pickle.loads(pickle.dumps(StopRequested("Step {step} is saved.", step=3))).saved.values == {
        "step": 3
    }


def test_a_message_among_the_values_is_translated_too() -> None:
    said = {"{count} is left.": "LEFT: {count}", "{number} clips": "CLIPS {number}", "Why?": "WHY?"}
    message = Message("{count} is left.", count=plural(3, "{number} clip", "{number} clips"))
    assert message.translated(lambda text: said.get(text, text)) == "LEFT: CLIPS 3"
    both = joined([message, Message(""), Message("Why?")])
    assert both == "3 clips is left. Why?"
    assert both.translated(lambda text: said.get(text, text)) == "LEFT: CLIPS 3 WHY?"


def test_an_error_of_the_system_is_worded_as_python_does_and_its_words_can_be_translated(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        (tmp_path / "gone").read_bytes()
    message = Message("Away: {reason}", reason=raised.value)
    assert message == f"Away: {raised.value}"
    assert "NO FILE" in message.translated(
        lambda text: "NO FILE" if text == "No such file or directory" else text
    )


def test_the_first_of_many_and_how_many_more() -> None:
    assert first_of(["a", "b", "c"], 3) == "a, b, c"
    assert first_of(["a", "b", "c"], 1) == "a and 2 more"
    assert (named(["a"]), named(["a", "b"])) == ("a", "2 files (a, …)")
    assert near("openaudio", ["openaudio-s1", "other"]) == "Did you mean openaudio-s1?"
    assert near("x", ["openaudio-s1"]) == ""


def test_json_has_the_text_and_in_events_and_records_template_and_values() -> None:
    holder = Holder(what=Message("{file} is {state}.", file="a", state=Message("empty")))
    assert holder.model_dump(mode="json") == {"what": "a is empty."}
    written = holder.model_dump_json(context=AS_DATA)
    assert json.loads(written)["what"]["values"] == {
        "file": "a",
        "state": {"template": "empty", "values": {}},
    }
    again = Holder.model_validate_json(written).what
    assert (again, again.template, again.values) == (holder.what, holder.what.template, holder.what.values)
    assert type(again.values["state"]) is Message
    assert type(again.values["file"]) is str


def test_an_event_keeps_the_template_and_one_of_the_version_before_its_text() -> None:
    event = Warned(message=Message("{file} is odd.", file="a"), hint=Message("Look at it."))
    again = decode_event(encode_event(event))
    assert isinstance(again, Warned)
    assert again == event
    assert again.message.template == "{file} is odd."
    old = decode_event(b'{"v":1,"time":1,"kind":"warning","message":"a {b} is odd.","hint":""}\n')
    assert isinstance(old, Warned)
    assert (old.message, old.message.values) == ("a {b} is odd.", {})


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{file.__class__.__init__.__globals__}", "{file.__class__.__init__.__globals__}"),
        ("{file[0]}", "{file[0]}"),
        ("{file!r}", "{file!r}"),
        ("{number:99999999999}", "{number:99999999999}"),
        ("{number:.999999f}", "{number:.999999f}"),
        ("{number:{number}}", "{number:3}"),
        ("{0} {} {file", "{0} {} {file"),
        ("{number:f} {file:d}", "3.000000 a"),
    ],
)
def test_a_template_from_a_file_can_do_nothing_but_name_a_value(template: str, shown: str) -> None:
    assert from_data({"template": template, "values": {"file": "a", "number": 3}}) == shown


def test_what_multiplies_itself_is_not_filled_in() -> None:
    bomb: object = "x" * 1000
    for _ in range(50):
        bomb = {"template": "{a}" * 10, "values": {"a": bomb}}
    assert len(from_data(bomb)) < 1 << 20


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        [],
        {},
        {"template": 3, "values": {}},
        {"template": "{a}", "values": []},
        {"template": "{a}", "values": {"a": [1]}},
        {"template": "{a}", "values": {"a": None}},
        {"template": "{a}", "values": {"a": 10**5000}},
        {"template": "{a}", "values": {"a": {"template": "{b}"}}},
    ],
)
def test_what_is_no_message_is_damage(content: object) -> None:
    with pytest.raises(ValueError, match="is not a "):
        from_data(content)


def test_data_of_a_message_is_json_whatever_its_numbers() -> None:
    content = as_data(Message("{loss:.2f} {n}", loss=float("nan"), n=True))
    assert json.loads(json.dumps(content, allow_nan=False))["values"] == {"loss": "nan", "n": "True"}
    assert from_data(content) == "nan True"


def test_an_error_keeps_a_text_that_is_a_message_already() -> None:
    inner = DataError("{file} is empty.", file="a")
    outer = FishtuneError(inner.message, "{advice} The log: {log}", advice=inner.hint, log="b")
    assert outer.message is inner.message
    assert outer.hint == " The log: b"
