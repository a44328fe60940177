"""Synthesis: text and voice to codes and a recording."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.settings import SynthSettings
from fishtune.core.errors import (
    CheckpointError,
    DataError,
    FishtuneError,
    StopRequested,
    StorageError,
    UsageError,
)
from fishtune.core.events import Progress, Reporter, Warned
from fishtune.core.stages.synth.run import SynthResult, run

from .recorder import Recorder


@pytest.fixture
def ref_codes(golden: Path, tmp_path: Path) -> Path:
    """The codes of the reference utterance "hello world"."""
    np.save(tmp_path / "ref.npy", np.load(golden / "generate.npz")["ref_codes"])
    return tmp_path / "ref.npy"


def synthesise(golden: Path, tmp_path: Path, reporter: Reporter | None = None, **changes: Any) -> SynthResult:
    """Run with the golden checkpoint and short limits."""
    settings = {"checkpoint": golden / "base", "text": "the quick brown fox", "out": tmp_path / "x.wav"}
    short = {"max_new_tokens": 8, "device": "cpu", "seed": 3}
    return run(SynthSettings(**(settings | short | changes)), reporter or Reporter())


def test_the_command_gives_the_references_codes_and_a_recording(
    golden: Path,
    tmp_path: Path,
    ref_codes: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    reference = np.load(golden / "generate.npz")
    texts = json.loads((golden / "generate.json").read_text(encoding="utf-8"))
    prompt = (
        f"--text '{texts['text']}' --ref-codes {shlex.quote(str(ref_codes))} --ref-text '{texts['ref_text']}'"
    )
    limits = f"--greedy --max-new-tokens {texts['max_new_tokens']} --device cpu"
    outputs = "--out x.wav --codes-out x.npy --json"
    base = shlex.quote(str(golden / "base"))
    code = run_command(shlex.split(f"synth --checkpoint {base} {prompt} {limits} {outputs}"))
    assert code == 0
    codes = np.load("x.npy")
    np.testing.assert_array_equal(codes, reference["sequence"][1:, reference["prompt"].shape[1] :])
    info = soundfile.info("x.wav")
    assert (info.samplerate, info.channels, info.frames) == (44100, 1, 24 * 2048)
    summary = json.loads(capsys.readouterr().out)
    assert (summary["frames"], summary["ended"], summary["seed"]) == (24, False, None)


def test_a_reference_recording_is_the_same_as_its_codes(golden: Path, tmp_path: Path) -> None:
    audio = np.load(golden / "codec.npz")
    soundfile.write(tmp_path / "ref.wav", audio["audio0"], 44100, subtype="FLOAT")
    np.save(tmp_path / "codes.npy", audio["codes0"])
    synthesise(
        golden, tmp_path, ref_audio=tmp_path / "ref.wav", ref_text="hello", codes_out=tmp_path / "1.npy"
    )
    synthesise(
        golden, tmp_path, ref_codes=tmp_path / "codes.npy", ref_text="hello", codes_out=tmp_path / "2.npy"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"))


def test_a_drawn_recording_names_the_seed_that_repeats_it(golden: Path, tmp_path: Path) -> None:
    first = synthesise(golden, tmp_path, seed=None, codes_out=tmp_path / "1.npy")
    again = synthesise(golden, tmp_path, seed=first.seed, codes_out=tmp_path / "2.npy")
    other = synthesise(golden, tmp_path, seed=None, codes_out=tmp_path / "3.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy"))
    assert again.seed == first.seed != other.seed


def test_the_transcript_beside_a_reference_counts_unless_one_is_given(
    golden: Path, tmp_path: Path, ref_codes: Path
) -> None:
    ref_codes.with_suffix(".lab").write_text("hello world\n", encoding="utf-8")
    codes = []
    for text in ("", "hello world", "something else"):
        out = tmp_path / "codes.npy"
        synthesise(golden, tmp_path, ref_codes=ref_codes, ref_text=text, codes_out=out)
        codes.append(np.load(out).tolist())
    assert codes[0] == codes[1] != codes[2]


def test_frames_are_reported_and_a_cut_is_a_warning(golden: Path, tmp_path: Path) -> None:
    reporter = Recorder()
    result = synthesise(golden, tmp_path, reporter)
    progress = [event for event in reporter.events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total, progress[-1].unit) == (8, 8, "frames")
    warnings = [event.message for event in reporter.events if isinstance(event, Warned)]
    assert not result.ended
    assert warnings == ["The model did not end by itself: the recording was cut at 8 frames (0.4 s)."]


@pytest.mark.parametrize("name", ["x.flac", "x.ogg"])
def test_the_outputs_ending_names_the_format(golden: Path, tmp_path: Path, name: str) -> None:
    synthesise(golden, tmp_path, out=tmp_path / "new" / name)
    assert soundfile.info(tmp_path / "new" / name).format == name[2:].upper()


def test_a_dash_writes_the_recording_to_standard_output_and_nothing_else(
    golden: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = [
        "synth",
        "--checkpoint",
        str(golden / "base"),
        "--text",
        "hello",
        "--seed",
        "3",
        "--device",
        "cpu",
    ]
    said += ["--max-new-tokens", "8"]
    assert run_command([*said, "--out", "x.wav"]) == 0
    capfdbinary.readouterr()
    assert run_command([*said, "--out", "-"]) == 0
    written, told = capfdbinary.readouterr()
    assert written == (tmp_path / "x.wav").read_bytes()
    assert b"Wrote the recording: 0.4 s" in told
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["x.wav"]
    assert run_command([*said, "--out", "-", "--json"]) == 2
    assert run_command(["start", *said, "--out", "-"]) == 2


def test_a_stopped_synthesis_writes_nothing(golden: Path, tmp_path: Path) -> None:
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        synthesise(golden, tmp_path, reporter, codes_out=tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"text": "  "}, UsageError, "There is no text to speak."),
        ({"ref_text": "a"}, UsageError, "--ref-text was given without a reference."),
        ({"ref_codes": "ref.npy"}, UsageError, "What is said in .*ref.npy is not known."),
        ({"ref_codes": "ref.npy", "ref_audio": "a.wav"}, UsageError, "were both given"),
        ({"ref_codes": "ref.npy", "codes_out": "ref.npy"}, UsageError, "is the reference and cannot be"),
        ({"codes_out": "x.wav"}, UsageError, "cannot hold both"),
        ({"out": "ref.npy/x.wav"}, StorageError, "a file is in the place of its folder"),
        ({"codes_out": "ref.npy/x.npy"}, StorageError, "a file is in the place of its folder"),
        ({"codes_out": "no-codec"}, UsageError, "no-codec is a folder"),
        ({"out": "x.abc"}, UsageError, "has no ending that names an audio format"),
        ({"ref_audio": "gone.wav", "ref_text": "a"}, DataError, "gone.wav does not exist"),
        ({"ref_codes": "big.npy", "ref_text": "a"}, DataError, "big.npy: codebook 0 holds codes"),
        ({"ref_codes": "ref.npy", "ref_text": "a" * 300}, UsageError, "The prompt takes"),
        ({"checkpoint": "gone"}, CheckpointError, "config.json cannot be read"),
        ({"checkpoint": "no-codec"}, CheckpointError, "codec.pth does not exist"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(
    golden: Path,
    tmp_path: Path,
    ref_codes: Path,
    changes: dict[str, Any],
    error: type[FishtuneError],
    message: str,
) -> None:
    np.save(tmp_path / "big.npy", np.full((10, 4), 64))
    shutil.copytree(golden / "base", tmp_path / "no-codec")
    (tmp_path / "no-codec" / "codec.pth").unlink()
    paths = ("ref_codes", "ref_audio", "codes_out", "out", "checkpoint")
    changes = {key: tmp_path / value if key in paths else value for key, value in changes.items()}
    with pytest.raises(error, match=message):
        synthesise(golden, tmp_path, **changes)
    assert not list(tmp_path.glob("x.*"))


def spellings(tmp_path: Path, file: Path) -> dict[str, Path]:
    """Return other names of one file."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "hard.npy").hardlink_to(file)
    (tmp_path / "soft.npy").symlink_to(file)
    (tmp_path / "linked").symlink_to(tmp_path)
    return {
        "dots": tmp_path / "inside/.." / file.name,
        "hard": tmp_path / "hard.npy",
        "soft": tmp_path / "soft.npy",
        "folder": tmp_path / "linked" / file.name,
    }


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("spelling", ["dots", "hard", "soft", "folder"])
def test_the_reference_is_never_an_output_however_it_is_named(
    golden: Path, tmp_path: Path, ref_codes: Path, spelling: str, overwrite: bool
) -> None:
    other = spellings(tmp_path, ref_codes)[spelling]
    before = ref_codes.read_bytes()
    with pytest.raises(UsageError, match="is the reference and cannot be the output"):
        synthesise(golden, tmp_path, ref_codes=ref_codes, ref_text="a", codes_out=other, overwrite=overwrite)
    assert ref_codes.read_bytes() == before


