"""Verification finds what would only show when the model is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fishtune.core.cli.app import run
from fishtune.core.errors import CheckpointError
from fishtune.core.verify import verify


@pytest.fixture
def checkpoint(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden / "base", tmp_path / "base"))


def test_a_sound_directory_is_read_whole(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(checkpoint), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = torch.load(checkpoint / "model.pth", weights_only=True)
    assert set(found["files"]) >= {"config.json", "model.pth", "codec.pth", "tokenizer.tiktoken"}
    assert found["tensors"] > len(stored)


def test_a_weight_that_is_not_a_number_is_named(checkpoint: Path) -> None:
    stored = torch.load(checkpoint / "model.pth", weights_only=True)
    stored["norm.weight"][0] = float("nan")
    torch.save(stored, checkpoint / "model.pth")
    with pytest.raises(CheckpointError, match=r"norm\.weight holds numbers that are infinite"):
        verify(checkpoint, "modded_dac_vq")


def test_a_truncated_codec_is_an_error_that_names_the_file(checkpoint: Path) -> None:
    content = (checkpoint / "codec.pth").read_bytes()
    (checkpoint / "codec.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"codec\.pth"):
        verify(checkpoint, "modded_dac_vq")
