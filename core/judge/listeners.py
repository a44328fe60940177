"""What listens on this machine: loaded once, as far as it is installed and at hand; what is not is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from ..audio.mixing import Waveform
from ..compute.devices import UsableGpu
from ..config.settings import ListenerSettings
from ..errors import DownloadError, StorageError
from ..events import Reporter
from ..messages import Message
from .acoustics import Acoustics, measure
from .alignment import align
from .extra import INSTALL, is_installed
from .models import (
    SPEAKER,
    default_recognition,
    load_recogniser,
    speaker_file,
)
from .pitch import PitchMeter
from .quality import QualityMeter, dnsmos_file
from .recognition import Heard, Recogniser
from .results import Pitch
from .rooms import decay_times
from .speaker import SpeakerEncoder
from .verdict import Evidence
from .words import tokens_of

T = TypeVar("T")

_ENGLISH = "en"


@dataclass(frozen=True)
class Listeners:
    """What listens; None where it is not there."""

    recogniser: Recogniser | None = None
    speaker: SpeakerEncoder | None = None
    pitch: PitchMeter | None = None
    quality: QualityMeter | None = None
    language: str | None = None
    """Of all recordings; None = each is recognised."""
    names: dict[str, str] = field(default_factory=dict)
    """Which models they are, by what they judge."""
    not_judged: tuple[str, ...] = ()
    """What is left out, each a sentence with its reason."""

    def listen(self, samples: Waveform, text: str | None) -> tuple[Evidence, str]:
        """Return what was measured of mono samples at 16 kHz, and what was heard.

        Args:
            text: what should be said; None = not known, then what was heard is right.
        """
        return self.hear(samples, self.language).evidence(text, self.language or _ENGLISH)

    def hear(self, samples: Waveform, language: str | None) -> Impression:
        """Return what is to be heard in mono samples at 16 kHz, whatever they should say.

        Args:
            language: two letters; None = whatever is recognised.
        """
        embedding = self.speaker.embed(samples) if self.speaker else None
        heard = self.recogniser.listen(samples, language) if self.recogniser else None
        return Impression(
            acoustics=measure(samples),
            heard=heard,
            embedding=None if embedding is None else tuple(embedding.tolist()),
            pitch=self.pitch.measure(samples) if self.pitch else None,
            background=self.quality.background(samples) if self.quality else None,
            decays=tuple(decay_times(samples)),
        )


class Impression(BaseModel):
    """What is to be heard in a recording; None where nothing could hear it. It can be kept as JSON."""

    acoustics: Acoustics
    heard: Heard | None = None
    embedding: tuple[float, ...] | None = None
    pitch: Pitch | None = None
    background: float | None = None
    decays: tuple[float, ...] = ()
    """See `rooms.decay_times`."""

    def evidence(self, text: str | None, language: str) -> tuple[Evidence, str]:
        """Return it as evidence, held against what should be said, and the words that were heard.

        Args:
            text: what should be said; None = not known, then what was heard is right.
            language: of the text, where nothing recognised it.
        """
        evidence = Evidence(
            self.acoustics,
            language=language,
            text=text or "",
            embedding=None if self.embedding is None else np.asarray(self.embedding, np.float32),
            pitch=self.pitch,
            background=self.background,
        )
        if self.heard is None:
            return evidence, ""
        tokens, words = self.heard.tokens()
        expected = tokens_of(self.heard.text if text is None else text, self.heard.language)
        return replace(
            evidence,
            language=self.heard.language,
            alignment=align(expected, tokens),
            starts=tuple(word.start for word in words),
        ), self.heard.text


def load_listeners(
    settings: ListenerSettings,
    language: str | None,
    reporter: Reporter,
    usable_gpu: Callable[[str], UsableGpu | None],
) -> Listeners:
    """Return everything that can listen here, with a warning for each thing that cannot.

    What was asked for by name must be there; what is a default may be missing.

    Args:
        language: that of the transcripts, where they tell.
        usable_gpu: as `hardware.device.usable_gpu`; asked where something is there to use a GPU.

    Raises:
        FishtuneError: a model that was asked for cannot be had or used.
        StopRequested: asked to stop while a model was fetched.
    """
    language = settings.language or language
    names: dict[str, str] = {}
    left_out: list[str] = []

    def leave_out(sentence: str, hint: str) -> None:
        left_out.append(sentence)
        reporter.warn(sentence, hint)

    def attempt(
        say: Callable[[str], str], asked: bool, modules: tuple[str, ...], load: Callable[[], T]
    ) -> T | None:
        missing = [module for module in modules if not is_installed(module)]
        if missing and not asked:
            leave_out(say(Message("{missing} is not installed.", missing=missing[0])), INSTALL)
            return None
        try:
            return load()
        except (DownloadError, StorageError) as error:
            if asked:
                raise
            leave_out(say(error.message), error.hint)
            return None

    def load_ears() -> Recogniser:
        gpu = usable_gpu(settings.device)
        name = settings.asr_model or default_recognition(language, gpu)
        names["recognition"] = name
        return load_recogniser(
            name, gpu, reporter, threads=settings.num_workers, insist=settings.device != "auto"
        )

    def load_speaker() -> SpeakerEncoder:
        name = settings.speaker_model or SPEAKER
        encoder = SpeakerEncoder.load(speaker_file(name, reporter))
        names["speaker"] = name
        return encoder

    recogniser = attempt(
        lambda reason: Message("Words and pace are not judged: {reason}", reason=reason),
        settings.asr_model is not None,
        ("faster_whisper", "num2words"),
        load_ears,
    )
    if recogniser is not None and language is not None:
        recogniser.check_language(language)
    speaker = attempt(
        lambda reason: Message("Voices are not judged: {reason}", reason=reason),
        settings.speaker_model is not None,
        () if settings.speaker_model else ("onnxruntime",),
        load_speaker,
    )
    pitch = attempt(
        lambda reason: Message("Pitch is not judged: {reason}", reason=reason),
        False,
        ("swift_f0", "onnxruntime"),
        PitchMeter.load,
    )
    dnsmos = dnsmos_file()
    if dnsmos is not None:
        names["quality"] = "DNSMOS"
    return Listeners(
        recogniser=recogniser,
        speaker=speaker,
        pitch=pitch,
        quality=QualityMeter.load(dnsmos) if dnsmos else None,
        language=language,
        names=names,
        not_judged=tuple(left_out),
    )
