"""`fishtune loudness-norm`: levels are right, the source is never touched, nothing foreign is destroyed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core import workers
from fishtune.core.audio.levels import decibels, loudness, peak
from fishtune.core.audio.mixing import mix
from fishtune.core.audio.recordings import read_channels
from fishtune.core.cli.app import run as cli
from fishtune.core.config.settings import LoudnessNormSettings
from fishtune.core.dataset.journal import Copied, copied
from fishtune.core.errors import DataError, StopRequested, StorageError, UsageError
from fishtune.core.events import ItemFailed, Reporter, Warned
from fishtune.core.stages.loudness_norm import run as module
from fishtune.core.stages.loudness_norm.run import JOURNAL_FILE, LoudnessResult, run

from .recorder import Recorder

RATE = 22_050


def noise(seconds: float, amplitude: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise with few high tones, as speech has: an mp3 encoder leaves the highest out."""
    samples = np.random.default_rng(seed).uniform(-1, 1, (round(seconds * RATE), channels))
    for _ in range(2):
        samples[3:] = (samples[3:] + samples[2:-1] + samples[1:-2] + samples[:-3]) / 4
    return amplitude * samples / np.abs(samples).max()


def normalise(raw: Path, out: Path, reporter: Reporter | None = None, **options: object) -> LoudnessResult:
    settings = {"source": raw, "target": out, "num_workers": 1, **options}
    return run(LoudnessNormSettings.model_validate(settings), reporter or Reporter())


def level(path: Path) -> float:
    """Return the loudness of what the codec gets."""
    samples, rate = read_channels(path)
    return loudness(mix(samples, rate).samples[:, None], rate)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and modification time of every file."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files.items() if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file but the journal, which has times in it."""
    return {name: content for name, (content, _) in snapshot(folder).items() if name != JOURNAL_FILE}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "data-raw"
    for speaker in ("유나", "Bob"):
        (root / speaker).mkdir(parents=True)
    soundfile.write(root / "유나/첫 번째.wav", noise(2, 0.02, seed=1), RATE)
    soundfile.write(root / "유나/둘.flac", noise(2, 0.3, channels=2, seed=2), RATE, "PCM_24")
    soundfile.write(root / "Bob/a.mp3", noise(2, 0.05, seed=3), RATE)
    for name in ("유나/첫 번째", "유나/둘", "Bob/a"):
        (root / f"{name}.lab").write_text(f"text of {name}", encoding="utf-8")
    return root


def test_every_recording_gets_the_loudness_and_keeps_name_rate_channels_and_container(
    raw: Path, tmp_path: Path
) -> None:
    before = snapshot(raw)
    result = normalise(raw, tmp_path / "data")
    assert (result.written, result.transcripts, result.failed, result.quieter) == (3, 3, [], [])
    assert snapshot(raw) == before
    for path in (path for path in raw.rglob("*") if path.suffix in (".wav", ".flac", ".mp3")):
        made = tmp_path / "data" / path.relative_to(raw)
        assert level(made) == pytest.approx(-23, abs=0.15)
        old, new = soundfile.info(path), soundfile.info(made)
        assert (new.samplerate, new.channels, new.frames, new.format, new.subtype) == (
            old.samplerate,
            old.channels,
            old.frames,
            old.format,
            old.subtype,
        )
        text = made.with_suffix(".lab")
        assert text.read_bytes() == path.with_suffix(".lab").read_bytes()


