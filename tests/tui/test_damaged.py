"""Damaged and hostile files never empty or end the screen: what is wrong is said, the rest is shown."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core import tables
from fishtune.core.config.project import Project
from fishtune.core.errors import FishtuneError
from fishtune.core.events import CheckpointSaved, Finished, Progress, Started, Step, Validation
from fishtune.core.pipeline.steps import StepName
from fishtune.core.shards.manifest import MANIFEST_FILE
from fishtune.core.stages.registry import StageName
from fishtune.tui import wording
from fishtune.tui.app import Wizard
from fishtune.tui.chart import Axis
from fishtune.tui.merged import result_text
from fishtune.tui.models_found import models_in
from fishtune.tui.report import newest_report
from fishtune.tui.run_view import RunView, share_of
from fishtune.tui.screens.project import ProjectScreen
from fishtune.tui.steps import pack
from fishtune.tui.trouble import in_thread, trouble_file
from fishtune.tui.wizard_settings import load_settings, settings_file
from textual.widgets import Static
from wizard_helpers import FakeEngine, shown, until, until_shown

Make = Callable[..., Wizard]
ABSURD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400)
DEEP = "[" * 100_000


@pytest.mark.parametrize("number", [*ABSURD[:5], 1e12])
def test_what_no_job_can_take_is_a_dash(number: float) -> None:
    assert wording.duration(number) in ("–", "0 s")
    assert "nan" not in wording.size(number) + wording.percent(number) + wording.count(number)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 1e20, -1e20, 3e10 * 365 * 86400])
def test_a_time_that_no_calendar_has_is_a_dash(seconds: float) -> None:
    assert wording.clock(seconds) == "–"


@pytest.mark.parametrize(("done", "total"), [(1, 0), (1, None), (1, math.nan), (math.inf, 3), (1, -2)])
def test_a_share_of_nothing_sensible_is_none(done: float, total: float | None) -> None:
    assert share_of(done, total) is None


@pytest.mark.parametrize("number", ABSURD)
def test_events_with_absurd_numbers_do_not_reach_the_curve(number: Any) -> None:
    given = {"loss": 1.0, "base_loss": 1.0, "semantic_loss": 1.0}
    more = {"learning_rate": 1e-4, "total_steps": 10}
    view = RunView()
    view.apply([Step(step=1, **given, **more)])
    for name in ("step", "clip_passes", "total_steps", "loss", "base_loss"):
        view.apply([Step.model_construct(**{"step": 2, "clip_passes": 0.1, **given, **more, name: number})])
    view.apply([Step.model_construct(step=3, clip_passes=0.1, eta=number, **given, **more)])
    top = {"top_5_accuracy": 0.5, "clip_passes": 0.1}
    view.apply([Validation.model_construct(**{"step": 3, **given, **top, "loss": number})])
    view.apply([CheckpointSaved.model_construct(step=number, clip_passes=0.1, path="x")])
    view.apply([Progress.model_construct(task="t", done=number, total=number)])
    assert view.train["loss"].decimated(9)[0] == [1, 3] and not view.held_out["loss"].points
    assert not view.checkpoints and not view.progress


@pytest.mark.parametrize(
    "values", [(5e-324, 1e-323), (1e15, 1e15 + 0.125), (0.1, 0.1 + 1e-16), (-1e15, 1e15)]
)
def test_an_axis_has_ticks_whatever_its_range(values: tuple[float, float]) -> None:
    assert all(0 <= share <= 1 for share, _label in Axis(values, 5).ticks)


def damaged_lines() -> bytes:
    lines = [
        '{"v":1,"time":1e300,"kind":"progress","task":"t","done":1,"total":2,"eta":NaN}',
        '{"v":1,"time":253402300800,"kind":"step","step":1,"loss":1,"base_loss":1,"semantic_loss":1,"learning_rate":1}',
        '{"v":1,"kind":"step","step":3,"loss":NaN,"base_loss":1,"semantic_loss":1,"learning_rate":1,"eta":NaN}',
        '{"v":1,"kind":"step","step":4,"total_steps":1' + "0" * 300 + ',"loss":1,"base_loss":1,'
        '"semantic_loss":1,"learning_rate":1}',
        '{"v":1,"kind":"checkpoint","step":4,"path":"x","time":-1e300}',
        '{"v":1,"kind":"progress","task":"t","done":Infinity,"total":NaN,"rate":-Infinity}',
        DEEP,
        "\0\xff",
    ]
    return "\n".join([*lines, ""]).encode("latin-1")


@pytest.mark.parametrize("stage", [StageName.TRAIN, StageName.EXTRACT, StageName.VALIDATE])
async def test_absurd_events_leave_the_screen_whole(
    wizard: Make, engine: FakeEngine, project: Project, stage: StageName
) -> None:
    job = engine.new_job(project, stage)
    engine.say(job, [Started(stage=stage)])
    with job.events_path.open("ab") as file:
        file.write(damaged_lines())
    engine.say(job, [Progress(task="last", done=1, total=2, unit="clips", eta=60)])
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True):
        await until(lambda: "running 50 %" in shown(app) or "Running (job" in shown(app), app)
        seen = shown(app)
        assert all(f"{number} " in seen for number in range(1, 7))
        assert "unexpected" not in seen
    assert not trouble_file().exists(), trouble_file().read_text()


async def test_broken_job_records_leave_the_screen_whole(
    wizard: Make, engine: FakeEngine, project: Project
) -> None:
    jobs = project.run_folder / "jobs"
    whole = engine.new_job(project, StageName.EXTRACT)
    record = json.loads((whole.folder / "job.json").read_text())
    contents = ["", DEEP, "null", "[]", "{}", '{"id": NaN}', json.dumps({**record, "settings": [1]})]
    contents += [json.dumps({**record, "created": 1e300}), json.dumps({**record, "settings": {}})]
    for number, content in enumerate(contents):
        folder = jobs / f"20200101-00000{number}-extract"
        folder.mkdir()
        (folder / "job.json").write_text(content)
        (folder / "events.jsonl").write_bytes(damaged_lines())
    odd = jobs / "20200101-000009-pack"
    odd.mkdir()
    (odd / "job.json").write_text(json.dumps({**record, "stage": "pack", "id": odd.name}))
    (odd / "events.jsonl").mkdir()
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True):
        await until(lambda: "Running (job" in shown(app) or "Is a directory" in shown(app), app)
        assert "1 Dataset" in shown(app) and "6 Merge" in shown(app)


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"speakers": 3},
        {"speakers": [{"speaker": 7}], "findings": [], "clips": "many", "seconds": math.nan},
        {"clips": 1, "seconds": 1, "speakers": [], "findings": [{"severity": "worse"}]},
        {"clips": 1, "seconds": 1, "speakers": [[]], "findings": "x"},
    ],
)
async def test_a_damaged_report_leaves_the_screen_whole(
    wizard: Make, engine: FakeEngine, project: Project, summary: dict[str, Any]
) -> None:
    job = engine.new_job(project, StageName.VALIDATE, {"data": str(project.data)})
    engine.say(job, [Finished(summary=summary)])
    newest_report(project)
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        await pilot.press("1", "ctrl+r")
        await until(lambda: all(worker.is_finished for worker in app.workers), app)
        await pilot.pause()
        assert "1 Dataset" in shown(app) and "unexpected" not in shown(app)
    assert not trouble_file().exists()


MANIFESTS = (
    DEEP,
    "{}",
    '{"result": 3}',
    '{"result": {"shards": "x"}}',
    '{"result": {"shards": 1, "sentences": NaN, "clips": 1, "bytes": 1, "dropped": [], "speakers": []}}',
    '{"result": {"shards": 1, "sentences": 1, "clips": 1, "bytes": 1, "dropped": [], "speakers": [[]], '
    '"columns": {"edges": [1], "counts": [1, 2]}}}',
    '{"result": {"shards": 1, "sentences": 1, "clips": 1, "bytes": 1, "dropped": [], "speakers": [], '
    '"columns": {"edges": [1, 2], "counts": ["x"]}}}',
)


async def test_a_damaged_manifest_leaves_the_screen_whole(
    wizard: Make, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def read_json(file: Path) -> Any:
        read.append(file.read_text() if file.exists() else "")
        return tables.read_json(file)

    monkeypatch.setattr(pack, "read_json", read_json)
    project.protos.mkdir()
    app = wizard()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        await pilot.press("4")
        await until_shown(app, "needs Extract", "Bytes per shard")
        for content in MANIFESTS:
            (project.protos / MANIFEST_FILE).write_text(content)
            await pilot.press("ctrl+r")
            await until(lambda: content in read, app)  # noqa: B023
            await until(lambda: all(worker.is_finished for worker in app.workers), app)
            for size in ((120, 40), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                assert "6 Merge" in shown(app) and "unexpected" not in shown(app)
    assert not trouble_file().exists(), trouble_file().read_text()


@pytest.mark.parametrize(
    "content", [DEEP, '{"n_layer": ' + "9" * 5000 + "}", "[]", '{"model_type": NaN}', "\0"]
)
def test_a_directory_with_a_damaged_configuration_is_no_model(project: Project, content: str) -> None:
    (project.folder / "config.json").write_text(content)
    assert models_in([project.folder.parent]) == []


def test_a_model_that_is_still_being_written_is_not_listed(golden: Path, tmp_path: Path) -> None:
    for name in ("base", ".fishtune-tmp-1234"):
        shutil.copytree(golden / "base", tmp_path / name)
    assert [model.path.name for model in models_in([tmp_path])] == ["base"]


@pytest.mark.parametrize("value", [None, 3, [], "x", {"merged": 3}, {"merged": {"same_token": "x"}}])
def test_a_damaged_result_of_a_merge_has_dashes(value: Any) -> None:
    assert "–" in result_text({"verification": value, "output": 3}).plain


@pytest.mark.parametrize(
    "content", ["a=" + "[" * 10_000, "theme = 1", "a = " + "9" * 5000, "ascii = nan", "[keys\n", "keys = [1]"]
)
def test_damaged_settings_are_one_error_that_names_the_file(content: str) -> None:
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(content)
    with pytest.raises(FishtuneError, match=r"wizard\.toml"):
        load_settings()


async def test_a_preset_that_does_not_exist_is_said_where_it_matters(wizard: Make, project: Project) -> None:
    project.train.lora_config = "nobodys"
    project.save()
    (project.protos).mkdir()
    (project.protos / "a.protos").touch()
    checkpoints = project.run_folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step_000000001.ckpt").touch()
    app = wizard()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(lambda: isinstance(app.screen, ProjectScreen) and app.screen.pane is not None, app)
        await pilot.press("5")
        await until_shown(app, "nobodys", "✗ 5 Train")
        assert app.screen.current is StepName.TRAIN  # type: ignore[attr-defined]
        assert "1 Dataset" in shown(app) and "unexpected" not in shown(app)


async def test_a_thread_that_outlives_its_widget_says_nothing(wizard: Make) -> None:
    app = wizard(open_it=False)
    said: list[FishtuneError] = []
    began, removed, ended = threading.Event(), threading.Event(), threading.Event()
    async with app.run_test(size=(80, 24)) as pilot:
        widget = Static("soon gone")
        await app.screen.mount(widget)

        def work() -> None:
            began.set()
            removed.wait()
            try:
                widget.app.call_from_thread(lambda: None)
            finally:
                ended.set()

        in_thread(widget, work, said.append, "late")
        await until(began.is_set, app)
        await widget.remove()
        removed.set()
        await until(ended.is_set, app)
        await pilot.pause(0.2)  # for what would be told
        assert not said and not trouble_file().exists()
