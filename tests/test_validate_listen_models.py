"""Listening to a data set with real models: what was done to it is found, and nothing else. Slow."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.recordings import read_audio
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.dataset.findings import FindingKind
from fishtune.core.events import Reporter
from fishtune.core.stages.validate.run import ValidationReport, run

from .judge_kit import RATE, RealModels, lj_clips, other_clips, real_models
from .prepare_kit import noisy

pytestmark = pytest.mark.slow
ALWAYS = {FindingKind.TOO_LITTLE}
"""Found in every data set of a minute."""


@pytest.fixture(scope="module")
def models() -> RealModels:
    return real_models()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "LJ").mkdir(parents=True)
    for clip in lj_clips():
        for file in (clip, clip.with_suffix(".lab")):
            shutil.copy(file, tmp_path / "data" / "LJ")
    return tmp_path / "data"


def heard(models: RealModels, data: Path) -> ValidationReport:
    settings = ValidateSettings(
        data=data,
        listen=True,
        language="en",
        asr_model=str(models.whisper),
        speaker_model=str(models.campplus),
        device="cpu",
        num_workers=1,
    )
    return run(settings, Reporter())


def found(report: ValidationReport) -> set[tuple[FindingKind, str]]:
    return {(finding.code, finding.path.stem) for finding in report.findings if finding.code not in ALWAYS}


def replace(data: Path, number: int, samples: np.ndarray) -> str:
    """Put other samples into the place of a clip and return its name."""
    name = lj_clips()[number].stem
    (data / "LJ" / f"{name}.mp3").unlink()
    soundfile.write(data / "LJ" / f"{name}.wav", samples, RATE)
    return name


def test_nothing_is_found_in_clean_clips(models: RealModels, data: Path) -> None:
    report = heard(models, data)
    assert found(report) == set()
    assert [clip.wer for clip in report.listened] == sorted(
        (clip.wer for clip in report.listened), reverse=True
    )
    assert np.mean([clip.wer for clip in report.listened]) < 0.05


def test_what_was_done_to_clips_is_found_and_nothing_else(models: RealModels, data: Path) -> None:
    names = [clip.stem for clip in lj_clips()]
    texts = [data / "LJ" / f"{names[number]}.lab" for number in (0, 4)]
    first, second = (text.read_text(encoding="utf-8") for text in texts)
    texts[0].write_text(second, encoding="utf-8")
    texts[1].write_text(first, encoding="utf-8")
    stranger = replace(data, 1, read_audio(other_clips()[0], RATE))
    noise = replace(data, 2, noisy(read_audio(lj_clips()[2], RATE), 10))
    speech = read_audio(lj_clips()[5], RATE)
    # Inside a vowel: the loudest moment of the last second but a half.
    end = len(speech) - RATE + int(np.abs(speech[-RATE : -RATE // 2]).argmax())
    cut = replace(data, 5, speech[:end])
    report = heard(models, data)
    kinds: dict[str, set[FindingKind]] = {}
    for code, name in found(report):
        kinds.setdefault(name, set()).add(code)
    print(kinds)
    assert kinds.keys() == {names[0], names[4], stranger, noise, cut}
    swapped = [str(finding.what) for finding in report.findings if finding.code is FindingKind.OTHER_WORDS]
    assert f"LJ/{names[0]} says what the transcript of LJ/{names[4]} has." in swapped
    assert f"LJ/{names[4]} says what the transcript of LJ/{names[0]} has." in swapped
    assert FindingKind.OTHER_VOICE in kinds[stranger]
    assert FindingKind.NOISY in kinds[noise]
    assert FindingKind.CUT_OFF in kinds[cut]


def test_a_reverberant_room_is_said_once(models: RealModels, data: Path) -> None:
    random = np.random.default_rng(0)
    echo = random.normal(size=RATE) * 10 ** (-3 * np.arange(RATE) / (0.6 * RATE))
    echo[:48] = 0
    echo *= 0.7 / np.sqrt(np.square(echo).sum())
    echo[0] = 1
    for number, clip in enumerate(lj_clips()):
        replace(data, number, np.convolve(read_audio(clip, RATE), echo).astype(np.float32) / 2)
    report = heard(models, data)
    rooms = [finding for finding in report.findings if finding.code is FindingKind.REVERBERANT]
    assert [finding.path.name for finding in rooms] == ["LJ"]
