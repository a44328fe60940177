"""What listens to raw recordings: loaded when it is first needed, so that an import needs none of it."""

from __future__ import annotations

from functools import cached_property

from ...audio.recordings import read_audio
from ...config.settings import PrepareSettings
from ...errors import DataError, DownloadError, StorageError
from ...events import Reporter
from ...hardware.device import usable_gpu
from ...judge.extra import PREPARE, is_installed
from ...judge.models import SPEAKER, default_recognition, load_recogniser, speaker_file
from ...judge.recognition import Recogniser
from ...judge.speaker import SAMPLE_RATE, Embedding, SpeakerEncoder
from ...judge.voice_activity import SpeechDetector


class Ears:
    """The models of one run."""

    def __init__(self, settings: PrepareSettings, reporter: Reporter) -> None:
        self._settings, self._reporter = settings, reporter

    @cached_property
    def detector(self) -> SpeechDetector:
        """Raises: see `SpeechDetector.load`."""
        return SpeechDetector.load()

    @cached_property
    def model(self) -> str:
        """Name of the model for recognition."""
        chosen = self._settings.asr_model
        return chosen or default_recognition(self._settings.language, usable_gpu(self._settings.device))

    @cached_property
    def recogniser(self) -> Recogniser:
        """Raises: see `load_recogniser`."""
        settings = self._settings
        recogniser = load_recogniser(
            self.model,
            usable_gpu(settings.device),
            self._reporter,
            threads=settings.num_workers,
            insist=settings.device != "auto",
        )
        if settings.language is not None:
            recogniser.check_language(settings.language)
        return recogniser

    @cached_property
    def encoder(self) -> SpeakerEncoder | None:
        """None where there is none and nobody has asked for it.

        Raises: see `speaker_file`, where `--speaker-model` or `--keep-voice` ask for it.
        """
        settings = self._settings
        asked = settings.speaker_model is not None or settings.keep_voice is not None
        try:
            if not asked and not is_installed("onnxruntime"):
                self._without_voices("onnxruntime is not installed.", PREPARE)
                return None
            return SpeakerEncoder.load(speaker_file(settings.speaker_model or SPEAKER, self._reporter))
        except (DownloadError, StorageError) as error:
            if asked:
                raise
            self._without_voices(error.message, error.hint)
            return None

    @cached_property
    def wanted(self) -> Embedding | None:
        """The voice to be kept.

        Raises:
            DataError: its recording has too little speech, or cannot be read.
        """
        clip = self._settings.keep_voice
        if clip is None or self.encoder is None:
            return None
        voice = self.encoder.embed(read_audio(clip, SAMPLE_RATE))
        if voice is None:
            raise DataError(
                "{file} has too little speech to tell its voice.", "Give a longer clip.", file=clip
            )
        return voice

    def check_wanted(self) -> None:
        """Refuse a voice to be kept that nothing can be held against, before hours of listening.

        Raises: see `wanted` and `encoder`.
        """
        _ = self.wanted

    def _without_voices(self, reason: str, hint: str) -> None:
        self._reporter.warn("Voices are not compared: {reason}", hint, reason=reason)
