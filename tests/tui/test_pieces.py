"""The parts below the screens: wording, curves, what is kept of a job, settings, actions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fishtune.core.config.project import Project
from fishtune.core.dataset.findings import clip_of
from fishtune.core.errors import SettingsError
from fishtune.core.events import (
    CheckpointSaved,
    Failed,
    Finished,
    ItemFailed,
    Progress,
    Started,
    Step,
    Stopped,
    Validation,
)
from fishtune.core.hardware.readings import DriverState, Gpu, GpuReading, Memory
from fishtune.core.jobs.follow import LineFollower
from fishtune.core.stages.registry import StageName
from fishtune.tui import wording
from fishtune.tui.actions import ACTIONS, key_label
from fishtune.tui.app import Wizard
from fishtune.tui.estimates import StageWithMemory, estimate
from fishtune.tui.run_view import RunView
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.series import CAPACITY, Series
from fishtune.tui.steps.extract import device_options
from fishtune.tui.watch import shown_lines
from fishtune.tui.widgets.folder_suggester import complete_folder
from fishtune.tui.wizard_settings import load_settings, parse_settings, settings_file

from .wizard_helpers import GIB, READING, FakeEngine


def step(number: int, loss: float = 5.0, **values: float) -> Step:
    return Step(
        step=number,
        total_steps=1000,
        loss=loss,
        base_loss=loss / 2,
        semantic_loss=loss / 2,
        learning_rate=1e-4,
        clip_passes=number / 10,
        **values,
    )


# wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3840, "1 h 04 min"),
        (200_000, "2 d 07 h"),
        (None, "–"),
    ],
)
def test_durations_are_written_in_words(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


def test_foreign_text_cannot_reach_the_terminal_as_control_sequences() -> None:
    text = wording.harmless("a\x1b[31mb\x07\x9bc\u202ed\ne")
    assert text == "a�[31mb��cd e"


def test_long_lines_are_cut() -> None:
    assert len(wording.harmless("x" * 10_000)) == wording.LONGEST_LINE


@pytest.mark.parametrize("width", range(1, 9))
def test_wide_characters_never_exceed_their_room(width: int) -> None:
    from rich.cells import cell_len

    assert cell_len(wording.fit("가나다라마", width)) <= width
    assert cell_len(wording.fit_path("/가나/다라마", width)) <= width


def test_brackets_survive_as_plain_text() -> None:
    assert wording.plain("[laugh] [/foo]").plain == "[laugh] [/foo]"


# curves


def test_a_curve_of_a_million_points_stays_small_and_keeps_its_shape() -> None:
    series = Series()
    for x in range(1_000_000):
        series.add(x, float(x % 2) + x / 1e6)
    xs, values = series.decimated(120)
    assert len(xs) <= 120 and xs[-1] == 999_999
    assert series.points == 1_000_000 and len(series._x) <= CAPACITY
    assert all(abs(value - (0.5 + x / 1e6)) < 0.02 for x, value in zip(xs, values, strict=True))


def test_a_resumed_run_overwrites_the_steps_it_repeats() -> None:
    series = Series()
    for x in range(1, 11):
        series.add(x, 1.0)
    series.add(6, 3.0)
    xs, values = series.decimated(100)
    assert xs == [1, 2, 3, 4, 5, 6] and values[-1] == 3.0


def test_smoothing_starts_at_the_first_value() -> None:
    series = Series()
    for x, value in enumerate((4.0, 2.0, 2.0, 2.0)):
        series.add(x, value)
    _xs, smooth = series.decimated(10, 0.9)
    assert smooth[0] == 4.0 and 2.0 < smooth[-1] < 4.0


# what is kept of a job


def test_the_view_of_a_job_follows_its_events() -> None:
    view = RunView()
    view.apply(
        [
            Started(stage="train"),
            Progress(task="loading", done=1, total=4, unit="files"),
            step(1, 8.0),
            ItemFailed(item="a/b", message="too long"),
            Validation(step=1, loss=7, base_loss=3, semantic_loss=4, top_5_accuracy=0.2, clip_passes=0.1),
            CheckpointSaved(step=1, path="x.ckpt"),
        ]
    )
    assert view.share == pytest.approx(0.001)
    assert view.failed_items == 1 and list(view.checkpoints) == [1]
    assert view.held_out["loss"].last == 7 and view.end is None
    view.apply([Stopped(saved="step 1")])
    assert isinstance(view.end, Stopped)
    view.apply([Started(stage="train")])
    assert view.end is None


def test_a_hundred_thousand_steps_are_counted_and_decimated() -> None:
    view = RunView()
    view.apply([step(number) for number in range(1, 100_001)])
    assert view.train["loss"].points == 100_000


@pytest.mark.parametrize("end", [Failed(error="X", message="m"), Finished(summary={"a": 1})])
def test_the_last_event_ends_the_view(end: Failed | Finished) -> None:
    view = RunView()
    view.apply([Started(stage="pack"), end])
    assert view.end == end


def test_the_log_is_followed_by_whole_lines_and_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_text("x" * 200_000 + "\nsecond last\nlast\n")
    tail = LineFollower(file, 2)
    assert shown_lines(tail.poll()) == ["second last", "last"]
    with file.open("a") as log:
        log.write("half")
    assert tail.poll() == []
    with file.open("a") as log:
        log.write(" a line\r 50 %\r100 %\n")
    assert shown_lines(tail.poll()) == ["100 %"]
    file.write_text("begun again\r\n")
    assert shown_lines(tail.poll()) == ["begun again"]


# settings and actions


def test_settings_name_every_mistake_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_settings({"them": "x", "theme": "pink", "keys": {"quitt": "q", "leave": 3}}, "wizard.toml")
    message = raised.value.message
    for part in ("them is not known (did you mean theme?)", "pink", "keys.quitt", "keys.leave"):
        assert part in message


def test_settings_are_read_from_the_configuration_folder() -> None:
    assert load_settings().theme is None
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text('theme = "high-contrast"\n[keys]\nstop_job = "ctrl+x"\n')
    settings = load_settings()
    assert settings.theme == "high-contrast" and settings.keys == {"stop_job": "ctrl+x"}


def test_every_action_of_the_registry_exists() -> None:
    for action in ACTIONS:
        owners = [owner for owner in (ProjectScreen, Wizard) if hasattr(owner, f"action_{action.name}")]
        assert owners, action.name


@pytest.mark.parametrize(
    ("keys", "label"), [("q,ctrl+q", "q"), ("question_mark,f1", "?"), ("ctrl+r", "Ctrl+R"), ("escape", "Esc")]
)
def test_keys_are_shown_as_people_write_them(keys: str, label: str) -> None:
    assert key_label(keys) == label


def test_paths_are_completed_to_folders_only(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recorder.txt").touch()
    assert complete_folder(f"{tmp_path}/rec") == f"{tmp_path}/recordings"
    assert complete_folder(f"{tmp_path}/none") is None


@pytest.mark.parametrize("stage", ["extract", "train"])
def test_a_batch_is_suggested_for_the_gpu_that_cuda_sees(
    project: Project, stage: StageWithMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Memory(total=6 * GIB, free=2 * GIB, used=4 * GIB)
    large = Memory(total=80 * GIB, free=70 * GIB, used=10 * GIB)
    gpus = (
        Gpu(index=0, name="small", uuid="GPU-small", memory=small),
        Gpu(index=1, name="large", uuid="GPU-large", memory=large),
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-large")
    found = estimate(stage, project, GpuReading(state=DriverState.READY, gpus=gpus))
    assert found is not None and found.free == large.free


def test_only_devices_that_cuda_sees_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = tuple(Gpu(index=number, name="card", uuid=f"GPU-{number}") for number in range(3))
    pane: Any = SimpleNamespace(app=SimpleNamespace(gpus=GpuReading(state=DriverState.READY, gpus=gpus)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert [value for _, value in device_options(pane)][2:] == ["cuda:0", "cuda:1"]
    pane.app.gpus = None
    assert len(device_options(pane)) == 2, "before the first reading"


def test_an_extraction_batch_is_laid_out_for_the_longest_clip_that_the_check_found(
    project: Project, engine: FakeEngine
) -> None:
    before = estimate("extract", project, READING)
    job = engine.new_job(project, StageName.VALIDATE, {"data": str(project.data)})
    speaker = {"speaker": "A", "clips": 9, "seconds": 99.0, "median_seconds": 4.0, "longest_seconds": 12.0}
    engine.say(job, [Finished(summary={"speakers": [speaker]})])
    after = estimate("extract", project, READING)
    assert before is not None and after is not None
    assert "the longest clip being 30 s" in before.sentence
    assert "the longest clip being 12 s" in after.sentence
    assert after.values["batch_size"] > before.values["batch_size"]
    assert after.values["batch_seconds"] % 12 == 0


@pytest.mark.parametrize("stage", ["extract", "train"])
def test_without_a_gpu_the_table_says_what_one_would_need(project: Project, stage: StageWithMemory) -> None:
    found = estimate(stage, project, GpuReading(state=DriverState.NO_DRIVER))
    assert found is not None and found.rows and found.needed and found.free is None
    assert found.sentence.startswith("No GPU is used") and not found.values


def test_a_bound_in_seconds_makes_the_extraction_batch_of_the_table_smaller(project: Project) -> None:
    before = estimate("extract", project, None)
    project.extract.batch_seconds = 60
    after = estimate("extract", project, None)
    assert before is not None and after is not None
    assert after.needed is not None and before.needed is not None and after.needed < before.needed


@pytest.mark.parametrize(
    ("file", "clip"),
    [
        ("S/a.b.wav", "S/a.b"),
        ("S/책 1/x.lab", "S/책 1/x"),
        ("S", None),
        ("S/1/2/x.wav", None),
        ("/elsewhere/S/x.wav", None),
    ],
)
def test_a_finding_belongs_to_the_clip_of_its_folder(file: str, clip: str | None) -> None:
    assert clip_of(Path("data") / file, Path("data")) == clip
