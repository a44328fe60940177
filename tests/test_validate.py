"""`fishtune validate`: every kind of finding, on real files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core import workers
from fishtune.core.cli.app import run as cli
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.dataset.findings import Finding, FindingKind, Severity
from fishtune.core.errors import DataError, StopRequested, UsageError
from fishtune.core.events import Event, Progress, Reporter
from fishtune.core.stages.validate.run import ValidationReport, inspect_clip, run

RATE = 16_000


def tone(seconds: float = 1.0, amplitude: float = 0.1, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise under an envelope: like speech it differs from clip to clip."""
    generator = np.random.default_rng(seed)
    return np.clip(amplitude * generator.standard_normal(round(seconds * rate)) / 3, -1, 1)


class Maker:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def __call__(self, name: str, text: str | bytes | None = "hello there", **options: object) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.count += 1
        rate = int(options.get("rate", RATE))  # type: ignore[call-overload]
        samples = options.get("samples")
        soundfile.write(path, tone(rate=rate, seed=self.count) if samples is None else samples, rate)
        if text is not None:
            content = text if isinstance(text, bytes) else text.encode()
            path.with_suffix(".lab").write_bytes(content)
        return path


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "data")


def validate(root: Path, **options: object) -> ValidationReport:
    settings = {"data": root, "num_workers": 1, **options}
    return run(ValidateSettings.model_validate(settings), Reporter())


def found(report: ValidationReport) -> dict[FindingKind, Finding]:
    """Return the findings by code; being short is a matter of these tests only."""
    return {
        finding.code: finding for finding in report.findings if finding.code is not FindingKind.TOO_LITTLE
    }


def test_real_speech_has_only_its_shortness_to_blame() -> None:
    source = Path("/work/shared/data/ljspeech")
    if not source.is_dir():
        pytest.skip("the recordings are not on this machine")
    report = validate(source)
    assert [finding.code for finding in report.findings] == [FindingKind.TOO_LITTLE]
    (speaker,) = report.speakers
    assert speaker.clips == 8
    assert speaker.loudness is not None
    assert -30 < speaker.loudness < -15


def test_a_sound_data_set_has_totals_and_no_findings(make: Maker) -> None:
    for i in range(3):
        make(f"유나/clip {i}.wav", text="안녕하세요 여러분")
    make("Bob/a.flac", samples=tone(3, seed=9))
    report = validate(make.root)
    assert found(report) == {}
    assert report.clips == 4
    assert report.seconds == pytest.approx(6)
    assert [(s.speaker, s.clips, s.median_seconds, s.longest_seconds) for s in report.speakers] == [
        ("Bob", 1, 3, 3),
        ("유나", 3, 1, 1),
    ]
    assert report.speakers[0].quietest == report.speakers[0].loudest == report.speakers[0].loudness


def test_transcripts_without_words_are_errors(make: Maker) -> None:
    make("S/empty.wav", text=" \n")
    make("S/markup.wav", text="{noise} <b>")
    make("S/latin.wav", text="grüße".encode("latin-1"))
    make("S/korean.wav", text="안녕".encode("cp949"))
    report = validate(make.root)
    errors = {finding.path.name: finding for finding in report.findings if finding.severity is Severity.ERROR}
    assert {name: finding.code for name, finding in errors.items()} == {
        "empty.lab": FindingKind.TEXT_EMPTY,
        "markup.lab": FindingKind.TEXT_EMPTY,
        "latin.lab": FindingKind.TEXT_NOT_UTF8,
        "korean.lab": FindingKind.TEXT_NOT_UTF8,
    }
    assert "{noise} <b>" in errors["markup.lab"].what
    assert "CP949, and then reads '안녕'" in errors["korean.lab"].what_to_do


def _truncated_mp3(path: Path) -> None:
    soundfile.write(path, tone(2, rate=44_100), 44_100)
    path.write_bytes(path.read_bytes()[:200])


BAD_RECORDINGS = {
    "empty.wav": (lambda path: path.write_bytes(b""), FindingKind.AUDIO_EMPTY, "is empty"),
    "text.wav": (
        lambda path: path.write_text("I am no recording"),
        FindingKind.AUDIO_UNREADABLE,
        "cannot be read",
    ),
    "gone.wav": (lambda path: path.symlink_to("nowhere"), FindingKind.AUDIO_UNREADABLE, "does not exist"),
    "no samples.wav": (
        lambda path: soundfile.write(path, np.zeros(0), RATE),
        FindingKind.AUDIO_UNREADABLE,
        "contains no audio",
    ),
    "folder.wav": (lambda path: path.mkdir(), FindingKind.NOT_A_FILE, "is a folder"),
    "short.mp3": (_truncated_mp3, FindingKind.AUDIO_UNREADABLE, "short.mp3"),
}


