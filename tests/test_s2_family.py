"""The S2 family: the reference's numbers, its tokens and prompts, and directories that it does not have."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.errors import CheckpointError, DataError
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families import base_model, family_of
from fishtune.core.model.families.drawing import draw_probabilities
from fishtune.core.model.families.s2 import S2
from fishtune.core.model.families.s2.names import own_name, published_name
from fishtune.core.model.families.s2.prompts import S2Prompts
from fishtune.core.model.families.s2.sampling import S2Rule
from fishtune.core.model.families.s2.tokenizer import S2Tokenizer
from fishtune.core.model.generate import Generation, Request, generate, generate_all
from fishtune.core.model.rows import recent_frames
from fishtune.core.stages.train.loss import Losses, loss_sums
from fishtune.core.text.prompts import Turn
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from .s2_kit import GOLDEN_S2, random_base, random_model, whole_base, with_values, without

GREEDY = replace(S2.sampling, greedy=True)
PUBLISHED = "FISHTUNE_S2_TOKENIZER"
"""Variable that names the `tokenizer.json` of S2-Pro, 12 MB, which does not lie here."""


def opened(directory: Path = GOLDEN_S2 / "base") -> ModelDirectory:
    return ModelDirectory.open(directory)


def losses_of(model: DualAR, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what the reference tells of a sequence `(1, K+1, T)`, by its names."""
    labels = labels[0]
    with torch.no_grad():
        hidden = model.slow(inputs)[0]
        tokens = model.token_logits(hidden)
        semantic = model.is_semantic(labels[0])
        codes = labels[1:, semantic].T
        logits = model.fast_logits(model.fast_input(hidden)[semantic], codes)
    return {
        "token_logits": tokens,
        "fast_input": model.fast_input(hidden).detach(),
        "codebook_logits": logits,
        "base_loss": F.cross_entropy(tokens, labels[0]),
        "semantic_loss": F.cross_entropy(logits.flatten(0, 1), codes.flatten()),
    }


