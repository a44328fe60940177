"""Models that listen: where they come from, and that they are what was tried."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import platformdirs
import pytest
import torch
from fishtune.core.compute.devices import UsableGpu
from fishtune.core.config.presets import HearingPreset, hearing_preset, preset_names
from fishtune.core.config.strict import parse
from fishtune.core.errors import CheckpointError, DeviceMemoryError, DownloadError, SettingsError, UsageError
from fishtune.core.events import Log, Reporter, Warned
from fishtune.core.hardware.device import usable_gpu
from fishtune.core.judge import models
from fishtune.core.judge.campplus import CamPlusPlus
from fishtune.core.judge.extra import require
from fishtune.core.judge.models import (
    default_recognition,
    models_folder,
    place,
    recognition_folder,
    speaker_file,
)
from fishtune.core.judge.recognition import Placement, Recogniser
from fishtune.core.judge.speaker import SpeakerEncoder

from .hub_server import COMMIT, Hub, running_hub
from .judge_kit import SPEECH
from .recorder import Recorder

WEIGHTS = bytes(range(256)) * 100
GIB = 1 << 30


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    files = {"config.json": b"{}", "model.bin": WEIGHTS, "tokenizer.json": b"{}", "vocabulary.txt": b"a"}
    with running_hub(Hub(files)) as hub:
        yield hub


@pytest.fixture
def tiny() -> None:
    """A user's own preset for recognition, pinned to what the local hub has."""
    write_preset()


def write_preset(**digests: str) -> None:
    folder = Path(platformdirs.user_config_dir("fishtune")) / "presets" / "recognition"
    folder.mkdir(parents=True, exist_ok=True)
    known = {"model.bin": hashlib.sha256(WEIGHTS).hexdigest()} | digests
    files = [
        f'"{name}" = "{known.get(name, "")}"'
        for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
    ]
    head = f'description = "t"\nrepository = "me/tiny"\nrevision = "{COMMIT}"\nlicence = "MIT"\n'
    (folder / "tiny.toml").write_text(head + "[files]\n" + "\n".join(files) + "\n", encoding="utf-8")


@pytest.mark.usefixtures("tiny")
def test_a_model_is_fetched_once_into_the_cache_and_then_used_without_the_hub(hub: Hub) -> None:
    reporter = Recorder()
    folder = recognition_folder("tiny", reporter, hub.address)
    assert folder == models_folder() / "recognition" / "tiny"
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert f"/{COMMIT}/" in hub.requests[0][1]
    assert any("me/tiny (MIT)" in event.message for event in reporter.of(Log))
    hub.requests.clear()
    assert recognition_folder("tiny", Reporter(), hub.address) == folder
    assert hub.requests == []
    (folder / "model.bin").write_bytes(b"changed")
    with pytest.raises(DownloadError, match="arrived damaged|not the hub's file"):
        recognition_folder("tiny", Reporter(), hub.address)


@pytest.mark.usefixtures("tiny")
def test_files_that_were_copied_by_hand_are_taken_if_they_are_the_right_ones() -> None:
    folder = models_folder() / "recognition" / "tiny"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes(WEIGHTS)
    assert recognition_folder("tiny", Reporter(), "http://127.0.0.1:9") == folder
    (folder / "model.bin").write_bytes(b"something else")
    with pytest.raises(DownloadError) as raised:
        recognition_folder("tiny", Reporter(), "http://127.0.0.1:9")
    assert "--asr-model FOLDER" in raised.value.hint
    with pytest.raises(DownloadError) as raised:
        speaker_file("campplus", Reporter(), "http://127.0.0.1:9")
    assert "--speaker-model FILE" in raised.value.hint


def test_content_that_is_not_what_was_tried_is_refused(hub: Hub) -> None:
    write_preset(**{"model.bin": "0" * 64})
    with pytest.raises(DownloadError, match="model.bin arrived damaged"):
        recognition_folder("tiny", Reporter(), hub.address)
    assert not (models_folder() / "recognition" / "tiny" / "model.bin").exists()


