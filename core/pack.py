"""Packs codes and transcripts into shards: the same input gives the same bytes, whoever does the work.

The shards are written to a temporary folder, read back and indexed there, and swapped in whole. Every
clip is either packed or listed with the reason why not.
"""

from __future__ import annotations

import shlex
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from .dataset.codes import Codes, is_stale, read_codes
from .dataset.layout import Clip, scan
from .errors import DataError, ShardError, UsageError
from .events import ItemFailed, ProgressMeter, Reporter
from .files import atomic_folder, is_temporary, recover_folder, sweep_temporary, write_text
from .packing.index import CACHE_PREFIX, ShardIndex
from .packing.manifest import (
    MANIFEST_FILE,
    Dropped,
    DropReason,
    Histogram,
    Manifest,
    PackResult,
    SpeakerTotals,
    read_manifest,
    source_of,
)
from .packing.shards import Sentence, ShardWriter, encode_sentence
from .settings import PackSettings
from .text.transcripts import TextError, TextFault, read_transcript
from .workers import ordered_map

_CHUNK = 500  # clips; about a quarter of a second of work
_NOTHING_CHANGED = "Nothing was changed."
# Markers and turn ends of a training sequence, at most.
_MARKUP_COLUMNS = 32
_HISTOGRAM_BINS = 20
_REASONS = {
    TextFault.UNREADABLE: DropReason.UNREADABLE_TEXT,
    TextFault.NOT_UTF8: DropReason.UNREADABLE_TEXT,
    TextFault.BINARY: DropReason.UNREADABLE_TEXT,
    TextFault.TOKENS: DropReason.TOKENS_IN_TEXT,
    TextFault.EMPTY: DropReason.EMPTY_TEXT,
}


@dataclass(frozen=True, slots=True)
class _Packed:
    """One clip after its files were read: serialised, or the reason why not."""

    clip: Clip
    content: bytes = b""
    codebooks: int = 0
    frames: int = 0
    text_bytes: int = 0
    dropped: Dropped | None = None


def run(settings: PackSettings, reporter: Reporter) -> PackResult:
    """Pack the data set `settings.input` into `settings.output`; return what went in and what did not.

    Raises:
        DataError: no clip can be packed, or most have another number of codebooks than the first.
        UsageError: the output holds files that this command did not write.
        StorageError: the disk is full or the folder cannot be written.
        StopRequested: asked to stop; what was packed before is untouched.
    """
    recover_folder(settings.output)
    sweep_temporary(settings.output.parent, settings.output.name)
    _refuse_foreign(settings.output)
    clips = scan(settings.input, settings.text_extension).clips
    if not clips:
        raise DataError(
            f"{settings.input} has no speaker folder with recordings.",
            f"Check it first with: fishtune validate {shlex.quote(str(settings.input))}",
        )
    source = source_of(settings, clips)
    with atomic_folder(settings.output) as folder:
        with ShardWriter(folder, settings.shard_size) as writer:
            packed, dropped = _write(settings, clips, writer, reporter)
        shards = {path.name: path.stat().st_size for path in writer.paths}
        result = PackResult(
            output=settings.output,
            clips=len(clips),
            sentences=len(packed),
            dropped=dropped,
            speakers=_totals(packed, dropped),
            shards=len(shards),
            bytes=sum(shards.values()),
            codebooks=packed[0].codebooks,
            frames=sum(item.frames for item in packed),
            columns=_histogram([item.frames + item.text_bytes + _MARKUP_COLUMNS for item in packed]),
        )
        names = [item.clip.key for item in packed]
        manifest = Manifest(shards=shards, clips=names, source=source, result=result)
        write_text(folder / MANIFEST_FILE, manifest.model_dump_json())
        _read_back(folder, len(packed), result.bytes, reporter)
        reporter.check_stop(_NOTHING_CHANGED)
    return result


def _write(
    settings: PackSettings, clips: list[Clip], writer: ShardWriter, reporter: Reporter
) -> tuple[list[_Packed], list[Dropped]]:
    """Add all clips that can be packed; return them without their content, and the others."""
    meter = ProgressMeter(reporter, "packing", len(clips), "clips")
    read = partial(_read_clip, excluded=frozenset(settings.exclude))
    packed: list[_Packed] = []
    dropped: list[Dropped] = []
    with closing(ordered_map(read, clips, settings.num_workers, _CHUNK)) as results:
        for item in results:
            reporter.check_stop(_NOTHING_CHANGED)
            meter.advance()
            loss = item.dropped
            if loss is None and packed and item.codebooks != packed[0].codebooks:
                loss = _other_codec(item, packed[0].codebooks)
            if loss is None:
                writer.add(item.clip.speaker, item.content)
                packed.append(replace(item, content=b""))
                continue
            dropped.append(loss)
            if loss.reason is not DropReason.EXCLUDED:
                reporter.emit(ItemFailed(item=loss.clip, message=loss.what, hint=loss.what_to_do))
    _refuse_unusable(settings, packed, dropped)
    return packed, dropped


def _other_codec(item: _Packed, codebooks: int) -> Dropped:
    return _drop(
        item.clip,
        DropReason.OTHER_CODEC,
        f"{item.clip.codes} has {item.codebooks} codebooks, those before it {codebooks}.",
        "Extract all recordings with the same codec: fishtune extract --overwrite",
    )


