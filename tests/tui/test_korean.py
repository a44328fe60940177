"""What the engine really says comes out wholly in Korean: names, flags, commands and numbers stay."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
from fishtune.core.audio.recordings import read_audio, read_info
from fishtune.core.compute.devices import resolve_device
from fishtune.core.config.presets import lora_preset
from fishtune.core.config.project import Project
from fishtune.core.config.settings import LoudnessNormSettings, PackSettings, ValidateSettings
from fishtune.core.dataset.codes import read_codes
from fishtune.core.dataset.findings import FindingKind
from fishtune.core.errors import FishtuneError
from fishtune.core.events import Reporter
from fishtune.core.files import write_text
from fishtune.core.hub.client import hub_errors
from fishtune.core.jobs.failures import explain
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.loudness_norm.run import run as normalise
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.validate.run import LONGEST_SECONDS, inspect_clip
from fishtune.core.stages.validate.run import run as validate
from fishtune.tui.catalogue import sentence, use_language

_NAMES = re.compile(
    r"openaudio-s1-mini|s2-pro|"
    r"""https?://\S+ | (?<!\w)--[\w-]+(?:\s+[a-z]\w+\b)? | '[^']*' | \S*[/\\_=.:<{\[]\S+ | \bchmod\s\S+
    | (?:fishtune|hf\ auth|ffmpeg|convmv|pip\ install)(?:[ ]-?[\w\-./\[\]':=]+)* | \bpython3\ -c\ .*""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = (
    *("Invalid value (at end of document)", "EOF: reading magic string, expected 8 bytes got 6"),
    "Expecting value",
)
"""What libraries say."""
_TERMS = {
    *(
        "torch",
        "tui",
        "checkpoint",
        "lora",
        "wav",
        "flac",
        "merge",
        "exclude",
        "alpha",
        "rank",
        "peft",
        "float",
    ),
    *("nmae", "dim", "full", "gentle", "int", "str", "NaN", "LUFS", "dBFS", "path", "name", "revision"),
}


def english(text: str) -> list[str]:
    """Return the English words of a text that are no names, paths, flags or commands."""
    for quoted in _QUOTED:
        text = text.replace(quoted, "")
    return [word for word in re.findall(r"[A-Za-z]*[a-z]{3,}", _NAMES.sub(" ", text)) if word not in _TERMS]


@pytest.fixture(autouse=True)
def _korean() -> None:
    use_language("ko")  # the kit's own fixture goes back to English


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def recording(
    path: Path, seconds: float = 1.0, level: float = 0.05, rate: int = 24_000, seed: int = 0
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(path, np.clip(level * samples, -1, 1), rate)
    return path


def cut(folder: Path) -> Path:
    path = recording(folder / "cut.wav")
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def hub(failure: OSError) -> None:
    with hub_errors("owner/name", token=None):
        raise httpx2.ConnectError(str(failure)) from failure


def codes(path: Path, content: np.ndarray) -> Path:
    np.save(path, content)
    return path


def codes_of_ten(at: Path) -> bytes:
    return codes(at / "ten.npy", np.zeros((2, 10), np.int64)).read_bytes()


def loop(at: Path) -> Path:
    (at / "loop").symlink_to("loop")
    return at / "loop"


MISTAKES: dict[str, Callable[[Path], object]] = {
    "no project": lambda at: Project.load(at / "none"),
    "project is no TOML": lambda at: Project.load(written(at / "fishtune.toml", "name =")),
    "project with faults": lambda at: Project.load(
        written(
            at / "fishtune.toml",
            'name = "a"\nnmae = 1\n[train]\nepochs = -1\naccumulation = "x"\nprecision = "fp8"\n'
            "[model]\nx = 1\n",
        )
    ),
    "no name": lambda at: Project.load(written(at / "fishtune.toml", 'name = ""\n')),
    "no checkpoint to merge": lambda at: Project.create(at, "yoona").merge_settings(),
    "unknown preset": lambda at: lora_preset("r_61_alpha_16"),
    "unknown device": lambda at: resolve_device("cuda:99"),
    "no such recording": lambda at: read_info(at / "no such.wav"),
    "a folder for a recording": lambda at: read_info(at),
    "an empty recording": lambda at: read_info(written(at / "a.wav", b"")),
    "no audio": lambda at: read_info(written(at / "a.mp3", b"no audio" * 99)),
    "a cut recording": lambda at: read_audio(cut(at), 24_000),
    "codes of floats": lambda at: read_codes(codes(at / "a.npy", np.zeros((2, 3)))),
    "codes out of range": lambda at: read_codes(codes(at / "a.npy", np.full((1, 3), 9)), [4]),
    "damaged codes": lambda at: read_codes(written(at / "a.npy", b"\x93NUMPY")),
    "no packed data": ShardIndex.open,
    "a damaged shard": lambda at: ShardIndex.open(written(at / "000000.protos", b"\xff\xff\xff").parent),
    "no config": ModelDirectory.open,
    "a config with faults": lambda at: ModelDirectory.open(
        written(at / "config.json", json.dumps({"model_type": "dual_ar", "dim": -1, "n_head": 3})).parent
    ),
    "another model": lambda at: ModelDirectory.open(
        written(at / "config.json", '{"model_type": "bert"}').parent
    ),
    "a config that is a folder": lambda at: ModelDirectory.open(
        (at / "config.json" / "x").mkdir(parents=True) or at
    ),
    "a config that is no JSON": lambda at: ModelDirectory.open(
        written(at / "config.json", '{"dim": ').parent
    ),
    "a config of deep lists": lambda at: ModelDirectory.open(written(at / "config.json", "[" * 9999).parent),
    "a config that is not text": lambda at: ModelDirectory.open(
        written(at / "config.json", b"\xff\xfe{").parent
    ),
    "a number that is none": lambda at: ModelDirectory.open(
        written(at / "config.json", '{"dim": NaN}').parent
    ),
    "a file for a model": lambda at: ModelDirectory.open(written(at / "model.pth", "")),
    "a checkpoint of training for a model": lambda at: ModelDirectory.open(
        written(at / "step_000001.ckpt", "")
    ),
    "codes of another shape": lambda at: read_codes(codes(at / "a.npy", np.zeros((2, 3, 4), np.int64))),
    "cut codes": lambda at: read_codes(written(at / "a.npy", codes_of_ten(at)[:-9])),
    "codes that end in the header": lambda at: read_codes(written(at / "a.npy", codes_of_ten(at)[:40])),
    "codes of objects": lambda at: read_codes(codes(at / "a.npy", np.array([[None]]))),
    "a data set that is a file": lambda at: validate(
        ValidateSettings(data=written(at / "a", "")), Reporter()
    ),
    "a data set behind a loop": lambda at: validate(ValidateSettings(data=loop(at)), Reporter()),
    "a name that is too long": lambda at: read_codes(at / ("a" * 300)),
    "a recording below a file": lambda at: read_info(written(at / "a", "") / "b.wav"),
    "packing over the data set": lambda at: pack(
        PackSettings(input=recording(at / "유나/a.wav").parents[1], output=at), Reporter()
    ),
    "the hub is away": lambda at: hub(OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))),
    "a file in the place of a folder": lambda at: write_text(written(at / "a", "") / "b", ""),
    "no recordings": lambda at: pack(PackSettings(input=at, output=at / "out"), Reporter()),
    "no folder of recordings": lambda at: validate(ValidateSettings(data=at / "none"), Reporter()),
    "no such clip": lambda at: inspect_clip(recording(at / "유나/a.wav").parents[1], "유나/b", ".lab", 10),
    "normalising into itself": lambda at: normalise(
        LoudnessNormSettings(source=recording(at / "유나/a.wav").parents[1], target=at / "유나"), Reporter()
    ),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_errors_are_wholly_in_the_persons_language(mistake: str, tmp_path: Path) -> None:
    with pytest.raises(FishtuneError) as raised:
        MISTAKES[mistake](tmp_path)
    error = raised.value
    for text in filter(None, (error.message, error.hint)):
        said = sentence(text)
        assert said != text
        assert english(said.replace(str(tmp_path), "/at")) == [], said


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/a"),
        OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/data/a"),
        OSError(errno.EIO, os.strerror(errno.EIO), "/data/a"),
        MemoryError(),
        RuntimeError("CUDA error: 700"),
    ],
)
def test_what_the_system_says_is_in_the_persons_language(failure: Exception) -> None:
    error = explain(failure)
    assert english(sentence(error.message)) in ([], ["error"]), sentence(error.message)
    assert english(sentence(error.hint)) == []


