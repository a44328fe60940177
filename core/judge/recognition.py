"""What is said in a recording: faster-whisper, on a model that lies in a folder.

The model decides nothing but the words: no text is given to it beforehand unless a user does, each recording
is heard on its own, and the most probable words are taken, so that the same recording always gives the same
words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..audio.mixing import Waveform
from ..errors import CheckpointError, DeviceMemoryError, UsageError
from ..messages import Message
from ..reading import reading
from .extra import require
from .words import Token, normal_form, tokens_of

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

SAMPLE_RATE = 16_000
"""Hz."""
_NEEDED = ("model.bin", "config.json", "tokenizer.json")
_WHISPER = Message(
    "Give a folder with Whisper in CTranslate2's format: model.bin, config.json, tokenizer.json, vocabulary."
)
_BEAMS = 5


@dataclass(frozen=True, slots=True)
class HeardWord:
    """One word as it was heard; a letter or two in languages without spaces."""

    text: str
    """With the space before it."""
    start: float
    """Seconds."""
    end: float
    probability: float
    """0 … 1, of its own tokens."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is said in a recording."""

    words: tuple[HeardWord, ...]
    language: str
    """Two letters: the one that was asked for, or the one that was recognised."""
    language_probability: float = 1.0
    """0 … 1: how sure that is; 1 where it was asked for."""

    @property
    def text(self) -> str:
        """All words, as they are read."""
        return "".join(word.text for word in self.words).strip()

    def tokens(self) -> tuple[list[Token], list[HeardWord]]:
        """Return the tokens of the text, and the word that each begins in."""
        forms = [normal_form(f"_{word.text}_")[1:-1] for word in self.words]  # spaces at the ends count
        owners = [word for word, form in zip(self.words, forms, strict=True) for _ in form]
        tokens = tokens_of("".join(forms), self.language)
        return tokens, [owners[min(token.start, len(owners) - 1)] for token in tokens]


@dataclass(frozen=True)
class Placement:
    """Where a model computes."""

    device: Literal["cpu", "cuda"] = "cpu"
    index: int = 0
    """Which GPU."""
    compute_type: str = "int8"
    threads: int = 0
    """On the CPU; 0 = CTranslate2's choice."""

    def __str__(self) -> str:
        return f"cuda:{self.index}" if self.device == "cuda" else "cpu"


class Recogniser:
    """A loaded model."""

    def __init__(self, model: WhisperModel, source: Path) -> None:
        self._model = model
        self._source = source
        self._languages = set(model.supported_languages)

    @classmethod
    def load(cls, folder: Path, placement: Placement) -> Recogniser:
        """Return the model in `folder`, used as it lies there; nothing is fetched.

        Raises:
            UsageError: the extra is not installed.
            CheckpointError: a file is missing, or it is not Whisper.
            DeviceMemoryError: the GPU's memory does not suffice, or its libraries cannot be used.
        """
        require("Recognition", "faster_whisper", "num2words")
        check_folder(folder)
        from faster_whisper import WhisperModel

        with _errors_of(folder, placement):
            model = WhisperModel(
                str(folder),
                device=placement.device,
                device_index=placement.index,
                compute_type=placement.compute_type,
                cpu_threads=placement.threads,
                local_files_only=True,
            )
            if placement.device == "cuda":
                # Its libraries are loaded by the first computation: what is wrong with them shows here.
                list(model.transcribe(np.zeros(SAMPLE_RATE, np.float32))[0])
        return cls(model, folder)

    def check_language(self, language: str) -> None:
        """Refuse a language that the model does not know.

        Raises:
            UsageError: names those that it knows.
        """
        if language not in self._languages:
            known = sorted(self._languages)
            shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise UsageError(
                "{source} does not recognise the language {language}; it knows {shown}.",
                "Give another --asr-model, or another --language.",
                source=self._source,
                language=repr(language),
                shown=shown,
            )

    def listen(self, samples: Waveform, language: str | None, prompt: str = "") -> Heard:
        """Return what is said.

        Args:
            samples: mono, at `SAMPLE_RATE`.
            language: two letters; None = whatever is recognised.
            prompt: what could have been said before, with the spelling of names.
        """
        segments, info = self._model.transcribe(
            samples,
            language=language,
            initial_prompt=prompt or None,
            beam_size=_BEAMS,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        words = tuple(
            HeardWord(word.word, float(word.start), float(word.end), float(word.probability))
            for segment in segments
            for word in segment.words or ()
        )
        return Heard(words, language or str(info.language), float(info.language_probability))


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not a model, before anything is loaded; nothing missing is ever fetched.

    Raises:
        CheckpointError: it is not a folder, or a file is missing.
    """
    with reading(folder, CheckpointError, _WHISPER):
        if not folder.is_dir():
            raise CheckpointError(
                "{folder} is not a folder with a model for recognition.", _WHISPER, folder=folder
            )
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if not missing and not any(folder.glob("vocabulary.*")):
            missing = ["vocabulary.json"]
    if missing:
        raise CheckpointError("{base} lacks {files}.", _WHISPER, base=folder, files=missing[0])


@contextlib.contextmanager
def _errors_of(folder: Path, placement: Placement) -> Iterator[None]:
    """Turn what CTranslate2 raises while it loads a model into errors that can be met."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        if placement.device == "cuda":
            raise DeviceMemoryError(
                "Recognition cannot use {placement}: {said}",
                "Use --device cpu; fishtune doctor says what is wrong with the GPU.",
                placement=placement,
                said=said,
            ) from error
        raise CheckpointError(
            "{folder} cannot be loaded: {said}", _WHISPER, folder=folder, said=said
        ) from error
    except Exception as error:
        raise CheckpointError(
            "{folder} is damaged or not a model for recognition.", _WHISPER, folder=folder
        ) from error
