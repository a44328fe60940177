"""Overfit and reproduce: what is trained is what is merged is what generates.

A tiny random base is trained on a few clips until it knows them by heart, merged, and asked for them again.
This fails if training, generation or merging disagree anywhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fishtune.core.config.presets import preset_names
from fishtune.core.config.settings import MergeSettings
from fishtune.core.events import Step
from fishtune.core.lora.library import peft
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.prompts import S1Prompts
from fishtune.core.model.families.s1.sampling import S1Rule
from fishtune.core.model.generate import generate
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.train.run import TrainResult, run

from .recorder import Recorder
from .training_kit import short_preflight, small_base, train_settings, write_shards  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("short_preflight")

CLIPS = {"ANN": [14, 9, 12]}
ALIKE = {"gentle", "r_32_alpha_32", "r_64_alpha_64", "slow_r_8_alpha_16"}
"""Presets that train the same layers as `r_16_alpha_16`."""


def greedy(model: DualAR, base: Path, text: str, frames: int) -> torch.Tensor:
    """Return the codes `(K, frames)` that the model says `text` with, without any reference."""
    tokenizer = S1().tokenizer(base)
    prompt = torch.from_numpy(S1Prompts(tokenizer, model.config.num_codebooks).prompt([], text))
    return generate(
        model,
        prompt,
        S1Rule(replace(S1.sampling, greedy=True)),
        end_id=tokenizer.end_id,
        max_new_tokens=frames,
        residual_codebook_size=model.config.codebook_size,
    ).codes


def merged_model(result: TrainResult, base: Path, output: Path) -> DualAR:
    merge(MergeSettings(base_weight=base, lora_weight=result.checkpoint, output=output), Recorder())
    return load_model(output, torch.float32)


@pytest.mark.parametrize(
    ("preset", "rate"),
    [("r_8_alpha_16", 2e-2), pytest.param("full", 5e-3, marks=pytest.mark.slow)],
)
def test_clips_known_by_heart_come_back_from_the_merged_weights(
    small_base: Path,  # noqa: F811
    tmp_path: Path,
    preset: str,
    rate: float,
) -> None:
    protos = write_shards(tmp_path / "protos", CLIPS)
    recorder = Recorder()
    settings = train_settings(
        tmp_path,
        small_base,
        protos,
        lora_config=preset,
        learning_rate=rate,
        max_steps=120,
        schedule="cosine",
        batch_tokens=256,
        held_out=0,
        reference_probability=0.0,
        checkpointing="none",
        checkpoint_every=1000,
    )
    result = run(settings, recorder)
    assert recorder.of(Step)[-1].loss < 0.1, "the clips are not known by heart yet"

    model = merged_model(result, small_base, tmp_path / "merged")
    index = ShardIndex.open(protos)
    same = total = 0
    for clip in range(len(index)):
        sentence = index.read(clip)
        codes = greedy(model, small_base, sentence.texts[0], sentence.codes.shape[1] + 5).numpy()
        frames = min(codes.shape[1], sentence.codes.shape[1])
        assert codes.shape[1] == sentence.codes.shape[1], "the clip does not end where it ended"
        same += int((codes[:, :frames] == sentence.codes[:, :frames]).sum())
        total += sentence.codes.size
    assert same >= 0.99 * total


def teacher_forced(model: DualAR, base: Path, text: str, codes: torch.Tensor) -> torch.Tensor:
    """Return the codes that the training forward finds most probable along a path of codes."""
    tokenizer = S1().tokenizer(base)
    prompt = torch.from_numpy(S1Prompts(tokenizer, model.config.num_codebooks).prompt([], text))
    path = torch.cat([codes[:1] + model.semantic_begin_id, codes])
    columns = torch.cat([prompt, path], dim=1)
    with torch.no_grad():
        hidden = model.slow(columns[None])[0, prompt.shape[1] - 1 : -1]
        first = model.token_logits(hidden).argmax(-1) - model.semantic_begin_id
        others = model.fast_logits(model.fast_input(hidden), codes.T).argmax(-1)[:, 1:]
    return torch.cat([first[None], others.T])


@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in preset_names("lora")],
)
def test_adapter_merged_weights_and_training_forward_agree_code_for_code(
    small_base: Path,  # noqa: F811
    tmp_path: Path,
    preset: str,
) -> None:
    protos = write_shards(tmp_path / "protos", CLIPS)
    settings = train_settings(
        tmp_path,
        small_base,
        protos,
        lora_config=preset,
        learning_rate=1e-2,
        max_steps=8,
        batch_tokens=256,
        semantic_loss_weight=1.0,
        held_out=0,
        checkpointing="none",
        checkpoint_every=1000,
    )
    result = run(settings, Recorder())
    merged = merged_model(result, small_base, tmp_path / "merged")
    trained = load_model(small_base, torch.float32)
    if result.adapter is None:
        state = torch.load(result.checkpoint, weights_only=True)["state_dict"]
        trained.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    else:
        trained = peft.PeftModel.from_pretrained(trained, str(result.adapter)).get_base_model()
    trained.eval()
    plain = load_model(small_base, torch.float32)
    text = ShardIndex.open(protos).read(0).texts[0]
    with torch.no_grad():
        # Only frames count: let no model end early or leave the semantic tokens.
        for model in (trained, merged, plain):
            head = model.output.get_base_layer() if hasattr(model.output, "get_base_layer") else model.output
            bias = torch.full((model.config.vocab_size,), -1e4)
            bias[model.semantic_begin_id : model.semantic_end_id + 1] = 0
            head.bias = torch.nn.Parameter(bias)
    codes = greedy(trained, small_base, text, 20)
    assert codes.shape == (10, 20)
    assert torch.equal(greedy(merged, small_base, text, 20), codes)
    assert torch.equal(teacher_forced(trained, small_base, text, codes), codes)
    assert torch.equal(teacher_forced(merged, small_base, text, codes), codes)
    assert not torch.equal(greedy(plain, small_base, text, 20), codes), "training changed nothing"
