"""Every reader of files that somebody else may have made, given damaged and hostile ones.

`READERS` names them: which files of `hostile_world` are damaged, and what the commands call to read them.
Right are a result, a `FishtuneError` and, where a file is only kept to save time, making it anew without a
word; `judge` says what else happened. `tests/test_hostile_files.py` does this for some inputs,
`benchmarks/fuzz.py` for many, each with limits of time and memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from fishtune.core.errors import FishtuneError

from . import hostile_readers as reading
from .hostile_readers import Target, WrongAnswerError
from .mutations import (
    Mutation,
    changed_json,
    changed_lines,
    changed_npy,
    changed_ranks,
    changed_safetensors,
    changed_text,
    changed_toml,
    damaged_bytes,
    mutated,
    raw_json,
    raw_toml,
)
from .mutations_of_audio import DAMAGE, LIES

ADDRESSES = 1536 << 20
"""Bytes that reading one of these small files may take, beyond what the process has before."""
Kind = Literal["result", "refused", "wrong", "unforeseen", "memory"]


@dataclass(frozen=True)
class Outcome:
    """What came of reading a file."""

    kind: Kind
    place: str = ""
    """`file:function` in our code where an error came from that nobody foresaw."""
    what: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is one of those that may be."""
        return self.kind in ("result", "refused")

    @property
    def summary(self) -> str:
        """What is counted together: the same error, whatever numbers and names it tells."""
        return re.sub(r"\S*/\S*|0x[0-9a-f]+|\d+", "…", self.what)[:160]


@dataclass(frozen=True)
class Reader:
    """A reader, and the files that it reads."""

    name: str
    files: tuple[str, ...]
    """Patterns inside the world; each input damages one file that fits one of them."""
    read: Callable[[Target], Any]
    same: bool = False
    """Whether the answer must be what it is without damage, unless the file is refused."""
    slow: bool = False
    """Whether it takes a second or more, and is left to the benchmark."""


RECORDINGS = ("data/spk/a.wav", "data/spk/b.flac", "data/spk/c.mp3")
NOTES = "home/cache/fishtune/written/*.json"
ORIGINS = "data/spk/.fishtune-codes"
JOBS = "project/results/demo/jobs/*"
RUN = "project/results/demo"

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("audio", RECORDINGS, reading.audio),
        Reader("codes", ("data/spk/a.npy",), reading.codes),
        Reader("origins", (ORIGINS,), reading.origins, same=True),
        Reader("transcript", ("data/spk/a.lab",), reading.transcript),
        Reader("validate", (*RECORDINGS, "data/spk/a.lab", "data/spk/a.npy"), reading.validate, slow=True),
        Reader("loudness-norm", RECORDINGS, reading.loudness_norm, slow=True),
        Reader("journal", ("louder/.fishtune-loudness.jsonl",), reading.journal),
        Reader("table", ("data/metadata.csv",), reading.table),
        Reader("extract", (*RECORDINGS, "data/spk/a.npy", ORIGINS), reading.extract, slow=True),
        Reader("pack", ("data/spk/a.npy", "data/spk/a.lab", ORIGINS), reading.pack),
        Reader("lengths", ("protos/fishtune-lengths.npy",), reading.packed, same=True),
        Reader("index", ("protos/fishtune-index.bin",), reading.packed, same=True),
        Reader("manifest", ("protos/fishtune-pack.json",), reading.unindexed),
        Reader("shards", ("protos/*.protos",), reading.packed, same=True),
        Reader("foreign shards", ("protos/*.protos",), reading.foreign_shards),
        Reader("tokenizer", ("model/tokenizer.tiktoken", "model/special_tokens.json"), reading.tokenizer),
        Reader("config", ("model/config.json",), reading.config),
        Reader("codec config", ("model/codec_config.json",), reading.codec_config),
        Reader("model", ("model/model.pth",), reading.model),
        Reader("codec", ("model/codec.pth",), reading.codec),
        Reader("verify", ("model/*",), reading.verified, slow=True),
        Reader("checkpoint", (f"{RUN}/checkpoints/*.ckpt", "reference.ckpt"), reading.checkpoint),
        Reader("peft", ("peft/adapter_config.json", "peft/adapter_model.safetensors"), reading.peft),
        Reader("merge", (f"{RUN}/checkpoints/*.ckpt", "peft/adapter_*"), reading.merge, slow=True),
        Reader("project", ("project/fishtune.toml",), reading.project),
        Reader("presets", ("home/config/fishtune/presets/*/own.toml",), reading.presets),
        Reader("events", (f"{JOBS}/events.jsonl", f"{JOBS}/log.txt"), reading.job),
        Reader("job", (f"{JOBS}/job.json", f"{JOBS}/worker.json"), reading.job),
        Reader("notes", (NOTES, "model/.fishtune-download.json"), reading.notes),
        Reader("records", (f"{RUN}/audition/*/*.json", "project/merged.fishtune.json"), reading.records),
        Reader("wizard", ("home/config/fishtune/wizard.toml",), reading.wizard),
        Reader("base hash", ("home/cache/fishtune/hashes/*.json",), reading.base, same=True),
        Reader("measured", ("home/cache/fishtune/memory.json",), reading.measured),
        Reader("recent", ("home/state/fishtune/recent/*.json",), reading.recent),
    )
}  # fmt: skip


