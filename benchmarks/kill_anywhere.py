"""Kill stages with SIGKILL at random moments, resume them, and compare with an undisturbed run.

    python benchmarks/kill_anywhere.py --kills 50

Each kill works on fresh inputs: start the stage as a job, kill its process and everything it started at a
random moment of its work, look at what lies there (nothing torn may pass for done), start it again and let
it finish, compare every file that counts with those of a run that nobody disturbed. The data are noise, the
checkpoint is tiny and random; formats, processes and code are the real ones.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fishtune.core.config.project import merge_record_path
from fishtune.core.config.settings import ExtractSettings, MergeSettings, PackSettings, TrainSettings
from fishtune.core.config.strict import Table
from fishtune.core.files import is_temporary
from fishtune.core.jobs.process import end_process
from fishtune.core.jobs.record import Job, JobState, Place
from fishtune.core.jobs.start import start_job
from fishtune.core.stages.registry import StageName

RUN = "run"
STEPS = 8
_SECONDS = 300.0


@dataclass(frozen=True)
class KilledStage:
    """A stage under test, in a folder that holds its inputs."""

    name: StageName
    settings: Callable[[Path], Table]
    results: Callable[[Path], dict[str, str]]
    """A hash of every file that counts, or of what is in it where a file carries times of its own."""


def _extract(folder: Path) -> Table:
    return ExtractSettings(
        data=folder / "data", checkpoint_path=folder / "base" / "codec.pth", batch_size=2, device="cpu"
    )


def _pack(folder: Path) -> Table:
    return PackSettings(input=folder / "data", output=folder / "data" / "protos", num_workers=1)


def _train(folder: Path) -> Table:
    return TrainSettings(
        project=RUN,
        results=folder / "results",
        base=folder / "base",
        protos=folder / "data" / "protos",
        lora_config="r_8_alpha_16",
        max_steps=STEPS,
        checkpoint_every=2,
        validate_every=4,
        batch_tokens=128,
        max_length=512,
        gate=False,  # the base is random on purpose
        device="cpu",
        loggers=["csv"],
    )


def _merge(folder: Path) -> Table:
    return MergeSettings(
        base_weight=folder / "base",
        lora_weight=folder / "results" / RUN / "checkpoints" / f"step_{STEPS:09d}.ckpt",
        output=folder / "merged",
        overwrite=True,
    )


def _hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the hash of every file but those that a kill left half written under a temporary name."""
    return {
        str(path.relative_to(root)): hashlib.sha256(_content(root, path)).hexdigest()
        for path in paths
        if not any(map(is_temporary, (path, *path.parents)))
    }


def _content(root: Path, path: Path) -> bytes:
    content = path.read_bytes()
    return content.replace(str(root).encode(), b"") if path.suffix == ".json" else content  # own place


def _codes(folder: Path) -> dict[str, str]:
    return _hashes(folder, folder.glob("data/*/*.npy"))


def _shards(folder: Path) -> dict[str, str]:
    protos = folder / "data" / "protos"
    return _hashes(folder, [*protos.glob("*.protos"), *protos.glob("fishtune-pack.json")])


