"""The judge with real models on real speech, damaged on purpose. Slow: the models are fetched, and listen."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fishtune.core.audio.recordings import read_audio
from fishtune.core.cli.app import run as command
from fishtune.core.config.settings import JudgeSettings
from fishtune.core.events import Reporter
from fishtune.core.judge.acoustics import measure
from fishtune.core.judge.judged import JudgedClip
from fishtune.core.judge.quality import QualityMeter
from fishtune.core.judge.speaker import SpeakerEncoder, similarity
from fishtune.core.stages.judge.run import run

from .judge_kit import DAMAGES, RATE, SPEECH, RealModels, damaged, lj_clips, other_clips, real_models

pytestmark = pytest.mark.slow

UPDATE = "FISHTUNE_UPDATE_HEARD"


@pytest.fixture(scope="module")
def models() -> RealModels:
    return real_models()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the clips, one per damage, and one with other voices that should say the same."""
    root = tmp_path_factory.mktemp("speech")
    for clip in lj_clips():
        for kind in DAMAGES:
            write(root / kind / clip.stem, damaged(kind, clip), clip)
    for number, other in enumerate(other_clips()):
        write(root / "another voice" / str(number), read_audio(other, RATE), lj_clips()[number])
    return root


def write(stem: Path, samples: np.ndarray, clip: Path) -> None:
    stem.parent.mkdir(exist_ok=True)
    soundfile.write(stem.with_suffix(".wav"), samples, RATE)
    stem.with_suffix(".lab").write_text(
        clip.with_suffix(".lab").read_text(encoding="utf-8"), encoding="utf-8"
    )


def settings(models: RealModels, *paths: Path, **other: Any) -> JudgeSettings:
    return JudgeSettings(
        paths=list(paths),
        asr_model=str(models.whisper),
        speaker_model=str(models.campplus),
        language="en",
        num_workers=1,
        device="cpu",
        **other,
    )


@pytest.fixture(scope="module")
def judged(models: RealModels, speech: Path) -> dict[str, list[JudgedClip]]:
    """Everything, judged against a clip that is not among those that are cut, by damage."""
    reference = lj_clips()[3]
    result = run(settings(models, speech, reference=reference), Reporter())
    folders: dict[str, list[JudgedClip]] = {}
    for clip in result.clips:
        folders.setdefault(clip.file.parent.name, []).append(clip)
    if os.environ.get(UPDATE):
        _record(folders)
    return folders


def _record(folders: dict[str, list[JudgedClip]]) -> None:
    """Write what the models heard and measured, for the fast tests."""
    recorded = [
        {
            "damage": damage,
            "clip": clip.file.stem,
            "text": clip.text,
            "heard": clip.heard,
            "similarity": round(clip.similarity or 0, 3),
            "pitch": clip.pitch and {name: round(value, 2) for name, value in clip.pitch},
            "acoustics": {
                name: round(value, 3) for name, value in asdict(measure(read_audio(clip.file, RATE))).items()
            },
        }
        for damage, clips in folders.items()
        for clip in clips
    ]
    text = json.dumps(recorded, ensure_ascii=False, indent=1)
    (SPEECH / "heard.json").write_text(text + "\n", encoding="utf-8")


def test_clean_recordings_sound_right(judged: dict[str, list[JudgedClip]]) -> None:
    assert [clip.findings for clip in judged["clean"]] == [[]] * 8
    assert np.mean([clip.wer for clip in judged["clean"]]) < 0.03


@pytest.mark.parametrize("damage", [*list(DAMAGES)[1:], "another voice"])
def test_a_damage_is_found(judged: dict[str, list[JudgedClip]], damage: str) -> None:
    clips = judged[damage]
    found = [bool(clip.findings) for clip in clips]
    print(f"{damage}: {sum(found)} of {len(found)}")
    assert sum(found) >= 0.8 * len(found)


def test_a_folder_tells_its_own_voice_from_another(models: RealModels, tmp_path: Path) -> None:
    for clip in lj_clips()[:4]:
        write(tmp_path / clip.stem, read_audio(clip, RATE), clip)
    stranger = other_clips()[0]
    soundfile.write(tmp_path / "stranger.wav", read_audio(stranger, RATE), RATE)
    (tmp_path / "stranger.lab").write_text("You don't mean that you thought me so silly?", encoding="utf-8")
    clips = run(settings(models, tmp_path), Reporter()).clips
    assert {clip.file.stem for clip in clips if clip.findings} == {"stranger"}
    assert "other-voice" in [finding.kind for finding in clips[-1].findings]


def test_the_command_writes_what_was_found_as_json(
    models: RealModels, speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = speech / "cut at 60 %" / "LJ001-0001.wav"
    arguments = ["--asr-model", str(models.whisper), "--speaker-model", str(models.campplus), "--json"]
    reference = ["--reference", str(lj_clips()[1]), "--language", "en", "--device", "cpu"]
    assert command(["judge", str(clip), *reference, *arguments]) == 0
    (found,) = json.loads(capsys.readouterr().out)["clips"]
    assert found["file"] == str(clip)
    assert found["deletions"] >= 10
    assert 0.3 < found["wer"] < 0.6
    assert found["similarity"] > 0.8
    assert found["pitch"]["median"] == pytest.approx(208, abs=15)
    assert "missing-end" in [finding["kind"] for finding in found["findings"]]


def test_voices_are_near_their_own_and_far_from_others(models: RealModels) -> None:
    encoder = SpeakerEncoder.load(models.campplus)
    own = [encoder.embed(read_audio(clip, RATE)) for clip in lj_clips()[:3]]
    others = [encoder.embed(read_audio(clip, RATE)) for clip in other_clips()]
    assert min(similarity(own[0], each) for each in own) > 0.8
    assert max(similarity(one, other) for one in own for other in others) < 0.45
    assert encoder.embed(np.zeros(100, np.float32)) is None


def test_noise_is_heard_in_the_background(models: RealModels) -> None:
    meter = QualityMeter.load(models.dnsmos)
    speech = read_audio(lj_clips()[0], RATE)
    noise = np.random.default_rng(0).normal(0, np.sqrt(np.square(speech).mean() / 3), len(speech))
    assert meter.background(speech) > 3.5
    assert meter.background((speech + noise).astype(np.float32)) < 2.3
