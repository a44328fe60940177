"""A small folder that holds one valid file of every kind that fishtune reads.

base/       tiny checkpoint directory       model/      its copy, to be damaged
data/       recordings, texts, codes        protos/     the same, packed and indexed
peft/       an adapter folder               project/    fishtune.toml; results with a job and checkpoints
home/       XDG folders: presets, settings, caches
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import soundfile
import tomli_w
import torch
from fishtune.core.config.presets import (
    LoraPreset,
    lora_preset,
    model_preset,
    read_preset,
    user_presets_folder,
)
from fishtune.core.config.recent import remember_project
from fishtune.core.config.settings import LoudnessNormSettings, PackSettings, TrainSettings
from fishtune.core.dataset.codes import codes_digest, write_codes
from fishtune.core.dataset.origins import FileState, Origin, append_origins, content_digest
from fishtune.core.demo.checkpoint import write_checkpoint
from fishtune.core.events import (
    CheckpointSaved,
    Failed,
    Finished,
    ItemFailed,
    Log,
    MemoryMeasured,
    Progress,
    Reporter,
    Started,
    Step,
    Stopped,
    Validation,
    Warned,
    encode_event,
)
from fishtune.core.files import write_json
from fishtune.core.hub.transfer import RECORD_FILE, DownloadedFile, DownloadRecord
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import WORKER_FILE, Place, create_job
from fishtune.core.judge.record import AuditionResult, audition_folder, write_record
from fishtune.core.lora.injection import add_adapters, save_adapter
from fishtune.core.model.base_hash import base_hash
from fishtune.core.model.checkpoint import load_model
from fishtune.core.ownership import remember
from fishtune.core.stages.loudness_norm.run import run as loudness_norm
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.train.checkpoints import Identity

RATE = 24_000  # Hz, of the recordings
SECONDS = 0.6
SIZES = [64] + [32] * 9
"""Codebook sizes of the tiny codec."""
SLOW = LoraPreset(description="slow", rank=4, alpha=8, targets=[r"layers\.\d+\.attention\.(wqkv|wo)"])
TEXT = "The birch canoe slid on the smooth planks."
STEP = 12


def private_home(root: Path) -> dict[str, str]:
    """Return the environment in which nothing outside of `root` is read or written."""
    home = root / "home"
    names = ("CONFIG", "STATE", "CACHE", "DATA")
    return {"HOME": str(home), **{f"XDG_{name}_HOME": str(home / name.lower()) for name in names}}


def make_world(root: Path) -> None:
    """Fill the folder `root`; the environment must be `private_home(root)`."""
    write_checkpoint(root / "base")
    shutil.copytree(root / "base", root / "model")
    _recordings(root / "data")
    pack(PackSettings(input=root / "data", output=root / "protos", num_workers=1), Reporter())
    louder = LoudnessNormSettings(source=root / "data", target=root / "louder", num_workers=1)
    loudness_norm(louder, Reporter())
    _checkpoints(root)
    _project(root)
    _notes(root)
    _home()


def _recordings(data: Path) -> None:
    generator = np.random.default_rng(0)
    speaker = data / "spk"
    speaker.mkdir(parents=True)
    moments = np.arange(int(SECONDS * RATE)) / RATE
    origins = []
    for number, name in enumerate(("a.wav", "b.flac", "c.mp3", "good.wav")):
        voice = np.sin(2 * np.pi * (150 + 40 * number) * moments) * (
            0.1 + 0.1 * np.sin(2 * np.pi * 4 * moments) ** 2
        )
        audio = speaker / name
        soundfile.write(audio, voice + generator.normal(0, 0.002, len(moments)), RATE)
        audio.with_suffix(".lab").write_text(f"{TEXT} {number}\n", encoding="utf-8")
        codes = np.stack([generator.integers(0, size, 14) for size in SIZES])
        write_codes(audio.with_suffix(".npy"), codes)
        origin = Origin(FileState.of(audio), content_digest(audio), codes_digest(codes))
        origins.append((f"{audio.stem}.npy", origin))
    append_origins(speaker, origins)


def train_settings(root: Path) -> TrainSettings:
    """Return the settings of the run `demo`."""
    return TrainSettings(
        project="demo",
        results=root / "project" / "results",
        base=root / "base",
        protos=root / "protos",
        device="cpu",
        gate=False,
        held_out=0.3,
    )


def _checkpoints(root: Path) -> None:
    folder = root / "project" / "results" / "demo" / "checkpoints"
    adapter = folder / f"step_{STEP:09d}"
    adapter.mkdir(parents=True)
    model = load_model(root / "base")
    add_adapters(model, SLOW, seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    save_adapter(model, root / "base", adapter)
    save_adapter(model, root / "base", _made(root / "peft"))
    settings = train_settings(root)
    weights = {name: weight.detach() for name, weight in model.named_parameters() if "lora_" in name}
    state = {
        "version": 1,
        "identity": Identity.of(settings, SLOW, base_hash(root / "base", Reporter()), "1" * 64).model_dump(
            mode="json"
        ),
        "settings": settings.model_dump(mode="json"),
        "preset": SLOW.model_dump(mode="json"),
        "step": STEP,
        "epoch": 1,
        "micro_batch": 1,
        "coverage": torch.ones(3, dtype=torch.int64),
        "clip_passes": 1.5,
        "held_out_guard": {},
        "plateau_guard": {},
        "validation_loss": 3.5,
    }
    content = {"state_dict": {f"model.{name}": weight for name, weight in weights.items()}, "epoch": 0}
    torch.save({**content, "fishtune": state}, adapter.with_suffix(".ckpt"))
    named = {f"model.{name.replace('.default.weight', '')}": weight for name, weight in weights.items()}
    torch.save({"state_dict": named}, root / "reference.ckpt")
    checkpoint = adapter.with_suffix(".ckpt")
    result = AuditionResult.model_construct(
        checkpoint=checkpoint, checkpoint_modified=checkpoint.stat().st_mtime, texts=[]
    )
    write_record(result, _made(audition_folder(checkpoint)))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _project(root: Path) -> None:
    project = {
        "name": "demo",
        "dataset": {"path": "../data", "protos": "../protos", "exclude": ["spk/none"]},
        "model": {"name": "demo/tiny-random", "path": "../base"},
        "extract": {"batch_size": 4},
        "train": {"lora_config": "r_8_alpha_16", "max_steps": 36, "learning_rate": 5e-3, "batch_tokens": 512},
        "merge": {"checkpoint": f"results/demo/checkpoints/step_{STEP:09d}.ckpt", "output": "merged"},
    }
    (root / "project" / "fishtune.toml").write_text(tomli_w.dumps(project), encoding="utf-8")
    _made(root / "project" / "merged")
    write_json(
        root / "project" / "merged.fishtune.json",
        {"checkpoint": f"step_{STEP:09d}.ckpt", "format": "fishtune"},
    )
    settings = train_settings(root)
    job = create_job(
        Place(results=settings.results, project="demo"),
        "train",
        settings.model_dump(mode="json"),
        ["fishtune", "train"],
    )
    job.write(process=ProcessIdentity.of(os.getpid()).model_copy(update={"start": "0"}))
    now = time.time()
    losses = {"loss": 3.5, "base_loss": 2.5, "semantic_loss": 1.0}
    held_out = {"top_1_accuracy": 0.2, "top_5_accuracy": 0.5}
    events = (
        Started(time=now, stage="train", settings={"x": 1}),
        Progress(time=now, task="checking", done=1, total=12, unit="clips", rate=0.2, eta=49.0),
        MemoryMeasured.model_construct(time=now, device="cpu", predicted_bytes=10, measured_bytes=20),
        Step.model_construct(time=now, step=1, total_steps=36, learning_rate=1e-4, clip_passes=0.5, **losses),
        Validation.model_construct(time=now, step=STEP, clip_passes=1.5, **losses, **held_out),
        CheckpointSaved.model_construct(time=now, step=STEP, path="x.ckpt", bytes=10, clip_passes=1.5),
        ItemFailed(time=now, item="spk/a", message="Left out.", hint="Cut it."),
        Log(time=now, message="A note."),
        Warned(time=now, message="A warning.", hint="Look."),
        Stopped(time=now, saved="Step 12 was saved."),
        Failed(time=now, error="DataError", message="It failed.", hint="Again."),
        Finished.model_construct(time=now, summary={"steps": STEP}),
    )
    job.events_path.write_bytes(b"".join(map(encode_event, events[:-2])))
    write_json(job.folder / WORKER_FILE, ProcessIdentity.of(os.getpid()).model_dump(mode="json"))
    job.log_path.write_text("a line\n", encoding="utf-8")
    remember_project(settings.results, "demo")


def _notes(root: Path) -> None:
    """What fishtune notes for itself beside what it wrote."""
    (root / "data" / "metadata.csv").write_text("spk/none|Nothing|nothing\n", encoding="utf-8")
    (root / "written.wav").write_bytes(b"x")
    remember(root / "written.wav")
    known = DownloadedFile(etag="0" * 40, bytes=1, modified_ns=1)
    record = DownloadRecord(repository="a/b", revision="main", licence="l", files={"model.pth": known})
    write_json(root / "model" / RECORD_FILE, record.model_dump(mode="json"))


def _home() -> None:
    shape = read_preset("codec", "modded_dac_vq")
    own = {
        "lora": {**SLOW.model_dump(mode="json", exclude_unset=True), "train": {"max_steps": 5}},
        "codec": shape,
        "models": model_preset("openaudio-s1-mini").model_dump(mode="json"),
    }
    for kind, content in own.items():
        folder = _made(user_presets_folder() / kind)
        (folder / "own.toml").write_text(tomli_w.dumps(content), encoding="utf-8")
    wizard = {
        "theme": "ansi-dark",
        "language": "ko",
        "ascii": True,
        "keys": {"stop_job": "ctrl+x", "show_help": "f1"},
    }
    (user_presets_folder().parent / "wizard.toml").write_text(tomli_w.dumps(wizard), encoding="utf-8")
    assert lora_preset("own").rank == SLOW.rank
    measured = {
        "setting": {"gpu": "a", "stage": "train", "what": "b", "torch": "c"},
        "predicted": 100,
        "measured": 120,
        "time": time.time(),
    }
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "fishtune"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "memory.json").write_text(json.dumps([measured]), encoding="utf-8")