def test_gain_is_one_factor_for_all_samples_and_channels(raw: Path, tmp_path: Path) -> None:
    normalise(raw, tmp_path / "data")
    before, _ = read_channels(raw / "유나/둘.flac")
    after, _ = read_channels(tmp_path / "data/유나/둘.flac")
    factor = after[np.abs(before) > 0.05] / before[np.abs(before) > 0.05]
    assert factor.std() < 1e-4 * abs(factor.mean())


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_peaks_stay_below_the_limit_and_the_recording_quieter_instead(tmp_path: Path, extension: str) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    samples = noise(2, 0.01)
    samples[::4000] = 0.9  # clicks: loud peaks in a quiet recording
    soundfile.write(tmp_path / f"raw/S/a.{extension}", samples, RATE)
    recorder = Recorder()
    result = normalise(tmp_path / "raw", tmp_path / "out", recorder, peak=-1.5)
    made = tmp_path / f"out/S/a.{extension}"
    assert -2.5 < decibels(peak(read_channels(made)[0])) <= -1.4
    assert level(made) < -24
    assert result.quieter == [f"S/a.{extension}"]
    (warned,) = [event for event in recorder.events if isinstance(event, Warned)]
    assert "below -23 LUFS" in warned.message


def test_the_same_voice_on_any_channels_gets_one_loudness_in_the_mix_that_is_trained(tmp_path: Path) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    voice, empty = noise(2, 0.1), np.zeros((2 * RATE, 1))
    hiss = np.random.default_rng(1).standard_normal(voice.shape) * 10 ** (-70 / 20)
    for name, channels in {
        "mono": [voice],
        "dual": [voice, voice],
        "left": [voice, empty],
        "right": [hiss + 0.01, voice],
        "four": [empty, empty, voice, empty],
        "swapped": [voice, -0.97 * voice],
    }.items():
        soundfile.write(tmp_path / f"raw/S/{name}.wav", np.concatenate(channels, 1), RATE)
    recorder = Recorder()
    result = normalise(tmp_path / "raw", tmp_path / "out", recorder)
    for path in (tmp_path / "out/S").glob("*.wav"):
        assert level(path) == pytest.approx(-23, abs=0.1), path.name
        assert soundfile.info(path).channels == soundfile.info(tmp_path / "raw/S" / path.name).channels
    assert result.one_sided == ["S/four.wav", "S/left.wav", "S/right.wav"]
    assert result.opposite_phase == ["S/swapped.wav"]
    warned = [event.message for event in recorder.events if isinstance(event, Warned)]
    assert warned == [
        "3 files (S/four.wav, …): only the channels that carry the voice are used.",
        "S/swapped.wav: the channels cancel each other, so one of them is used.",
    ]


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW", "PCM_U8"])
def test_every_sample_format_that_can_be_read_is_normalised(tmp_path: Path, subtype: str) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    soundfile.write(tmp_path / "raw/S/a.wav", noise(2, 0.2)[:, 0], 8_000, subtype)
    soundfile.write(tmp_path / "raw/S/b.wav", noise(1, 0.2), RATE)
    assert normalise(tmp_path / "raw", tmp_path / "out").written == 2
    assert level(tmp_path / "out/S/a.wav") == pytest.approx(-23, abs=0.1)
    assert soundfile.info(tmp_path / "out/S/a.wav").subtype == "PCM_16"


def test_what_extraction_would_refuse_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    soundfile.write(tmp_path / "raw/S/a.wav", noise(1, 0.2), RATE)
    soundfile.write(tmp_path / "raw/S/long.wav", np.zeros(191 * 8_000), 8_000, "PCM_U8")
    soundfile.write(tmp_path / "raw/S/odd.wav", noise(1, 0.2), 44_101)
    recorder = Recorder()
    result = normalise(tmp_path / "raw", tmp_path / "out", recorder)
    assert (result.written, result.failed) == (1, ["S/long.wav", "S/odd.wav"])
    first, second = (event.message for event in recorder.events if isinstance(event, ItemFailed))
    assert "long.wav is 3 min 11 s long; the codec takes 190 s." in first
    assert "44101 Hz" in second


def test_copies_that_were_measured_otherwise_are_made_again(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    journal = out / JOURNAL_FILE
    journal.write_text(journal.read_text().replace('"measure":1', '"measure":0'))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path != journal}
    assert normalise(raw, out).written == 3
    # What comes out as it is stays untouched: codes of the version before are judged by the times.
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path != journal} == before
    assert normalise(raw, out).written == 0