@pytest.mark.usefixtures("tiny")
def test_a_folder_is_used_as_it_lies_there(hub: Hub, tmp_path: Path) -> None:
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_text("{}")
    assert recognition_folder(str(tmp_path), Reporter(), hub.address) == tmp_path
    (tmp_path / "vocabulary.txt").unlink()
    with pytest.raises(CheckpointError, match="lacks vocabulary"):
        recognition_folder(str(tmp_path), Reporter(), hub.address)
    assert hub.requests == []


def test_names_that_nobody_knows_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a folder with a model nor a known one") as error:
        recognition_folder("huge", Reporter())
    assert "base, large-v3-turbo, small, small.en" in error.value.hint
    with pytest.raises(UsageError, match="neither a file nor a known speaker encoder"):
        speaker_file(str(tmp_path / "none.onnx"), Reporter())


def test_our_models_are_pinned_and_permissive() -> None:
    for kind in ("recognition", "speaker"):
        for name in preset_names(kind):
            preset: HearingPreset = hearing_preset(kind, name)
            assert preset.licence in ("MIT", "Apache-2.0")
            assert any(preset.files.values()), "the weights have a digest"
    assert len(hearing_preset("speaker", models.SPEAKER).files) == 1


def test_the_model_follows_language_and_free_memory() -> None:
    assert default_recognition("en", None) == "small.en"
    assert default_recognition("ko", None) == "small"
    assert default_recognition("en", UsableGpu(0, 24 * GIB)) == "large-v3-turbo"
    assert default_recognition("en", UsableGpu(0, 1 * GIB)) == "small.en"
    small = hearing_preset("recognition", "small")
    assert place(small, UsableGpu(1, 3 * GIB)) == Placement(device="cuda", index=1, compute_type="float16")
    assert place(small, UsableGpu(1, 1 * GIB)) == Placement()
    assert place(None, UsableGpu(0)).device == "cuda"
    assert place(None, None).device == "cpu"
    assert usable_gpu("cpu") is None


def test_a_gpu_that_cannot_be_used_is_said_and_the_cpu_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_text("{}")

    def load(_: Path, placement: Placement) -> Placement:
        if placement.device == "cuda":
            raise DeviceMemoryError("Recognition cannot use cuda:0: out of memory.")
        return placement

    monkeypatch.setattr(models.Recogniser, "load", load)
    reporter = Recorder()
    loaded = models.load_recogniser(str(tmp_path), UsableGpu(0), reporter, threads=2)
    assert loaded == Placement(threads=2)
    assert "cannot use cuda:0" in reporter.of(Warned)[0].message
    with pytest.raises(DeviceMemoryError):
        models.load_recogniser(str(tmp_path), UsableGpu(0), reporter, insist=True)


def test_a_gpu_whose_libraries_are_missing_is_found_out_while_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    faster_whisper = pytest.importorskip("faster_whisper", reason="the extra is not installed")
    pytest.importorskip("num2words", reason="the extra is not installed")
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_text("{}")

    class Model:
        supported_languages = ("en",)

        def __init__(self, *_: object, **__: object) -> None: ...

        def transcribe(self, _: np.ndarray) -> None:
            raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")

    monkeypatch.setattr(faster_whisper, "WhisperModel", Model)
    with pytest.raises(DeviceMemoryError, match=r"Recognition cannot use cuda:0: Library libcublas\.so\.12"):
        Recogniser.load(tmp_path, Placement(device="cuda"))
    assert Recogniser.load(tmp_path, Placement()) is not None


def test_a_memory_that_is_no_size_is_refused_by_its_field() -> None:
    content = hearing_preset("recognition", "small").model_dump() | {"gpu_memory": "much"}
    with pytest.raises(SettingsError, match="gpu_memory: write it like 4GiB"):
        parse(HearingPreset, content, "preset mine")


