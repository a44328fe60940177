"""The seam of model families: one that no other file knows goes through the whole chain.

The toy family differs from S1 in everything that a family decides: `model_type`, file names, nested
configuration, tensor names, sharded safetensors, tokenizer, prompt, and how codes are drawn. It is what
`docs/extending.md` builds, step by step.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fishtune.core.config.presets import lora_preset
from fishtune.core.config.settings import (
    AuditionSettings,
    ExtractSettings,
    MergeSettings,
    PackSettings,
    SynthSettings,
    VerifySettings,
)
from fishtune.core.errors import CheckpointError, UsageError
from fishtune.core.events import Reporter, Warned
from fishtune.core.model.checkpoint import build_model, load_model
from fishtune.core.model.containers.container import Container
from fishtune.core.model.containers.safetensors import ShardedContainer
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.families import FAMILIES, family_of
from fishtune.core.model.families.family import Family
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.sampling import Recent, Sampling
from fishtune.core.model.shape import Shape
from fishtune.core.model.targets import match_targets
from fishtune.core.stages.audition.run import run as audition
from fishtune.core.stages.extract.run import run as extract
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.synth.run import run as synth
from fishtune.core.stages.train.run import run as train
from fishtune.core.stages.verify.run import run as verify
from fishtune.core.text.prompts import Columns, PromptBuilder, PromptFormat, Turn
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .recorder import Recorder
from .training_kit import train_settings

ROOT = Path(__file__).parent.parent
CONFIG, INDEX, ALPHABET = "toy.json", "toy.safetensors.index.json", "toy.alphabet"
MARKS = ("<say>", "<like>", "<end>")
CODES = 64


class ToyTokenizer:
    """One id a letter; what is not in the alphabet is its first letter."""

    def __init__(self, alphabet: str) -> None:
        self._ids = {token: number for number, token in enumerate([*alphabet, *MARKS])}
        self.end_id = self._ids["<end>"]
        self.semantic_begin_id = len(self._ids)
        self.semantic_end_id = self.semantic_begin_id + CODES - 1
        self.size = self.semantic_end_id + 1

    def encode(self, text: str) -> list[int]:
        parts = re.findall(r"<(?:say|like|end)>|.", text, re.DOTALL)
        return [self._ids.get(part, 0) for part in parts]

    def control_token(self, ids: list[int]) -> str | None:
        marks = {self._ids[mark]: mark for mark in MARKS}
        return next((marks[token] for token in ids if token in marks), None)


class ToyPrompts(PromptBuilder):
    """All references' codes first, behind a mark that stands only where there are any; then the text."""

    def begin(
        self, columns: Columns, prompt_format: PromptFormat, references: Sequence[Turn], text: str
    ) -> None:
        if prompt_format != "inference":
            raise UsageError("Toys have no legacy prompt.", "Use --prompt inference.")
        if references:
            columns.add_text("<like><like><like>")
        for turn in references:
            columns.add_codes(turn.codes)
        columns.add_text("<say>")
        columns.add_speech(text)


