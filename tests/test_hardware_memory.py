"""Predicted memory against what torch allocates for the real modules, loss and adapters."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import LoraPreset, lora_preset, model_preset, preset_names, read_preset
from fishtune.core.config.settings import BasePrecision, Checkpointing, TrainOptions
from fishtune.core.hardware.memory.accounting import Accounting, gpu_kernels
from fishtune.core.hardware.memory.estimate import CONTEXT_BYTES, Part
from fishtune.core.hardware.memory.needs import EncodingNeeds, TrainingNeeds
from fishtune.core.hardware.memory.profiles import profile_tables
from fishtune.core.hardware.memory.setups import (
    EncodingBatch,
    EncodingSetup,
    Precision,
    Setup,
    TrainingBatch,
    TrainingSetup,
)
from fishtune.core.lora.injection import trainable_parameters
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families import base_model
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.shape import Shape
from fishtune.core.stages.accounting import accounting_of, profile_of
from fishtune.core.stages.train import accounting as training
from fishtune.core.units import GIB
from torch import nn

S1_MINI = model_preset("openaudio-s1-mini").config
PUBLISHED = read_preset("codec", "modded_dac_vq")
ALL = lora_preset("r_8_alpha_16")
SLOW = lora_preset("r_16_alpha_16")
FAST = lora_preset("fast_r_16_alpha_16")
FULL = lora_preset("full")
DORA = SLOW.model_copy(update={"use_dora": True, "dropout": 0.0})
ONE_LAYER = SLOW.model_copy(update={"targets": [r"layers\.1\.attention\.wqkv"]})
MODES = get_args(Checkpointing)
NEEDS_NF4 = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="the extra is not installed: pip install 'fishtune[quantised]'",
)


def shape(**changes: object) -> Shape:
    """Return S1-mini's shape with changes."""
    return S1().read_shape(S1_MINI | changes, "config.json")


def shallow(**changes: object) -> Shape:
    """Return S1-mini's layers, but few of them."""
    return shape(**{"n_layer": 2, "n_fast_layer": 1, "vocab_size": 60_000} | changes)


def shallow_s2() -> Shape:
    """Return S2-Pro's layers, but few of them."""
    _, config = base_model(Path(), "s2-pro")
    return replace(config, n_layer=2, n_fast_layer=1, vocab_size=60_000)


def codec(**changes: object) -> CodecConfig:
    return CodecConfig.model_validate(PUBLISHED | changes)


def setup_of(config: Shape, preset: LoraPreset, **options: Any) -> TrainingSetup:
    return TrainingSetup.of(config, TrainOptions(**options), preset)


def peak(setup: Setup, *batches: Any) -> list[int]:
    """Return what torch accounts for each batch."""
    measure = accounting_of(setup)
    return [max(sum(parts.values()) for parts in measure(batch).values()) for batch in batches]


OFF_THE_LINE = [
    TrainingBatch(40, 40, 30),
    TrainingBatch(600, 300, 450),
    TrainingBatch(4096, 2048, 3000),
]
"""Micro-batches that no profile is made from."""


