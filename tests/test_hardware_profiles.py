"""Where profiles come from: tables, what is kept here, and a process that makes them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import lora_preset, model_preset, read_preset
from fishtune.core.config.settings import TrainOptions
from fishtune.core.errors import FishtuneError
from fishtune.core.hardware.memory import accounting_process, profiles
from fishtune.core.hardware.memory.estimate import Part
from fishtune.core.hardware.memory.needs import TrainingNeeds
from fishtune.core.hardware.memory.profile import Growth, Profile
from fishtune.core.hardware.memory.profiles import Profiles
from fishtune.core.hardware.memory.setups import EncodingSetup, Setup, TrainingBatch, TrainingSetup
from fishtune.core.hardware.memory.suggest import Available, suggest_training
from fishtune.core.model.families.s1 import S1

TINY = S1().read_shape(
    model_preset("openaudio-s1-mini").config
    | {"n_layer": 1, "n_fast_layer": 1, "dim": 64, "fast_dim": 64, "vocab_size": 500, "max_seq_len": 128},
    "config.json",
)
CODEC = CodecConfig.model_validate(read_preset("codec", "modded_dac_vq"))
PROFILE = Profile(
    sizes=(100, 200, 400),
    phases={
        "early": {Part.WEIGHTS: Growth(line=(50, 50, 50), slopes=(0.0, 0.0, 0.0))},
        "late": {
            Part.WEIGHTS: Growth(line=(10, 10, 10), slopes=(0.0, 0.0, 0.0)),
            Part.WORKING: Growth(line=(20, 60, 80), slopes=(0.5, 0.001, 0.002)),
        },
    },
)


def unknown(preset: str = "r_16_alpha_16", **options: Any) -> TrainingSetup:
    return TrainingSetup.of(TINY, TrainOptions(**options), lora_preset(preset))


@pytest.fixture
def accounted(monkeypatch: pytest.MonkeyPatch) -> list[Setup]:
    """Let nothing be accounted really; return the list of what was to be."""
    asked: list[Setup] = []

    def account(setups: Sequence[Setup], progress: Any) -> Iterator[tuple[Setup, Profile]]:
        for number, setup in enumerate(setups, 1):
            asked.append(setup)
            progress(number, len(setups))
            yield setup, PROFILE

    monkeypatch.setattr(profiles, "account", account)
    return asked


def test_between_sizes_and_beyond_them_memory_grows_along_lines() -> None:
    def at(tokens: int, longest: int = 64, frames: int | None = None) -> int:
        return sum(PROFILE.at(TrainingBatch(tokens, longest, tokens if frames is None else frames)).values())

    assert at(100) == 50, "the phase that needs most counts"
    assert (at(150), at(200), at(300), at(400)) == (50, 70, 80, 90)
    assert at(800) == 10 + 120
    assert at(200, frames=180) == 60
    assert at(400, longest=164) == 10 + 80 + 40
    assert at(400, longest=1124) == 10 + 80 + 384 + 80, "beyond 1,024 tokens by another slope"
    assert at(1) == 50


def test_what_is_known_is_not_accounted(accounted: list[Setup]) -> None:
    config = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
    assert Profiles().known(TrainingSetup.of(config, TrainOptions(), lora_preset("r_16_alpha_16")))
    Profiles().prepare([EncodingSetup(CODEC, several) for several in (False, True)])
    assert not accounted


def test_a_preset_of_ones_own_is_known_by_what_it_trains_and_not_by_its_name(accounted: list[Setup]) -> None:
    config = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
    same = lora_preset("r_16_alpha_16").model_copy(update={"alpha": 3.0, "description": "mine"})
    other = same.model_copy(update={"rank": 17})
    assert Profiles().known(TrainingSetup.of(config, TrainOptions(), same))
    assert not Profiles().known(TrainingSetup.of(config, TrainOptions(), other))


def test_what_was_accounted_is_kept_for_the_versions_that_it_was_accounted_with(
    accounted: list[Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    wanted = [unknown(), unknown("full"), unknown()]
    Profiles(lambda done, total: said.append((done, total))).prepare(wanted)
    assert accounted == wanted[:2]
    assert said == [(0, 0), (1, 2), (2, 2)]
    assert Profiles().known(unknown()) == PROFILE
    Profiles().prepare(wanted)
    assert len(accounted) == 2
    monkeypatch.setattr(profiles, "versions", lambda: {"torch": "9"})
    assert Profiles().known(unknown()) is None


def kept() -> Path:
    (file,) = (Path(os.environ["XDG_CACHE_HOME"]) / "fishtune" / "memory").glob("*.json")
    return file


def test_a_damaged_file_is_made_anew(accounted: list[Setup]) -> None:
    Profiles().prepare([unknown()])
    whole = kept().read_text(encoding="utf-8")
    for damaged in ("", "{", "[]", "null", whole.replace("20", "21"), '{"profile": {}, "checksum": ""}'):
        kept().write_text(damaged, encoding="utf-8")
        assert Profiles().get(unknown()) == PROFILE
        assert kept().read_text(encoding="utf-8") == whole
    assert len(accounted) == 7


def test_a_cache_that_cannot_be_written_is_no_obstacle(accounted: list[Setup]) -> None:
    folder = Path(os.environ["XDG_CACHE_HOME"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fishtune").write_text("")
    found = Profiles()
    assert found.get(unknown()) == found.get(unknown()) == PROFILE
    assert len(accounted) == 1


def test_old_files_make_room(accounted: list[Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "_KEPT", 1)
    Profiles().prepare([unknown()])
    first = kept()
    os.utime(first, (0, 0))
    Profiles().prepare([unknown("full")])
    assert kept() != first


def test_a_suggestion_accounts_all_that_it_needs_at_once_and_no_remedies(accounted: list[Setup]) -> None:
    needs = TrainingNeeds(TINY, TrainOptions(max_length=128), lora_preset("r_16_alpha_16"))
    assert not needs.known
    found = suggest_training(needs, Available.card(1))
    assert not found.fits
    assert {setup.checkpointing for setup in accounted} == {"none", "blocks"}
    assert len(accounted) == 2


def test_the_process_accounts_the_real_modules_and_says_how_far_it_is() -> None:
    """The one test of the whole way: a process of its own, torch in it alone."""
    said: list[tuple[int, int]] = []
    setup = unknown()
    profile = Profiles(lambda done, total: said.append((done, total))).get(setup)
    assert profile.sizes == tuple(batch.size for batch in setup.line())
    parts = profile.at(TrainingBatch(500, 100, 300))
    assert parts[Part.OPTIMIZER] == 2 * parts[Part.ADAPTERS] > 0
    assert parts[Part.WEIGHTS] > 100_000
    batches = len({*setup.line(), *setup.probes()})
    assert said[0] == (0, 0) and said[-1] == (batches, batches)
    assert Profiles().known(setup) == profile


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `text` be the program that accounts."""
    (folder / "stub.py").write_text(f"import os, sys, time\n{text}\n", encoding="utf-8")
    monkeypatch.setattr(accounting_process, "PROGRAM", "stub")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "print(sys.stdin.read(0)); sys.exit('ModuleNotFoundError: torch')",
            "ended with 1 and said 'ModuleNot",
        ),
        ("sys.stdin.read()", "ended with 0 and said 'nothing'"),
        ("sys.stdin.read(); os.kill(os.getpid(), 9)", "ended with -9 and said 'nothing'"),
        ("""sys.stdin.read(); print('noise'); print('{"message": "No.", "hint": "Yes."}')""", "^No. Yes.$"),
    ],
)
def test_a_process_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    program(tmp_path, text, monkeypatch)
    with pytest.raises(FishtuneError, match=message):
        Profiles().get(unknown())


def test_whoever_is_told_can_end_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"done": 1, "total": 7})
    program(tmp_path, f"sys.stdin.read(); print('{line}', flush=True); time.sleep(1000)", monkeypatch)

    def progress(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Profiles(progress).prepare([unknown()])
    assert "torch" not in sys.modules or Profiles().known(unknown()) is None
