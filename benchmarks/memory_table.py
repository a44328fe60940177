"""Makes presets/memory: what every preset needs of memory with the published models, accounted by torch.

    make memory-table                                   a few minutes on two cores, then docs/memory.md
    python benchmarks/memory_table.py                   the tables alone
    python benchmarks/memory_table.py NAME …            those of some models or codecs

To be run after a change of the model, the adapters, the loss or the codec, of a preset, or of torch and peft.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import get_args

from fishtune.core.codec.config import CodecConfig
from fishtune.core.config.presets import lora_preset, model_preset, preset_names, read_preset
from fishtune.core.config.settings import BasePrecision, Checkpointing, TrainOptions
from fishtune.core.errors import SettingsError
from fishtune.core.files import write_text
from fishtune.core.hardware.memory.profile import Profile
from fishtune.core.hardware.memory.profiles import versions
from fishtune.core.hardware.memory.setups import (
    Batch,
    EncodingBatch,
    EncodingSetup,
    Precision,
    Setup,
    TrainingBatch,
    TrainingSetup,
)
from fishtune.core.model.families import family_of_config
from fishtune.core.model.shape import Shape
from fishtune.core.model.targets import refuse_tied_embedding
from fishtune.core.stages.accounting import accounting_of, batches_of

FOLDER = Path(__file__).parent.parent / "presets" / "memory"
TRAINING_CHECKS = [
    TrainingBatch(600, 300, 450),
    TrainingBatch(2048, 2048, 1024),
    TrainingBatch(6144, 1024, 4608),
]
"""Tokens, longest sample and frames that no profile is made from."""
PRODUCTS_CHECKS = [TrainingBatch(16000, 1000, 12000)]
"""In float32, where attention keeps all products of queries and keys: clips of ordinary length too."""
LARGE = 50_000
"""Channels of all layers together from which on a model is large: S1-mini has 28,672, S2-Pro 92,160."""
CLIP_CHECKS = {False: [(1, 9.0), (1, 190.0)], True: [(3, 9.0), (32, 5.0), (4, 60.0)]}
"""Clips and seconds, of batches of one clip and of several."""


def training_setups(config: Shape) -> Iterator[tuple[str, TrainingSetup]]:
    """Yield every set-up that presets, precisions, checkpointing and compiling make, in words and once.

    Of a large model, those in bfloat16, the base quantised or not; of a small one the base as it is. What
    training refuses is left out.
    """
    is_large = config.dim * config.n_layer >= LARGE
    seen = set()
    for name, precision, base, checkpointing, compiled, accumulation in itertools.product(
        preset_names("lora"),
        ("bf16",) if is_large else get_args(Precision),
        (None, *get_args(BasePrecision)) if is_large else (None,),
        get_args(Checkpointing),
        (False, True),
        (1, 2),
    ):
        options = TrainOptions(
            precision=precision, base_precision=base, checkpointing=checkpointing, accumulation=accumulation
        )
        try:
            refuse_tied_embedding(lora_preset(name).targets, config)
            setup = TrainingSetup.of(config, options, lora_preset(name), compiled=compiled)
        except SettingsError:
            continue
        if setup not in seen:
            seen.add(setup)
            over = f", base {base}" if base else ""
            accumulated = ", accumulated" if accumulation > 1 else ""
            how = ", compiled" if setup.compiled else ""
            yield f"{name}, {precision}{over}, checkpointing {checkpointing}{how}{accumulated}", setup


def tables(names: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, Setup, list[Batch]]]]]:
    """Yield each table's name and its set-ups, in words and with batches to check them by."""
    models = {name: model_preset(name) for name in preset_names("models")}
    for name, preset in models.items():
        if preset.config and (not names or name in names):
            config = family_of_config(preset.config, name).read_shape(preset.config, name)
            yield name, [(what, setup, _checks(setup)) for what, setup in training_setups(config)]
    for name in {preset.codec: None for preset in models.values()}:
        if not names or name in names:
            codec = CodecConfig.model_validate(read_preset("codec", name))
            yield (
                name,
                [
                    (
                        "several clips" if several else "one clip",
                        EncodingSetup(codec, several),
                        [EncodingBatch.of(codec, *clips) for clips in CLIP_CHECKS[several]],
                    )
                    for several in (False, True)
                ],
            )


def _checks(setup: TrainingSetup) -> list[Batch]:
    return [*TRAINING_CHECKS, *(PRODUCTS_CHECKS if setup.precision == "float32" else [])]


def account(setup: Setup, checks: list[Batch]) -> tuple[Profile, list[int]]:
    """Return the profile of a set-up, and the peaks at `checks`."""
    measure = accounting_of(setup)
    profile = Profile.of({batch: measure(batch) for batch in batches_of(setup)}, setup.line(), setup.probes())
    return profile, [max(sum(parts.values()) for parts in measure(batch).values()) for batch in checks]


def entry(what: str, setup: Setup, profile: Profile, checks: list[tuple[Batch, int]]) -> str:
    """Return an entry of a table as TOML; lists and strings are written as in JSON."""
    lines = [
        "[[entries]]",
        f"what = {json.dumps(what)}",
        f"setup = {json.dumps(setup.fingerprint)}",
        "checks = [",
        *(f"    {{ batch = {json.dumps(list(batch))}, bytes = {peak} }}," for batch, peak in checks),
        "]",
        "[entries.profile]",
        f"sizes = {json.dumps(profile.sizes)}",
    ]
    for phase, parts in profile.phases.items():
        lines.append(f'[entries.profile.phases."{phase}"]')
        for part, growth in parts.items():
            slopes = [float(f"{slope:.6g}") + 0.0 for slope in growth.slopes]
            lines.append(f'"{part}" = {{ line = {json.dumps(growth.line)}, slopes = {json.dumps(slopes)} }}')
    return "\n".join(lines)


def main() -> None:
    """Write the tables that the command line names, or all."""
    # Spawned, since torch is loaded in each; one thread each, since nothing is computed.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for name, wanted in tables(sys.argv[1:]):
            text = [
                "# Made by benchmarks/memory_table.py: bytes, as torch allocates them (docs/memory.md).",
                "",
            ]
            text += ["[versions]", *(f"{key} = {json.dumps(value)}" for key, value in versions().items())]
            found = pool.map(account, *zip(*((setup, checks) for _, setup, checks in wanted), strict=True))
            for (what, setup, checks), (profile, peaks) in zip(wanted, found, strict=True):
                text += ["", entry(what, setup, profile, list(zip(checks, peaks, strict=True)))]
                worst = max(
                    abs(sum(profile.at(batch).values()) / peak - 1)
                    for batch, peak in zip(checks, peaks, strict=True)
                )
                print(f"{name}: {what}, within {worst:.1%} at what was checked", flush=True)
            write_text(FOLDER / f"{name}.toml", "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
