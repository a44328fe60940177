"""The report of a run, `results/NAME/report.html`: settings, data, losses, what was heard, some recordings.

The page is complete as it is written: it runs no script, loads nothing, and foreign text is escaped by the
library that writes it. Places of folders are not told, since reports are passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ...codec.config import FRAME_RATE
from ...config.settings import TrainSettings
from ...errors import FishtuneError
from ...events import Reporter
from ...files import write_text
from ...jobs.record import Place
from ...judge.record import read_run
from ...judge.results import AuditionCandidate, AuditionResult, CandidateKind, Measure, Measures
from ...messages import NOTHING
from ...pipeline.history import RunHistory, run_history
from ...pipeline.runs import RunCheckpoint, RunCheckpoints, RunSummary, run_checkpoints, summarise
from ..html import check_output, policy
from ..languages import Said, page_texts, said
from ..sound.clips import make_clips
from .curve import draw_curve
from .elements import add, table

REPORT_FILE = "report.html"
_MADE_BY = "fishtune report"
_TEXTS = 4
"""Texts that can be listened to."""
_MEASURES = (
    ("faulty", "{:.0%}"),
    ("wer", "{:.0%}"),
    ("similarity", "{:.2f}"),
    ("rate", "{:.1f}"),
    ("pitch", "{:.0f}"),
)
_NONE = "–"


@dataclass(frozen=True)
class _Words:
    """The texts of the page in one language."""

    language: str
    texts: Mapping[str, Said]

    def say(self, key: str, **values: object) -> str:
        return self.texts[key][self.language].format(**values)

    def of_engine(self, text: str) -> str:
        return said(text)[self.language]


def write_report(place: Place, output: Path, reporter: Reporter, language: str = "en") -> None:
    """Write the report of a run.

    Raises:
        UsageError: something that is not such a report would be replaced.
        StorageError: it cannot be written.
    """
    check_output(output, _MADE_BY)
    folder = files(__package__ or "")
    words = _Words(language, page_texts(folder))
    summary, found = summarise(place), run_checkpoints(place)
    history, heard = run_history(place), read_run(place.folder)
    body = Element("body")
    add(body, "h1", words.say("title", run=summary.run))
    add(body, "p", _progress(summary, words), {"class": "note"})
    _choice(body, summary, found, words)
    _checkpoints(body, found, words)
    _curve(body, summary, history, words)
    if heard is not None:
        _listening(body, heard, found, words, reporter)
    _data(body, summary, words)
    _settings(body, summary, words)
    style = (folder / "page.css").read_text("utf-8")
    write_text(output, _page(body, style, words.say("title", run=summary.run), language))


def _page(body: Element, style: str, title: str, language: str) -> str:
    root = Element("html", {"lang": language})
    head = add(root, "head")
    add(head, "meta", attributes={"charset": "utf-8"})
    add(head, "meta", attributes={"name": "generator", "content": _MADE_BY})
    add(head, "meta", attributes={"http-equiv": "Content-Security-Policy", "content": policy(style)})
    add(head, "meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"})
    add(head, "title", title)
    add(head, "style", style)
    root.append(body)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _progress(summary: RunSummary, words: _Words) -> str:
    passes = _NONE if summary.clip_passes is None else f"{summary.clip_passes:.1f}"
    known = {"step": summary.step, "passes": passes, "jobs": summary.jobs}
    if summary.total_steps is None:
        return words.say("progress", **known)
    return words.say("progress_of", total=summary.total_steps, **known)


def _choice(body: Element, summary: RunSummary, found: RunCheckpoints, words: _Words) -> None:
    add(body, "h2", words.say("choice"))
    if found.reason is None:
        add(body, "p", words.say("no_checkpoint"))
        return
    recommended = words.say("recommended", step=summary.recommended)
    add(body, "p", f"{recommended} {words.of_engine(found.reason)}")
    for sentence in found.out:
        add(body, "p", words.of_engine(sentence), {"class": "note"})


def _checkpoints(body: Element, found: RunCheckpoints, words: _Words) -> None:
    add(body, "h2", words.say("checkpoints"))
    headings = [
        "",
        words.say("passes"),
        words.say("held_out_loss"),
        *(words.say(name) for name, _ in _MEASURES),
    ]
    rows = [
        (
            [
                _row_name(row, words),
                _NONE if row.clip_passes is None else f"{row.clip_passes:.1f}",
                _NONE if row.held_out_loss is None else f"{row.held_out_loss:.3f}",
                *_measured(row.measures or Measures()),
            ],
            row.recommended,
        )
        for row in found.rows
    ]
    # What nothing measured is no column.
    kept = [0, *(place for place in range(1, len(headings)) if any(row[place] != _NONE for row, _ in rows))]
    table(
        body,
        [headings[place] for place in kept],
        [([cells[place] for place in kept], is_chosen) for cells, is_chosen in rows],
    )
    if any(row.measures for row in found.rows):
        add(body, "p", words.say("means"), {"class": "note"})


def _row_name(row: RunCheckpoint, words: _Words) -> str:
    if row.step is None:
        return words.say("recording")
    return words.say("step", step=row.step) if row.step else words.say("base")


def _measured(found: Measures) -> list[str]:
    return [_interval(getattr(found, name), form) for name, form in _MEASURES]


def _interval(measure: Measure | None, form: str) -> str:
    if measure is None:
        return _NONE
    return f"{form.format(measure.mean)} ({form.format(measure.low)}–{form.format(measure.high)})"


def _curve(body: Element, summary: RunSummary, history: RunHistory, words: _Words) -> None:
    drawing = draw_curve(history, summary.recommended, words.say("curve_of"))
    if drawing is None:
        return
    add(body, "h2", words.say("curve"))
    add(body, "div", attributes={"class": "scroll"}).append(drawing)
    legend = add(body, "p", attributes={"class": "note"})
    add(legend, "span", words.say("training"), {"class": "key"})
    add(legend, "span", words.say("held_out"), {"class": "key of-held-out"})
    if history.marks:
        steps = ", ".join(str(mark.step) for mark in history.marks)
        add(legend, "span", words.say("resumed", steps=steps), {"class": "key of-resumed"})


def _listening(
    body: Element, heard: AuditionResult, found: RunCheckpoints, words: _Words, reporter: Reporter
) -> None:
    """Add a few texts as the recordings, the base and the recommended checkpoint say them."""
    chosen = next((row.step for row in found.rows if row.recommended), None)
    columns = [
        candidate
        for candidate in heard.candidates
        if candidate.kind is not CandidateKind.CHECKPOINT
        or (candidate.step == chosen and candidate.strength == 1)
    ]
    shown = _rows(heard, columns)
    spoken = (audio for row in shown for each in columns if (audio := _audio(each, row)) is not None)
    sounds = _sounds(spoken, reporter)
    if not sounds:
        return
    add(body, "h2", words.say("listening"))
    grid = add(add(body, "div", attributes={"class": "scroll"}), "table", attributes={"class": "heard"})
    line = add(add(grid, "thead"), "tr")
    for heading in (words.say("text"), *(_column_name(each, words) for each in columns)):
        add(line, "th", heading, {"scope": "col"})
    rows = add(grid, "tbody")
    for row in shown:
        line = add(rows, "tr")
        add(line, "td", heard.texts[row].text, {"class": "text"})
        for each in columns:
            speaker = {"data-speaker": _column_name(each, words)}  # where there is no room for headings
            _cell(add(line, "td", attributes=speaker), each, row, sounds, words)
    add(body, "p", words.say("all_texts", run=found.run), {"class": "note"})


def _rows(heard: AuditionResult, columns: Sequence[AuditionCandidate]) -> list[int]:
    """Return the texts that most columns say, from the last: held-out ones, and long ones."""
    said_by = {row: sum(_audio(each, row) is not None for each in columns) for row in range(len(heard.texts))}
    return sorted(sorted(said_by, key=lambda row: (-said_by[row], -row))[:_TEXTS])


def _audio(candidate: AuditionCandidate, row: int) -> Path | None:
    cell = next((cell for cell in candidate.cells if cell.text == row), None)
    return candidate.audio(cell) if cell is not None else None


def _sounds(paths: Iterable[Path], reporter: Reporter) -> dict[Path, str]:
    """Return the recordings that can be read as data addresses, equally loud."""
    clips = make_clips(list(dict.fromkeys(paths)), reporter, None, NOTHING)
    return {path: clip.src for path, clip in clips}


def _column_name(candidate: AuditionCandidate, words: _Words) -> str:
    if candidate.kind is CandidateKind.CHECKPOINT:
        return words.say("step", step=candidate.step)
    return words.say(candidate.kind)


def _cell(
    parent: Element, candidate: AuditionCandidate, row: int, sounds: Mapping[Path, str], words: _Words
) -> None:
    cell = next((cell for cell in candidate.cells if cell.text == row), None)
    audio = _audio(candidate, row)
    if cell is None or audio is None or audio not in sounds:
        parent.text = _NONE
        return
    add(parent, "audio", attributes={"controls": "controls", "preload": "none", "src": sounds[audio]})
    for fault in cell.findings:
        add(parent, "div", words.of_engine(fault.message), {"class": "fault"})


def _data(body: Element, summary: RunSummary, words: _Words) -> None:
    from ...shards.index import ShardIndex

    add(body, "h2", words.say("data"))
    try:
        index = ShardIndex.open(Path(str(summary.settings.get("protos", ""))))
    except FishtuneError:
        add(body, "p", words.say("no_data"), {"class": "note"})
        return
    minutes = float(index.frames.sum()) / FRAME_RATE / 60
    rows = [
        ([words.say("clips"), f"{len(index):,}"], False),
        ([words.say("speech"), words.say("minutes", minutes=f"{minutes:,.1f}")], False),
        ([words.say("speakers"), f"{len(index.speakers):,}"], False),
    ]
    table(body, None, rows)


def _settings(body: Element, summary: RunSummary, words: _Words) -> None:
    known = {name: _shown(value) for name, value in summary.settings.items() if name != "results"}
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in TrainSettings.model_fields.items()
        if not field.is_required()
    }
    changed = {name: value for name, value in known.items() if value != _shown(defaults.get(name))}
    add(body, "h2", words.say("settings"))
    headings = [words.say("setting"), words.say("value")]
    table(body, headings, [([name, value], False) for name, value in changed.items()])
    add(body, "p", words.say("changed"), {"class": "note"})
    details = add(body, "details")
    add(details, "summary", words.say("all_settings"))
    table(details, headings, [([name, value], False) for name, value in known.items()])


def _shown(value: Any) -> str:
    """Return a setting as text; of a path its name, since where a folder lies is nobody else's business."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    text = _NONE if value is None else str(value)
    return Path(text).name if isinstance(value, Path) or "/" in text or "\\" in text else text
