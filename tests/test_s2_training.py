"""Training an S2 base: the same proofs as for S1, and samples in both forms that engines use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fishtune.core.config.settings import MergeSettings
from fishtune.core.errors import SettingsError
from fishtune.core.events import Reporter, Step
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.train.data import load_data
from fishtune.core.stages.train.run import TrainResult, run

from .recorder import Recorder
from .s2_kit import random_base
from .test_s2_family import run as generated
from .training_kit import train_settings, write_shards

SPEAKERS = {"ANN": [14, 9, 12]}


def structured(folder: Path, texts: dict[str, int], seed: int) -> Path:
    """Pack clips of given texts and frames, whose residual codes follow from the first one.

    Only so can a run that trains the slow stack alone learn them by heart.
    """
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    factors = 2 * np.arange(10)[:, None] + 1
    with ShardWriter(folder) as writer:
        for text, frames in texts.items():
            codes = (draw.integers(0, 64, (1, frames)) * factors + np.arange(10)[:, None]) % 64
            writer.add("ANN", encode_sentence(Sentence((text,), codes)))
    return folder


def trained(
    folder: Path, base: Path, protos: Path, preset: str, rate: float, steps: int, reporter: Reporter
) -> TrainResult:
    settings = train_settings(
        folder, base, protos, lora_config=preset, learning_rate=rate, max_steps=steps, schedule="cosine",
        batch_tokens=1024, held_out=0, reference_probability=0.0, checkpointing="none", checkpoint_every=1000,
    )  # fmt: skip
    return run(settings, reporter)


@pytest.fixture(scope="module")
def learnt_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny S2 that knows which residual codes go with a first one, as every published model does."""
    folder = tmp_path_factory.mktemp("s2")
    base = random_base(folder / "random")
    texts = {f"sentence {number}": 24 for number in range(24)}
    result = trained(folder, base, structured(folder / "protos", texts, 0), "full", 1e-2, 150, Recorder())
    output = folder / "learnt"
    merge(MergeSettings(base_weight=base, lora_weight=result.checkpoint, output=output), Recorder())
    return output


@pytest.mark.parametrize(
    ("preset", "rate"), [("r_16_alpha_16", 2e-2), ("fast_r_16_alpha_16", 2e-2), ("full", 5e-3)]
)
def test_clips_known_by_heart_come_back_from_the_merged_weights(
    learnt_base: Path, tmp_path: Path, preset: str, rate: float
) -> None:
    texts = {"ann says the thing": 14, "the other thing": 9, "and nothing else": 12}
    protos = structured(tmp_path / "protos", texts, 1)
    recorder = Recorder()
    result = trained(tmp_path, learnt_base, protos, preset, rate, 150, recorder)
    assert recorder.of(Step)[-1].loss < 0.1, "the clips are not known by heart yet"
    output = tmp_path / "merged"
    merge(MergeSettings(base_weight=learnt_base, lora_weight=result.checkpoint, output=output), Recorder())

    model, base, index = (
        load_model(output, torch.float32),
        ModelDirectory.open(output),
        ShardIndex.open(protos),
    )
    same = total = 0
    for clip in range(len(index)):
        sentence = index.read(clip)
        for text in (sentence.texts[0], f"<|speaker:0|>{sentence.texts[0]}"):
            prompt = base.prompts.prompt([], text)
            generation = generated(model, base, prompt, sentence.codes.shape[1] + 5)
            assert generation.ended
            assert generation.codes.shape == sentence.codes.shape, "the clip does not end where it ended"
            same += int((generation.codes.numpy() == sentence.codes).sum())
            total += sentence.codes.size
    assert same >= 0.99 * total


def test_every_clip_is_trained_with_and_without_a_mark_in_turn(tmp_path: Path) -> None:
    base = random_base(tmp_path / "base")
    protos = write_shards(tmp_path / "protos", SPEAKERS)
    settings = train_settings(tmp_path, base, protos, held_out=0, batch_tokens=512)
    data = load_data(settings, ModelDirectory.open(base), Recorder())
    sampler = data.sampler(512, 1, 0)
    seen: dict[int, list[int]] = {}
    for epoch in range(4):
        for plan in sampler.epoch(epoch):
            rows = data.source.batch(plan).tokens[:, 0].numpy()
            for clip, reference, row in zip(plan.clips.tolist(), plan.references.tolist(), rows, strict=True):
                forms = [data.source.sequence(clip, reference, variant).tokens[0] for variant in range(2)]
                fitting = [
                    variant
                    for variant, form in enumerate(forms)
                    if np.array_equal(row[: len(form)], form) and not row[len(form) :].any()
                ]
                seen.setdefault(clip, []).extend(fitting)
    assert len(seen) == 3
    assert all(variants in ([0, 1] * 2, [1, 0] * 2) for variants in seen.values())
    assert {variants[0] for variants in seen.values()} == {0, 1}


def test_a_preset_for_the_tied_embedding_is_refused_with_the_reason(tmp_path: Path) -> None:
    base, protos = random_base(tmp_path / "base"), write_shards(tmp_path / "protos", SPEAKERS)
    settings = train_settings(tmp_path, base, protos, lora_config="r_8_alpha_16", held_out=0)
    with pytest.raises(SettingsError, match="output head too") as caught:
        run(settings, Recorder())
    assert "r_16_alpha_16" in caught.value.hint
