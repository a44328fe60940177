"""One count of clips, from the check to the shards: whoever says it says the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.cli.app import run as cli
from fishtune.core.config.project import Project
from fishtune.core.config.settings import PackSettings, ValidateSettings
from fishtune.core.dataset.findings import FindingKind, Severity, by_kind, clip_of, error, warning
from fishtune.core.dataset.rows import ClipRow
from fishtune.core.dataset.usage import DropReason, Usage
from fishtune.core.events import ClipsListed, Finished, Started
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.pipeline.chain import place_of
from fishtune.core.pipeline.status import step_status
from fishtune.core.pipeline.steps import Share, StepName, StepState
from fishtune.core.stages.pack.run import run as pack
from fishtune.core.stages.registry import StageName
from fishtune.core.stages.validate.run import ValidationReport
from fishtune.core.stages.validate.run import run as validate

from .recorder import Recorder

RATE = 8000
SAID = "8 of 11 clips will be used: 1 too long, 1 without text, 1 unreadable."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eleven clips of two speakers: one too long, one without text, one unreadable."""
    noise = np.random.default_rng(1)
    for number in range(11):
        audio = tmp_path / "data" / f"S{number % 2}" / f"clip {number:02}.wav"
        audio.parent.mkdir(parents=True, exist_ok=True)
        seconds = 191 if number == 3 else 1
        soundfile.write(audio, 0.1 * noise.standard_normal(seconds * RATE), RATE)
        audio.with_suffix(".lab").write_text(f"Words number {number}.")
    (tmp_path / "data" / "S1" / "clip 05.lab").unlink()
    (tmp_path / "data" / "S0" / "clip 06.wav").write_bytes(b"RIFF")
    return tmp_path / "data"


@pytest.fixture
def project(data: Path) -> Project:
    project = Project.create(data.parent, "yoona")
    project.save()
    return project


def extracted(data: Path) -> None:
    """Write codes for every recording that extraction takes."""
    for audio in data.glob("*/*.wav"):
        if audio.stem not in ("clip 03", "clip 06"):
            np.save(audio.with_suffix(".npy"), np.ones((10, 5), np.int64))


def checked(project: Project) -> tuple[ValidationReport, list[ClipRow]]:
    """Leave a job behind that checked the data set as it is; return what it said."""
    settings, reporter = project.validate_settings(), Recorder()
    report = validate(settings.model_copy(update={"num_workers": 1}), reporter)
    with new_job(StageName.VALIDATE, settings, place_of(project)) as (job, _):
        writer = EventWriter(job.events_path)
        for event in (Started(stage="validate"), Finished(summary=report.model_dump(mode="json"))):
            writer.write(event)
        writer.close()
    rows = [ClipRow.of(clip) for event in reporter.of(ClipsListed) for clip in event.clips]
    return report, [row for row in rows if row is not None]


def test_the_check_the_steps_and_the_shards_say_one_count(project: Project) -> None:
    report, _ = checked(project)
    assert report.usage.said == SAID
    dataset = step_status(project, StepName.DATASET)
    assert (dataset.state, dataset.why, dataset.share) == (StepState.DONE, SAID, Share(8, 11))
    extracted(project.data)
    project.base.mkdir(parents=True)
    (project.base / "codec.pth").touch()
    assert SAID in step_status(project, StepName.EXTRACT).why
    assert step_status(project, StepName.PACK).why == SAID
    settings = project.pack_settings().model_copy(update={"num_workers": 1})
    result = pack(settings, Recorder())
    assert (result.clips, result.sentences, result.usage.said) == (11, 8, SAID)
    packed = step_status(project, StepName.PACK)
    assert packed.state is StepState.DONE and packed.why.startswith(SAID)
    assert packed.share == Share(8, 11)


def test_a_clip_that_is_left_out_counts_at_once_and_again_once_it_is_taken_in(project: Project) -> None:
    checked(project)
    project.dataset.exclude = ["S0/clip 00", "S1/clip 03"]
    said = step_status(project, StepName.DATASET).why
    assert said == "7 of 11 clips will be used: 2 left out by choice, 1 without text, 1 unreadable."
    report, rows = checked(project)
    assert (report.usage.said, len(rows)) == (said, 11)
    project.dataset.exclude = []
    assert step_status(project, StepName.DATASET).why.startswith("9 of 11 clips will be used")


def test_steps_wait_for_a_clip_that_can_be_used(project: Project) -> None:
    extracted(project.data)
    for text in project.data.glob("*/*.lab"):
        text.write_text(" ")
    checked(project)
    dataset = step_status(project, StepName.DATASET)
    assert dataset.state is StepState.FAILED
    assert dataset.why == (
        "None of 11 clips can be used: 10 with an empty text, 1 without text. See the findings."
    )
    for step in (StepName.EXTRACT, StepName.PACK):
        status = step_status(project, step)
        assert (status.state, status.needs) == (StepState.LOCKED, StepName.DATASET)