@pytest.mark.parametrize("name", BAD_RECORDINGS)
def test_a_recording_that_cannot_be_used_is_one_error_and_the_others_go_on(make: Maker, name: str) -> None:
    make("S/good.wav")
    damage, code, what = BAD_RECORDINGS[name]
    damage(make.root / "S" / name)
    if name != "folder.wav":
        (make.root / "S" / name).with_suffix(".lab").write_text("words")
    report = validate(make.root)
    (finding,) = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    assert (finding.code, finding.path.name) == (code, name)
    assert what in finding.what
    assert finding.what_to_do
    assert report.speakers[0].clips == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_errors(make: Maker) -> None:
    make("S/a.wav").chmod(0)
    make("S/b.wav").with_suffix(".lab").chmod(0)
    assert {FindingKind.AUDIO_UNREADABLE, FindingKind.TEXT_UNREADABLE} <= found(validate(make.root)).keys()


def test_a_clip_over_190_seconds_is_refused_from_its_header(make: Maker) -> None:
    make("S/long.wav", samples=np.zeros(191 * 8000), rate=8000)
    report = validate(make.root)
    assert found(report).keys() == {FindingKind.AUDIO_TOO_LONG}  # silence and rate are not looked at
    assert "3 min 11 s" in found(report)[FindingKind.AUDIO_TOO_LONG].what


def test_the_longest_clip_is_that_of_extraction(make: Maker) -> None:
    longest = 4096 * 2048 / 44_100
    make("S/most.wav", samples=np.zeros(int(longest * 8000)), rate=8000)
    make("S/more.wav", samples=np.zeros(int(longest * 8000) + 1), rate=8000)
    findings = validate(make.root).findings
    assert [finding.path.name for finding in findings if finding.code is FindingKind.AUDIO_TOO_LONG] == [
        "more.wav"
    ]


def test_a_rate_that_extraction_refuses_is_an_error(make: Maker) -> None:
    make("S/odd.wav", rate=44_101)
    report = validate(make.root)
    assert found(report)[FindingKind.AUDIO_UNREADABLE].severity is Severity.ERROR
    assert "44101 Hz" in found(report)[FindingKind.AUDIO_UNREADABLE].what


def test_channels_that_are_left_out_are_findings(make: Maker) -> None:
    voice = tone(2)
    make("S/left.wav", samples=np.stack([voice, 0 * voice], 1))
    make("S/phase.wav", samples=np.stack([voice[::-1], -voice[::-1]], 1))
    make("S/both.wav", samples=np.stack([voice, voice[::-1]], 1))
    findings = found(validate(make.root))
    assert findings.keys() >= {FindingKind.ONE_SIDED, FindingKind.OPPOSITE_PHASE}
    assert findings[FindingKind.ONE_SIDED].what == (
        "left.wav has its voice on 1 of 2 channels; the others are left out."
    )
    assert findings[FindingKind.OPPOSITE_PHASE].what == (
        "The channels of phase.wav cancel each other (opposite phase); only channel 1 is used."
    )
    assert FindingKind.NEAR_SILENCE not in findings
    assert not inspect_clip(make.root, "S/both", ".lab", 10).findings


def test_levels_are_those_of_the_mono_mix(make: Maker) -> None:
    voice = tone(2)
    make("S/a.wav", samples=voice)
    make("S/b.wav", samples=np.stack([voice, voice], 1))
    make("S/c.wav", samples=np.stack([voice, 0 * voice, 0 * voice, 0 * voice], 1))
    levels = [inspect_clip(make.root, f"S/{name}", ".lab", 10).loudness for name in "abc"]
    assert levels == pytest.approx([levels[0]] * 3, abs=0.01)


def test_floating_point_samples_beyond_full_scale_are_not_clipped(make: Maker) -> None:
    path = make("S/a.wav")
    loud = 1.9 * np.sin(2 * np.pi * 110 * np.arange(RATE) / RATE)
    soundfile.write(path, loud, RATE, "FLOAT")
    assert FindingKind.CLIPPING not in found(validate(make.root))
    soundfile.write(path, loud.clip(-1, 1), RATE, "FLOAT")
    assert FindingKind.CLIPPING in found(validate(make.root))


def test_doubtful_transcripts_are_shown_with_what_goes(make: Maker) -> None:
    make("S/a.wav", text="well {cough} <laugh>so</laugh> be it")
    make("S/b.wav", text="one\n\ntwo\r\n")
    findings = found(validate(make.root))
    assert findings.keys() == {FindingKind.TEXT_STRIPPED, FindingKind.TEXT_LINES}
    assert "{cough} <laugh> </laugh>" in findings[FindingKind.TEXT_STRIPPED].what
    assert "2 lines" in findings[FindingKind.TEXT_LINES].what


