"""The codec's weights: every way of storing them, strictly loaded, no more than is needed."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fishtune.core.codec.checkpoint import (
    fold_weight_norm,
    load_codec,
    load_encoder,
    own_tensors,
    stored_tensors,
)
from fishtune.core.errors import CheckpointError, SettingsError, UsageError
from torch import Tensor

Tensors = dict[str, Tensor]
NEWER = (".parametrizations.weight.original0", ".parametrizations.weight.original1")
OLDER = (".weight_g", ".weight_v")


@pytest.fixture(scope="module")
def stored() -> Tensors:
    return torch.load(Path(__file__).parent / "golden/base/codec.pth", weights_only=True)


@pytest.fixture
def write(tmp_path: Path, golden: Path) -> Callable[[object], Path]:
    """Return a function that writes a codec.pth beside the golden codec_config.json."""

    def write(content: object) -> Path:
        shutil.copy(golden / "base/codec_config.json", tmp_path)
        torch.save(content, tmp_path / "codec.pth")
        return tmp_path / "codec.pth"

    return write


def swapped_weight_norm(tensors: Tensors) -> Tensors:
    """Return the tensors with each of the two storages of weight norm in place of the other."""
    renamed = {}
    for name, tensor in tensors.items():
        for ours, theirs in (*zip(NEWER, OLDER, strict=True), *zip(OLDER, NEWER, strict=True)):
            if name.endswith(ours):
                name = name.removesuffix(ours) + theirs
                break
        renamed[name] = tensor
    return renamed


STORAGES: dict[str, Callable[[Tensors], object]] = {
    "as it is": lambda tensors: tensors,
    "wrapped": lambda tensors: {"state_dict": tensors},
    "with a prefix": lambda tensors: {f"generator.{name}": tensor for name, tensor in tensors.items()},
    "with a prefix inside, wrapped": lambda tensors: {
        "state_dict": {f"generator.{name}": tensor for name, tensor in tensors.items()}
    },
    "a generator beside others": lambda tensors: (
        {f"generator.{name}": t for name, t in tensors.items()} | {"discriminator.weight": torch.zeros(3)}
    ),
    "weight norm the other way": swapped_weight_norm,
    "without tables": lambda tensors: {
        name: t for name, t in tensors.items() if not name.endswith(("freqs_cis", "causal_mask"))
    },
}


@pytest.mark.parametrize("storage", STORAGES)
def test_every_storage_gives_the_same_weights(
    write: Callable[[object], Path], stored: Tensors, storage: str
) -> None:
    loaded = load_codec(write(STORAGES[storage](stored)), "modded_dac_vq").state_dict()
    expected = own_tensors(stored, decoding=True)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_half_precision_is_computed_in_float32(write: Callable[[object], Path], stored: Tensors) -> None:
    halved = {name: t.bfloat16() if t.is_floating_point() else t for name, t in stored.items()}
    encoder = load_encoder(write(halved), "modded_dac_vq")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_weight_norm_is_folded_over_all_dimensions_but_the_first() -> None:
    g, v = torch.rand(3, 1, 1) + 0.5, torch.randn(3, 4, 5)
    folded = fold_weight_norm(g, v)
    for row in range(3):
        assert torch.allclose(folded[row], g[row] * v[row] / v[row].norm())


def test_stored_tensors_have_the_names_and_shapes_of_the_file(golden: Path, stored: Tensors) -> None:
    codec = load_codec(golden / "base/codec.pth", "modded_dac_vq")
    ours = stored_tensors(codec.state_dict())
    tables = ("freqs_cis", "causal_mask")
    assert {name: t.shape for name, t in ours.items()} == {
        name: t.shape for name, t in stored.items() if not name.endswith(tables)
    }
    again = own_tensors(ours, decoding=True)
    for name, tensor in codec.state_dict().items():
        assert torch.allclose(again[name], tensor, rtol=1e-6, atol=1e-7)


def test_the_encoding_half_has_nothing_of_what_comes_after_the_codes(
    write: Callable[[object], Path], stored: Tensors
) -> None:
    after = ("decoder.", "quantizer.post_module.", "quantizer.upsample.")
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith(after)}
    whole = load_encoder(write(stored), "modded_dac_vq").state_dict()
    half = load_encoder(write(kept), "modded_dac_vq").state_dict()
    assert whole.keys() == half.keys()
    assert not [name for name in whole if name.startswith("decoder.")]
    with pytest.raises(CheckpointError, match=r"missing: decoder\.model\.0\.conv\.bias"):
        load_codec(write(kept), "modded_dac_vq")


def test_tables_are_never_read(golden: Path, tmp_path: Path, stored: Tensors) -> None:
    path = tmp_path / "codec.pth"
    shutil.copy(golden / "base/codec_config.json", tmp_path)
    mask = torch.ones(1 << 26, dtype=torch.bool)  # 64 MiB, which would show as memory if they were read
    torch.save(stored | {"quantizer.pre_module.causal_mask": mask}, path)
    del mask
    before = resident_bytes()
    encoder = load_encoder(path, "modded_dac_vq")
    encoder.encode(torch.zeros(1, 1, 4096))
    assert resident_bytes() - before < 1 << 25


def resident_bytes() -> int:
    """Return what this process holds in memory, mapped file pages included."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def test_all_faults_of_a_file_are_one_error_that_names_the_shape(
    write: Callable[[object], Path], stored: Tensors, tmp_path: Path
) -> None:
    wrong = dict(stored)
    del wrong["encoder.block.0.conv.bias"]
    wrong["encoder.block.9.alpha"] = torch.zeros(1)
    wrong["quantizer.semantic_quantizer.quantizers.0.codebook.weight"] = torch.zeros(63, 8)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(write(wrong), "modded_dac_vq")
    for part in (
        "1 missing: encoder.block.0.conv.bias",
        "1 unexpected: encoder.block.9.alpha",
        "quantizer.semantic_quantizer.quantizers.0.codebook.weight is (63, 8) instead of (64, 8)",
    ):
        assert part in caught.value.message
    assert str(tmp_path / "codec_config.json") in caught.value.hint


