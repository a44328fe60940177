"""The Dataset step: an empty project, all clips in a list, findings by kind, numbers that agree."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.config.project import Project
from fishtune.core.config.settings import PrepareSettings
from fishtune.core.dataset.findings import FindingKind, error, warning
from fishtune.core.dataset.journal import JOURNAL_FILE
from fishtune.core.dataset.rows import ClipRow
from fishtune.core.dataset.usage import DropReason
from fishtune.core.events import ClipsListed, Event, Failed, Finished, Reporter, Stopped
from fishtune.core.messages import AS_DATA
from fishtune.core.stages.registry import StageName
from fishtune.core.stages.validate.run import run as validate
from fishtune.tui.app import Wizard
from fishtune.tui.clip_choice import Order, Which, chosen, ordered, why_not
from fishtune.tui.data_folders import look_into
from fishtune.tui.dialogs.clip import ClipScreen
from fishtune.tui.dialogs.folders import FolderScreen
from fishtune.tui.dialogs.preparing import PrepareScreen
from fishtune.tui.finding_titles import TITLES
from fishtune.tui.glyphs import ASCII, LINES, waveform
from fishtune.tui.histogram import binned, drawn
from fishtune.tui.report import clip_rows, newest_report
from fishtune.tui.widgets.choice import Choice
from fishtune.tui.widgets.clip_list import ClipList
from fishtune.tui.widgets.data_view import DataView
from fishtune.tui.widgets.long_table import LongTable
from fishtune.tui.widgets.step_list import StepList
from textual.widgets import Input
from wizard_helpers import HOSTILE, FakeEngine, shown, until, until_open, until_shown

Make = Callable[..., Wizard]
ROWS = [
    ClipRow("amy/a", 3.0, -20.0, 30, "Good morning.", None, 0),
    ClipRow("amy/b", 8.0, -31.0, 40, "[/x] good evening", None, 2),
    ClipRow("yoona/c", 0.0, None, 0, "안녕하세요", DropReason.UNREADABLE_RECORDING, 1),
    ClipRow("yoona/d", 5.0, -23.0, 90, "", DropReason.NO_TEXT, 1),
]


def names(rows: list[ClipRow]) -> str:
    return "".join(row.clip[-1] for row in rows)


@pytest.fixture
def data(project: Project) -> Path:
    """Four clips, one of them without words; the project's own folder."""
    folder = project.folder / "data"
    noise = np.random.default_rng(1)
    for name in ("amy/a", "amy/b", "yoona/c", "yoona/d"):
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal(16_000), 16_000)
        path.with_suffix(".lab").write_text(f"These are the words of {name}.")
    (folder / "yoona" / "d.lab").unlink()
    project.dataset.path, project.dataset.protos = Path("data"), None
    project.save()
    return folder


def checked(project: Project, engine: FakeEngine) -> None:
    """Leave a job behind that has checked the data set."""
    settings = project.validate_settings().model_copy(update={"num_workers": 1})
    said: list[Event] = []

    class Listener(Reporter):
        def emit(self, event: Event) -> None:
            said.append(event)

    summary = validate(settings, Listener()).model_dump(mode="json", context=AS_DATA)
    job = engine.new_job(project, StageName.VALIDATE, settings.model_dump(mode="json"))
    engine.say(job, [*said, Finished(summary=summary)])


def listed(project: Project, engine: FakeEngine, rows: list[ClipRow], findings: list[Any] = []) -> None:  # noqa: B006
    """Leave a job behind that has said these things of the project's folder."""
    job = engine.new_job(project, StageName.VALIDATE, {"data": str(project.data)})
    dumped = [finding.model_dump(mode="json", context=AS_DATA) for finding in findings]
    summary = {"data": str(project.data), "clips": len(rows), "speakers": [], "findings": dumped}
    parts = [rows[at : at + 500] for at in range(0, len(rows), 500)]
    events = [ClipsListed(clips=[row.as_json() for row in part]) for part in parts]
    engine.say(job, [*events, Finished(summary=summary)])


# which clips, in which order


def test_clips_are_filtered_by_use_speaker_and_text() -> None:
    out = {"amy/a"}
    assert names(chosen(ROWS, out)) == "abcd"
    assert names(chosen(ROWS, out, Which.USED)) == "b"
    assert names(chosen(ROWS, out, Which.NOT_USED)) == "acd"
    assert names(chosen(ROWS, out, Which.FINDINGS)) == "bcd"
    assert names(chosen(ROWS, out, speaker="yoona")) == "cd"
    assert names(chosen(ROWS, out, search=" GOOD ")) == "ab"
    assert names(chosen(ROWS, out, search="na/d")) == "d"
    assert names(chosen(ROWS, out, Which.NOT_USED, "yoona", "안녕")) == "c"