def test_what_synthesis_did_not_write_is_only_replaced_when_asked(golden: Path, tmp_path: Path) -> None:
    for name in ("x.wav", "x.npy"):
        mine = tmp_path / name
        mine.write_bytes(b"mine")
        outputs = {"out": tmp_path / "x.wav", "codes_out": tmp_path / "x.npy"}
        with pytest.raises(UsageError, match=rf"{name} exists already, and synthesis did not write it"):
            synthesise(golden, tmp_path, **outputs)
        assert mine.read_bytes() == b"mine"
        synthesise(golden, tmp_path, **outputs, overwrite=True)
        synthesise(golden, tmp_path, **outputs)  # its own
        mine.write_bytes(b"mine again")
        with pytest.raises(UsageError, match=rf"{name} exists already, and synthesis did not write it"):
            synthesise(golden, tmp_path, **outputs)
        mine.unlink()
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
        with pytest.raises(UsageError, match=rf"{name} exists already, and synthesis did not write it"):
            synthesise(golden, tmp_path, **outputs)
        mine.unlink()


@pytest.mark.parametrize("name", ["model.pth", "codec.pth", "config.json"])
def test_a_file_that_the_synthesis_needs_is_never_its_output(golden: Path, tmp_path: Path, name: str) -> None:
    base = Path(shutil.copytree(golden / "base", tmp_path / "base"))
    before = (base / name).read_bytes()
    with pytest.raises(UsageError, match=rf"{name} is needed for the synthesis itself"):
        synthesise(golden, tmp_path, checkpoint=base, codes_out=base / name, overwrite=True)
    assert (base / name).read_bytes() == before


def test_a_pipe_is_no_output(golden: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(UsageError, match=r"x\.npy is a named pipe, not a file"):
        synthesise(golden, tmp_path, codes_out=tmp_path / "x.npy", overwrite=True)


def test_the_command_takes_overwrite(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.wav").write_bytes(b"mine")
    base = str(golden / "base")
    command = ["synth", "--checkpoint", base, "--text", "a", "--out", "x.wav", "--max-new-tokens", "3"]
    assert run_command([*command, "--device", "cpu", "--seed", "3"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run_command([*command, "--device", "cpu", "--seed", "3", "--overwrite"]) == 0