def mutations_of(file: Path) -> tuple[Mutation, ...]:
    """Return the ways to damage a file, by its name."""
    from .mutations_of_weights import changed_archive, changed_weights

    match file.suffix:
        case ".json":
            return (changed_json, changed_json, raw_json, damaged_bytes)
        case ".toml":
            return (changed_toml, changed_toml, raw_toml, damaged_bytes)
        case ".jsonl":
            return (changed_lines, changed_lines, damaged_bytes)
        case ".npy":
            return (changed_npy, damaged_bytes)
        case ".lab" | ".csv":
            return (changed_text, damaged_bytes)
        case ".pth" | ".ckpt":
            return (changed_weights, changed_weights, changed_archive, damaged_bytes)
        case ".safetensors":
            return (changed_safetensors, damaged_bytes)
        case ".tiktoken":
            return (changed_ranks, damaged_bytes)
        case suffix if suffix in DAMAGE:
            return DAMAGE[suffix]
    return (damaged_bytes, changed_lines) if file.name == ".fishtune-codes" else (damaged_bytes,)


@dataclass
class Arena:
    """A world in which files are damaged, one at a time; everything is put back after each."""

    root: Path
    _kept: dict[Path, tuple[bytes, tuple[int, int]]] = field(default_factory=dict)
    _right: dict[str, Any] = field(default_factory=dict)

    def prepare(self, names: Iterable[str] = READERS) -> None:
        """Read every file once as it is: that makes the caches, and tells the right answers.

        Args:
            names: the readers that will be asked for.
        """
        for cache in (reading.packed, reading.base):
            cache(Target(self.root, self.root, is_whole=True))
        self._kept = {file: (file.read_bytes(), _state(file)) for file in self._all()}
        for reader in (READERS[name] for name in names):
            for file in self.files(reader)[:1] if reader.slow else self.files(reader):
                self._right[reader.name] = reader.read(Target(self.root, file, is_whole=True))
                self.restore()

    def _all(self) -> list[Path]:
        return [Path(folder, name) for folder, _, files in os.walk(self.root) for name in files]

    def files(self, reader: Reader) -> list[Path]:
        """Return the files of a reader that may be damaged."""
        found = [
            path for pattern in reader.files for path in sorted(self.root.glob(pattern)) if path.is_file()
        ]
        assert found, reader.name
        return found

    def restore(self) -> None:
        """Put back what was changed, made or removed."""
        for file in self._all():
            if file not in self._kept:
                file.unlink()
        for file, (content, state) in self._kept.items():
            if not file.is_file() or _state(file) != state:
                if file.is_dir():
                    shutil.rmtree(file)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                os.utime(file, ns=(state[1], state[1]))  # codes older than their recording would be stale

    def damage(self, reader: Reader, random: Random) -> tuple[Path, bytes, bool]:
        """Return a file of the reader, a damaged content, and whether what counts in it is whole."""
        file = random.choice(self.files(reader))
        content = self._kept[file][0]
        if file.suffix in LIES and random.random() < 0.4:
            return file, LIES[file.suffix](content, random), True
        return file, mutated(content, mutations_of(file), random), False

    def judge(self, reader: Reader, file: Path, content: bytes, *, is_whole: bool = False) -> Outcome:
        """Return what came of reading `content` in place of `file`; the world is as before afterwards."""
        file.write_bytes(content)
        return self._read(reader, file, is_whole=is_whole)

    def judge_entry(self, reader: Reader, file: Path, make: Callable[[Path], object]) -> Outcome:
        """Return what came of reading where `make` has put something in the place of `file`."""
        file.unlink()
        make(file)
        return self._read(reader, file)

    def _read(self, reader: Reader, file: Path, *, is_whole: bool = False) -> Outcome:
        try:
            answer = reader.read(Target(self.root, file, is_whole=is_whole))
        except WrongAnswerError as error:
            return Outcome("wrong", what=str(error))
        except FishtuneError as error:
            return _allocation(error) or Outcome("refused")
        except MemoryError as error:
            return Outcome("memory", _place(error), str(error))
        except BaseException as error:  # native libraries panic past Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            return Outcome("unforeseen", _place(error), f"{type(error).__name__}: {error}")
        finally:
            if not file.is_file() and not file.is_dir():
                file.unlink(missing_ok=True)
            self.restore()
        if reader.same and answer != self._right[reader.name]:
            return Outcome("wrong", what="another answer than without damage")
        return Outcome("result")


def _socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(file.parent):
        listener.bind(file.name)  # by its name alone: the whole path may be too long for an address


ODD_ENTRIES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _file: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": _socket,
    "device": lambda file: file.symlink_to("/dev/zero"),
    "link to itself": lambda file: file.symlink_to(file.name),
    "link to nowhere": lambda file: file.symlink_to("nowhere"),
}
"""What else may lie in the place of a file."""


@contextlib.contextmanager
def limited(addresses: int) -> Iterator[None]:
    """Let this process take at most so many bytes of addresses beyond those that it has (on Linux)."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + addresses, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _state(file: Path) -> tuple[int, int]:
    state = file.lstat()
    return state.st_size, state.st_mtime_ns


def _allocation(error: BaseException) -> Outcome | None:
    """Return that a refusal was in truth a want of memory, which a small file must not cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            return Outcome("memory", _place(cause), f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__ or cause.__context__
    return None


def _place(error: BaseException) -> str:
    """Return the innermost place in our own code that an error passed."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        for part in ("core", "tui"):
            if part in parts and "site-packages" not in parts:
                return f"{'/'.join(parts[len(parts) - parts[::-1].index(part) - 1 :])}:{frame.name}"
    return "?"
