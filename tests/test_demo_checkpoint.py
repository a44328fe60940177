"""Random checkpoints: complete, in the published file format, and good enough to tell sounds apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fishtune.core.codec.checkpoint import load_codec
from fishtune.core.compute.weights import read_state_dict
from fishtune.core.config.presets import model_preset
from fishtune.core.demo.checkpoint import write_checkpoint
from fishtune.core.errors import UsageError
from fishtune.core.model.checkpoint import load_model


def test_a_tiny_checkpoint_has_the_published_files_and_names(tiny_checkpoint: Path, golden: Path) -> None:
    files = {path.name for path in tiny_checkpoint.iterdir()}
    assert files == {*model_preset("openaudio-s1-mini").files, "codec_config.json"}
    published = read_state_dict(golden / "base" / "codec.pth")
    ours = read_state_dict(tiny_checkpoint / "codec.pth")
    assert ours.keys() == published.keys()
    assert {name: tensor.dtype for name, tensor in ours.items()} == {
        name: tensor.dtype for name, tensor in published.items()
    }


def test_the_tables_of_the_codec_are_those_that_the_reference_computes_with(
    tiny_checkpoint: Path, golden: Path
) -> None:
    published = read_state_dict(golden / "base" / "codec.pth")
    ours = read_state_dict(tiny_checkpoint / "codec.pth")
    tables = [name for name in ours if name.endswith(("freqs_cis", "causal_mask"))]
    assert len(tables) == 6
    for name in tables:
        rows = min(len(ours[name]), len(published[name]))
        columns = slice(rows if name.endswith("mask") else None)
        assert torch.equal(ours[name][:rows, columns], published[name][:rows, columns])


def test_model_and_codec_load_strictly(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    assert not model.config.tie_word_embeddings
    assert model.config.scale_codebook_embeddings
    codec = load_codec(tiny_checkpoint / "codec.pth", "modded_dac_vq")
    assert codec.config.frame_length == 2048


def test_different_sounds_have_different_codes_and_are_heard_again(tiny_checkpoint: Path) -> None:
    codec = load_codec(tiny_checkpoint / "codec.pth", "modded_dac_vq")
    time = torch.arange(44_100) / 44_100
    sweep = 0.2 * torch.sin(2 * np.pi * (200 + 2000 * time) * time)
    noise = 0.05 * torch.randn(44_100, generator=torch.Generator().manual_seed(0))
    codes = codec.encode(torch.stack([sweep, noise])[:, None])
    assert codes.shape == (2, 10, 22)
    for row in codes.flatten(0, 1):
        assert len(row.unique()) >= 5
    assert (codes[0] != codes[1]).float().mean() > 0.5
    waveforms = codec.decode(codes)
    assert ((waveforms.std(dim=-1) > 0.02) & (waveforms.std(dim=-1) < 0.4)).all()


def test_the_seed_decides_everything(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "same")
    write_checkpoint(tmp_path / "other", seed=1)
    for name in ("model.pth", "codec.pth"):
        assert (tiny_checkpoint / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
        first, other = (
            read_state_dict(directory / name) for directory in (tiny_checkpoint, tmp_path / "other")
        )
        assert not all(torch.equal(first[key], other[key]) for key in first)


def test_weights_that_are_there_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        write_checkpoint(tmp_path)
    assert (tmp_path / "model.pth").read_text() == "precious"