def _refuse_unusable(settings: PackSettings, packed: list[_Packed], dropped: list[Dropped]) -> None:
    reasons = Counter(loss.reason for loss in dropped)
    if not packed:
        counts = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        raise DataError(
            f"None of the {len(dropped)} clips in {settings.input} can be packed: {counts}.",
            dropped[0].what_to_do or "Leave fewer clips out.",
        )
    if reasons[DropReason.OTHER_CODEC] > len(packed):
        raise DataError(
            f"{packed[0].clip.codes} has {packed[0].codebooks} codebooks, but most codes have another "
            "number.",
            "They come from different codecs. Extract all again with: fishtune extract --overwrite",
        )


def _read_clip(clip: Clip, excluded: frozenset[str]) -> _Packed:
    """Read one clip's transcript and codes."""
    if clip.key in excluded:
        return _Packed(clip, dropped=_drop(clip, DropReason.EXCLUDED, f"{clip.key} is left out.", ""))
    try:
        text = _read_text(clip)
        sentence = Sentence((text,), _read_codes(clip))
    except _DropError as error:
        return _Packed(clip, dropped=_drop(clip, error.reason, error.message, error.hint))
    codebooks, frames = sentence.codes.shape
    return _Packed(clip, encode_sentence(sentence), codebooks, frames, len(text.encode("utf-8")))


class _DropError(DataError):
    def __init__(self, reason: DropReason, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


def _read_text(clip: Clip) -> str:
    if clip.text is None:
        name = clip.audio[0] if clip.audio else clip.codes
        raise _DropError(DropReason.NO_TEXT, f"{name} has no transcript.", "Write what is said beside it.")
    try:
        return read_transcript(clip.text).packed
    except TextError as error:
        raise _DropError(_REASONS[error.fault], error.message, error.hint) from error


def _read_codes(clip: Clip) -> Codes:
    if len(clip.audio) > 1:
        names = ", ".join(path.name for path in clip.audio)
        raise _DropError(
            DropReason.SEVERAL_RECORDINGS,
            f"{clip.key} has the recordings {names}; whose codes these are cannot be known.",
            "Keep one of them, or rename one with its transcript, and extract again.",
        )
    extract = "Run fishtune extract first."
    if clip.codes is None:
        what = clip.audio[0] if clip.audio else clip.text
        raise _DropError(DropReason.NO_CODES, f"{what} has no codes beside it.", extract)
    try:
        if clip.audio and is_stale(clip.audio[0], clip.codes):
            raise _DropError(
                DropReason.STALE_CODES,
                f"{clip.codes} is older than its recording.",
                "Run fishtune extract again.",
            )
        return read_codes(clip.codes)
    except OSError as error:
        raise _DropError(
            DropReason.DAMAGED_CODES, f"{clip.codes} cannot be read: {error.strerror}.", extract
        ) from error
    except _DropError:
        raise
    except DataError as error:
        raise _DropError(DropReason.DAMAGED_CODES, error.message, error.hint) from error


def _drop(clip: Clip, reason: DropReason, what: str, what_to_do: str) -> Dropped:
    return Dropped(clip=clip.key, reason=reason, what=what, what_to_do=what_to_do)


def _read_back(folder: Path, sentences: int, size: int, reporter: Reporter) -> None:
    """Read every sentence that was written, which also makes the index."""
    meter = ProgressMeter(reporter, "reading back", size, "bytes")
    index = ShardIndex.open(folder, meter.advance)
    if len(index) != sentences:
        raise ShardError(
            f"{sentences} sentences were packed but {len(index)} can be read back.",
            "The disk may be failing; check it and pack again.",
        )


def _histogram(values: list[int]) -> Histogram:
    width = -(-(max(values) + 1) // _HISTOGRAM_BINS)
    edges = np.arange(0, _HISTOGRAM_BINS + 1) * width
    counts, _ = np.histogram(values, edges)
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def _totals(packed: list[_Packed], dropped: list[Dropped]) -> list[SpeakerTotals]:
    sentences: Counter[str] = Counter(item.clip.speaker for item in packed)
    losses: Counter[str] = Counter(loss.clip.partition("/")[0] for loss in dropped)
    frames: Counter[str] = Counter()
    for item in packed:
        frames[item.clip.speaker] += item.frames
    return [
        SpeakerTotals(
            speaker=speaker, sentences=sentences[speaker], dropped=losses[speaker], frames=frames[speaker]
        )
        for speaker in sorted(sentences | losses)
    ]


def _refuse_foreign(output: Path) -> None:
    """Raise `UsageError` if `output` holds anything that replacing it would destroy and we did not write."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"{output} is a file.", "Name a folder with --output.")
    manifest = read_manifest(output)
    ours = {MANIFEST_FILE, *(manifest.shards if manifest else ())}
    foreign = sorted(
        path.name
        for path in output.iterdir()
        if path.name not in ours and not path.name.startswith(CACHE_PREFIX) and not is_temporary(path)
    )
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UsageError(
            f"{output} holds files that fishtune pack did not write: {', '.join(foreign[:3])}{more}.",
            "Move them away or choose another folder with --output.",
        )