def test_doubtful_recordings_are_warnings(make: Maker) -> None:
    make("S/ok.wav")
    make("S/low.wav", rate=8000)
    make("S/clipped.wav", samples=np.clip(tone(1, 8.0, seed=3), -1, 1) * 0.99999)
    make("S/silent.wav", samples=np.zeros(RATE))
    make("S/whisper.wav", samples=tone(1, 0.001, seed=4))
    shutil.copy(make.root / "S/ok.wav", make.root / "S/copy.wav")
    shutil.copy(make.root / "S/ok.lab", make.root / "S/copy.lab")
    report = validate(make.root)
    assert {finding.severity for finding in report.findings} == {Severity.WARNING}
    by_name = {(finding.code, finding.path.name) for finding in report.findings}
    assert by_name == {
        (FindingKind.SAMPLE_RATE_LOW, "low.wav"),
        (FindingKind.CLIPPING, "clipped.wav"),
        (FindingKind.NEAR_SILENCE, "silent.wav"),
        (FindingKind.NEAR_SILENCE, "whisper.wav"),
        (FindingKind.SAME_AUDIO, "ok.wav"),
        (FindingKind.LOUDNESS_SPREAD, "data"),
        (FindingKind.TOO_LITTLE, "data"),
    }
    assert "digital silence" in " ".join(finding.what for finding in report.findings)


@pytest.mark.parametrize(("factor", "expected"), [(1.3, False), (1.6, True)])
def test_loudness_may_differ_by_three_units(make: Maker, factor: float, expected: bool) -> None:
    make("S/a.wav", samples=tone(2, 0.2, seed=1))
    make("S/b.wav", samples=tone(2, 0.2 * factor, seed=1))
    assert (FindingKind.LOUDNESS_SPREAD in found(validate(make.root))) is expected


def test_a_transcript_that_does_not_fit_the_pace_is_suspected(make: Maker) -> None:
    for i in range(6):
        make(f"S/{i}.wav", text="twenty letters or so here")
    make("S/wrong.wav", text="no")
    make("S/much.wav", text="words " * 30)
    suspects = {
        finding.path.stem
        for finding in validate(make.root).findings
        if finding.code is FindingKind.READING_SPEED
    }
    assert suspects == {"wrong", "much"}


def test_findings_come_worst_first_and_do_not_depend_on_the_workers(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_STARTING", 0)
    for i in range(20):
        make(f"S/{i:02}.wav", text="x {y}" if i % 2 else "")
    one, two = validate(make.root), validate(make.root, num_workers=2)
    assert one == two
    severities = [finding.severity for finding in one.findings]
    assert severities == sorted(severities, key=lambda severity: severity is not Severity.ERROR)


def test_excluded_clips_are_not_looked_at(make: Maker) -> None:
    make("S/a.wav")
    (make.root / "S/b.wav").write_text("no audio")
    report = validate(make.root, exclude=["S/b"])
    assert found(report) == {}
    assert report.clips == 1


def test_a_missing_folder_is_an_error_not_a_finding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        validate(tmp_path / "nowhere")


def test_progress_is_told_and_a_stop_obeyed(make: Maker) -> None:
    make("S/a.wav")
    make("S/b.wav")
    events: list[Event] = []

    class Recorder(Reporter):
        def emit(self, event: Event) -> None:
            events.append(event)

    run(ValidateSettings(data=make.root, num_workers=1), Recorder())
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (last.done, last.total) == (2, 2)
    reporter = Reporter()
    reporter.request_stop()
    with pytest.raises(StopRequested):
        run(ValidateSettings(data=make.root, num_workers=1), reporter)


def test_one_clip_in_detail(make: Maker) -> None:
    make("유나/a b.wav", text="안녕 {기침} 하세요\n", samples=tone(2, seed=1))
    detail = inspect_clip(make.root, "유나/a b", ".lab", points=40)
    assert detail.transcript == "안녕 {기침} 하세요\n"
    assert detail.packed == "안녕 하세요"
    assert detail.stripped == ["{기침}"]
    assert (detail.seconds, detail.sample_rate, detail.channels) == (2, RATE, 1)
    assert len(detail.outline) == 40
    assert max(detail.outline) > 0.05
    assert [finding.code for finding in detail.findings] == [FindingKind.TEXT_STRIPPED]
    (make.root / "유나/a b.wav").write_text("broken")
    broken = inspect_clip(make.root, "유나/a b", ".lab", points=40)
    assert broken.outline == []
    assert {finding.code for finding in broken.findings} == {
        FindingKind.TEXT_STRIPPED,
        FindingKind.AUDIO_UNREADABLE,
    }
    with pytest.raises(UsageError, match="has no clip '유나/c'"):
        inspect_clip(make.root, "유나/c", ".lab", points=40)


def test_the_command_exits_with_1_only_if_there_are_errors(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(15):
        make(f"S/[laugh] {i}.wav", text="ha {x}")
    assert cli(["validate", "data", "--num-workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "15 clips, 15 s: 0 errors, 16 warnings" in printed

    assert "warning: text-stripped, 15 times" in printed
    assert "… and 12 more" in printed
    assert printed.count("[laugh]") == 2 * 3
    (make.root / "S/[laugh] 3.lab").write_text("")
    assert cli(["validate", "data", "--num-workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert printed.index("error: ") < printed.index("warning: ")
    assert "15 clips, 15 s: 1 error, 15 warnings" in printed
    assert cli(["validate", "data", "--num-workers", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["code"] == "text-empty"
    assert cli(["validate", "nowhere"]) == 1