def test_logits_and_losses_are_those_of_the_reference(golden_s2: Path) -> None:
    reference = np.load(golden_s2 / "dual_ar.npz")
    inputs, labels = (torch.from_numpy(reference[name]) for name in ("inputs", "labels"))
    for name, value in losses_of(load_model(golden_s2 / "base"), inputs, labels).items():
        torch.testing.assert_close(value, torch.from_numpy(reference[name]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("prefix", ["", "noscale_", "batch_"])
@torch.no_grad()
def test_losses_and_accuracy_of_training_are_those_of_the_reference(golden_s2: Path, prefix: str) -> None:
    model = load_model(golden_s2 / "base")
    if prefix == "noscale_":  # what the reference's training computes, and ours never does
        model.config = replace(model.config, scale_codebook_embeddings=False)
    reference = np.load(golden_s2 / "dual_ar.npz")
    part = prefix.replace("noscale_", "")
    inputs, labels = (torch.from_numpy(reference[f"{part}{name}"]) for name in ("inputs", "labels"))
    found = Losses.of(loss_sums(model, inputs, labels).detached())
    assert found.base == pytest.approx(float(reference[f"{prefix}base_loss"]), abs=1e-4)
    assert found.semantic == pytest.approx(float(reference[f"{prefix}semantic_loss"]), abs=1e-4)
    assert found.top_5_accuracy == pytest.approx(float(reference[f"{prefix}top_5_accuracy"]), abs=1e-6)


def test_token_ids_are_those_of_the_reference(golden_s2: Path) -> None:
    tokenizer = S2Tokenizer.read(golden_s2 / "base/tokenizer.json")
    reference = json.loads((golden_s2 / "token_ids.json").read_text(encoding="utf-8"))
    for case in reference["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]
    for token, number in reference["special"].items():
        assert tokenizer.token_id(token) == number
    assert tokenizer.semantic_begin_id == reference["semantic_begin_id"]
    assert tokenizer.semantic_end_id == reference["semantic_end_id"]
    assert tokenizer.size == reference["ids"]


@pytest.mark.skipif(PUBLISHED not in os.environ, reason=f"{PUBLISHED} names no tokenizer.json of S2-Pro")
def test_token_ids_of_the_published_tokenizer_are_those_of_the_reference(golden_s2: Path) -> None:
    tokenizer = S2Tokenizer.read(Path(os.environ[PUBLISHED]))
    reference = json.loads((golden_s2 / "published_token_ids.json").read_text(encoding="utf-8"))
    for case in reference["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]
    for token, number in reference["special"].items():
        assert tokenizer.token_id(token) == number
    assert (tokenizer.semantic_begin_id, tokenizer.semantic_end_id) == (151_678, 155_773)


@pytest.fixture(scope="module")
def reference() -> Any:
    return np.load(GOLDEN_S2 / "generate.npz")


CASES = json.loads((GOLDEN_S2 / "generate.json").read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_prompts_and_greedy_generation_are_those_of_the_reference(reference: Any, number: int) -> None:
    case, base = CASES[number], opened()
    prompts = base.prompts
    assert isinstance(prompts, S2Prompts)
    references = [
        Turn(text, reference[f"case{number}_ref{place}"])
        for place, (text, _) in enumerate(case["references"])
    ]
    model = load_model(base.path)
    parts = prompts.parts(case["text"], case.get("chunk_length", 300))
    assert len(parts) == case["batches"]
    spoken: list[Turn] = []
    for part, (text, ended) in enumerate(zip(parts, case["ended"], strict=True)):
        prompt = prompts.prompt(references, text, spoken)
        np.testing.assert_array_equal(prompt, reference[f"case{number}_prompt{part}"])
        generation = run(model, base, prompt, case["max_new_tokens"])
        expected = reference[f"case{number}_sequence{part}"][:, prompt.shape[1] :]
        assert generation.ended == ended
        np.testing.assert_array_equal(generation.tokens, expected[:, :-1] if ended else expected)
        spoken.append(Turn(text, generation.codes.numpy()))


def run(
    model: DualAR, base: ModelDirectory, prompt: np.ndarray, frames: int, seed: int = 0, **changes: Any
) -> Generation:
    return generate(
        model,
        torch.from_numpy(prompt),
        base.rule(replace(GREEDY, **changes)),
        seed=seed,
        end_id=base.tokenizer.end_id,
        max_new_tokens=frames,
        residual_codebook_size=base.shape.codebook_size,
    )


def test_training_sequences_are_those_of_the_reference(golden_s2: Path) -> None:
    expected, prompts = np.load(golden_s2 / "training_sequences.npz"), opened().prompts
    references = [Turn("hello world", expected["ref0"]), Turn("goodbye", expected["ref1"])]
    target = Turn("<|speaker:0|>the quick brown fox", expected["codes"])
    for count, name in enumerate(("without", "one", "two")):
        sequence = prompts.training_sequence("inference", references[:count], target)
        np.testing.assert_array_equal(sequence.tokens, expected[f"{name}_tokens"])
        np.testing.assert_array_equal(sequence.labels, expected[f"{name}_labels"])
        prompt = prompts.prompt(references[:count], target.text)
        np.testing.assert_array_equal(prompt, expected[f"{name}_prompt"])


def test_legacy_sequence_is_that_of_the_reference(golden_s2: Path) -> None:
    expected = np.load(golden_s2 / "reference_prompt.npz")
    target = Turn("hello world, goodbye world!", expected["codes"])
    sequence = opened().prompts.training_sequence("legacy", [], target)
    np.testing.assert_array_equal(sequence.tokens, expected["tokens"])
    np.testing.assert_array_equal(sequence.labels, expected["labels"])


def test_sampling_probabilities_are_those_of_the_reference(golden_s2: Path) -> None:
    expected = np.load(golden_s2 / "sampling.npz")
    cases = json.loads((golden_s2 / "sampling.json").read_text(encoding="utf-8"))["cases"]
    for number, case in enumerate(cases):
        found = draw_probabilities(torch.from_numpy(expected[f"logits{number}"]), **case)
        torch.testing.assert_close(found, torch.from_numpy(expected[f"probs{number}"]), atol=1e-6, rtol=0)


def unrepeated(normal: int, hot: int, tokens: Sequence[int]) -> int:
    """Return what the rule takes after frames of these tokens, the first frame of the text among them."""
    rule = S2Rule(S2.sampling, opened().tokenizer)
    frames = torch.tensor([*tokens, 0])[None, :, None].expand(1, -1, 11)
    recent = recent_frames(frames, torch.tensor([len(tokens)]), rule.window)
    return int(rule.unrepeated(torch.tensor([normal]), torch.tensor([hot]), recent))


def test_a_repeated_token_is_drawn_again_as_in_the_reference(golden_s2: Path) -> None:
    for case in json.loads((golden_s2 / "sampling.json").read_text(encoding="utf-8"))["repetition"]:
        tokens = [] if case["window"] is None else [500, *case["window"]]
        assert unrepeated(case["normal"], case["high"], tokens) == case["chosen"]


def test_the_first_frame_and_those_long_ago_do_not_count_as_repeated() -> None:
    others = list(range(471, 480))
    assert unrepeated(480, 490, []) == 480
    assert unrepeated(480, 490, [480, *others[:3]]) == 480
    assert unrepeated(480, 490, [others[0], 480, *others]) == 490
    assert unrepeated(480, 490, [others[0], 480, *others, others[0]]) == 480


def test_only_semantic_tokens_and_the_end_are_drawn() -> None:
    base = opened()
    tokenizer = base.tokenizer
    allowed = {tokenizer.end_id, *range(tokenizer.semantic_begin_id, tokenizer.semantic_end_id + 1)}
    logits = torch.zeros(1, base.shape.vocab_size)
    logits[0, 5] = 50
    rows = len(allowed)
    none = recent_frames(torch.zeros(rows, 1, 11).long(), torch.zeros(rows).long(), 10)
    random = (torch.arange(rows, dtype=torch.float64)[:, None].expand(-1, 2) + 0.5) / rows
    flat = replace(S2.sampling, top_p=1.0, top_k=None)
    drawn = base.rule(flat).token(logits.expand(rows, -1), random, none)
    assert set(drawn.tolist()) == allowed  # numbers that are spread evenly draw each of them once
    assert int(base.rule(GREEDY).token(logits, random[:1], none)) in allowed


def test_a_text_gets_in_a_batch_what_it_gets_alone() -> None:
    base = opened()
    model = load_model(base.path)
    prompts = [base.prompts.prompt([], text) for text in ("hello", "goodbye world", "the quick brown fox")]
    found = generate_all(
        model,
        [Request(torch.from_numpy(prompt), seed, 14 - seed) for seed, prompt in enumerate(prompts)],
        base.rule(S2.sampling),
        end_id=base.tokenizer.end_id,
        residual_codebook_size=base.shape.codebook_size,
        rows=2,
    )
    for seed, prompt in enumerate(prompts):
        alone = run(model, base, prompt, 14 - seed, seed, greedy=False)
        assert alone.tokens.equal(found[seed].tokens) and alone.ended == found[seed].ended


def test_a_seed_repeats_a_drawing_and_another_changes_it() -> None:
    base = opened()
    model, prompt = load_model(base.path), base.prompts.prompt([], "hello")
    first, again, other = (run(model, base, prompt, 12, greedy=False, seed=seed).tokens for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize(
    "text",
    [
        *json.loads((GOLDEN_S2 / "token_ids.json").read_text(encoding="utf-8"))["special"],
        "<|semantic:3|>",
        "<|semantic:9999|>",
        "<|speaker:user|>",
        "<|unknown|>",
        "<|im\u200b_end|>",
    ],
)
def test_control_tokens_in_a_text_are_refused(text: str) -> None:
    prompts, codes = opened().prompts, np.zeros((10, 3), int)
    shown = text.replace("\u200b", "")
    for build in (
        lambda: prompts.prompt([], f"hello {text} world"),
        lambda: prompts.prompt([Turn(f"hello {text}", codes)], "world"),
        lambda: prompts.prompt([], "world", [Turn(text, codes)]),
        lambda: prompts.training_sequence("inference", [], Turn(f"{text}hello", codes)),
    ):
        with pytest.raises(DataError) as caught:
            build()
        assert f"holds {shown}, which steers the model" in caught.value.message


def test_speaker_marks_and_tags_are_plain_text() -> None:
    prompts = opened().prompts
    text = "<|speaker:12|>hello [laugh] (sad) a <b> {c} <|"
    ids = prompts.tokenizer.encode(text)
    assert prompts.tokenizer.control_token(ids) is None
    prompt = prompts.prompt([], text)[0].tolist()
    assert any(prompt[start : start + len(ids)] == ids for start in range(len(prompt)))


def test_a_text_is_cut_before_each_mark_and_no_word_is_lost() -> None:
    prompts = opened().prompts
    assert isinstance(prompts, S2Prompts)
    assert prompts.parts("no marks. " * 100) == [("no marks. " * 100).strip()]
    text = "Before. <|speaker:0|>one <|speaker:1|> two<|speaker:0|>three"
    assert prompts.parts(text) == ["Before.\n<|speaker:0|>one\n<|speaker:1|> two\n<|speaker:0|>three"]
    many = "".join(f"<|speaker:{number % 2}|>{number}" for number in range(12))
    assert [part.count("\n") + 1 for part in prompts.parts(many)] == [5, 5, 2]
    long = f"<|speaker:0|>{'a' * 400}<|speaker:1|>b<|speaker:0|>c"
    assert [len(part) for part in prompts.parts(long)] == [413, 29]
    # What stands in the prompt of one part is the turns, a line each, however they were written.
    np.testing.assert_array_equal(prompts.prompt([], text), prompts.prompt([], prompts.parts(text)[0]))


def test_a_training_text_has_a_mark_in_one_of_its_two_variants() -> None:
    prompts, codes = opened().prompts, np.zeros((10, 3), int)
    assert prompts.variants == 2
    for text, marked in (("one", "<|speaker:0|>one"), ("<|speaker:1|>one", "<|speaker:1|>one")):
        for variant, expected in enumerate((text, marked)):
            sequence = prompts.training_sequence("inference", [], Turn(text, codes), variant)
            prompt = prompts.prompt([], expected)
            np.testing.assert_array_equal(sequence.tokens[:, : prompt.shape[1]], prompt)


@pytest.mark.parametrize("text", ["one", "two words", "“Quoted”, three", "안녕하세요", "<|speaker:3|>marked"])
def test_samples_are_as_long_as_they_are_measured(text: str) -> None:
    prompts = opened().prompts
    turn, target = Turn("abc [laugh]", np.ones((10, 7), int)), Turn(text, np.zeros((10, 5), int))
    own, other = prompts.measure("inference", target.text), prompts.measure("inference", turn.text)
    for references, added in ([], 0), ([turn], other.as_reference + 7):
        lengths = [
            prompts.training_sequence("inference", references, target, variant).tokens.shape[1]
            for variant in range(2)
        ]
        assert max(lengths) == own.alone + 5 + added


# Directories that the reference outputs do not have.

SHAPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "as the reference's": lambda content: None,
    "untied": with_values({"tie_word_embeddings": False}),
    "other fast dim": with_values(fast={"dim": 48, "n_head": 3, "n_local_heads": 3, "head_dim": 8}),
    "biases": with_values(
        {"attention_qkv_bias": True}, {"attention_o_bias": True, "attention_qkv_bias": False}
    ),
    "4 codebooks": with_values(fast={"num_codebooks": 4}),
    "fast qk-norm": with_values({"attention_qk_norm": False}, {"attention_qk_norm": True}),
    "defaults left out": without(
        "n_local_heads", "head_dim", "intermediate_size", "attention_qkv_bias", "attention_o_bias",
        "attention_qk_norm", "rope_base", "norm_eps", "text_dim", "use_moe", "tie_word_embeddings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_back_from_its_shards(tmp_path: Path, shape: str) -> None:
    directory = random_base(tmp_path / "base", SHAPES[shape])
    assert len(list(directory.glob("model-*.safetensors"))) >= 2
    expected, model = random_model(directory).state_dict(), load_model(directory)
    torch.testing.assert_close(dict(model.state_dict()), dict(expected), rtol=0, atol=0)
    stored = [name for shard in directory.glob("*.safetensors") for name in load_file(shard)]
    assert ("text_model.lm_head.weight" in stored) == (shape == "untied")
    assert {own_name(name) for name in stored} == set(expected)
    prompt = opened(directory).prompts.prompt([], "hello")
    assert run(model, opened(directory), prompt, 8).tokens.shape[0] == model.config.num_codebooks + 1


def test_defaults_of_absent_keys(golden_s2: Path) -> None:
    content = json.loads((golden_s2 / "base/config.json").read_text(encoding="utf-8"))
    SHAPES["defaults left out"](content)
    for key in ("n_head", "dim"):
        del content["audio_decoder_config"][key]
    del content["text_config"]["max_seq_len"], content["text_config"]["initializer_range"]
    shape = S2().read_shape(content, "config.json")
    assert (shape.n_local_heads, shape.head_dim, shape.intermediate_size) == (4, 64, 256)
    assert (shape.fast_dim, shape.fast_n_head, shape.fast_n_local_heads) == (32, 4, 4)
    assert (shape.fast_head_dim, shape.fast_intermediate_size) == (64, 256)
    assert (shape.rope_base, shape.norm_eps, shape.max_seq_len) == (10000, 1e-5, 2048)
    assert shape.tie_word_embeddings and not shape.attention_qk_norm and not shape.fast_attention_qk_norm
    assert shape.scale_codebook_embeddings and shape.norm_fastlayer_input
    content["text_config"]["head_dim"] = None
    assert S2().read_shape(content, "config.json") == shape


def test_the_published_configuration_has_the_published_tensors(golden_s2: Path) -> None:
    content = json.loads((golden_s2 / "published_config.json").read_text(encoding="utf-8"))
    index = json.loads((golden_s2 / "published_index.json").read_text(encoding="utf-8"))
    shape = S2().read_shape(content, "config.json")
    with torch.device("meta"):
        model = DualAR(shape, 151678, 155773)
    assert {published_name(name) for name in model.state_dict()} == set(index["weight_map"])
    parameters = sum(weight.numel() for weight in model.parameters())
    assert parameters == index["metadata"]["total_parameters"] == 4_561_852_416


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_encoder_config": {}}, "it has an audio_encoder_config"),
        ({"text_config": {"use_moe": True}}, "text_config.use_moe"),
        ({"audio_decoder_config": {"use_moe": True}}, "audio_decoder_config.use_moe"),
        ({"audio_decoder_config": {"rope_base": 10000}}, "audio_decoder_config.rope_base is 10000"),
        ({"audio_decoder_config": {"norm_eps": 1e-5}}, "audio_decoder_config.norm_eps is 1e-05"),
        ({"audio_decoder_config": {"text_dim": 64}}, "text_dim is 64 and text_config.dim 32"),
        ({"audio_decoder_config": {"num_codebooks": None}}, "audio_decoder_config.num_codebooks is missing"),
        ({"text_config": {"dim": "32"}}, "text_config.dim"),
        ({"text_config": {"n_local_heads": 3}}, "n_head 4 is not a multiple of n_local_heads 3"),
        ({"semantic_end_token_id": 533}, "471–533, and tokenizer.json 471–534"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    directory = whole_base(tmp_path / "base")
    content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(content.get(key), dict) else value
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        load_model(directory)
    assert message in caught.value.message


def same_logits(directory: Path, expected: DualAR) -> None:
    tokens = torch.from_numpy(np.load(GOLDEN_S2 / "dual_ar.npz")["inputs"])
    with torch.no_grad():
        found = load_model(directory, torch.float32)
        torch.testing.assert_close(
            found.token_logits(found.slow(tokens)),
            expected.token_logits(expected.slow(tokens)),
            rtol=0,
            atol=0,
        )


def all_tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for shard in directory.glob("model-*.safetensors")
        for name, tensor in load_file(shard).items()
    }


def test_a_single_bfloat16_file_loads_and_an_index_comes_before_it(tmp_path: Path) -> None:
    directory = whole_base(tmp_path / "base")
    tensors = {name: tensor.bfloat16() for name, tensor in all_tensors(directory).items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    same_logits(directory, load_model(GOLDEN_S2 / "base"))
    for file in directory.glob("model*0*"):
        file.unlink()
    (directory / "model.safetensors.index.json").unlink()
    same_logits(directory, load_model(GOLDEN_S2 / "base").bfloat16().float())
    assert {weight.dtype for weight in load_model(directory).parameters()} == {torch.bfloat16}


def test_attention_in_three_parts_is_joined(tmp_path: Path) -> None:
    directory = whole_base(tmp_path / "base")
    stored = {}
    for name, tensor in all_tensors(directory).items():
        if "wqkv" in name:
            for letter, part in zip("qkv", tensor.split((64, 32, 32)), strict=True):
                stored[name.replace("wqkv", f"w{letter}")] = part.clone()
        else:
            stored[name] = tensor
    for file in directory.glob("model*"):
        file.unlink()
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    same_logits(directory, load_model(GOLDEN_S2 / "base"))


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """What the reference's merge writes: flat configuration and names, `model.pth`, the tokenizer's files."""
    directory = tmp_path / "flat"
    directory.mkdir()
    shutil.copy(GOLDEN_S2 / "lora_core/merged_config.json", directory / "config.json")
    shutil.copy(GOLDEN_S2 / "lora_core/merged_model.pth", directory / "model.pth")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(GOLDEN_S2 / "base" / name, directory)
    return directory


def test_a_flat_directory_is_of_the_family_by_its_tokenizer(flat: Path, golden: Path) -> None:
    assert family_of(flat).name == "s2"
    assert family_of(golden / "base").name == "s1"
    reference = np.load(GOLDEN_S2 / "dual_ar.npz")
    outputs = np.load(GOLDEN_S2 / "lora_core/outputs.npz")
    inputs, labels = (torch.from_numpy(reference[name]) for name in ("inputs", "labels"))
    found = losses_of(load_model(flat), inputs, labels)
    for name in ("token_logits", "codebook_logits", "base_loss", "semantic_loss"):
        torch.testing.assert_close(found[name], torch.from_numpy(outputs[name]), atol=1e-4, rtol=0)
    nested = opened().prompts.prompt([], "hello")
    np.testing.assert_array_equal(opened(flat).prompts.prompt([], "hello"), nested)

    content = (flat / "tokenizer.json").read_text(encoding="utf-8")
    (flat / "tokenizer.json").write_text(content.replace("<|endoftext|>", "<|begin_of_text|>"))
    assert family_of(flat).name == "s1"


def test_a_flat_directory_that_contradicts_its_tokenizer_is_refused(flat: Path) -> None:
    content = json.loads((flat / "config.json").read_text(encoding="utf-8"))
    (flat / "config.json").write_text(json.dumps(content | {"semantic_begin_id": 470}))
    with pytest.raises(CheckpointError, match="470–534, and tokenizer.json 471–534"):
        load_model(flat)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "{", "tokenizer.json is damaged"),
        (lambda text: "", "tokenizer.json is damaged"),
        (lambda text: text.replace("<|im_end|>", "<|other|>"), r"has no token <\|im_end\|>"),
        (lambda text: text.replace("<|semantic:7|>", "<|other|>"), "are not in one row"),
        (lambda text: text.replace("<|semantic:", "<|other:"), r"has no token <\|semantic:0\|>"),
    ],
)
def test_broken_tokenizers_are_named(
    tmp_path: Path, change: Callable[[str], str], message: str, golden_s2: Path
) -> None:
    content = (golden_s2 / "base/tokenizer.json").read_text(encoding="utf-8")
    file = tmp_path / "tokenizer.json"
    file.write_text(change(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        S2Tokenizer.read(file)


def test_a_tokenizer_that_cannot_spell_every_text_is_refused(tmp_path: Path, golden_s2: Path) -> None:
    content = json.loads((golden_s2 / "base/tokenizer.json").read_text(encoding="utf-8"))
    del content["model"]["vocab"]["ÿ"]
    content["model"]["merges"] = []
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks 1 of the 256 single bytes"):
        S2Tokenizer.read(file)


def test_truncation_and_padding_of_a_tokenizer_file_do_not_cut_a_text(
    tmp_path: Path, golden_s2: Path
) -> None:
    content = json.loads((golden_s2 / "base/tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert S2Tokenizer.read(file).encode("hello world") == [396, 78, 413, 337]


def test_the_model_preset_has_the_published_shape(tmp_path: Path, golden_s2: Path) -> None:
    family, shape = base_model(tmp_path, "s2-pro")
    published = json.loads((golden_s2 / "published_config.json").read_text(encoding="utf-8"))
    assert family.name == "s2"
    assert shape == S2().read_shape(published, "config.json")