def test_codes_that_are_there_stand_in_for_a_recording(project: Project) -> None:
    extracted(project.data)
    broken = project.data / "S0" / "clip 06.wav"
    np.save(broken.with_suffix(".npy"), np.ones((10, 5), np.int64))
    report, _ = checked(project)
    assert report.usage.said == "9 of 11 clips will be used: 1 too long, 1 without text."
    broken.with_suffix(".npy").write_bytes(b"torn")
    report, _ = checked(project)
    assert report.usage.said == SAID
    broken.unlink()
    report, _ = checked(project)
    assert report.dropped["S0/clip 06"] is DropReason.DAMAGED_CODES
    broken.with_suffix(".npy").unlink()
    report, _ = checked(project)
    assert report.dropped["S0/clip 06"] is DropReason.NO_RECORDING


def test_every_clip_is_listed_with_what_was_found(project: Project) -> None:
    project.dataset.exclude = ["S0/clip 00"]
    _, rows = checked(project)
    by_name = {row.clip: row for row in rows}
    assert len(by_name) == 11
    sound, silent = by_name["S1/clip 01"], by_name["S0/clip 06"]
    assert (sound.seconds, sound.text, sound.dropped) == (1.0, "Words number 1.", None)
    assert sound.loudness is not None and sound.pace == 12.0
    assert (silent.seconds, silent.pace, silent.dropped) == (0.0, None, DropReason.UNREADABLE_RECORDING)
    assert silent.findings == 1
    assert by_name["S1/clip 05"].dropped is DropReason.NO_TEXT
    assert by_name["S0/clip 00"] == ClipRow("S0/clip 00", dropped=DropReason.EXCLUDED)


def test_a_large_data_set_is_listed_in_parts(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "S"
    folder.mkdir(parents=True)
    for number in range(1001):
        (folder / f"{number}.lab").write_text("x")
    reporter = Recorder()
    validate(ValidateSettings(data=tmp_path / "data", num_workers=1), reporter)
    assert [len(event.clips) for event in reporter.of(ClipsListed)] == [100] * 10 + [1]


@pytest.mark.parametrize(
    "found", [{}, {"clip": "a"}, {"clip": "a", "seconds": "x"}, {"clip": 1, "letters": []}]
)
def test_a_damaged_row_is_none(found: dict[str, object]) -> None:
    assert ClipRow.of(found) is None


def test_the_count_in_words() -> None:
    assert Usage(clips=1).said == "The only clip will be used."
    assert Usage(clips=0).said == "There are no clips."
    assert Usage(clips=2400).said == "All 2,400 clips will be used."
    many = Usage.of(2400, [DropReason.NO_TEXT] * 1200)
    assert many.said == "1,200 of 2,400 clips will be used: 1,200 without text."
    assert Usage.of(1, [DropReason.TOO_LONG]).said == "None of 1 clip can be used: 1 too long."
    assert Usage.after_check(["a/b"], {"a/b": "of the future"}, []) is None
    every = Usage.of(99, DropReason)
    assert len(every.why_not.split(", ")) == len(DropReason)


def test_the_command_says_the_count(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["validate", str(data), "--num-workers", "1"]) == 1
    assert SAID in capsys.readouterr().out
    extracted(data)
    settings = PackSettings(input=data, output=data / "protos", num_workers=1)
    assert pack(settings, Recorder()).usage.said == SAID


def test_findings_are_grouped_by_kind_worst_first() -> None:
    path = Path("/data/S/a.wav")
    found = [
        error(FindingKind.TEXT_EMPTY, path, "a", "b"),
        error(FindingKind.AUDIO_EMPTY, path, "a", "b"),
        error(FindingKind.TEXT_EMPTY, path, "c", "d"),
        warning(FindingKind.CLIPPING, path, "a", "b"),
    ]
    groups = by_kind(found)
    assert [(group[0].severity, group[0].code, len(group)) for group in groups] == [
        (Severity.ERROR, FindingKind.TEXT_EMPTY, 2),
        (Severity.ERROR, FindingKind.AUDIO_EMPTY, 1),
        (Severity.WARNING, FindingKind.CLIPPING, 1),
    ]


def test_a_file_belongs_to_the_clip_of_its_name() -> None:
    data = Path("/data")
    assert clip_of(data / "S" / "a.b.wav", data) == "S/a.b"
    assert clip_of(data / "S" / "book" / "a.lab", data) == "S/book/a"
    assert clip_of(data, data) is None and clip_of(Path("/elsewhere/S/a.wav"), data) is None
