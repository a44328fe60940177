"""Damaged and hostile files: every reader gives a result or refuses in a sentence, with few bytes and soon.

`hypothesis` makes a few inputs for each reader, always the same; `benchmarks/fuzz.py` makes many. The files
in `mutated/` are inputs that were once not handled, one for each kind of failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .hostile_files import ADDRESSES, ODD_ENTRIES, READERS, RECORDINGS, Arena, limited
from .hostile_world import STEP, make_world, private_home

MUTATED = Path(__file__).parent / "mutated"
CONFIG = "home/config/fishtune"
KINDS = ("lora", "codec", "models")
RECORDED = ("audio", "validate", "loudness-norm", "extract")
PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "audio-wav": (RECORDED, RECORDINGS[:1]),
    "audio-flac": (RECORDED, RECORDINGS[1:2]),
    "audio-mp3": (RECORDED, RECORDINGS[2:]),
    "npy": (("codes", "pack", "extract"), ("data/spk/a.npy",)),
    "protos-caches.npy": (("lengths",), ("protos/fishtune-lengths.npy",)),
    "protos-caches.bin": (("index",), ("protos/fishtune-index.bin",)),
    "protos-caches.json": (("manifest",), ("protos/fishtune-pack.json",)),
    "tokenizer.json": (("tokenizer", "verify"), ("model/special_tokens.json",)),
    "tokenizer.tiktoken": (("tokenizer", "verify"), ("model/tokenizer.tiktoken",)),
    "config-json": (("config", "verify"), ("model/config.json",)),
    "codec-config": (("codec config", "verify"), ("model/codec_config.json",)),
    "model-pth": (("model", "verify"), ("model/model.pth",)),
    "lora-ckpt": (("checkpoint", "merge"), (f"project/results/demo/checkpoints/step_{STEP:09d}.ckpt",)),
    "peft": (("peft", "merge"), ("peft/adapter_config.json",)),
    "fishtune-toml": (("project",), ("project/fishtune.toml",)),
    "presets": (("presets",), tuple(f"{CONFIG}/presets/{kind}/own.toml" for kind in KINDS)),
    "jobs": (("events",), ("project/results/demo/jobs/*/events.jsonl",)),
    "xdg-state.json": (("base hash",), ("home/cache/fishtune/hashes/*.json",)),
    "xdg-state.toml": (("wizard",), (f"{CONFIG}/wizard.toml",)),
}  # fmt: skip
"""Which readers read a file of `mutated`, and in place of which files of the world."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The world of files."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_home(root).items():
            patch.setenv(name, value)
        make_world(root)
        made = Arena(root)
        made.prepare()
    return made


@pytest.fixture(autouse=True)
def _its_home(arena: Arena, _private_home: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_home(arena.root).items():
            patch.setenv(name, value)
        yield


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if not reader.slow])
def test_a_damaged_file_is_read_or_refused(arena: Arena, name: str) -> None:
    reader = READERS[name]

    @settings(
        max_examples=9,
        derandomize=True,
        database=None,
        deadline=10_000,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=False))
    def holds(random: Random) -> None:
        file, content, is_whole = arena.damage(reader, random)
        with limited(ADDRESSES):
            outcome = arena.judge(reader, file, content, is_whole=is_whole)
        assert outcome.is_right, f"{outcome} of {content[:300]!r} in place of {file.name}"

    holds()


@pytest.mark.parametrize("entry", ODD_ENTRIES)
@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if not reader.slow])
def test_what_is_not_a_file_is_not_waited_for(arena: Arena, name: str, entry: str) -> None:
    reader = READERS[name]
    for file in arena.files(reader):
        with limited(ADDRESSES):
            outcome = arena.judge_entry(reader, file, ODD_ENTRIES[entry])
        assert outcome.is_right, f"{outcome} of a {entry} in place of {file.name}"


def once_not_handled() -> dict[str, bytes]:
    """Return inputs that once were not handled, by the name of what was found."""
    found = {file.name: file.read_bytes() for file in sorted(MUTATED.iterdir())}
    return {**found, "xdg-state-01.json": b"[" * 100_000 + b"]" * 100_000}


@pytest.mark.parametrize("name", sorted(once_not_handled()))
def test_what_was_once_not_handled_is_read_or_refused(arena: Arena, name: str) -> None:
    content = once_not_handled()[name]
    kind, suffix = name.rpartition("-")[0], Path(name).suffix
    readers, places = PLACES.get(kind) or PLACES[kind + suffix]
    files = [file for place in places for file in arena.root.glob(place)]
    assert files
    for reader in readers:
        for file in files:
            with limited(ADDRESSES):
                outcome = arena.judge(READERS[reader], file, content)
            assert outcome.is_right, f"{reader}: {outcome}"


def test_the_files_of_the_field_are_the_ones_that_are_tried() -> None:
    folder = Path(__file__).parents[2] / "shared" / "cases" / "mutated"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: only the copies in {MUTATED} were tried")
    theirs = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "README.md"}
    assert theirs == once_not_handled()
