"""Training an S2 base: the same proofs as for S1, and samples in both forms that engines use."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fishtune.core.config.settings import (
    AuditionSettings,
    ExtractSettings,
    MergeSettings,
    PackSettings,
    SynthSettings,
    VerifySettings,
)
from fishtune.core.demo.checkpoint import write_checkpoint
from fishtune.core.errors import DataError, SettingsError
from fishtune.core.events import Reporter, Step, Warned
from fishtune.core.judge.results import TextSource
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.families.s2 import S2
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.stages.audition.run import run as audition
from fishtune.core.stages.extract.run import run as extract
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.synth.run import run as synth
from fishtune.core.stages.train.data import load_data
from fishtune.core.stages.train.run import TrainResult, run
from fishtune.core.stages.verify.run import run as verify

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
    texts = {f"sentence {number}": 24 for number in range(12)}
    result = trained(folder, base, structured(folder / "protos", texts, 0), "full", 1e-2, 100, Recorder())
    output = folder / "learnt"
    merge(MergeSettings(base_weight=base, lora_weight=result.checkpoint, output=output), Recorder())
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "rate"),
    [
        ("r_16_alpha_16", 2e-2),
        ("fast_r_16_alpha_16", 2e-2),
        ("full", 5e-3),
    ],
)
def test_clips_known_by_heart_come_back_from_the_merged_weights(
    learnt_base: Path, tmp_path: Path, preset: str, rate: float
) -> None:
    texts = {"ann says the thing": 14, "the other thing": 9, "and nothing else": 12}
    protos = structured(tmp_path / "protos", texts, 1)
    recorder = Recorder()
    result = trained(tmp_path, learnt_base, protos, preset, rate, 100, recorder)
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


@pytest.fixture(scope="session")
def s2_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny S2 base, random, in several shards (read only)."""
    directory = tmp_path_factory.mktemp("base") / "s2-tiny"
    write_checkpoint(directory, shape="s2-tiny")
    return directory


def test_a_random_checkpoint_has_the_published_files_and_names(s2_tiny: Path, golden_s2: Path) -> None:
    files = {path.name for path in s2_tiny.iterdir() if not path.name.startswith("model-")}
    assert files == {name for name in S2.files if not name.startswith("model-")} | {"codec_config.json"}
    model = load_model(s2_tiny)
    assert model.config.tie_word_embeddings and model.config.norm_fastlayer_input
    published = json.loads((golden_s2 / "published_index.json").read_text(encoding="utf-8"))["weight_map"]
    ours = json.loads((s2_tiny / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
    assert set(ours) == {name for name in published if _layer(name) < (2 if "audio" in name else 4)}
    tokenizer = ModelDirectory.open(s2_tiny).tokenizer
    assert tokenizer.encode("The <|im_end|>")[-1] == tokenizer.end_id


def _layer(name: str) -> int:
    found = re.search(r"layers\.(\d+)\.", name)
    return int(found[1]) if found else 0


def test_the_whole_chain_from_codes_that_were_made_for_s1(
    s2_tiny: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(s2_tiny, tmp_path / "base")
    shutil.copy(tiny_checkpoint / "codec.pth", base)
    data, reporter = tmp_path / "data/ANNA", Recorder()
    data.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(4):
        noise = draw.normal(0, 0.1, 44_100 // 2 + 9000 * number).astype(np.float32)
        soundfile.write(data / f"{number}.wav", noise, 44_100)
        (data / f"{number}.lab").write_text(f"This is [laugh] number {number}.")
    extracted = [
        extract(ExtractSettings(data=data.parent, checkpoint_path=codec, device="cpu"), reporter)
        for codec in (tiny_checkpoint / "codec.pth", base / "codec.pth")
    ]
    assert [result.encoded for result in extracted] == [4, 0]
    protos = tmp_path / "protos"
    pack(PackSettings(input=data.parent, output=protos), reporter)
    settings = train_settings(
        tmp_path, base, protos, max_steps=3, validate_every=3, checkpoint_every=3, held_out=0.25,
        batch_tokens=512, lora_config="r_16_alpha_16", reference_probability=1.0, learning_rate=0.05,
    )  # fmt: skip
    trained = run(settings, reporter)
    gate = [event for event in reporter.of(Warned) if "Preflight" in event.message]
    assert not gate
    output = tmp_path / "merged"
    merged = merge(MergeSettings(base_weight=base, lora_weight=trained.checkpoint, output=output), reporter)
    assert merged.verification.arithmetic.relative_difference < 1e-4
    assert {path.name for path in output.iterdir()} == {path.name for path in base.iterdir()} | {"NOTICE"}
    assert verify(VerifySettings(directory=output), Reporter()).tensors > 50
    spoken = synth(
        SynthSettings(
            checkpoint=output, text="<|speaker:0|>Say it.<|speaker:1|>And that.", out=tmp_path / "a.wav",
            ref_codes=data / "0.npy", ref_text="This is 0.", codes_out=tmp_path / "a.npy", max_new_tokens=6,
            device="cpu", seed=1, top_k=5, repetition_penalty=1.2,
        ),
        reporter,
    )  # fmt: skip
    assert np.load(tmp_path / "a.npy").shape == (10, spoken.frames)
    assert any("has no repetition penalty" in event.message for event in reporter.of(Warned))
    heard = audition(
        AuditionSettings(checkpoint=trained.checkpoint, texts=["Hear me."], device="cpu"), reporter
    )
    assert [each.text for each in heard.texts if each.source is TextSource.GIVEN] == ["Hear me."]
    with pytest.raises(DataError, match=r"holds <think>, which steers the model"):
        synth(SynthSettings(checkpoint=output, text="Say <think>.", out=tmp_path / "b.wav"), reporter)


def test_turns_beyond_a_part_are_spoken_after_those_before_them(s2_tiny: Path, tmp_path: Path) -> None:
    text = "".join(f"<|speaker:{number % 2}|>Turn {number}." for number in range(7))

    def spoken(words: str, name: str) -> np.ndarray:
        settings = SynthSettings(
            checkpoint=s2_tiny, text=words, out=tmp_path / "a.wav", codes_out=tmp_path / name,
            max_new_tokens=5, device="cpu", greedy=True, overwrite=True,
        )  # fmt: skip
        synth(settings, Reporter())
        return np.load(tmp_path / name)

    first_part = "".join(f"<|speaker:{number % 2}|>Turn {number}." for number in range(5))
    whole, first = spoken(text, "whole.npy"), spoken(first_part, "first.npy")
    assert whole.shape[1] > first.shape[1]
    np.testing.assert_array_equal(whole[:, : first.shape[1]], first)
