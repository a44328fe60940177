"""Runs side by side: listed, their checkpoints told, compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli.app import run as command
from fishtune.core.config.run_files import checkpoint_path
from fishtune.core.config.settings import TrainSettings
from fishtune.core.errors import UsageError
from fishtune.core.events import CheckpointSaved, Event, Finished, Started, Step, Stopped, Validation
from fishtune.core.jobs.record import Place
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.judge.measures import measures_of
from fishtune.core.judge.record import audition_folder, companion_folder, write_record
from fishtune.core.judge.results import (
    AuditionCandidate,
    AuditionResult,
    AuditionText,
    CandidateKind,
    Cell,
    TextSource,
)
from fishtune.core.pipeline.runs import compare, run_checkpoints, summarise
from fishtune.core.stages.registry import StageName
from fishtune.core.terminal import shell_quoted


def step(number: int, loss: float = 5.0) -> Step:
    return Step(
        step=number, total_steps=8, clip_passes=number / 2, loss=loss, base_loss=loss, semantic_loss=0,
        learning_rate=1,
    )  # fmt: skip


def held_out(number: int, loss: float) -> Validation:
    return Validation(
        step=number, clip_passes=number / 2, loss=loss, base_loss=loss, semantic_loss=0, top_5_accuracy=0.5
    )


def add_job(place: Place, events: Sequence[Event], **settings: Any) -> None:
    """Leave a training job behind that told `events`."""
    values = {"project": place.project, "results": place.results, "base": "base", "protos": "protos"}
    chosen = TrainSettings.model_validate(values | settings)
    with new_job(StageName.TRAIN, chosen, place) as (job, _):
        writer = EventWriter(job.events_path)
        for event in (Started(stage="train"), *events):
            writer.write(event)
        writer.close()


def add_checkpoint(place: Place, number: int) -> Path:
    path = checkpoint_path(place.folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def add_audition(
    folder: Path, kind: CandidateKind, path: Path | None, number: int | None, wer: float
) -> None:
    cells = [Cell(text=0, seed=1, audio="", seconds=1, expected_seconds=1, ended=True, findings=[], wer=wer)]
    candidate = AuditionCandidate(
        kind=kind, path=path, modified=path.stat().st_mtime if path else None, step=number, cells=cells,
        measures=measures_of(cells),
    )  # fmt: skip
    rows = [AuditionText(text="hi", source=TextSource.GIVEN)]
    folder.mkdir(parents=True)
    write_record(
        AuditionResult(digest="d", texts=rows, seeds=[1], reference="", candidates=[candidate]), folder
    )


@pytest.fixture
def run(tmp_path: Path) -> Place:
    """A run of 8 steps that was stopped at step 6, with the checkpoints of steps 4, 6 and 8."""
    place = Place(results=tmp_path / "results", project="gentle")
    first = [held_out(0, 6.0), *map(step, range(1, 5)), held_out(4, 5.0), CheckpointSaved(step=4, path="")]
    add_job(place, [*first, step(5), step(6), CheckpointSaved(step=6, path=""), Stopped()])
    last = [step(7), step(8, 4.0), held_out(8, 4.5), CheckpointSaved(step=8, path=""), Finished()]
    add_job(place, last)
    for number in (4, 6, 8):
        add_checkpoint(place, number)
    return place


def test_a_summary_is_over_all_jobs_of_a_run(run: Place) -> None:
    found = summarise(run)
    assert (found.step, found.total_steps, found.clip_passes, found.training_loss) == (8, 8, 4.0, 4.0)
    assert (found.base_loss, found.best_loss, found.best_step) == (6.0, 4.5, 8)
    assert (found.jobs, found.checkpoints, found.recommended) == (2, 3, 8)
    assert [mark.step for mark in found.resumed] == [6]
    assert str(found.state) == "finished"


def test_checkpoints_stand_beside_the_base_with_values_of_their_own_step_only(run: Place) -> None:
    found = run_checkpoints(run)
    rows = [(row.name, row.held_out_loss, row.recommended) for row in found.rows]
    assert rows == [
        ("base", 6.0, False), ("step 4", 5.0, False), ("step 6", None, False), ("step 8", 4.5, True)
    ]  # fmt: skip
    assert found.reason is not None and "the base's is 6.000" in found.reason


def test_what_was_heard_decides_and_is_told(run: Place, tmp_path: Path) -> None:
    for number, wer in ((4, 0.02), (8, 0.5)):
        path = checkpoint_path(run.folder, number)
        add_audition(audition_folder(path), CandidateKind.CHECKPOINT, path, number, wer)
    base = tmp_path / "base"
    base.mkdir()
    add_audition(companion_folder(run.folder, CandidateKind.BASE), CandidateKind.BASE, base, None, 0.1)
    add_audition(
        companion_folder(run.folder, CandidateKind.RECORDING), CandidateKind.RECORDING, None, None, 0.01
    )
    found = run_checkpoints(run)
    assert [row.name for row in found.rows] == ["recording", "base", "step 4", "step 6", "step 8"]
    assert [row.name for row in found.rows if row.recommended] == ["step 4"]
    assert found.out == ["Step 8 is out: 50% of its words are wrong."]
    assert found.reason is not None and "base 10.0%; your recordings 1.0%" in found.reason
    assert summarise(run).recommended == 4


def test_runs_are_compared_by_what_differs_and_losses_of_other_things_are_not(run: Place) -> None:
    strong = Place(results=run.results, project="strong")
    add_job(strong, [held_out(0, 6.0), step(1), held_out(4, 4.0), Finished()], learning_rate=5e-4)
    found = compare([run, strong])
    assert {each.setting: each.values for each in found.differences} == {
        "learning_rate": {"gentle": TrainSettings.model_fields["learning_rate"].default, "strong": 5e-4}
    }
    assert found.warnings == []
    assert [each.best_loss for each in found.runs] == [4.5, 4.0]
    weighted = Place(results=run.results, project="weighted")
    add_job(weighted, [held_out(0, 9.0), step(1)], semantic_loss_weight=2.0)
    (warning,) = compare([run, weighted]).warnings
    assert warning == "The held-out losses cannot be compared: semantic_loss_weight differs."
    other = Place(results=run.results, project="other")
    add_job(other, [held_out(0, 6.5), step(1)])
    (warning,) = compare([run, other]).warnings
    assert "before training they were 6.000 and 6.500" in warning


@pytest.mark.parametrize("names", [["gentle"], ["gentle", "gentle"]])
def test_a_run_is_not_compared_with_itself(run: Place, names: list[str]) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        compare([run for _ in names])


def test_the_commands_tell_the_same_as_text_and_as_json(
    run: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    strong = Place(results=run.results, project="strong")
    add_job(strong, [held_out(0, 6.0), step(1), held_out(4, 4.0), Finished()], learning_rate=5e-4)

    def told(*arguments: str) -> str:
        assert command(list(arguments)) == 0
        return capsys.readouterr().out

    assert [each["run"] for each in json.loads(told("runs", "--json"))] == ["gentle", "strong"]
    assert "resumed after step 6" in told("runs")
    rows = json.loads(told("checkpoints", "gentle", "--json"))["rows"]
    assert [row["step"] for row in rows] == [0, 4, 6, 8]
    by_folder = told("checkpoints", str(run.folder))
    assert by_folder == told("checkpoints", "gentle")
    assert next(line for line in by_folder.splitlines() if line.startswith("*")).split()[1:3] == ["step", "8"]
    compared = json.loads(told("compare", "gentle", "strong", "--json"))
    assert [each["setting"] for each in compared["differences"]] == ["learning_rate"]
    assert "learning_rate" in told("compare", "gentle", "strong")


def test_tables_of_a_narrow_terminal_are_broken_between_words_only(
    run: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for number, wer in ((4, 0.02), (8, 0.5)):
        path = checkpoint_path(run.folder, number)
        add_audition(audition_folder(path), CandidateKind.CHECKPOINT, path, number, wer)
    words: set[str] = set()
    for arguments in (["runs"], ["checkpoints", "gentle"]):
        assert command(arguments) == 0
        told = capsys.readouterr().out
        table = [line for line in told.splitlines() if not line.endswith(".")]
        assert all(len(line) <= 80 for line in table)
        words.update(word for line in table for word in line.split())
    assert {"best", "held-out", "saved", "similarity", "letters/s"} <= words


def test_a_run_is_found_by_the_folder_of_its_project_too(
    run: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["checkpoints", "gentle", "--json"]) == 0
    by_name = capsys.readouterr().out
    (tmp_path / "fishtune.toml").write_text('name = "gentle"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path.parent)
    assert command(["checkpoints", tmp_path.name, "--json"]) == 0
    assert capsys.readouterr().out == by_name
    assert command(["listen", tmp_path.name]) == 1
    told = capsys.readouterr().err
    assert f"{run.folder} has no audition to listen to." in told
    assert f"Make one: fishtune audition {shell_quoted(run.folder)}" in told


def test_a_run_that_does_not_exist_is_named_with_one_like_it(
    run: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(["checkpoints", "gentel"]) == 2
    told = capsys.readouterr().err
    assert "There is no run gentel here." in told and "Did you mean gentle?" in told
    monkeypatch.chdir(run.results)
    assert command(["runs"]) == 0
    assert "No runs here" in capsys.readouterr().out
