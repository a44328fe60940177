"""The wizard in a real (pseudo) terminal: hang-ups, and the way from the start page to a merged model."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.config.project import Project
from fishtune.core.config.run_files import list_checkpoints
from fishtune.core.demo.project import RECORDINGS, make_demo
from fishtune.core.jobs.record import Job, JobState, Place, list_jobs
from fishtune.core.jobs.start import stop_job
from fishtune.core.stages.registry import StageName
from pty_terminal import Terminal, wizard_command

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")


def started(folder: Path, *arguments: str) -> Terminal:
    terminal = Terminal(wizard_command(*arguments), folder=folder)
    terminal.wait_for("This machine|1 Dataset", 60)
    terminal.settle(0.2)
    return terminal


def test_quitting_restores_the_terminal(tmp_path: Path) -> None:
    with started(tmp_path) as terminal:
        terminal.press("q")
        assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wizard_and_leaves_the_screen(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as terminal:
        terminal.signal(number)
        assert terminal.end() == 128 + number


def test_a_closed_window_ends_the_wizard(tmp_path: Path) -> None:
    with started(tmp_path) as terminal:
        terminal.close()
        assert terminal.end() == 128 + signal.SIGHUP


def test_a_terminal_that_vanishes_without_a_signal_ends_the_wizard(tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    ignoring = (
        program + "import fishtune.tui.terminal as t; real = signal.signal; "
        "signal.signal = lambda n, h: signal.SIG_DFL if n == signal.SIGHUP else real(n, h); "
        "from fishtune.tui import main; main()"
    )
    command = [*wizard_command()[:-1], ignoring]
    with Terminal(command, folder=tmp_path) as terminal:
        terminal.wait_for("This machine", 60)
        terminal.settle(0.2)
        terminal.close()
        assert terminal.end() == 128 + signal.SIGHUP


LEAVES = """
from pathlib import Path
from fishtune.tui import terminal
with terminal.leave_on_hang_up(lambda code: None):
    Path("begun").touch()
    while terminal.terminal_alive():
        pass