def test_clips_are_sorted_and_those_without_the_value_come_last() -> None:
    orders = {order: names(ordered(ROWS[::-1], order)) for order in Order}
    assert orders == {
        Order.NAME: "abcd",
        Order.LONGEST: "bdac",
        Order.SHORTEST: "adbc",
        Order.LOUDEST: "adbc",
        Order.QUIETEST: "bdac",
        Order.FASTEST: "dabc",
        Order.SLOWEST: "badc",
    }


def test_what_is_left_out_now_counts_and_not_what_was_when_it_was_checked() -> None:
    assert why_not(ROWS[0], {"amy/a"}) is DropReason.EXCLUDED
    assert why_not(ClipRow("amy/z", dropped=DropReason.EXCLUDED), set()) is None
    assert why_not(ROWS[3], set()) is DropReason.NO_TEXT


# drawings


def test_a_histogram_has_round_edges_and_loses_nothing() -> None:
    values = [1.5, 2.0, 3.9, 4.0, 8.7]
    bars = binned(values)
    assert [(bar.low, bar.high, bar.number) for bar in bars][:2] == [(0.0, 2.0, 1), (2.0, 4.0, 2)]
    assert sum(bar.number for bar in bars) == len(values) and len(bars) <= 8
    assert binned([]) == [] and len(binned([0.0])) == 1 and sum(b.number for b in binned([-20.0] * 3)) == 3
    assert sum(bar.number for bar in binned([-31.2, -20.5, float("nan")])) == 2
    assert [(bar.low, bar.number) for bar in binned([-23.04, -22.99], least=0.5)] == [(-23.5, 1), (-23.0, 1)]
    text = drawn(ASCII, "length", bars, 30, "s").plain.splitlines()
    assert text[0] == "length (s)" and all(len(line) <= 30 for line in text)
    assert "#" in text[1] and text[2].count("#") > text[1].count("#")


@pytest.mark.parametrize("glyphs", [LINES, ASCII], ids=["lines", "ascii"])
def test_a_waveform_grows_from_its_lowest_line(glyphs: Any) -> None:
    lines = waveform(glyphs, [0.0, 0.5, 1.0, 2.0], 2).split("\n")
    full = glyphs.levels[-1]
    assert lines == [f"  {full}{full}", f" {full}{full}{full}"]


def test_every_kind_of_finding_has_a_title() -> None:
    assert TITLES.keys() == set(FindingKind)


