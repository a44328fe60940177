"""An audition with real models that listen: who says the texts is chosen, who cuts them is not. Slow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.audio.recordings import read_audio, resample
from fishtune.core.config.settings import AuditionSettings
from fishtune.core.events import Reporter
from fishtune.core.jobs.record import Place
from fishtune.core.judge.results import AuditionCandidate, CandidateKind
from fishtune.core.model.generate import Generation, Request
from fishtune.core.pipeline.choice import recommended
from fishtune.core.stages.audition import speaking
from fishtune.core.stages.audition.run import run

from .judge_kit import RATE, damaged, lj_clips, other_clips, real_models
from .test_audition_run import made_run, run_folder  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow

CLIPS = lj_clips()[1:6]
FRAMES = 99
OF_COLUMN = ["base", "step 10", "step 20"]


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the base speak with other voices, step 10 in the clips' own, and step 20 leave out the ends."""
    columns = iter(OF_COLUMN)

    def generate_all(model: Any, requests: Sequence[Request], rule: Any, **_: Any) -> list[Generation]:
        column = OF_COLUMN.index(next(columns))
        return [Generation(tokens(8 * column + row), ended=True) for row in range(len(requests))]

    def tokens(number: int) -> torch.Tensor:
        """Return frames that are not the same, and begin with a number."""
        frames = torch.full((11, FRAMES), number)
        frames[2:] += torch.arange(FRAMES)
        return frames

    def decoded(self: speaking.Speakers, codes: np.ndarray) -> np.ndarray:
        column, row = divmod(int(codes[0, 0]), 8)
        if codes.shape[1] != FRAMES:  # a held-out clip, or the reference
            samples = read_audio(lj_clips()[0], RATE)
        elif column == 0:
            samples = read_audio(other_clips()[row % len(other_clips())], RATE)
        else:
            samples = damaged("clean" if column == 1 else "cut at 60 %", CLIPS[row])
        return resample(samples, RATE, self.sample_rate)

    monkeypatch.setattr(speaking, "generate_all", generate_all)
    monkeypatch.setattr(speaking.Speakers, "decoded", decoded)


def test_real_ears_tell_who_says_the_texts_in_the_right_voice(
    run_folder: Path,  # noqa: F811
    spoken: None,
) -> None:
    models = real_models()
    settings = AuditionSettings(
        checkpoint=run_folder,
        texts=[clip.with_suffix(".lab").read_text(encoding="utf-8").strip() for clip in CLIPS],
        reference=lj_clips()[0],
        language="en",
        asr_model=str(models.whisper),
        speaker_model=str(models.campplus),
        device="cpu",
    )
    result = run(settings, Reporter())
    assert result.not_judged == []
    base, good, short = result.candidates[-3:]
    assert base.kind is CandidateKind.BASE
    assert [fault.message for cell in good.cells for fault in cell.findings] == []
    assert good.healthy and not short.healthy and not base.healthy
    assert mean(good, "wer") < 0.1 < 0.25 < mean(short, "wer")
    assert mean(base, "similarity") < 0.5 < 0.6 < mean(good, "similarity")
    chosen = recommended(Place(results=run_folder.parent, project=run_folder.name))
    assert chosen is not None and chosen.candidate.step == 10
    assert len(chosen.out) == 1 and chosen.out[0].startswith("Step 20 is out")


def mean(candidate: AuditionCandidate, name: str) -> float:
    measure = getattr(candidate.measures, name)
    assert measure is not None
    return float(measure.mean)
