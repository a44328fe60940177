"""Step 6: rows and columns that explain themselves, auditions, the listening page, saying something."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.config.project import Project, merge_record_path
from fishtune.core.config.settings import AuditionSettings, MergeSettings, SynthSettings
from fishtune.core.events import Failed, Finished, Progress
from fishtune.core.files import write_json
from fishtune.core.jobs.record import Job, JobState, Place, list_jobs
from fishtune.core.judge.record import AUDITIONS, LISTEN_FILE
from fishtune.core.messages import Message
from fishtune.core.stages.registry import StageName
from fishtune.core.text.texts import texts_of
from fishtune.tui.app import Wizard
from fishtune.tui.candidates import BASE, RECORDINGS
from fishtune.tui.dialogs import audition
from fishtune.tui.dialogs.audition import AuditionScreen
from fishtune.tui.dialogs.listening import ListeningScreen
from fishtune.tui.dialogs.speech import SpeechScreen
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.widgets.copy_line import CopyLine
from fishtune.tui.widgets.picker import Picker
from fishtune.tui.widgets.table import Table
from textual.widgets import Input
from wizard_helpers import FakeEngine, shown, until, until_shown

from tests.listening_kit import make_run

Make = Callable[..., Wizard]


class Pages(FakeEngine):
    """Makes pages at once."""

    async def make_listening_page(self, run_folder: Path) -> None:
        (run_folder / LISTEN_FILE).write_text("<html>", encoding="utf-8")


@pytest.fixture
def engine() -> FakeEngine:
    return Pages()


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `make_run`: recordings, base, steps 100 (also at half its strength) and 200."""
    return make_run(tmp_path_factory.mktemp("heard"))


@pytest.fixture
def auditioned(tmp_path: Path, golden: Path, heard: Path) -> Project:
    """A project whose run was auditioned, in a folder with a space and Korean in its name."""
    made = Project.create(
        tmp_path / "윤아 1",
        heard.name,
        dataset={"path": str(golden / "data"), "protos": "protos"},
        model={"path": str(golden / "base")},
    )
    made.save()
    shutil.copytree(heard, made.run_folder)
    return made


def merge(project: Project) -> None:
    """Leave what merging step 100 leaves."""
    project.merged.mkdir(parents=True)
    verification = {"merged": {"same_token": 1.0}, "effect": {"relative_difference": 0.34}, "captured": 0.9}
    made_from = {"path": str(project.run_folder / "checkpoints" / "step_000000100.ckpt")}
    write_json(merge_record_path(project.merged), {"adapter": made_from, "verification": verification})


async def chosen_from(app: Wizard, pilot: Any) -> tuple[ProjectScreen, Table]:
    """Open step 6, go into its table and return both."""
    await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
    screen = app.screen
    assert isinstance(screen, ProjectScreen)
    await pilot.press("6")
    await until(lambda: screen.query("#candidates") and screen.query_one("#candidates", Table).chosen, app)
    table = screen.query_one("#candidates", Table)
    screen.set_focus(table)
    return screen, table


def open_it(engine: FakeEngine, project: Project) -> Wizard:
    from fishtune.tui.wizard_settings import WizardSettings

    return Wizard(WizardSettings(), project=project.folder, engine=engine)


# the table