# all clips


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_every_clip_is_in_the_list_and_enter_shows_it(
    wizard: Make, engine: FakeEngine, project: Project, data: Path, size: tuple[int, int]
) -> None:
    checked(project, engine)
    app = wizard()
    async with app.run_test(size=size) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until_shown(app, "3 of 4 clips will be used: 1 without text.", "3 of 4")
        if size[0] < 100:
            app.screen.query_one("#view", Choice).focus()
            await pilot.press("right")
        await until_shown(app, "amy/a", "yoona/c", "(no transcri", "4 of 4 clips.")
        screen.query_one("#clip-which", Choice).focus()
        await pilot.press("right", "right")
        await until_shown(app, "1 of 4 clips.")
        assert "amy/a " not in shown(app)
        await pilot.press("left", "left")
        search = screen.query_one("#clip-search", Input)
        search.focus()
        await pilot.press(*"of amy/b", "enter")
        await until_shown(app, "1 of 4 clips.")
        assert isinstance(app.focused, LongTable)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ClipScreen) and "LUFS" in shown(app), app)
        await until_shown(app, "These are the words of amy/b.", "0 s", "1.0 s", "Leave this clip out")
        await pilot.press("x")
        await until_shown(app, "(left out by choice)")
    assert Project.load(project.folder).dataset.exclude == ["amy/b"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_slash_searches_the_clips_and_escape_shows_all_again(
    wizard: Make, engine: FakeEngine, project: Project, size: tuple[int, int]
) -> None:
    listed(project, engine, ROWS)
    app = wizard()
    async with app.run_test(size=size) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        clips = screen.query_one(ClipList)
        await until(lambda: clips._all, app)
        await pilot.press("slash", *"good e")
        await until_shown(app, "⏎ To the clips ")
        await pilot.press("enter")
        await until_shown(app, "1 of 4 clips.", "[/x] good evening", "⏎ Open ")
        assert isinstance(app.focused, LongTable)
        await pilot.press("escape")
        await until_shown(app, "4 of 4 clips.")
        assert isinstance(app.focused, LongTable)
        await pilot.press("escape")
        assert isinstance(app.focused, StepList), "nothing is searched any more: Esc leads to the steps"


async def test_slash_says_where_something_is_searched_on_pages_that_have_nothing(wizard: Make) -> None:
    app = wizard(keys={"page_log": "ctrl+v"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press("1", "slash")
        await until_shown(app, "The clips are listed once they are checked.")
        await pilot.press("4", "slash")
        await until_shown(app, "Nothing to search here.", "Ctrl+V")


async def test_ten_thousand_clips_are_filtered_sorted_and_walked_through_at_once(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    rows = [
        ClipRow(f"amy/{number:05}", 1 + number % 90 / 10, -20.0, 30, f"{HOSTILE} {number}", None, 0)
        for number in range(10_000)
    ]
    listed(project, engine, rows)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until_shown(app, "10,000 of 10,000 clips.", "amy/00000")
        screen.query_one(LongTable).focus()
        begun = time.monotonic()
        await pilot.press("end")
        await until_shown(app, "amy/09999")
        await pilot.press("pageup", "home")
        await until_shown(app, "amy/00000")
        screen.query_one("#clip-order", Choice).focus()
        await pilot.press("right")
        await until_shown(app, "9.9 s")
        screen.query_one("#clip-search", Input).focus()
        await pilot.press(*"00042")
        await until_shown(app, "1 of 10,000 clips.")
        await until(lambda: screen.query_one(ClipList).clip == "amy/00042", app)
        assert time.monotonic() - begun < 20, "seconds on a busy machine, a fraction of one elsewhere"


def test_clips_of_a_check_are_read_from_its_events(project: Project, engine: FakeEngine) -> None:
    listed(project, engine, ROWS)
    job, report = newest_report(project)
    assert job is not None and report is not None
    assert clip_rows(job) == ROWS


def test_a_check_of_the_command_line_counts_though_it_names_the_folder_from_where_it_ran(
    project: Project, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.data.parent)
    data = Path(project.data.name)
    job = engine.new_job(project, StageName.VALIDATE, {"data": str(data)})
    found = error(FindingKind.TEXT_EMPTY, data / "A" / "one.lab", "one.lab is empty.", "Write it.")
    engine.say(job, [Finished(summary={"findings": [found.model_dump(mode="json", context=AS_DATA)]})])
    engine.new_job(project, StageName.VALIDATE, {"data": "elsewhere"})
    known, report = newest_report(project)
    assert known is not None and known.id == job.id and report is not None
    assert [finding.path for finding in report["findings"]] == [project.data / "A" / "one.lab"]


# findings


async def test_findings_are_grouped_by_kind_worst_first_and_opened(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    findings = [
        error(FindingKind.TEXT_EMPTY, project.data / "A" / "one.lab", "one.lab is empty [/x].", "Write it."),
        *(
            warning(FindingKind.CLIPPING, project.data / "A" / f"{n}.wav", f"{n}.wav is clipped.", "Again.")
            for n in range(12)
        ),
    ]
    listed(project, engine, ROWS, findings)
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until_shown(app, "one.lab is empty [/x].", "12 ×", "clipped recordings …")
        page = shown(app)
        assert page.index("one.lab is empty") < page.index("clipped recordings")
        assert "11.wav is clipped." not in page
        screen.query_one("#findings").focus()
        await pilot.press("down", "enter")
        await until_shown(app, "2.wav is clipped.")
        await pilot.press("down", "enter")
        await until(lambda: isinstance(app.screen, ClipScreen), app)
        assert str(project.data / "A" / "0.wav") in shown(app).replace("\n", "")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_data_stand_beside_findings_where_there_is_room(
    wizard: Make, engine: FakeEngine, project: Project, size: tuple[int, int]
) -> None:
    listed(project, engine, ROWS)
    app = wizard()
    async with app.run_test(size=size) as pilot:
        screen = await until_open(app)
        await pilot.press("1")
        await until_shown(app, "Nothing is wrong")
        await until(
            lambda: ("length (s)" in shown(app)) is ("4 of 4 clips." in shown(app)) is (size[0] > 100), app
        )
        view = screen.query_one("#view", Choice)
        if size[0] < 100:
            view.focus()
            await pilot.press("left")
            await until_shown(app, "length (s)", "level (LUFS)")
        assert screen.query_one(DataView).has_class("-wide") is (size[0] > 100)


# an empty project


@pytest.fixture
def empty(project: Project) -> Project:
    project.dataset.path, project.dataset.protos = Path("data"), None
    project.save()
    return project


def a_recording(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(8000), 8000)


async def choose_folder(app: Wizard, pilot: Any, folder: Path) -> None:
    await until(lambda: isinstance(app.screen, FolderScreen) and app.screen.query(Input), app)
    app.screen.query_one(Input).value = str(folder)
    await pilot.press("enter")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_an_empty_project_shows_the_layout_and_three_ways_in(
    wizard: Make, empty: Project, size: tuple[int, int]
) -> None:
    app = wizard()
    async with app.run_test(size=size):
        await until_open(app)
        await until_shown(app, "data/", "001.wav", "001.lab", "one folder per speaker")
        for way in ("Folder of clips…", "Prepare recordings…", "Try the demo"):
            page, _line, _footer = shown(app).rstrip().rpartition("\n")
            assert page.count(way) == 2, "explained, and a button"
        assert "Findings" not in shown(app) and "Traceback" not in shown(app)


async def test_a_folder_of_clips_is_used_and_checked(
    wizard: Make, engine: FakeEngine, empty: Project
) -> None:
    clips = empty.folder / "speech"
    a_recording(clips / "amy" / "a.wav")
    (clips / "amy" / "a.lab").write_text("Words.")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "Folder of clips…")
        assert screen.pane is not None
        screen.pane.press("choose")
        await choose_folder(app, pilot, clips)
        await until(lambda: engine.started, app)
    stage, settings, _secrets = engine.started[0]
    assert (stage, settings.model_dump()["data"]) == (StageName.VALIDATE, clips)
    assert Project.load(empty.folder).dataset.path == Path("speech")


async def test_another_layout_is_named_and_its_import_offered(
    wizard: Make, engine: FakeEngine, empty: Project, tmp_path: Path
) -> None:
    raw = tmp_path / "LJ"
    a_recording(raw / "wavs" / "LJ001.wav")
    (raw / "metadata.csv").write_text("LJ001|Some words.|Some words.\n")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "Folder of clips…")
        assert screen.pane is not None
        screen.pane.press("choose")
        await choose_folder(app, pilot, raw)
        await until(lambda: isinstance(app.screen, PrepareScreen), app)
        await until_shown(app, "1 recording in another layout", "LJSpeech", "metadata.csv", "Use it as it is")
        await pilot.press("enter")
        await until(lambda: engine.started, app)
        stage, settings, _secrets = engine.started[0]
        assert stage is StageName.PREPARE
        assert settings == PrepareSettings(raw=raw, out=empty.data)


async def test_a_preparation_takes_speaker_and_language_and_is_checked_when_it_ends(
    wizard: Make, engine: FakeEngine, empty: Project, tmp_path: Path
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "made"
    a_recording(raw / "tape.wav")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await until_open(app)
        await until_shown(app, "Prepare recordings…")
        assert screen.pane is not None
        screen.pane.press("prepare")
        await choose_folder(app, pilot, raw)
        await until(lambda: isinstance(app.screen, PrepareScreen), app)
        for name, value in (("out", str(out)), ("speaker", "a/b"), ("language", "en")):
            app.screen.query_one(f"#prepare-{name}", Input).value = value
        await pilot.press("enter")
        await until_shown(app, "Speaker: it is used as a folder name")
        app.screen.query_one("#prepare-speaker", Input).value = "mina"
        await until(lambda: not app.screen.query("Button.-active"), app)
        await pilot.press("enter")
        await until(lambda: engine.started, app)
        stage, settings, _secrets = engine.started[0]
        assert settings == PrepareSettings(raw=raw, out=out, speaker="mina", language="en")
        await until_shown(app, "Watch")
        a_recording(out / "mina" / "tape-0001.wav")
        (job,) = engine.writers
        writer = engine.writers[job]
        writer.write(Finished(summary={"out": str(out)}))
        await until(lambda: len(engine.started) == 2, app)
    stage, settings, _secrets = engine.started[1]
    assert (stage, settings.model_dump()["data"]) == (StageName.VALIDATE, out)
    assert Project.load(empty.folder).data == out


async def test_a_preparation_that_ended_early_is_unfinished_and_continues(
    wizard: Make, engine: FakeEngine, empty: Project, tmp_path: Path
) -> None:
    a_recording(empty.data / "mina" / "tape-0001.wav")
    settings = PrepareSettings(raw=tmp_path / "raw", out=empty.data, speaker="mina")
    job = engine.new_job(empty, StageName.PREPARE, settings.model_dump(mode="json"))
    engine.say(job, [Stopped(saved="What is finished is kept; the same command continues.")])
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await until_shown(app, "unfinished", "ended early", "Continue preparing")
        await pilot.press("enter")
        await until(lambda: engine.started, app)
    assert engine.started[0][:2] == (StageName.PREPARE, settings)


async def test_a_missing_extra_is_said_before_and_after(
    wizard: Make, engine: FakeEngine, empty: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fishtune.tui.dialogs.preparing.is_installed", lambda *_: False)
    app = wizard()
    async with app.run_test(size=(80, 24)):
        await until_open(app)
        await app.push_screen(PrepareScreen(tmp_path, empty.data))
        await until_shown(app, "need the extra prepare", 'pip install "fishtune[prepare]"')


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        (StageName.VALIDATE, "1"),
        (StageName.PREPARE, "1"),
        (StageName.LOUDNESS_NORM, "1"),
        (StageName.DOWNLOAD, "2"),
        (StageName.EXTRACT, "3"),
        (StageName.PACK, "4"),
        (StageName.TRAIN, "5"),
        (StageName.MERGE, "6"),
    ],
)
async def test_a_failed_job_is_a_sentence_and_its_traceback_one_key_away(
    wizard: Make, engine: FakeEngine, empty: Project, stage: StageName, key: str
) -> None:
    empty.model.path = Path("nowhere")  # of a step that is done, another run's failure is no news for long
    empty.save()
    settings = {"data": str(empty.data), "target": str(empty.data), "out": str(empty.data)}
    settings |= {"local_dir": str(empty.base), "output": str(empty.protos)}
    job = engine.new_job(empty, stage, settings)
    job.log_path.write_text("Traceback (most recent call last):\n  File x\nKeyError: 3\n")
    app = wizard()
    async with app.run_test(size=(80, 24)) as pilot:
        await until_open(app)
        await pilot.press(key)
        await until_shown(app, "Watch")
        engine.say(job, [Failed(error="UsageError", message="Silero needs x.", hint="Install it.")])
        await until_shown(app, "Error: Silero needs x.", "→ Install it.", "l shows the log.")
        await pilot.pause()
        assert "Traceback" not in shown(app) and "KeyError" not in shown(app)
        await pilot.press("l")
        await until_shown(app, "KeyError: 3")


def test_what_lies_in_a_folder_is_told_apart(tmp_path: Path) -> None:
    a_recording(tmp_path / "clips" / "amy" / "a.wav")
    assert look_into(tmp_path / "clips", ".lab").recordings == 1
    (tmp_path / "clips" / "amy" / "a.lab").write_text("x")
    assert look_into(tmp_path / "clips", ".lab").has_clips
    (tmp_path / "none").mkdir()
    nothing = look_into(tmp_path / "none", ".lab")
    assert (nothing.has_clips, nothing.recordings) == (False, 0)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
async def test_an_unfinished_normalisation_says_how_far_it_is(
    wizard: Make, empty: Project, size: tuple[int, int]
) -> None:
    a_recording(empty.data / "mina" / "a.wav")
    lines = [{"file": f"mina/{number}.wav"} for number in range(24)]
    lines += [{"file": f"mina/{number}.wav", "written": [1, 1]} for number in range(10)]
    (empty.data / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    app = wizard()
    async with app.run_test(size=size):
        await until_open(app)
        await until_shown(app, "Continue normalising")
        rows = [line[1:18].strip() for line in shown(app).splitlines()]
        at = rows.index("unfinished")
        assert rows[at + 1] == "10 of 24"
        if size[0] >= 100:  # the page's own sentence says it as well
            await until(
                # Where it wraps follows from the length of the temporary folder's name.
                lambda: "10 of 24" in " ".join(line[19:].strip("│ ") for line in shown(app).splitlines()),
                app,
            )


# where files go


@pytest.mark.parametrize(("key", "where"), [("3", "SPEAKER/NAME.npy"), ("4", "/protos")])
async def test_where_files_go_is_said_before_they_are_made(
    wizard: Make, project: Project, data: Path, key: str, where: str
) -> None:
    app = wizard()
    async with app.run_test(size=(120, 40)) as pilot:
        await until_open(app)
        await pilot.press(key)
        await until_shown(app, "written", where)
        assert "left out" not in shown(app), "nothing is packed yet"
        page = "".join(line.strip("│ \n") for line in shown(app).splitlines())
        assert str(project.data if key == "3" else project.protos).rpartition("/")[2] in page
