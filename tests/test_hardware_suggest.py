"""Suggestions: what fits is the most that fits, and where nothing does, the remedies are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import lora_preset, model_preset, read_preset
from fishtune.core.config.settings import TrainOptions
from fishtune.core.hardware.memory.estimate import MemoryEstimate
from fishtune.core.hardware.memory.measured import MeasurementCache, Setting
from fishtune.core.hardware.memory.needs import EncodingNeeds, TrainingNeeds
from fishtune.core.hardware.memory.suggest import Available, suggest_extraction, suggest_training
from fishtune.core.model.families import base_model
from fishtune.core.model.families.s1 import S1
from fishtune.core.units import parse_bytes

GIB = 1024**3
CONFIG = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
CODEC = EncodingNeeds(CodecConfig.model_validate(read_preset("codec", "modded_dac_vq")))


def needs(preset: str = "r_16_alpha_16", longest: int = 1024, **options: object) -> TrainingNeeds:
    return TrainingNeeds(CONFIG, TrainOptions(**options), lora_preset(preset), longest=longest)


@pytest.mark.parametrize("preset", ["r_16_alpha_16", "r_8_alpha_16", "full"])
@pytest.mark.parametrize("size", [6, 8, 12, 16, 24, 48, 80])
@pytest.mark.parametrize("checkpointing", ["none", "blocks"])
def test_a_suggestion_fits_and_keeps_the_effective_batch(preset: str, size: int, checkpointing: str) -> None:
    asked = needs(preset, batch_tokens=8192, accumulation=2, checkpointing=checkpointing)
    card = Available.card(size * GIB)
    found = suggest_training(asked, card)
    if not found.fits:
        assert asked.at(asked.longest).total > card.usable
        return
    assert found.need.total <= card.usable
    effective = found.batch_tokens * found.accumulation
    assert 16384 <= effective < 16384 + found.accumulation
    if found.accumulation > 1:  # one micro-batch fewer would not have fitted
        fewer = -(-16384 // (found.accumulation - 1))
        assert asked.at(fewer).total > card.usable


def test_a_micro_batch_holds_at_least_the_longest_sample() -> None:
    found = suggest_training(needs(longest=3000, batch_tokens=1024), Available.card(80 * GIB))
    assert (found.fits, found.batch_tokens, found.accumulation) == (True, 3000, 1)


def test_room_enough_to_spare_the_recomputation_is_told() -> None:
    assert suggest_training(needs(), Available.card(80 * GIB)).without_checkpointing
    assert not suggest_training(needs(), Available.card(8 * GIB)).without_checkpointing


def test_what_would_help_really_does() -> None:
    asked = needs("r_64_alpha_64", longest=4096, checkpointing="none")
    card = Available(total=round(4.6 * GIB), free=round(3.6 * GIB))
    found = suggest_training(asked, card)
    assert not found.fits
    words = " | ".join(found.remedies)
    length = int(re.search(r"--max-length (\d+)", words)[1])
    shorter = asked.changed(checkpointing="blocks", max_length=length)
    assert shorter.longest == length < 4096
    assert suggest_training(shorter, card).fits
    preset = re.search(r"--lora-config (\w+)", words)[1]
    assert suggest_training(asked.changed(lora_preset(preset), checkpointing="blocks"), card).fits
    larger = int(re.search(r"a GPU of (\d+) GB", words)[1])
    assert suggest_training(asked.changed(checkpointing="blocks"), Available.card(larger * GIB)).fits


def test_memory_that_others_hold_is_named_first() -> None:
    found = suggest_training(needs(longest=4096), Available(total=24 * GIB, free=3 * GIB))
    assert found.remedies[0] == "ending what else uses this GPU (21.0 GiB are taken)"


def test_checkpointing_alone_is_the_only_remedy_named_when_it_suffices() -> None:
    found = suggest_training(needs(checkpointing="none", longest=4096), Available.card(8 * GIB))
    assert found.remedies == ("--checkpointing blocks",)


@pytest.mark.parametrize(
    ("size", "options", "remedy"),
    [(10, {}, "int8"), (8, {}, "nf4"), (8, {"base_precision": "int8"}, "nf4"), (6, {}, None)],
)
def test_a_base_in_fewer_bits_is_a_remedy_where_it_suffices(
    size: int, options: dict[str, str], remedy: str | None
) -> None:
    _, config = base_model(Path(), "s2-pro")
    asked = TrainingNeeds(config, TrainOptions(**options), lora_preset("r_16_alpha_16"), longest=2048)
    card = Available.card(size * GIB)
    found = suggest_training(asked, card)
    assert not found.fits
    named = re.search(r"--base-precision (\w+)", " | ".join(found.remedies))
    assert (named and named[1]) == remedy
    if remedy is not None:
        assert suggest_training(asked.changed(base_precision=remedy), card).fits


def test_a_quantised_base_is_no_remedy_for_what_cannot_be_trained_over_it() -> None:
    found = suggest_training(needs("full", longest=4096), Available.card(4 * GIB))
    assert "--base-precision" not in " | ".join(found.remedies)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_extraction_takes_the_most_clips_that_fit(size: int) -> None:
    card = Available.card(size * GIB)
    found = suggest_extraction(CODEC, card, 20.0)
    assert found.fits
    assert found.need.total <= card.usable
    clips = round(found.batch_seconds / 20)
    assert clips == 30 or CODEC.at(clips + 1, 20.0).total > card.usable


def test_clips_of_extraction_follow_from_typical_length() -> None:
    found = suggest_extraction(CODEC, Available.card(24 * GIB), 20.0, typical=5.0)
    assert (found.batch_seconds, found.batch_size) == (600.0, 120)


def test_a_clip_too_long_for_the_card_gets_remedies() -> None:
    found = suggest_extraction(CODEC, Available.card(2 * GIB), 180.0)
    assert not found.fits
    assert "clips of at most" in found.remedies[0]
    seconds = float(re.search(r"at most (\d+) s", found.remedies[0])[1])
    assert suggest_extraction(CODEC, Available.card(2 * GIB), seconds).fits
    assert found.remedies[-1] == "--device cpu, which is slower"


@pytest.fixture
def cache(tmp_path: Path) -> MeasurementCache:
    return MeasurementCache(tmp_path / "fishtune" / "memory.json")


def reserved(estimate: MemoryEstimate, factor: float) -> int:
    """Return what torch reserves when what varies takes `factor` times the prediction."""
    return estimate.corrected(factor).reserved


def test_a_measured_peak_corrects_the_next_suggestion(cache: MeasurementCache) -> None:
    def asked(gpu: str = "H100") -> TrainingNeeds:
        options = TrainOptions(batch_tokens=16384)
        preset = lora_preset("r_16_alpha_16")
        return TrainingNeeds(CONFIG, options, preset, gpu, longest=1024, cache=cache)

    before = suggest_training(asked(), Available.card(4 * GIB))
    estimate = asked().predicted(8192)
    cache.record(asked().setting, estimate, reserved(estimate, 1.5))
    after = suggest_training(asked(), Available.card(4 * GIB))
    assert asked().factor == pytest.approx(1.5, rel=1e-6)
    assert after.measured
    assert not before.measured
    assert after.batch_tokens < before.batch_tokens
    assert asked("RTX 4090").factor == 1.0
    assert asked().changed(lora_preset("r_8_alpha_16")).factor == 1.0
    assert asked().changed(devices=2).factor == asked().factor
    # The size of the batch is no part of the setting; the same correction serves all sizes.
    assert asked().changed(batch_tokens=2048, accumulation=4).factor == asked().factor


def test_the_largest_of_several_measurements_counts_and_a_repeated_one_is_replaced(
    cache: MeasurementCache,
) -> None:
    setting = needs().setting
    small, large = needs().predicted(1024), needs().predicted(8192)
    cache.record(setting, large, reserved(large, 1.3))
    cache.record(setting, small, reserved(small, 2.0))
    assert cache.factor(setting) == pytest.approx(1.3, rel=1e-6)
    cache.record(setting, large, reserved(large, 1.1))
    assert cache.factor(setting) == pytest.approx(1.1, rel=1e-6)
    assert len(cache.read()) == 2


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_what_cannot_be_a_measurement_of_this_is_not_kept(cache: MeasurementCache, factor: float) -> None:
    estimate = needs().predicted(8192)
    cache.record(needs().setting, estimate, reserved(estimate, factor))
    assert cache.read() == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'[{"setting": 1}]', b"\xff\xfe", b"null", b"[" * 100_000, b"9" * 5000]
)
def test_a_damaged_cache_is_no_obstacle(cache: MeasurementCache, content: bytes) -> None:
    cache.file.parent.mkdir()
    cache.file.write_bytes(content)
    assert cache.factor(needs().setting) == 1.0
    estimate = needs().predicted(8192)
    cache.record(needs().setting, estimate, reserved(estimate, 1.2))
    assert len(cache.read()) == 1


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = MeasurementCache(tmp_path / "file" / "memory.json")
    estimate = needs().predicted(8192)
    cache.record(needs().setting, estimate, reserved(estimate, 1.2))
    assert cache.read() == []


def test_settings_of_measurements_tell_stages_and_versions_apart() -> None:
    training, extraction = needs().setting, CODEC.setting
    assert training != extraction
    assert training != training.model_copy(update={"torch": "1.0"})
    assert Setting.of("", "train", 1) == Setting.of("", "train", 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * GIB), ("24 gb", 24 * 10**9), ("1.5g", 3 * GIB // 2), ("512M", GIB // 2), ("77B", 77)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size