def test_short_and_silent_recordings(tmp_path: Path) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    soundfile.write(tmp_path / "raw/S/short.wav", noise(0.2, 0.1), RATE)
    soundfile.write(tmp_path / "raw/S/silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "raw/S/hiss.wav", noise(1, 0.0005), RATE)
    result = normalise(tmp_path / "raw", tmp_path / "out")
    assert level(tmp_path / "out/S/short.wav") == pytest.approx(-23, abs=0.1)
    assert result.silent == ["S/hiss.wav", "S/silent.wav"]
    for name in ("silent.wav", "hiss.wav"):
        assert (tmp_path / "out/S" / name).read_bytes() == (tmp_path / "raw/S" / name).read_bytes()


def test_what_is_done_is_not_done_again_and_what_changed_is(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    before = snapshot(out)
    result = normalise(raw, out)
    assert (result.written, result.current, result.transcripts) == (0, 3, 0)
    assert before | {JOURNAL_FILE: snapshot(out)[JOURNAL_FILE]} == snapshot(out)
    soundfile.write(raw / "Bob/a.mp3", noise(1, 0.2, seed=8), RATE)
    (raw / "유나/둘.lab").write_text("corrected")
    result = normalise(raw, out)
    assert (result.written, result.current, result.transcripts) == (1, 2, 1)
    assert (out / "유나/둘.lab").read_text() == "corrected"
    assert normalise(raw, out, loudness=-20).written == 3
    assert level(out / "Bob/a.mp3") == pytest.approx(-20, abs=0.15)
    (raw / "Bob/a.mp3").unlink()
    assert normalise(raw, out, loudness=-20).orphans == ["Bob/a.lab", "Bob/a.mp3"]
    assert (out / "Bob/a.mp3").exists()


def test_the_result_does_not_depend_on_the_workers(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_STARTING", 0)
    for i in range(3):
        shutil.copy(raw / "Bob/a.mp3", raw / f"Bob/{i}.mp3")
    one, two = normalise(raw, tmp_path / "1"), normalise(raw, tmp_path / "2", num_workers=2)
    assert one.written == two.written == 6
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("target", ["data-raw", ".", "data-raw/out", "link"])
def test_a_target_that_overlaps_the_source_is_refused(
    raw: Path, tmp_path: Path, target: str, clean: bool
) -> None:
    (tmp_path / "link").symlink_to(raw)
    before = snapshot(raw)
    with pytest.raises(UsageError, match=r"source"):
        normalise(raw, tmp_path / target, clean=clean)
    assert snapshot(raw) == before


def test_a_target_that_is_a_file_is_refused(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("precious")
    with pytest.raises(UsageError, match="data is a file"):
        normalise(raw, tmp_path / "data", clean=True)
    assert (tmp_path / "data").read_text() == "precious"


def test_clean_empties_the_target_of_its_own_files(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    shutil.rmtree(raw / "유나")
    result = normalise(raw, out, clean=True)
    assert (result.written, result.orphans) == (1, [])
    assert sorted(snapshot(out)) == [JOURNAL_FILE, "Bob/a.lab", "Bob/a.mp3"]
    assert not (out / "유나").exists()


FOREIGN = ["Bob/a.npy", "protos/00000000.protos", "notes.txt", "Other/x.wav"]


@pytest.mark.parametrize("name", FOREIGN)
def test_clean_refuses_what_this_command_did_not_write(raw: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("hours of work")
    before = snapshot(out)
    with pytest.raises(UsageError, match="was not written by fishtune loudness-norm") as caught:
        normalise(raw, out, clean=True)
    assert name in caught.value.message
    assert snapshot(out) == before
    assert normalise(raw, out).current == 3  # without --clean it goes on beside it


def test_an_edited_transcript_in_the_target_is_kept(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    (out / "Bob/a.lab").write_text("corrected by hand in the wrong folder")
    for clean in (True, False):
        with pytest.raises(UsageError, match=r"Bob/a\.lab was not written by"):
            normalise(raw, out, clean=clean)
    assert (out / "Bob/a.lab").read_text() == "corrected by hand in the wrong folder"


def test_files_that_were_there_before_are_never_replaced(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    (out / "Bob").mkdir(parents=True)
    (out / "Bob/a.mp3").write_text("precious")
    with pytest.raises(UsageError, match=r"Bob/a\.mp3 was not written .* would be replaced"):
        normalise(raw, out)
    assert sorted(snapshot(out)) == ["Bob/a.mp3"]


def test_an_unreadable_recording_is_reported_and_the_others_are_made(raw: Path, tmp_path: Path) -> None:
    (raw / "Bob/broken.wav").write_text("no audio")
    (raw / "Bob/empty.mp3").write_bytes(b"")
    (raw / "Bob/folder.wav").mkdir()
    recorder = Recorder()
    result = normalise(raw, tmp_path / "data", recorder)
    assert (result.written, result.failed) == (3, ["Bob/broken.wav", "Bob/empty.mp3"])
    failures = {event.item: event for event in recorder.events if isinstance(event, ItemFailed)}
    assert failures.keys() == {"Bob/broken.wav", "Bob/empty.mp3"}
    assert all(str(raw) in event.message and event.hint for event in failures.values())
    assert not (tmp_path / "data/Bob/broken.wav").exists()
    assert copied(tmp_path / "data") == Copied(recordings=3, total=5, is_whole=True), "no more can be made"
    (raw / "Bob/broken.wav").write_bytes((raw / "유나/첫 번째.wav").read_bytes())
    assert normalise(raw, tmp_path / "data").written == 1, "what could not be read is tried again"


def test_when_no_recording_can_be_read_that_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "raw/S").mkdir(parents=True)
    with pytest.raises(DataError, match="has no speaker folder with recordings"):
        normalise(tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw/S/a.wav").write_text("no audio")
    with pytest.raises(DataError, match="The recording in .* cannot be read"):
        normalise(tmp_path / "raw", tmp_path / "out")


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, written = module.write_bytes, []

    def filling(target: Path, content: bytes) -> None:
        if target.suffix == ".flac":
            with module.storage_errors(target):
                raise OSError(errno.ENOSPC, "No space left on device")
        genuine(target, content)
        written.append(target.name)

    monkeypatch.setattr(module, "write_bytes", filling)
    with pytest.raises(StorageError, match=r"The disk is full: .*둘\.flac"):
        normalise(raw, tmp_path / "data")
    monkeypatch.undo()
    result = normalise(raw, tmp_path / "data")
    assert (result.written, result.current) == (2, 1)


def test_a_stop_keeps_what_is_finished(raw: Path, tmp_path: Path) -> None:
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested, match="continues"):
        normalise(raw, tmp_path / "data", reporter)
    assert copied(tmp_path / "data") == Copied(recordings=1, total=3, is_whole=False)
    result = normalise(raw, tmp_path / "data")
    assert (result.written, result.current) == (2, 1)
    assert copied(tmp_path / "data") == Copied(recordings=3, total=3, is_whole=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from fishtune.core import files
from fishtune.core.stages.loudness_norm import run as loudness
from fishtune.core.events import Reporter
from fishtune.core.config.settings import LoudnessNormSettings
genuine, count = os.replace, 0
def dying(source, target):
    global count
    count += not str(target).endswith(".jsonl")
    if count == 3 and sys.argv[3] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    genuine(source, target)
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying
loudness.run(LoudnessNormSettings(source=sys.argv[1], target=sys.argv[2], num_workers=1), Reporter())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_in_the_middle_it_knows_its_files_and_goes_on(raw: Path, tmp_path: Path, moment: str) -> None:
    out = tmp_path / "data"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(raw), str(out), moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    journal = out / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes() + b'{"file": "Bob/a.m')  # and a torn last line
    result = normalise(raw, out)
    assert result.current == 1
    assert result.written == 2
    expected = tmp_path / "expected"
    normalise(raw, expected)
    assert contents(out) == contents(expected)
    assert normalise(raw, out, clean=True).written == 3


def test_a_pipe_in_place_of_the_journal_is_not_waited_for(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    normalise(raw, out)
    (out / JOURNAL_FILE).unlink()
    os.mkfifo(out / JOURNAL_FILE)
    with pytest.raises(UsageError, match="were not written by fishtune loudness-norm"):
        normalise(raw, out)


def test_the_command(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["loudness-norm", "data-raw", "data", "--clean", "--num-workers", "1"]) == 0
    assert "Normalised 3 recordings, 0 were up to date: data" in capsys.readouterr().out
    assert cli(["loudness-norm", "data-raw", "data", "--num-workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["current"] == 3
    assert cli(["loudness-norm", "data-raw", "data-raw", "--clean"]) == 2
    assert cli(["loudness-norm", "nowhere", "data"]) == 1
    assert cli(["validate", "data", "--num-workers", "1"]) == 0
    assert "differs" not in capsys.readouterr().out


def test_folders_inside_a_speakers_are_mirrored_and_cleaned(raw: Path, tmp_path: Path) -> None:
    (raw / "유나/책").mkdir()
    shutil.copy(raw / "유나/둘.flac", raw / "유나/책/둘.flac")
    (raw / "유나/책/둘.LAB").write_text("same name, other folder")
    out = tmp_path / "data"
    assert normalise(raw, out).written == 4
    assert (out / "유나/책/둘.LAB").read_text() == "same name, other folder"
    assert normalise(raw, out).current == 4
    shutil.rmtree(raw / "유나/책")
    assert normalise(raw, out).orphans == ["유나/책/둘.LAB", "유나/책/둘.flac"]
    normalise(raw, out, clean=True)
    assert not (out / "유나/책").exists()


def test_a_name_of_75_syllables_is_normalised(tmp_path: Path) -> None:
    path = tmp_path / "raw" / ("나" * 70) / ("가" * 75 + ".wav")
    path.parent.mkdir(parents=True)
    soundfile.write(path, noise(1, 0.1), RATE)
    path.with_suffix(".lab").write_text("words")
    out = tmp_path / ("다" * 80)
    assert normalise(tmp_path / "raw", out).written == 1
    made = out / path.relative_to(tmp_path / "raw")
    assert level(made) == pytest.approx(-23, abs=0.1)
    assert made.with_suffix(".lab").read_text() == "words"
    assert sorted(made.parent.iterdir()) == sorted([made, made.with_suffix(".lab")])


def test_what_is_left_out_is_said_and_is_in_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    for name in ("S/a.wav", "S/b/c/deep.wav"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(raw / name, noise(1, 0.1), RATE)
    (raw / "S/a.txt").write_text("words")
    (raw / "S/self").symlink_to("self")
    os.mkfifo(raw / "S/pipe.wav")
    recorder = Recorder()
    result = normalise(raw, tmp_path / "data", recorder)
    assert result.written == 1
    assert [finding.path for finding in result.left_out] == [raw / "S/pipe.wav", raw / "S/self", raw / "S"]
    said = [event for event in recorder.events if isinstance(event, Warned)]
    assert [event.message for event in said[:3]] == [finding.what for finding in result.left_out]
    assert said[3].message == "S/a: what may be the transcript is not copied."
    assert "--text-extension .txt" in said[3].hint
    assert cli(["loudness-norm", str(raw), str(tmp_path / "data"), "--text-extension", ".txt"]) == 0
    assert (tmp_path / "data/S/a.txt").read_text() == "words"
    assert f"left out: {raw / 'S/b/c/deep.wav'} lies too deep" in capsys.readouterr().out