@pytest.mark.parametrize(
    ("config", "preset", "options"),
    [
        *(
            pytest.param(
                shallow(),
                preset,
                {"checkpointing": mode},
                id=f"{name}-{mode}",
                # One of each way of training is enough every day.
                marks=[] if (name, mode) in (("slow", "blocks"), ("full", "none")) else pytest.mark.slow,
            )
            for name, preset in {"slow": SLOW, "full": FULL}.items()
            for mode in MODES
        ),
        pytest.param(shallow(), FULL, {"accumulation": 2}, id="full-accumulated", marks=pytest.mark.slow),
        # So few logits that a piece of them is never full.
        pytest.param(
            shallow(vocab_size=5_000),
            ALL,
            {"checkpointing": "blocks"},
            id="small-vocabulary",
            marks=pytest.mark.slow,
        ),
        pytest.param(shallow(), DORA, {"checkpointing": "none"}, id="dora"),
        pytest.param(shallow(), SLOW, {"base_precision": "int8", "checkpointing": "none"}, id="int8"),
        pytest.param(
            shallow(), SLOW, {"base_precision": "nf4", "checkpointing": "blocks"}, id="nf4", marks=NEEDS_NF4
        ),
        # Layers without an adapter keep no matrix either.
        pytest.param(
            shallow(),
            ONE_LAYER,
            {"base_precision": "int8", "checkpointing": "none"},
            id="few",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            shallow(fast_dim=512, fast_head_dim=32, norm_fastlayer_input=True, attention_qk_norm=False),
            ALL,
            {},
            id="narrow-fast",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            shallow(tie_word_embeddings=True, n_local_heads=16, num_codebooks=4),
            ONE_LAYER,
            {"checkpointing": "none"},
            id="tied-and-one-layer-of-two",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_prediction_is_within_ten_percent_of_torchs_own_accounting(
    config: Shape, preset: LoraPreset, options: dict[str, Any]
) -> None:
    setup = setup_of(config, preset, **options)
    profile = profile_of(setup)
    for batch, actual in zip(OFF_THE_LINE, peak(setup, *OFF_THE_LINE), strict=True):
        predicted = sum(profile.at(batch).values())
        print(f"{batch}: predicted {predicted:,}, torch {actual:,}: {predicted / actual - 1:+.1%}")
        assert predicted == pytest.approx(actual, rel=0.1)


LONG_CLIPS = [
    TrainingBatch(4000, 500, 3000),
    TrainingBatch(2000, 1000, 1500),
    TrainingBatch(10000, 1000, 7500),
    TrainingBatch(14000, 1400, 10500),
]


@pytest.mark.parametrize(
    ("config", "preset", "mode"),
    [
        pytest.param(shallow(), SLOW, "none", id="s1-slow-none", marks=pytest.mark.slow),
        pytest.param(shallow(), SLOW, "blocks", id="s1-slow-blocks", marks=pytest.mark.slow),
        pytest.param(shallow(), ALL, "selective", id="s1-all-selective", marks=pytest.mark.slow),
        pytest.param(shallow(), FULL, "blocks", id="s1-full-blocks", marks=pytest.mark.slow),
        pytest.param(shallow_s2(), SLOW, "blocks", id="s2-slow-blocks"),
        pytest.param(shallow_s2(), FAST, "selective", id="s2-fast-selective", marks=pytest.mark.slow),
    ],
)
def test_long_clips_in_float32_are_within_ten_percent(config: Shape, preset: LoraPreset, mode: str) -> None:
    setup = setup_of(config, preset, precision="float32", checkpointing=mode)
    profile = profile_of(setup)
    for batch, actual in zip(LONG_CLIPS, peak(setup, *LONG_CLIPS), strict=True):
        predicted = sum(profile.at(batch).values())
        print(f"{batch}: predicted {predicted:,}, torch {actual:,}: {predicted / actual - 1:+.1%}")
        assert predicted == pytest.approx(actual, rel=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_the_table_is_of_the_step_as_it_is(mode: str) -> None:
    batch = TrainingBatch(180, 60, 120)
    needs = TrainingNeeds(shape(), TrainOptions(checkpointing=mode), SLOW, longest=batch.longest)
    (actual,) = peak(needs.setup, batch)
    predicted = needs.predicted(batch.tokens, batch.frames).tensors
    assert predicted == pytest.approx(actual, rel=0.05), "make memory-table"


@pytest.mark.parametrize(
    ("clips", "seconds"), [pytest.param(1, 7.0, id="one-clip"), pytest.param(3, 9.0, id="several")]
)
def test_the_table_is_of_the_codec_as_it_is(clips: int, seconds: float) -> None:
    batch = EncodingBatch.of(codec(), clips, seconds)
    (actual,) = peak(EncodingSetup(codec(), clips > 1), batch)
    assert EncodingNeeds(codec()).predicted(batch).tensors == pytest.approx(actual, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers", [pytest.param([0, 0, 0, 0], id="no-transformer"), pytest.param([0, 1, 0, 1], id="early")]
)
def test_other_codecs_are_within_ten_percent(layers: list[int]) -> None:
    setup = EncodingSetup(codec(encoder_transformer_layers=layers), several=True)
    batches = [EncodingBatch.of(setup.codec, clips, seconds) for clips, seconds in ((2, 6.0), (5, 12.0))]
    profile = profile_of(setup)
    for batch, actual in zip(batches, peak(setup, *batches), strict=True):
        assert sum(profile.at(batch).values()) == pytest.approx(actual, rel=0.1)


def test_the_tables_are_within_ten_percent_where_they_were_checked() -> None:
    entries = [entry for table in profile_tables().values() for entry in table.entries]
    assert entries
    for entry in entries:
        assert len(entry.checks) >= 2
        for check in entry.checks:
            predicted = sum(entry.profile.at(check.of()).values())
            assert predicted == pytest.approx(check.bytes, rel=0.1), (entry.what, check)


def published_setups() -> Iterator[tuple[str, TrainingSetup]]:
    for model in preset_names("models"):
        _, config = base_model(Path(), model)
        large = model == "s2-pro"
        for name in preset_names("lora"):
            if large and name == "r_8_alpha_16":
                continue  # refused: it adapts the word embedding, which is tied
            quantised = get_args(BasePrecision) if large and name != "full" else ()
            for precision, base, mode, accumulation in itertools.product(
                ("bf16",) if large else get_args(Precision), (None, *quantised), MODES, (1, 2)
            ):
                options = {
                    "precision": precision,
                    "base_precision": base,
                    "checkpointing": mode,
                    "accumulation": accumulation,
                }
                yield f"{model} {name} {options}", setup_of(config, lora_preset(name), **options)


def test_the_tables_know_all_that_comes_with_fishtune_by_the_versions_of_the_constraints() -> None:
    known = {entry.setup for table in profile_tables().values() for entry in table.entries}
    missing = [what for what, setup in published_setups() if setup.fingerprint not in known]
    missing += [
        f"encoding {several}"
        for several in (False, True)
        if EncodingSetup(codec(), several).fingerprint not in known
    ]
    assert not missing, "make memory-table"
    constraints = (Path(__file__).parent.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for table in profile_tables().values():
        assert f"torch=={table.versions['torch']}" in constraints, "make memory-table"
        assert f"peft=={table.versions['peft']}" in constraints, "make memory-table"
    assert version("torch").startswith(table.versions["torch"])


@pytest.mark.parametrize(
    ("base", "tokens", "limit"),
    [
        (None, 2048, 11.5e9),
        (None, 4096, 13.5e9),
        ("int8", 2048, 8e9),
        ("int8", 4096, 8.5e9),
        ("nf4", 2048, 6e9),
        ("nf4", 4096, 6.5e9),
    ],
)
def test_s2_pro_is_trained_on_cards_that_people_have(
    base: BasePrecision | None, tokens: int, limit: float
) -> None:
    _, config = base_model(Path(), "s2-pro")
    options = TrainOptions(batch_tokens=tokens, base_precision=base)
    assert TrainingNeeds(config, options, SLOW, longest=2048).predicted(tokens).tensors < limit


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("preset", ["r_8_alpha_16", "r_64_alpha_64", "fast_r_16_alpha_16", "full"])
def test_at_the_true_shape_every_preset_is_within_ten_percent(preset: str, mode: str) -> None:
    batches = [
        TrainingBatch(256, 256, 192),
        TrainingBatch(2048, 512, 1536),
        TrainingBatch(16384, 2048, 12288),
    ]
    options = TrainOptions(checkpointing=mode, batch_tokens=16)
    for batch in batches:
        needs = TrainingNeeds(shape(), options, lora_preset(preset), longest=batch.longest)
        (actual,) = peak(replace(needs.setup, accumulated=preset != "full"), batch)
        assert needs.predicted(batch.tokens, batch.frames).tensors == pytest.approx(actual, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("clips", "seconds"), [(1, 190.0), (16, 10.0), (64, 10.0), (8, 60.0)])
def test_large_batches_of_extraction_are_within_ten_percent(clips: int, seconds: float) -> None:
    batch = EncodingBatch.of(codec(), clips, seconds)
    (actual,) = peak(EncodingSetup(codec(), clips > 1), batch)
    assert EncodingNeeds(codec()).predicted(batch).tensors == pytest.approx(actual, rel=0.1)


def test_storages_are_counted_once_while_they_live() -> None:
    kept = torch.empty(10, device="meta")
    accounting = Accounting({Part.WEIGHTS: [kept, kept[2:]]})
    with accounting:
        accounting.enter(Part.FAST)
        first = torch.empty(100, device="meta")
        halves = first[:50], first.view(10, 10)
        del first
        second = halves[1] + 1
        accounting.count(second, Part.GRADIENTS)
        del halves
        accounting.enter(Part.LOGITS)
        third = torch.empty(20, device="meta")
        assert torch.zeros(1000).sum() == 0, "what lies elsewhere is not counted"
    fast, logits = accounting.moments[Part.FAST], accounting.moments[Part.LOGITS]
    assert (fast[Part.WEIGHTS], fast[Part.FAST] + fast[Part.GRADIENTS]) == (40, 800)
    assert (logits[Part.GRADIENTS], logits[Part.LOGITS], logits[Part.FAST]) == (400, third.nbytes, 0)
    assert second.nbytes == 400


def test_shapes_that_are_remembered_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, setup = TrainingBatch(96, 32, 60), setup_of(shallow(), ALL)
    with_memory = training.training_accounting(setup)(batch)
    monkeypatch.setattr(
        "fishtune.core.hardware.memory.accounting._makes_new_tensors", lambda operation: False
    )
    assert training.training_accounting(setup)(batch) == with_memory


def test_what_is_computed_in_low_precision_is_what_autocast_chooses() -> None:
    small = shallow(dim=64, head_dim=32, intermediate_size=64, fast_dim=64, fast_intermediate_size=64)
    model = DualAR(small, 0, 9)
    for weight in model.parameters():
        nn.init.normal_(weight)

    def dtypes(device: str) -> list[torch.dtype]:
        seen: list[torch.dtype] = []
        hooks = [
            module.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
            for module in model.modules()
        ]
        tokens = torch.zeros(1, small.num_codebooks + 1, 8, dtype=torch.int64, device=device)
        hidden = model.slow(tokens)
        model.token_logits(hidden)
        model.fast_logits(model.fast_input(hidden[0]), tokens[0, 1:].T)
        for hook in hooks:
            hook.remove()
        return seen

    with torch.autocast("cpu", torch.bfloat16):
        chosen = dtypes("cpu")
    model.to("meta")
    with gpu_kernels(autocast=True):
        assert dtypes("meta") == chosen
    assert {torch.bfloat16, torch.float32} == set(chosen)


def test_weights_and_adapters_are_counted_exactly() -> None:
    setup = setup_of(shape(), SLOW)
    with torch.device("meta"):
        model = DualAR(shape(), 0, 1)
    parts = TrainingNeeds(shape(), TrainOptions(), SLOW, longest=512).predicted(8192).parts
    tables = model.rotary.nbytes + model.fast_rotary.nbytes + model.codebook_offsets.nbytes
    assert parts[Part.WEIGHTS] == 2 * sum(p.numel() for p in model.parameters()) + tables
    trained = sum(p.numel() for p in trainable_parameters(training._build(setup)).values())
    assert parts[Part.ADAPTERS] == parts[Part.GRADIENTS] == 4 * trained
    assert parts[Part.OPTIMIZER] == 8 * trained


def test_compiled_blocks_are_predicted_within_a_tenth_of_what_a_gpu_measured() -> None:
    kept = TrainOptions(checkpointing="none")
    needs = TrainingNeeds(shape(), kept, SLOW, longest=550, compiled=True)
    measured = 9.61 * GIB  # H200, 14 clips of 550 columns with 215 learnt frames each (docs/gpu.md)
    assert needs.predicted(14 * 550, 14 * 215).reserved == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        (SLOW, {"checkpointing": "blocks"}),
        (SLOW, {"checkpointing": "selective"}),
        (SLOW, {"checkpointing": "none", "precision": "float32"}),
        (DORA, {"checkpointing": "none"}),
    ],
)
def test_compiling_changes_no_prediction_where_it_is_not_known_to_keep_less(
    preset: LoraPreset, options: dict[str, Any]
) -> None:
    chosen = TrainOptions(**options)
    assert TrainingSetup.of(shape(), chosen, preset, compiled=True) == setup_of(shape(), preset, **options)


def test_parts_add_up_and_nothing_is_left_over() -> None:
    estimate = TrainingNeeds(shape(), TrainOptions(), SLOW).predicted(8192)
    assert estimate.total == sum(estimate.parts.values())
    assert estimate.total == estimate.tensors + CONTEXT_BYTES + estimate.parts[Part.RESERVE]
    assert estimate.parts[Part.WEIGHTS] == pytest.approx(2 * 860e6, rel=0.01)
    assert all(size >= 0 for size in estimate.parts.values())


def test_more_of_anything_never_needs_less() -> None:
    base = TrainingNeeds(shape(), TrainOptions(batch_tokens=4096), SLOW, longest=512)
    need = base.predicted(4096, 3072).total
    assert base.predicted(8192, 3072).total > need
    assert base.predicted(4096, 4096).total > need
    assert base.changed(lora_preset("r_64_alpha_64")).predicted(4096, 3072).total > need
    assert base.changed(checkpointing="none").predicted(4096, 3072).total > need
    assert base.changed(FULL).predicted(4096, 3072).total > need
    in_float32 = base.changed(precision="float32", checkpointing="none")
    longer = TrainingNeeds(shape(), in_float32.options, SLOW, longest=4096)
    assert longer.predicted(4096, 3072).total > in_float32.predicted(4096, 3072).total


def test_several_processes_hold_a_second_copy_of_their_gradients() -> None:
    alone = TrainingNeeds(shape(), TrainOptions(), FULL)
    together = alone.changed(devices=2)
    one, two = alone.predicted(8192), together.predicted(8192)
    assert two.parts[Part.GRADIENTS] - one.parts[Part.GRADIENTS] == one.parts[Part.OPTIMIZER] // 2
    assert two.tensors - one.tensors == one.parts[Part.OPTIMIZER] // 2


def test_a_correction_scales_what_comes_and_goes() -> None:
    estimate = TrainingNeeds(shape(), TrainOptions(), SLOW).predicted(8192)
    corrected = estimate.corrected(1.5)
    assert corrected.parts[Part.WEIGHTS] == estimate.parts[Part.WEIGHTS]
    assert corrected.varying == pytest.approx(1.5 * estimate.varying, rel=1e-6)