def test_a_package_that_is_missing_is_named_with_how_to_install_it() -> None:
    require("Reading", "json")
    with pytest.raises(UsageError, match="Hearing needs no_such_package, which is not installed") as error:
        require("Hearing", "json", "no_such_package")
    assert 'pip install "fishtune[judge]"' in error.value.hint


def campplus_weights() -> dict[str, torch.Tensor]:
    """Return tensors of a CAM++ with few layers, named and shaped as in its authors' checkpoints."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def conv(name: str, *shape: int, bias: bool = False) -> None:
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / np.sqrt(np.prod(shape[1:]))
        if bias:
            weights[f"{name}.bias"] = torch.zeros(shape[0])

    def norm(name: str, size: int, affine: bool = True) -> None:
        weights[f"{name}.running_mean"], weights[f"{name}.running_var"] = torch.zeros(size), torch.ones(size)
        if affine:
            weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(size), torch.zeros(size)

    conv("head.conv1", 4, 1, 3, 3)
    norm("head.bn1", 4)
    for layer in ("head.layer1", "head.layer2"):
        for number in (0, 1):
            for part in (1, 2):
                conv(f"{layer}.{number}.conv{part}", 4, 4, 3, 3)
                norm(f"{layer}.{number}.bn{part}", 4)
        conv(f"{layer}.0.shortcut.0", 4, 4, 1, 1)
        norm(f"{layer}.0.shortcut.1", 4)
    conv("head.conv2", 4, 4, 3, 3)
    norm("head.bn2", 4)
    conv("xvector.tdnn.linear", 16, 40, 5)
    norm("xvector.tdnn.nonlinear.batchnorm", 16)
    size = 16
    for block in (1, 2, 3):
        for layer in (1, 2):
            name = f"xvector.block{block}.tdnnd{layer}"
            norm(f"{name}.nonlinear1.batchnorm", size)
            conv(f"{name}.linear1", 8, size, 1)
            norm(f"{name}.nonlinear2.batchnorm", 8)
            conv(f"{name}.cam_layer.linear_local", 4, 8, 3)
            conv(f"{name}.cam_layer.linear1", 4, 8, 1, bias=True)
            conv(f"{name}.cam_layer.linear2", 4, 4, 1, bias=True)
            size += 4
        norm(f"xvector.transit{block}.nonlinear.batchnorm", size)
        conv(f"xvector.transit{block}.linear", size // 2, size, 1)
        size //= 2
    norm("xvector.out_nonlinear.batchnorm", size)
    conv("xvector.dense.linear", 6, 2 * size, 1)
    norm("xvector.dense.nonlinear.batchnorm", 6, affine=False)
    return weights


def test_an_encoder_as_its_authors_save_it_makes_embeddings(tmp_path: Path) -> None:
    file = tmp_path / "campplus.pt"
    torch.save(campplus_weights(), file)
    encoder = SpeakerEncoder.load(file)
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    embedding = encoder.embed(sound)
    assert embedding is not None
    assert embedding.shape == (6,)
    assert np.linalg.norm(embedding) == pytest.approx(1)
    louder = encoder.embed(sound * 3)
    assert louder is not None
    assert embedding @ louder > 0.999, "loudness is not part of a voice"
    assert encoder.embed(np.zeros(16_000, np.float32)) is None


def test_an_encoder_in_onnx_makes_the_same_embeddings() -> None:
    pytest.importorskip("onnxruntime", reason="the extra is not installed")
    encoder = SpeakerEncoder.load(SPEECH / "encoder.onnx")
    network = CamPlusPlus(campplus_weights())
    same = SpeakerEncoder(lambda features: network(torch.from_numpy(features)).numpy())
    sound = np.random.default_rng(0).normal(0, 0.1, 30_000).astype(np.float32)
    one, other = encoder.embed(sound), same.embed(sound)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match="lacks the tensors of CAM"):
        CamPlusPlus.load(other)
    pytest.importorskip("onnxruntime", reason="the extra is not installed")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"damaged\.onnx is damaged"):
        SpeakerEncoder.load(damaged)
