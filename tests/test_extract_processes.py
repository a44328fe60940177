"""Extraction as a command: killed, asked to stop, and shared between two real ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.dataset.codes import read_codes
from fishtune.core.events import Reporter
from fishtune.core.extract import run
from fishtune.core.settings import ExtractSettings

from .test_extract import CODEC, SIZES, write_clip

CLIPS = 24
EXTRACT = ("fishtune.core.cli", "extract", "--checkpoint-path", str(CODEC), "--device", "cpu")
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that takes a second or two, with its codes in `codes.npz` beside it."""
    folder = tmp_path_factory.mktemp("template")
    for number in range(CLIPS):
        write_clip(folder / f"data/화자 {number % 2}/{number:02}.wav", 0.4, number)
    run(ExtractSettings(data=folder / "data", checkpoint_path=CODEC, device="cpu"), Reporter())
    paths = sorted((folder / "data").rglob("*.npy"))
    np.savez(folder / "codes.npz", **{path.stem: np.load(path) for path in paths})
    for path in paths:
        path.unlink()
    return folder


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """A copy of the template's recordings: links, as they are never written."""
    for path in (template / "data").rglob("*.wav"):
        target = tmp_path / "data" / path.relative_to(template / "data")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    return tmp_path / "data"


def begin(data: Path, *flags: str) -> subprocess.Popen[str]:
    """Start the command and return once the first codes are there."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *EXTRACT, str(data), *flags],
        cwd=data.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(data.rglob("*.npy")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return process


def all_valid(data: Path) -> int:
    """Return how many codes there are; each must be whole."""
    return len([read_codes(path, SIZES) for path in data.rglob("*.npy")])


def finish(data: Path, template: Path) -> None:
    """Run to the end and compare with the undisturbed run: the same files, nothing beside them."""
    result = run(ExtractSettings(data=data, checkpoint_path=CODEC, device="cpu"), Reporter())
    assert (result.clips, result.failed) == (CLIPS, [])
    names = sorted(path.name for path in data.rglob("*") if path.is_file())
    assert names == sorted(f"{number:02}{ending}" for number in range(CLIPS) for ending in (".npy", ".wav"))
    with np.load(template / "codes.npz") as codes:
        for path in data.rglob("*.npy"):
            assert np.array_equal(np.load(path), codes[path.stem])


def test_a_killed_run_is_continued_to_the_same_files(data: Path, template: Path) -> None:
    process = begin(data, "--batch-size", "1")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert all_valid(data) >= 1
    finish(data, template)


def test_sigterm_finishes_the_batch_and_says_what_is_there(data: Path, template: Path) -> None:
    process = begin(data, "--batch-size", "1")
    process.terminate()
    _, shown = process.communicate(timeout=60)
    done = all_valid(data)
    assert process.returncode == 1
    assert f"The codes of {done} of {CLIPS} clips are there; starting again goes on with the rest." in shown
    assert done < CLIPS
    finish(data, template)


def test_two_ranks_under_torchrun_share_the_clips_and_the_first_reports_all(
    data: Path, template: Path
) -> None:
    (data / "화자 1/99.wav").write_text("no audio", encoding="utf-8")  # the last, so the second rank's
    (data / "화자 1/98.wav").write_text("no audio", encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, "-m", *TORCHRUN, "-m", *EXTRACT, str(data), "--json"],
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    summary = json.loads(finished.stdout)
    assert (summary["clips"], summary["encoded"], summary["already_done"]) == (CLIPS + 2, CLIPS, 0)
    assert [failed["clip"] for failed in summary["failed"]] == ["화자 1/98", "화자 1/99"]
    (events,) = Path(os.environ["XDG_STATE_HOME"]).rglob("events.jsonl")
    kinds = [json.loads(line)["kind"] for line in events.read_bytes().splitlines()]
    assert kinds.count("item_failed") == 2 and kinds.count("finished") == 1
    for name in ("98", "99"):
        (data / f"화자 1/{name}.wav").unlink()
    finish(data, template)