async def test_floor_and_ceiling_stand_beside_the_checkpoints_and_only_what_was_measured_has_a_column(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        _screen, table = await chosen_from(app, pilot)
        names = [table.get_row_at(row)[1].plain.strip() for row in range(table.row_count)]
        assert names == ["recordings", "base", "step 100", "step 100 × 0.5", "step 200", "another…"]
        headings = [column.label.plain for column in table.ordered_columns]
        assert headings == ["", "checkpoint", "held-out", "faults", "words", "voice"]
        assert [cell.plain for cell in table.get_row_at(1)[2:6]] == ["7.000", "25 %", "4 %", "0.79"]
        assert [cell.plain for cell in table.get_row_at(0)[2:6]] == ["–", "25 %", "0 %", "0.80"]
        assert table.chosen is not None and table.chosen.endswith("step_000000100.ckpt")
        assert "The background is not judged" in app.screen.query_one("#advice").content.plain  # type: ignore[attr-defined]


async def test_left_and_right_explain_the_columns_with_the_rows_value_and_what_it_is_held_against(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(120, 40)) as pilot:
        _screen, table = await chosen_from(app, pilot)
        await until_shown(app, "faults: 25 % (0 % to 50 %); recordings 25 %; base 25 %.")
        await pilot.press("right")
        await until_shown(app, "words: 8 % (1 % to 9 %); recordings 0 %; base 4 %.", "Lower is better")
        assert [column.label.style for column in table.ordered_columns].index("reverse") == 4
        await pilot.press("up")
        await until_shown(app, "words: 4 %", "the floor", "Cannot be merged.")
        await pilot.press("up")
        await until_shown(app, "the ceiling", "Cannot be merged. Your recordings are no checkpoint")


async def test_what_the_cursor_is_on_is_merged_at_the_strength_it_was_heard_at(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        await pilot.press("down")
        await until_shown(app, "step_000000100.ckpt at strength 0.5")
        assert screen.pane is not None
        screen.pane.press("run")
        await until(lambda: engine.started, app)
    stage, settings, _secrets = engine.started[0]
    assert stage is StageName.MERGE and isinstance(settings, MergeSettings)
    assert settings.lora_weight is not None and settings.lora_weight.name == "step_000000100.ckpt"
    assert settings.strength == 0.5
    kept = Project.load(auditioned.folder).merge
    assert (kept.checkpoint, kept.strength) == (
        "results/my-voice/checkpoints/step_000000100.ckpt",
        0.5,
    )


async def test_a_strength_with_a_row_of_its_own_is_chosen_by_that_row_and_any_other_by_the_form(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(120, 40)) as pilot:
        screen, table = await chosen_from(app, pilot)
        box = screen.query_one("#field-merge-strength", Input)
        await pilot.press("down", "enter")
        await until(lambda: Project.load(auditioned.folder).merge.strength == 0.5, app)
        assert box.value == "0.5"
        screen.set_focus(table)
        await pilot.press("up")
        await until_shown(app, "Will merge: step_000000100.ckpt")
        assert box.value == "" and "at strength" not in shown(app)
        for typed, row, told in (
            ("0.5", "step 100 × 0.5", "step_000000100.ckpt at strength 0.5"),
            ("0.8", "step 100", "step_000000100.ckpt at strength 0.8"),
        ):
            box.focus()
            box.value = typed
            await pilot.press("enter")
            await until_shown(app, told)
            assert table.get_row_at(table.cursor_row)[1].plain.strip() == row
        screen.set_focus(table)
        await pilot.press("down", "down")
        await until_shown(app, "step_000000200.ckpt at strength")


@pytest.mark.parametrize(("key", "why"), [(BASE, "base"), (RECORDINGS, "recordings")])
async def test_what_is_no_checkpoint_is_not_merged_and_says_why(
    engine: FakeEngine, auditioned: Project, key: str, why: str
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, table = await chosen_from(app, pilot)
        table.select_key(key)
        await pilot.press("enter")
        assert screen.pane is not None
        assert why in screen.pane.notice.text
        screen.pane.press("run")
        await pilot.pause()
        assert engine.started == [] and Project.load(auditioned.folder).merge.checkpoint is None


async def test_a_recommendation_that_changes_moves_the_cursor_only_where_nobody_put_it(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, table = await chosen_from(app, pilot)
        picker = screen.query_one(Picker)
        rows = picker._choosing
        picker.show(rows, rows.rows[4].key)
        await pilot.pause()
        assert table.chosen == rows.rows[4].key
        await pilot.press("up")
        await pilot.pause()
        picker.show(rows, rows.recommended)
        await pilot.pause()
        assert table.chosen == rows.rows[3].key


# auditions


async def test_an_audition_asks_for_texts_and_reference_and_is_started_with_them(
    engine: FakeEngine, auditioned: Project, golden: Path
) -> None:
    texts = auditioned.folder / "my texts.txt"
    texts.write_text("Hello.\n안녕하세요.\n", encoding="utf-8")
    clip = next((golden / "data").glob("*/*.lab")).with_suffix("")
    clip = next(path for path in clip.parent.glob(f"{clip.name}.*") if path.suffix != ".lab")
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("audition")
        await until(lambda: isinstance(app.screen, AuditionScreen), app)
        await until_shown(app, "3 voices × 32 texts × 1 time = at most 96 recordings")
        for name, value in (("text-source", texts.name), ("reference", str(clip)), ("seeds", "2")):
            box = app.screen.query_one(f"#field-audition-{name}", Input)
            box.focus()
            box.value = value
            await pilot.press("enter")
        box = app.screen.query_one("#field-audition-strengths", Input)
        box.focus()
        box.value = "0.5, 1"
        await pilot.press("enter")
        await until_shown(app, "5 voices × 2 texts × 2 times = 20 recordings")
        await pilot.click("AuditionScreen Button.-primary")
        await until(lambda: engine.started, app)
    stage, settings, _secrets = engine.started[0]
    assert stage is StageName.AUDITION and isinstance(settings, AuditionSettings)
    assert (settings.checkpoint, settings.all) == (auditioned.run_folder, True)
    assert (settings.text_source, settings.reference) == (str(texts), clip)
    assert (settings.seeds, settings.strengths) == (2, [0.5, 1])
    kept = Project.load(auditioned.folder).audition
    assert (kept.text_source, kept.seeds, kept.strengths) == (texts.name, 2, [0.5, 1])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("text-source", "nofile.txt", ("nofile.txt does not exist.", "one text per line")),
        ("reference", "missing.wav", ("missing.wav does not exist.", "Name a recording")),
        ("strengths", "much", ("Strengths: input should be a valid number",)),
    ],
)
async def test_what_would_end_an_audition_is_said_before_it_starts(
    engine: FakeEngine, auditioned: Project, field: str, value: str, said: tuple[str, ...]
) -> None:
    app = open_it(engine, auditioned)
    async with app.run_test(size=(120, 40)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("audition")
        await until_shown(app, "Who speaks", "at most 96 recordings")
        app.screen.query_one(f"#field-audition-{field}", Input).value = value
        await pilot.click("AuditionScreen Button.-primary")
        await until_shown(app, *said)
        assert isinstance(app.screen, AuditionScreen) and engine.started == []
        box = app.screen.query_one(f"#field-audition-{field}", Input)
        box.focus()
        box.value = ""
        await pilot.press("enter")
        await until(lambda: said[0] not in shown(app), app)


async def test_numbers_come_into_the_table_while_the_audition_runs(
    engine: FakeEngine, auditioned: Project
) -> None:
    folder = auditioned.run_folder / AUDITIONS
    shutil.move(folder, auditioned.folder / "kept")
    job = engine.new_job(auditioned, StageName.AUDITION, {})
    engine.say(job, [Progress(task="listening", done=4, total=12, unit="recordings", eta=90.0)])
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, table = await chosen_from(app, pilot)
        await until_shown(app, "listening", "1 min 30 s to go", "checkpoint")
        assert "words" not in [column.label.plain for column in table.ordered_columns]
        assert screen.pane is not None and screen.pane.running and screen.pane.monitor_shown
        for name in ("base", "step_000000100"):
            shutil.copytree(auditioned.folder / "kept" / name, folder / name)
        screen.refresh_state()
        await until(lambda: "words" in [column.label.plain for column in table.ordered_columns], app)
        words = {table.get_row_at(row)[1].plain.strip(): table.get_row_at(row)[4].plain for row in range(4)}
        assert words == {"recordings": "–", "base": "4 %", "step 100": "8 %", "step 200": "–"}
        engine.say(job, [Finished()])
        await until(lambda: screen.pane is not None and screen.pane.job_state is JobState.FINISHED, app)
        await until(lambda: screen.pane is not None and not screen.pane.monitor_shown, app)


def test_the_plan_counts_what_comes_with_fishtune() -> None:
    from fishtune.core.config.presets import preset_names
    from fishtune.core.stages.audition.question import HELD_OUT

    assert {len(texts_of(language)) for language in preset_names("texts")} == {audition._OURS}
    assert audition._HELD_OUT == HELD_OUT


# the listening page


async def test_the_page_and_the_lines_that_bring_it_elsewhere_can_be_copied(
    engine: FakeEngine, auditioned: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.7 2222")
    monkeypatch.setattr("getpass.getuser", lambda: "mira")
    app = open_it(engine, auditioned)
    copied: list[str] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.copy = copied.append  # type: ignore[method-assign]
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("listen")
        await until(lambda: isinstance(app.screen, ListeningScreen), app)
        await until_shown(app, "Make the page")
        await pilot.press("enter")
        await until(lambda: isinstance(app.focused, CopyLine), app)
        await pilot.press("y", "down", "enter", "down", "y", "down", "y")
    page, run = auditioned.run_folder / LISTEN_FILE, auditioned.run_folder
    port = copied[2].split()[-1]
    assert copied == [
        str(page),
        f"scp -P 2222 'mira@192.0.2.7:{page}' .",
        f"fishtune listen '{run}' --serve --port {port}",
        f"ssh -p 2222 -N -L {port}:127.0.0.1:{port} mira@192.0.2.7",
    ]


async def test_without_an_audition_the_page_says_what_is_missing(
    engine: FakeEngine, auditioned: Project
) -> None:
    shutil.rmtree(auditioned.run_folder / AUDITIONS)
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        await until_shown(app, "Not auditioned yet. Press Audition")
        screen.pane.press("listen")
        await until_shown(app, "There is no audition to listen to yet.", "press Audition")
        await pilot.press("enter")
        await until(lambda: app.screen is screen, app)


# saying something


async def test_after_the_merge_the_way_on_is_to_say_something(
    engine: FakeEngine, auditioned: Project
) -> None:
    merge(auditioned)
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        await until(lambda: screen.pane is not None and screen.pane.buttons()[-1][0] == "say", app)
        assert [name for name, _label in screen.pane.buttons()] == ["audition", "listen", "run", "say"]
        await until(lambda: "Merged and verified" in str(screen.query_one("#result").content), app)  # type: ignore[attr-defined]
        await pilot.press("r")
        await until(lambda: isinstance(app.screen, SpeechScreen), app)


async def test_a_merged_model_is_replaced_only_when_that_is_confirmed(
    engine: FakeEngine, auditioned: Project
) -> None:
    merge(auditioned)
    app = open_it(engine, auditioned)
    async with app.run_test(size=(80, 24)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        await until(lambda: screen.pane is not None and screen.pane.buttons()[-1][0] == "say", app)
        assert screen.pane is not None
        await pilot.press("down")
        before = auditioned.file.read_text()
        screen.pane.press("run")
        await until_shown(app, "Replace the merged model?", "Will merge: step_000000100.ckpt")
        await pilot.press("enter")
        await until(lambda: app.screen is screen, app)
        assert engine.started == [] and auditioned.file.read_text() == before
        screen.pane.press("run")
        await until_shown(app, "Replace the merged model?")
        await pilot.press("y")
        await until(lambda: engine.started, app)
    _stage, settings, _secrets = engine.started[0]
    assert isinstance(settings, MergeSettings) and settings.overwrite


async def test_texts_are_said_one_after_another_and_end_as_recordings_to_be_copied(
    engine: FakeEngine, auditioned: Project
) -> None:
    app = open_it(engine, auditioned)
    copied: list[str] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.copy = copied.append  # type: ignore[method-assign]
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("say")
        await until_shown(app, "Say it")
        for text in ("Good morning. [laugh] [/x]", "안녕하세요."):
            app.screen.query_one("#text", Input).value = text
            await pilot.press("enter")
        await until(lambda: len(engine.writers) == 1, app)
        await until_shown(app, "Good morning. [laugh] [/x]", "안녕하세요.  ·  waiting")
        speech = auditioned.run_folder / "speech"
        job = jobs_of(auditioned, engine)[0]
        detail = Message("{frames:.1f} s of speech", frames=3.2)
        engine.say(job, [Progress(task="generating", done=1, unit="frames", detail=detail)])
        await until_shown(app, "3.2 s of speech")
        engine.say(job, [Finished(summary={"out": str(speech / "001.wav"), "seconds": 4.24})])
        await until(lambda: len(engine.writers) == 2, app)
        await until_shown(app, "4.2 s", "To fetch it, on your own computer:")
        job = jobs_of(auditioned, engine)[1]
        engine.say(job, [Failed(error="DataError", message="It ended at once.", hint="Try another text.")])
        await until_shown(app, "Error: It ended at once.", "→ Try another text.")
        done = next(line for line in app.screen.query(CopyLine) if line.content_to_copy)
        done.focus()
        await pilot.press("y")
    assert copied == [str(speech / "001.wav")]
    settings = [each for stage, each, _secrets in engine.started if stage is StageName.SYNTH]
    assert all(isinstance(each, SynthSettings) for each in settings)
    asked = [each.model_dump(include={"checkpoint", "text", "out", "ref_audio"}) for each in settings]
    assert asked == [
        {
            "checkpoint": auditioned.merged,
            "text": text,
            "out": speech / f"00{number}.wav",
            "ref_audio": None,
        }
        for number, text in enumerate(("Good morning. [laugh] [/x]", "안녕하세요."), 1)
    ]


async def test_what_cannot_be_said_is_told_in_the_dialog(engine: FakeEngine, auditioned: Project) -> None:
    (auditioned.folder / "clip.wav").write_bytes(b"RIFF")
    app = open_it(engine, auditioned)
    async with app.run_test(size=(120, 40)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("say")
        await until_shown(app, "Say it")
        for text, reference, said in (
            ("  ", "", "The text has no words"),
            ("Hello.", "missing.wav", "missing.wav does not"),
            ("Hello.", "clip.wav", "What is said in"),
        ):
            for name, value in (("text", text), ("reference", reference), ("words", "")):
                app.screen.query_one(f"#{name}", Input).value = value
            await pilot.press("enter")
            await until_shown(app, said, "→")
            assert engine.started == []
        app.screen.query_one("#words", Input).value = "its words"
        await pilot.press("enter")
        await until(lambda: engine.started, app)
        settings = engine.started[0][1]
        assert isinstance(settings, SynthSettings) and settings.ref_text == "its words"
        assert settings.ref_audio == auditioned.folder / "clip.wav"


def jobs_of(project: Project, engine: FakeEngine) -> list[Job]:
    """Return the jobs that were started here, oldest first."""
    place = Place(results=project.results, project=project.name)
    return [job for job in list_jobs(place) if job.id in engine.writers]


async def test_the_reference_of_the_audition_is_offered_again(
    engine: FakeEngine, auditioned: Project
) -> None:
    clip = auditioned.folder / "data" / "ANNA" / "3.flac"  # what `make_run` says was given
    clip.parent.mkdir(parents=True)
    clip.touch()
    auditioned.dataset.path = Path("data")
    auditioned.save()
    app = open_it(engine, auditioned)
    async with app.run_test(size=(120, 40)) as pilot:
        screen, _table = await chosen_from(app, pilot)
        assert screen.pane is not None
        screen.pane.press("say")
        await until_shown(app, "Say it")
        assert app.screen.query_one("#reference", Input).value == str(clip)
