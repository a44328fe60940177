"""Verification finds what would only show when the model is used."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fishtune.core.cli.app import run
from fishtune.core.cli.running import places_here
from fishtune.core.codec.checkpoint import load_codec
from fishtune.core.codec.config import codec_config
from fishtune.core.config.settings import SynthSettings, VerifySettings
from fishtune.core.errors import CheckpointError, StopRequested
from fishtune.core.events import Reporter
from fishtune.core.jobs.record import JobState, list_jobs
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.families import check_codec_file
from fishtune.core.stages.synth.run import run as synth
from fishtune.core.stages.verify.run import VerifyResult
from fishtune.core.stages.verify.run import run as run_verify


@pytest.fixture
def checkpoint(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden / "base", tmp_path / "base"))


def verify(directory: Path) -> VerifyResult:
    return run_verify(VerifySettings(directory=directory), Reporter())


def test_a_sound_directory_is_read_whole(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(checkpoint), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    stored = torch.load(checkpoint / "model.pth", weights_only=True)
    assert set(found["files"]) >= {"config.json", "model.pth", "codec.pth", "tokenizer.tiktoken"}
    assert found["tensors"] > len(stored)


def test_verification_is_a_job_that_stops_between_two_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkpoint, tmp_path / "checkpoints" / "openaudio-s1-mini")
    monkeypatch.chdir(tmp_path)
    assert run(["verify"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("checkpoints/openaudio-s1-mini is sound: 5 files, ")
    assert "reading model.pth\nreading codec.pth\n" in told.err
    (job,) = (job for place in places_here() for job in list_jobs(place))
    assert job.record.stage == "verify" and job.state() is JobState.FINISHED
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        run_verify(VerifySettings(directory=checkpoint), reporter)


def test_a_weight_that_is_not_a_number_is_named(checkpoint: Path) -> None:
    stored = torch.load(checkpoint / "model.pth", weights_only=True)
    stored["norm.weight"][0] = float("nan")
    torch.save(stored, checkpoint / "model.pth")
    with pytest.raises(CheckpointError, match=r"norm\.weight holds numbers that are infinite"):
        verify(checkpoint)


def test_a_truncated_codec_is_an_error_that_names_the_file(checkpoint: Path) -> None:
    content = (checkpoint / "codec.pth").read_bytes()
    (checkpoint / "codec.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"codec\.pth"):
        verify(checkpoint)


def changed(file: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change one tensor in a file of weights."""
    stored = torch.load(file, weights_only=True)
    stored[name] = change(stored[name])
    torch.save(stored, file)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": lambda tensor: tensor.to_sparse(),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "meta": lambda tensor: tensor.to("meta"),
    "one number for all": lambda tensor: tensor.flatten()[0].expand(tensor.shape),
    "NaN": lambda tensor: tensor * torch.nan,
    "infinite": lambda tensor: tensor * torch.inf,
    "cut": lambda tensor: tensor[:1],
}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("model.pth", "layers.0.attention.wo.weight"),
        ("codec.pth", "quantizer.semantic_quantizer.quantizers.0.codebook.weight"),
    ],
)
@pytest.mark.parametrize("change", CHANGES)
def test_what_cannot_be_used_is_not_called_sound_and_not_loaded(
    checkpoint: Path, file: str, name: str, change: str
) -> None:
    changed(checkpoint / file, name, CHANGES[change])
    for use in (
        lambda: verify(checkpoint),
        lambda: load_codec(checkpoint / file, "modded_dac_vq") if "codec" in file else load_model(checkpoint),
    ):
        with pytest.raises(CheckpointError, match=rf"{file}.*{name.replace('.', '[.]')}"):
            use()


def test_weights_that_overflow_together_are_not_called_sound(checkpoint: Path) -> None:
    stored = torch.load(checkpoint / "model.pth", weights_only=True)
    half = {name: tensor.half() for name, tensor in stored.items()}
    half["layers.0.feed_forward.w2.weight"].fill_(60000)
    half["layers.0.feed_forward.w1.weight"].fill_(60000)
    torch.save(half, checkpoint / "model.pth")
    with pytest.raises(CheckpointError, match="is infinite or not a number, though its weights are numbers"):
        verify(checkpoint)


def test_weights_of_several_kinds_of_number_are_loaded_as_the_one_that_holds_all(checkpoint: Path) -> None:
    changed(checkpoint / "model.pth", "norm.weight", torch.Tensor.bfloat16)
    verify(checkpoint)
    assert {weight.dtype for weight in load_model(checkpoint).parameters()} == {torch.float32}


def test_a_codec_of_another_number_of_codebooks_than_the_models_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    content = json.loads((checkpoint / "codec_config.json").read_text())
    content["quantizer"]["n_codebooks"] -= 1
    (checkpoint / "codec_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="the model has 10 codebooks, the codec 9"):
        verify(checkpoint)
    with pytest.raises(CheckpointError, match="the model has 10 codebooks, the codec 9"):
        synth(SynthSettings(checkpoint=checkpoint, text="a", out=tmp_path / "a.wav"), Reporter())


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("base/model.pth", r"Give the directory: /.+/base$"),
        ("base/codec.pth", r"Give the directory: /.+/base$"),
        ("base/config.json", r"Give the directory: /.+/base$"),
        ("", r"Did you mean /.+/base\?"),
        ("run/step_000000010.ckpt", "Merge it into its base first"),
        ("run/step_000000010", "Merge it into its base first"),
        ("notes.txt", "Name a checkpoint directory"),
        ("gone", "Name a checkpoint directory"),
    ],
)
def test_what_is_named_in_place_of_a_model_directory_says_which_is_meant(
    checkpoint: Path, tmp_path: Path, named: str, meant: str
) -> None:
    (tmp_path / "run/step_000000010").mkdir(parents=True)
    (tmp_path / "run/step_000000010/adapter_config.json").touch()
    (tmp_path / "run/step_000000010.ckpt").touch()
    (tmp_path / "notes.txt").touch()
    uses: list[Callable[[], object]] = [lambda: verify(tmp_path / named)]
    if not named.startswith("run"):  # checkpoints of training are spoken unmerged
        speech = SynthSettings(checkpoint=tmp_path / named, text="a", out=tmp_path / "a.wav")
        uses.append(lambda: synth(speech, Reporter()))
    for use in uses:
        with pytest.raises(CheckpointError) as caught:
            use()
        assert re.search(meant, caught.value.hint)


@pytest.mark.parametrize("named", ["", "config.json", "model.pth", "codec_config.json"])
def test_what_is_named_in_place_of_the_codec_says_which_file_is_meant(checkpoint: Path, named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_codec_file(checkpoint / named)
        codec_config(checkpoint / named, "modded_dac_vq")
    assert caught.value.hint.endswith(f": {checkpoint / 'codec.pth'}")