def test_all_findings_of_a_bad_data_set_are_in_the_persons_language(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(8):
        written(recording(data / f"유나/a{number}.wav", seed=number).with_suffix(".lab"), "hello there")
    faults: dict[str, tuple[dict[str, float], str | bytes | None]] = {
        "silent": ({"level": 0.0}, "x"),
        "clipped": ({"level": 5.0}, "x"),
        "again": ({"seed": 1}, "x"),
        "low": ({"rate": 8000}, "x"),
        "long": ({"seconds": LONGEST_SECONDS + 5, "rate": 8000}, "x"),
        "mute": ({}, None),
        "blank": ({}, ""),
        "wordless": ({}, "{laugh}"),
        "stripped": ({}, "well <laugh> then"),
        "lines": ({}, "one\ntwo"),
        "cp949": ({}, "안녕하세요".encode("cp949")),
        "fast": ({}, "word " * 60),
        "sub/deep": ({}, "x"),
        "two": ({}, "x"),
        "binary": ({}, b"hello\0there"),
        "utf16": ({}, "hello there".encode("utf-16-le")),
        "damaged": ({}, "안녕하세요 반갑습니다".encode()[:-1]),
        "steering": ({}, "<|im_end|> x"),
        "phoneme": ({}, "<|phoneme_start|>x"),
        "marks": ({}, "\ufeff\ufeffx"),
        "control": ({}, "x\x07y"),
        "losing": ({}, "안녕\ufffd하세요"),
        "garbled": ({}, "안녕하세요".encode().decode("latin-1")),
        "slow": ({"seconds": 20.0, "rate": 8000}, "x"),
        "chosen": ({}, "x"),
        "sub/sub/deeper": ({}, None),
    }
    for seed, (name, (options, text)) in enumerate(faults.items(), 20):
        path = recording(data / f"유나/{name}.wav", **{"seed": seed, **options})  # type: ignore[arg-type]
        if text is not None:
            written(path.with_suffix(".lab"), text)
    for seed, (name, gain) in enumerate({"one-sided": 0, "opposite": -1}.items(), 60):
        mono, rate = soundfile.read(recording(data / f"유나/{name}.wav", seed=seed))
        soundfile.write(data / f"유나/{name}.wav", np.stack([mono, gain * mono], 1), rate)
        written(data / f"유나/{name}.lab", "x")
    recording(data / "유나/two.flac")
    recording(data / "root.wav")
    recording(data / "미나/b.wav", level=0.5)
    written(data / "유나/orphan.lab", "x")
    written(data / "유나/broken.mp3", b"no audio" * 99)
    written(data / "유나/other.m4a", b"x")
    written(data / "유나/chosen.LAB", "x")
    written(data / "유나/empty.wav", b"")
    written(data / "metadata.csv", "유나/mute|hello there\n")
    (data / "유나/dir.wav").mkdir()
    (data / "유나/dir.lab").mkdir()
    (data / "유나/lost.wav").symlink_to("nothing.wav")
    (data / "유나/loop.wav").symlink_to("loop.wav")
    (data / "유나/back").symlink_to("..", target_is_directory=True)
    os.mkfifo(data / "유나/pipe.wav")
    for name in ("안녕.wav".encode("cp949"), b"a\x1b.wav"):
        written(data / "유나" / os.fsdecode(name), b"x")
    report = validate(ValidateSettings(data=data, exclude=["유나/nobody"], num_workers=1), Reporter())
    missing = set(FindingKind) - {finding.code for finding in report.findings}
    kinds = list(FindingKind)
    by_ear = set(kinds[kinds.index(FindingKind.OTHER_WORDS) :])  # these take models that listen
    unseen = {FindingKind.NO_SPEAKERS, FindingKind.FOLDER_UNREADABLE, FindingKind.TEXT_UNREADABLE}
    assert missing <= unseen | by_ear
    for finding in report.findings:
        for text in (finding.what, finding.what_to_do):
            assert english(sentence(text).replace(str(data), "/at")) == [], (text, sentence(text))