def _checkpoints(folder: Path) -> dict[str, str]:
    """Hashes of every checkpoint's tensors and of the adapter folders' files."""
    import torch

    checkpoints = folder / "results" / RUN / "checkpoints"
    found = _hashes(
        folder, (path for path in checkpoints.rglob("*") if path.is_file() and path.suffix != ".ckpt")
    )
    for path in checkpoints.glob("step_*.ckpt"):
        content = torch.load(path, map_location="cpu", weights_only=True)
        kept = {
            key: content[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
        }
        found[str(path.relative_to(folder))] = _tensor_hash(kept)
    return found


def _tensor_hash(value: object) -> str:
    """Return a hash of nested containers of tensors and plain values, dtypes and shapes included."""
    import torch

    digest = hashlib.sha256()

    def add(part: object) -> None:
        if isinstance(part, torch.Tensor):
            digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
            digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, dict):
            for key in sorted(part, key=repr):
                digest.update(repr(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            digest.update(str(len(part)).encode())
            for item in part:
                add(item)
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()


def _merged(folder: Path) -> dict[str, str]:
    return _hashes(folder, (path for path in (folder / "merged").rglob("*") if path.is_file()))


STAGES = [
    KilledStage(StageName.EXTRACT, _extract, _codes),
    KilledStage(StageName.PACK, _pack, _shards),
    KilledStage(StageName.TRAIN, _train, _checkpoints),
    KilledStage(StageName.MERGE, _merge, _merged),
]


def write_inputs(folder: Path, speakers: int = 2, clips: int = 6) -> None:
    """Write recordings (noise of 0.5 to 2 s), transcripts, and a tiny base checkpoint into `folder`."""
    import numpy as np
    import soundfile
    from fishtune.core.demo.checkpoint import write_checkpoint

    noise = np.random.default_rng(0)
    for speaker in range(speakers):
        home = folder / "data" / f"speaker{speaker}"
        home.mkdir(parents=True)
        for clip in range(clips):
            samples = noise.normal(0, 0.1, int(44_100 * noise.uniform(0.5, 2.0))).astype(np.float32)
            soundfile.write(home / f"{clip}.wav", samples, 44_100)
            (home / f"{clip}.lab").write_text(f"This is sentence {clip} of {speaker}.", encoding="utf-8")
    write_checkpoint(folder / "base")


class KillTest:
    """One stage, killed again and again in copies of the folder `inputs`."""

    def __init__(self, stage: KilledStage, inputs: Path, work: Path, seed: int) -> None:
        self.stage = stage
        self.inputs = inputs
        self.work = work
        self._draw = random.Random(f"{seed} {stage.name}")
        self.expected: dict[str, str] = {}
        self.seconds = 0.0

    def undisturbed(self) -> Path:
        """Run the stage once to its end, note its files and duration, and return its folder."""
        folder = self._fresh("undisturbed")
        job = self._start(folder)
        begin = time.monotonic()
        self._finish(job)
        self.seconds = time.monotonic() - begin
        self.expected = self.stage.results(folder)
        if not self.expected:
            raise AssertionError(f"{self.stage.name} made nothing")
        return folder

    def kill_and_resume(self, kills: int = 1) -> list[str]:
        """Kill the stage `kills` times in one folder, let it finish, and return what was wrong."""
        folder = self._fresh("killed")
        wrong: list[str] = []
        for _ in range(kills):
            job = self._start(folder)
            time.sleep(self._draw.uniform(0.0, self.seconds))
            if job.record.process is not None:
                end_process(job.record.process)
            state = job.refresh().state()
            if state not in (JobState.LOST, JobState.FINISHED):
                wrong.append(f"{state} after SIGKILL")
            wrong += [
                f"{name} was there after the kill and is not what it must be"
                for name, content in self.stage.results(folder).items()
                if self.expected.get(name) != content
            ]
        self._finish(self._start(folder))
        found = self.stage.results(folder)
        if found != self.expected:
            names = [
                name
                for name in sorted(found.keys() | self.expected.keys())
                if found.get(name) != self.expected.get(name)
            ]
            wrong.append(f"differs from the undisturbed run: {', '.join(names)}")
        left = [path for path in folder.rglob("*") if is_temporary(path)]
        wrong += [f"left behind: {path.relative_to(folder)}" for path in left]
        return wrong

    def _fresh(self, name: str) -> Path:
        folder = self.work / f"{self.stage.name}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.inputs, folder)  # copies times too: what is up to date stays so
        merge_record_path(folder / "merged").unlink(missing_ok=True)
        return folder

    def _start(self, folder: Path) -> Job:
        place = Place(results=folder / "results", project=RUN)
        return start_job(self.stage.name, self.stage.settings(folder), place)

    def _finish(self, job: Job) -> None:
        deadline = time.monotonic() + _SECONDS
        while not (state := job.refresh().state()).is_over:
            if time.monotonic() > deadline:
                raise AssertionError(f"{job.id} did not end within {_SECONDS:.0f} s")
            time.sleep(0.05)
        if state is not JobState.FINISHED:
            raise AssertionError(f"{job.id} ended as {state}: {job.outcome()}")


def main() -> int:
    """Run all stages and return the exit code: 0 if nothing was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="in all, shared out over the stages")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failures = 0
    with tempfile.TemporaryDirectory(prefix="fishtune-kill-") as temporary:
        inputs = Path(temporary) / "inputs"
        write_inputs(inputs)
        for number, stage in enumerate(STAGES):
            test = KillTest(stage, inputs, Path(temporary), options.seed)
            made = test.undisturbed()
            kills = options.kills // len(STAGES) + (number < options.kills % len(STAGES))
            for kill in range(kills):
                wrong = test.kill_and_resume()
                failures += bool(wrong)
                print(f"{stage.name} {kill + 1}/{kills}: {'; '.join(wrong) or 'same files'}", flush=True)
            print(f"{stage.name}: {len(test.expected)} files, undisturbed {test.seconds:.1f} s", flush=True)
            inputs = made  # the next stage needs what this one made
    print(f"{failures} of {options.kills} kills lost or changed something")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
