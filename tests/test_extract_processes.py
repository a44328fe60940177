"""Extraction as a command: killed, asked to stop, and shared between two real ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.config.settings import ExtractSettings
from fishtune.core.dataset.codes import read_codes
from fishtune.core.dataset.origins import RECORD_FILE, origin_of
from fishtune.core.events import Reporter
from fishtune.core.files import TEMPORARY_PREFIX
from fishtune.core.stages.extract.run import run

from .commands_kit import Ended, in_one_program, told_apart
from .extract_kit import CODEC, SIZES, write_clip

CLIPS = 24
EXTRACT = ("fishtune.core.cli", "extract", "--checkpoint-path", str(CODEC), "--device", "cpu")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *EXTRACT)
FORKED = """
import os, socket, sys
import fishtune.core.stages.extract.run  # what takes the time
from fishtune.core.cli import main
with socket.create_server(("127.0.0.1", 0)) as free:
    port = str(free.getsockname()[1])
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
ranks = []
for rank in "01":
    os.environ.update(RANK=rank, LOCAL_RANK=rank)
    if not (child := os.fork()):
        main()
    ranks.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ranks))
"""
"""Two ranks with the variables that torchrun sets, of one program that has imported torch once."""


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


def linked(template: Path, folder: Path) -> Path:
    """Return a copy of the template's recordings: links, as they are never written."""
    for path in (template / "data").rglob("*.wav"):
        target = folder / "data" / path.relative_to(template / "data")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    return folder / "data"


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """A copy of the template's recordings."""
    return linked(template, tmp_path)


SIGNALLED = """
import os, signal
from pathlib import Path
import fishtune.core.stages.extract.run
from fishtune.core.codec.codec import CodecEncoder
encode, calls = CodecEncoder.encode, []
def signalled_encode(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.Signals[Path(sys.argv[-1]).parent.name])
    return encode(*arguments)
CodecEncoder.encode = signalled_encode
"""


@pytest.fixture(scope="module")
def signalled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Ended]]:
    """The command, clip by clip, met by a signal in the third: each data set, and how it ended."""
    folder = tmp_path_factory.mktemp("signalled")
    data = {name: linked(template, folder / name) for name in ("SIGKILL", "SIGTERM")}
    commands = [[*EXTRACT[1:], "--batch-size", "1", str(place)] for place in data.values()]
    homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE", "DATA")}
    done = subprocess.run(
        in_one_program(commands, SIGNALLED),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **homes, "HOME": str(folder)},
    )
    return dict(zip(data, zip(data.values(), told_apart(done.stderr), strict=True), strict=True))


def all_valid(data: Path) -> int:
    """Return how many codes there are; each must be whole. What a killed process was writing is no codes."""
    finished = [path for path in data.rglob("*.npy") if not path.name.startswith(TEMPORARY_PREFIX)]
    return len([read_codes(path, SIZES) for path in finished])


def finish(data: Path, template: Path) -> None:
    """Run to the end and compare with the undisturbed run: the same files, nothing beside them."""
    result = run(ExtractSettings(data=data, checkpoint_path=CODEC, device="cpu"), Reporter())
    assert (result.clips, result.failed) == (CLIPS, [])
    names = sorted(path.name for path in data.rglob("*") if path.is_file() and path.name != RECORD_FILE)
    assert names == sorted(f"{number:02}{ending}" for number in range(CLIPS) for ending in (".npy", ".wav"))
    with np.load(template / "codes.npz") as codes:
        for path in data.rglob("*.npy"):
            assert np.array_equal(np.load(path), codes[path.stem])
            assert origin_of(path) is not None


def test_a_killed_run_is_continued_to_the_same_files(
    signalled: dict[str, tuple[Path, Ended]], template: Path
) -> None:
    data, ended = signalled["SIGKILL"]
    assert ended.code == -signal.SIGKILL
    assert all_valid(data) < CLIPS
    finish(data, template)


def test_sigterm_finishes_the_batch_and_says_what_is_there(
    signalled: dict[str, tuple[Path, Ended]], template: Path
) -> None:
    data, ended = signalled["SIGTERM"]
    assert ended.code == 1
    assert all_valid(data) == 3
    assert f"The codes of 3 of {CLIPS} clips are there; starting again continues with the rest." in ended.said
    finish(data, template)


@pytest.mark.parametrize(
    "ranks",
    [
        pytest.param(("-P", "-c", FORKED, *EXTRACT[1:]), id="forked"),
        pytest.param(TORCHRUN, marks=pytest.mark.slow, id="torchrun"),
    ],
)
def test_two_ranks_share_the_clips_and_the_first_reports_all(
    data: Path, template: Path, ranks: tuple[str, ...]
) -> None:
    (data / "화자 1/99.wav").write_text("no audio", encoding="utf-8")  # the last, so the second rank's
    (data / "화자 1/98.wav").write_text("no audio", encoding="utf-8")
    finished = subprocess.run(
        [sys.executable, *ranks, str(data), "--json"],
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