class ToyRule:
    """Draws from the two largest, never what is no frame, and never the token of the frame before."""

    window = 1

    def __init__(self, sampling: Sampling, first: int) -> None:
        self._greedy, self._first = sampling.greedy, first

    def token(self, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        if self._greedy:
            return logits.argmax(-1)
        tokens = torch.arange(logits.shape[-1])
        former = (recent.frames[:, :1, 0] == tokens) & (recent.numbers >= 0)
        return self._draw(logits.masked_fill(former | (tokens < self._first), -torch.inf), random[:, 0])

    def code(self, codebook: int, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        return self._draw(logits, random)

    def _draw(self, logits: Tensor, random: Tensor) -> Tensor:
        best = logits.topk(2).indices
        return best[:, 0] if self._greedy else torch.where(random < 0.5, best[:, 0], best[:, 1])


class Toy(Family):
    """The family itself."""

    name = "toy"
    title = "toys (model_type toy_speech)"
    model_types = frozenset({"toy_speech"})
    config_file = CONFIG
    files = (CONFIG, INDEX, "toy-1.safetensors", "toy-2.safetensors", "codec.pth", ALPHABET)
    licence = "MIT"
    model_preset = "toy"
    sampling = Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.0)

    def read_shape(self, config: Mapping[str, Any], source: str) -> Shape:
        body, mouth = config["body"], config["mouth"]
        plain = {"head_dim": 8, "n_head": 2, "n_local_heads": 1, "codebook_size": CODES, "num_codebooks": 10}
        slow = {"dim": body["width"], "n_layer": body["depth"], "vocab_size": body["tokens"]}
        fast = {"fast_dim": mouth["width"], "n_fast_layer": mouth["depth"]}
        flags = {"max_seq_len": 256, "tie_word_embeddings": True, "norm_fastlayer_input": True}
        return S1().read_shape({**plain, **slow, **fast, **flags}, source)

    def tokenizer_files(self, directory: Path) -> tuple[Path, ...]:
        return (directory / ALPHABET,)

    def tokenizer(self, directory: Path) -> ToyTokenizer:
        return ToyTokenizer((directory / ALPHABET).read_text())

    def prompts(self, tokenizer: Any, num_codebooks: int) -> ToyPrompts:
        return ToyPrompts(tokenizer, num_codebooks)

    def sampling_rule(self, sampling: Sampling, tokenizer: Any) -> ToyRule:
        return ToyRule(sampling, tokenizer.semantic_begin_id)

    def container(self, directory: Path) -> Container:
        return ShardedContainer(directory, INDEX)

    def stored_names(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name in names:
            own = name.removeprefix("toy/").replace("/", ".")
            joined = re.sub(r"\.[qkv](?=\.weight$)", ".wqkv", own)
            # Stored in alphabetical order; the model joins q, k and v.
            parts = (*found.get(joined, ()), name)
            found[joined] = tuple(sorted(parts, key=lambda part: "qkv".find(part[-8])))
        return found


def stored_parts(shape: Shape, own: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor of the model as toys store it: attention in three, `/` between the parts of names."""
    name = "toy/" + own.replace(".", "/")
    if not own.endswith("wqkv.weight"):
        return {name: tensor}
    part = shape.fast if own.startswith("fast_") else shape.slow
    rows = [part.n_head * part.head_dim, *[part.n_local_heads * part.head_dim] * 2]
    split = zip("qkv", tensor.split(rows), strict=True)
    return {name.replace("wqkv", letter): rows_.contiguous() for letter, rows_ in split}


def write_base(directory: Path, tiny_checkpoint: Path) -> Path:
    """Write a toy with random weights, and the tiny codec."""
    directory.mkdir()
    for name in ("codec.pth", "codec_config.json"):
        shutil.copy(tiny_checkpoint / name, directory)
    (directory / ALPHABET).write_text("?abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.")
    toy = Toy()
    tokens = toy.tokenizer(directory).size
    content = {"model_type": "toy_speech", "body": {"width": 32, "depth": 2, "tokens": tokens}}
    (directory / CONFIG).write_text(json.dumps({**content, "mouth": {"width": 24, "depth": 1}}))
    shape = toy.read_shape(json.loads((directory / CONFIG).read_text()), CONFIG)
    model = build_model(shape, toy.tokenizer(directory), directory).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    shards: list[dict[str, Tensor]] = [{}, {}]
    for number, (name, weight) in enumerate(model.named_parameters()):
        torch.nn.init.normal_(weight, 1.0 if "norm" in name else 0.0, 0.2, generator=generator)
        for stored, part in stored_parts(shape, name, weight.detach().bfloat16()).items():
            shards[number % 2][stored] = part
    weight_map = {}
    for number, tensors in enumerate(shards, start=1):
        save_file(tensors, directory / f"toy-{number}.safetensors", metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, f"toy-{number}.safetensors")
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=2))
    return directory


@pytest.fixture
def base(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy base model; its family is registered while the test runs."""
    monkeypatch.setattr("fishtune.core.model.families.FAMILIES", [*FAMILIES, Toy()])
    return write_base(tmp_path / "base", tiny_checkpoint)


def stored(directory: Path) -> dict[str, Tensor]:
    """Return all tensors of a toy as an independent reader sees them."""
    found = {}
    for shard in sorted(directory.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            found |= {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return found


def test_a_family_of_its_own_goes_through_the_whole_chain(base: Path, tmp_path: Path) -> None:
    data, reporter = tmp_path / "data/ANNA", Recorder()
    data.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(4):
        noise = draw.normal(0, 0.1, 44_100 // 2 + 9000 * number).astype(np.float32)
        soundfile.write(data / f"{number}.wav", noise, 44_100)
        (data / f"{number}.lab").write_text(f"This is number {'abcd'[number]}.")

    extract(ExtractSettings(data=data.parent, checkpoint_path=base / "codec.pth", device="cpu"), reporter)
    protos = tmp_path / "protos"
    pack(PackSettings(input=data.parent, output=protos), reporter)
    settings = train_settings(
        tmp_path, base, protos, max_steps=3, validate_every=3, checkpoint_every=3, held_out=0.25,
        lora_config="fast_r_16_alpha_16", reference_probability=1.0, learning_rate=0.05,
    )  # fmt: skip
    trained = train(settings, reporter)
    assert trained.adapter is not None
    assert not [event for event in reporter.of(Warned) if "gate" in event.message.lower()]

    output = tmp_path / "merged"
    result = merge(MergeSettings(base_weight=base, lora_weight=trained.adapter, output=output), reporter)
    assert result.verification.arithmetic.relative_difference < 1e-4
    assert {path.name for path in output.iterdir()} == {path.name for path in base.iterdir()}
    assert (output / INDEX).read_bytes() == (base / INDEX).read_bytes()
    before, after = stored(base), stored(output)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all("attention" in name or "feed_forward" in name for name in changed)
    assert all(after[name].dtype == torch.bfloat16 for name in after)
    assert family_of(output).name == "toy"

    spoken = synth(
        SynthSettings(
            checkpoint=output, text="Say it.", out=tmp_path / "a.wav", ref_codes=data / "0.npy",
            codes_out=tmp_path / "a.npy", ref_text="This is a.", max_new_tokens=8, device="cpu", seed=1,
        ),
        reporter,
    )  # fmt: skip
    codes = np.load(tmp_path / "a.npy")
    assert codes.shape == (10, spoken.frames)
    assert (codes[0, 1:] != codes[0, :-1]).all(), "the toy's own rule repeats no token"
    assert verify(VerifySettings(directory=output), Reporter()).tensors > len(before) / 2
    heard = audition(
        AuditionSettings(checkpoint=trained.checkpoint, texts=["Hear me."], device="cpu"), reporter
    )
    assert len(heard.texts) == 1


def test_a_reference_is_measured_as_its_prompt_has_it(base: Path) -> None:
    prompts = ModelDirectory.open(base).prompts
    turn, target = Turn("abc", np.ones((10, 7), int)), Turn("hello there", np.zeros((10, 5), int))
    own, other = prompts.measure("inference", target.text), prompts.measure("inference", turn.text)
    alone = prompts.training_sequence("inference", [], target)
    both = prompts.training_sequence("inference", [turn], target)
    assert alone.tokens.shape[1] == own.alone + 5
    assert both.tokens.shape[1] == own.alone + 5 + other.as_reference + 7


def test_the_tensors_of_a_directory_are_those_of_its_family(base: Path) -> None:
    model, parts = load_model(base), stored(base)
    for name, weight in model.named_parameters():
        joined = torch.cat(list(stored_parts(model.config, name, weight).values()))
        assert joined.equal(weight)
        assert stored_parts(model.config, name, weight).keys() <= parts.keys()
    assert sum(weight.numel() for weight in model.parameters()) == sum(
        part.numel() for part in parts.values()
    )


def rewrite(shard: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a shard, the index left as it is."""
    content = {name: tensor.clone() for name, tensor in load_file(shard).items()}
    change(content)
    save_file(content, shard, metadata={"format": "pt"})


def test_what_is_wrong_with_a_shard_is_said_before_anything_is_computed(base: Path) -> None:
    shard = base / "toy-1.safetensors"
    sound = shard.read_bytes()
    name = next(iter(load_file(shard)))
    rewrite(shard, lambda content: content[name].flatten()[0:1].fill_(torch.nan))
    with pytest.raises(CheckpointError, match="infinite or not a number"):
        load_model(base)
    shard.write_bytes(sound)
    rewrite(shard, lambda content: content.update({name: content[name].int()}))
    with pytest.raises(CheckpointError, match="of another kind of number"):
        load_model(base)
    shard.write_bytes(sound[:-8])
    with pytest.raises(CheckpointError, match=r"toy-1\.safetensors is damaged: it is cut short"):
        load_model(base)
    shard.write_bytes(sound)
    rewrite(shard, lambda content: content.pop(name))
    with pytest.raises(CheckpointError, match="disagree on where tensors lie"):
        load_model(base)


def test_a_model_that_no_family_owns_is_named_with_those_that_are_known(base: Path) -> None:
    (base / CONFIG).write_text('{"model_type": "dual_ar"}')
    with pytest.raises(CheckpointError, match=r"toy\.json describes a model of the type 'dual_ar'") as caught:
        family_of(base)
    assert "toys (model_type toy_speech)" in caught.value.hint and "S1 family" in caught.value.hint


def test_roles_are_those_of_the_family_and_patterns_stay() -> None:
    class Shy(Toy):
        targets = {"slow_attention": r"layers\.0\.attention\.wo"}

    preset = lora_preset("r_16_alpha_16").model_copy(update={"targets": ["slow_attention", "output"]})
    assert Shy().resolved(preset).targets == [r"layers\.0\.attention\.wo", "output"]
    assert S1().resolved(preset).targets == [r"layers\.\d+\.attention\.(wqkv|wo)", "output"]


FORMER = {
    "r_8_alpha_16": [
        "(codebook_|fast_)?embeddings",
        "(fast_)?output|fast_project_in",
        r"(fast_)?layers\.\d+\.attention\.(wqkv|wo)",
        r"(fast_)?layers\.\d+\.feed_forward\.(w1|w2|w3)",
    ],
    "fast_r_16_alpha_16": [
        r"(fast_)?layers\.\d+\.attention\.(wqkv|wo)",
        r"(fast_)?layers\.\d+\.feed_forward\.(w1|w2|w3)",
    ],
    **{
        name: [r"layers\.\d+\.attention\.(wqkv|wo)", r"layers\.\d+\.feed_forward\.(w1|w2|w3)"]
        for name in ("slow_r_8_alpha_16", "r_16_alpha_16", "r_32_alpha_32", "r_64_alpha_64", "gentle")
    },
}
"""The patterns that presets named before there were roles; checkpoints of then have them."""


@pytest.mark.parametrize("name", FORMER)
def test_presets_by_role_train_what_their_patterns_did(base: Path, name: str) -> None:
    names = [name for name, _ in load_model(base).named_modules()]

    def matched(targets: Iterable[str]) -> set[str]:
        return {name for found in match_targets(targets, names).values() for name in found}

    assert matched(S1().resolved(lora_preset(name)).targets) == matched(FORMER[name]) != set()


FILE_NAMES = (
    *("config.json", "model.pth", "tokenizer.tiktoken", "special_tokens.json"),
    *("model.safetensors", "model.safetensors.index.json", "tokenizer.json"),
    "codec.pth",
)
HOMES = (
    *("core/model/families", "core/model/containers", "core/demo"),
    "core/judge/recognition.py",  # Whisper's files
)
CODEC_HOMES = ("core/config/settings/types.py", "core/codec")


def test_only_families_know_what_the_files_of_a_model_are_called() -> None:
    found = []
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]:
        place = str(path.relative_to(ROOT))
        if place.startswith(HOMES):
            continue
        names = FILE_NAMES[:-1] if place.startswith(CODEC_HOMES) else FILE_NAMES
        for value, line in _strings(path):
            found += [
                f"{place}:{line} {name}"
                for name in names
                if re.search(rf"(?<![\w-]){re.escape(name)}", value)
            ]
    assert not found, "ask the family (core/model/families), or CODEC_FILE for the codec"


def _strings(path: Path) -> list[tuple[str, int]]:
    """Return the texts of a module with their lines, documentation left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.value, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def test_usual_values_of_sampling_are_the_familys(base: Path) -> None:
    assert family_of(base).sampling.temperature == 1.0
    assert S1.sampling == Sampling(0.8, 0.8, 1.1)