print("not written any more", end="")
raise SystemExit(129)
"""


def test_output_that_a_closed_window_did_not_take_does_not_change_the_exit_code(tmp_path: Path) -> None:
    with Terminal([sys.executable, "-P", "-c", LEAVES], folder=tmp_path) as terminal:
        while not (tmp_path / "begun").exists():
            terminal.pump()
        terminal.close()
        assert terminal.end() == 129


def test_a_terminal_that_takes_no_output_does_not_hold_the_wizard(tmp_path: Path) -> None:
    with started(tmp_path) as terminal:
        # Nobody reads any more, as on a stalled link; redrawing fills the pipe and blocks the writer.
        for _ in range(40):
            os.write(terminal._master, b"\x14")  # next theme: the whole screen anew
        time.sleep(0.5)
        terminal.signal(signal.SIGTERM)
        assert terminal.process.wait(60) == 128 + signal.SIGTERM  # waiting takes no output, as `end` would


@pytest.mark.parametrize("variable", ["dumb", ""])
def test_a_terminal_that_cannot_show_screens_is_refused(tmp_path: Path, variable: str) -> None:
    with Terminal(wizard_command(), folder=tmp_path, environment={"TERM": variable}) as terminal:
        assert terminal.end() == 2
        terminal.settle(0.1)
        assert "The same without a screen" in terminal.screen.text


def jobs_of(project: Project, stage: StageName) -> list[Job]:
    place = Place(results=project.results, project=project.name)
    return [job for job in list_jobs(place) if job.record.stage == stage]


def prepared(home: Path) -> Project:
    """Make a folder with raw recordings in it, and a base model beside it, as if it had been downloaded."""
    demo = make_demo(home / "fishtune-demo")
    folder = home / "yoona"
    folder.mkdir()
    (demo.folder / RECORDINGS).rename(folder / RECORDINGS)
    demo.base.parent.rename(home / demo.base.parent.name)
    # The base is random: no preflight check, few steps, and nobody listens to what it says.
    train = demo.train.model_dump(mode="json", exclude_unset=True) | {"max_steps": STEPS, "held_out": 0.2}
    project = Project.create(folder, "yoona", train=train, merge={"audition": False})
    project.save()
    return project


STEPS = 150


def go_on(terminal: Terminal, does: str, seconds: float = 60.0) -> None:
    """Press Enter as soon as the footer says that it does `does`."""
    terminal.wait_for(f"⏎ {does}  ", seconds)
    terminal.settle(0.1, most=1.0)
    terminal.press("<enter>")


@pytest.mark.long
def test_nothing_but_enter_and_the_name_of_a_folder_from_recordings_to_a_merged_model(
    tmp_path: Path,
) -> None:
    """The wizard is killed while it trains and started again, which the training does not notice."""
    project = prepared(tmp_path)
    with started(tmp_path) as terminal:
        go_on(terminal, "Open or create…")
        terminal.wait_for("Folder of the project")
        terminal.press("yoona", "<enter>")
        go_on(terminal, "Normalise…")
        terminal.wait_for("Write normalised copies")
        terminal.press("<enter>")
        go_on(terminal, "Next: Model", 90)  # what was normalised is checked by itself
        go_on(terminal, "Use tiny-random")
        go_on(terminal, "Next: Extract")
        go_on(terminal, "Extract")
        go_on(terminal, "Next: Pack", 120)
        go_on(terminal, "Pack")
        go_on(terminal, "Next: Train")
        go_on(terminal, "Train")
        terminal.wait_for(rf"step +\d+ / {STEPS}", 120)
        terminal.signal(signal.SIGKILL)
        assert terminal.end() == -signal.SIGKILL
    (training,) = jobs_of(project, StageName.TRAIN)
    assert training.state() is JobState.RUNNING
    try:
        with started(tmp_path, "yoona") as terminal:
            terminal.wait_for("⏎ (Watch|Next: Merge)")
            go_on(terminal, "Next: Merge", 120)
            terminal.wait_for("Recommended: step")
            go_on(terminal, "Merge")
            terminal.wait_for("✓ 6 Merge", 120)
            terminal.wait_for("Merged and verified")
            terminal.press("q")
            assert terminal.end() == 0
    finally:
        if training.state() is JobState.RUNNING:
            stop_job(training, now=True)
    project = Project.load(project.folder)
    assert [job.id for job in jobs_of(project, StageName.TRAIN)] == [training.id]
    assert training.state() is JobState.FINISHED
    base = {path.name for path in project.base.iterdir() if not path.name.startswith(".")}
    merged = {path.name for path in project.merged.iterdir() if not path.name.startswith(".")}
    assert merged == base
    record = json.loads(project.merged.with_name(f"{project.merged.name}.fishtune.json").read_text())
    assert Path(record["adapter"]["path"]) in list_checkpoints(project.run_folder)
    assert record["base"]["path"] == str(project.base)


def test_clips_are_proofread_from_the_dataset_step(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "yoona"
    (data / "S").mkdir(parents=True)
    for name in ("a", "b"):
        soundfile.write(data / "S" / f"{name}.wav", np.full(8_000, 0.1), 8_000)
        (data / "S" / f"{name}.lab").write_text(f"Words of {name}.")
    Project.create(folder, "yoona", dataset={"path": str(data)}).save()
    with started(folder, str(folder)) as terminal:
        terminal.wait_for("not checked yet", 60)
        terminal.press("<enter>")
        terminal.wait_for("Edit  ", 60)
        terminal.press("<ctrl+p>")
        terminal.press(*"Edit")
        terminal.settle(1.0)
        terminal.press("<enter>")
        terminal.wait_for("Words of a", 60)
        terminal.press("<enter>")
        terminal.wait_for("⏎ save", 60)
        terminal.press(" More.")
        terminal.wait_for("Words of a. More.", 60)
        terminal.press("<enter>")
        terminal.wait_for("100%  S/a", 60)
        terminal.press("<down>", "x")
        terminal.wait_for("1 clip in all;", 60)
        terminal.press("<escape>")
        terminal.wait_for("Findings", 60)
        terminal.press("q")
        assert terminal.end() == 0
    assert {path.name: path.read_text() for path in (data / "S").glob("*.lab")} == {
        "a.lab": "Words of a. More.\n"
    }