def test_a_preset_of_another_shape_is_named(golden: Path, tmp_path: Path) -> None:
    path = shutil.copy(golden / "base/codec.pth", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(Path(path), "modded_dac_vq")
    assert "The shape is that of the codec preset modded_dac_vq." in caught.value.hint


def test_an_unknown_preset_lists_the_known_ones(golden: Path, tmp_path: Path) -> None:
    path = shutil.copy(golden / "base/codec.pth", tmp_path)
    with pytest.raises(UsageError, match=r"no codec preset 'modded_dac'\. Did you mean modded_dac_vq\?"):
        load_encoder(Path(path), "modded_dac")


def test_a_broken_configuration_is_named(write: Callable[[object], Path], stored: Tensors) -> None:
    path = write(stored)
    config = path.with_name("codec_config.json")
    config.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"codec_config\.json is not valid JSON"):
        load_encoder(path, "modded_dac_vq")
    config.write_text('{"sample_rate": 44100}', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"codec_config\.json has \d+ problems: encoder_dim is missing"):
        load_encoder(path, "modded_dac_vq")


class Bomb:
    """Removes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.unlink, (Path(self.victim),)  # type: ignore[return-value]


def test_a_file_with_code_is_refused_and_not_executed(tmp_path: Path, golden: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    shutil.copy(golden / "base/codec_config.json", tmp_path)
    torch.save({"encoder.block.0.conv.bias": Bomb(victim)}, tmp_path / "codec.pth", pickle_module=pickle)
    with pytest.raises(CheckpointError, match="holds more than weights"):
        load_encoder(tmp_path / "codec.pth", "modded_dac_vq")
    assert victim.exists()


def test_a_truncated_file_is_named(tmp_path: Path, golden: Path) -> None:
    shutil.copy(golden / "base/codec_config.json", tmp_path)
    content = (golden / "base/codec.pth").read_bytes()
    (tmp_path / "codec.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"codec\.pth cannot be read as weights"):
        load_encoder(tmp_path / "codec.pth", "modded_dac_vq")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"codec\.pth does not exist"):
        load_encoder(tmp_path / "codec.pth", "modded_dac_vq")
