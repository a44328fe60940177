"""Packs codes and transcripts into shards: the same input gives the same bytes, whoever does the work.

The shards are written to a temporary folder, read back and indexed there, and swapped in whole. Every
clip is either packed or listed with the reason why not.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...config.settings import PackSettings
from ...dataset.clips import CODES_EXTENSION, Clip, Scan
from ...dataset.codes import Codes, codes_digest, is_stale, known_origin, read_codes
from ...dataset.findings import Code
from ...dataset.layout import scan
from ...errors import DataError, ShardError, StorageError, UsageError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...files import atomic_folder, is_temporary, recover_folder, sweep_temporary
from ...messages import NOTHING, Message, first_of, joined
from ...reading import reading
from ...shards.index import ShardIndex
from ...shards.manifest import (
    CACHE_FILES,
    MANIFEST_FILE,
    Dropped,
    DropReason,
    Histogram,
    Manifest,
    PackResult,
    SpeakerTotals,
    check_place,
    read_manifest,
    source_of,
    write_manifest,
)
from ...shards.wire import Sentence, ShardWriter, encode_sentence
from ...terminal import shell_quoted
from ...text.transcripts import TextError, TextFault, read_transcript
from ...workers import ordered_map

_CHUNK = 500  # clips; about a quarter of a second of work
_NOTHING_CHANGED = Message("Nothing was changed.")
# Markers and turn ends of a training sequence, at most.
_MARKUP_COLUMNS = 32
_HISTOGRAM_BINS = 20
# A speaker's folder on a disk that is not there, or codes that went missing, cost a fifth of the clips and
# more; what people weed out at once after listening is less. A false alarm costs a flag, a missed one a
# training run on the wrong data.
_LARGEST_LOSS = 0.2
_FEWEST_LOST = 2
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
        UsageError: the output holds files that this command did not write, or many more clips.
        StorageError: the disk is full, the folder cannot be written, or the system refused to read a file.
        StopRequested: asked to stop; what was packed before is untouched.
    """
    output = _folder_to_replace(settings.output)
    recover_folder(output)
    sweep_temporary(output.parent, output.name)
    _refuse_foreign(output)
    check_place(settings)
    before = read_manifest(output)
    found = scan(settings.input, settings.text_extension)
    _refuse_unreadable(found)
    clips, left_out = found.clips, found.left_out
    for finding in left_out:
        reporter.warn(finding.what, finding.what_to_do)
    if not clips:
        raise DataError(
            "{input} has no speaker folder with recordings.",
            "Check it first with: fishtune validate {quoted}",
            input=settings.input,
            quoted=shell_quoted(settings.input),
        )
    source = source_of(settings, clips)
    with atomic_folder(output) as folder:
        with ShardWriter(folder, settings.shard_size) as writer:
            packed, dropped = _write(settings, clips, writer, reporter)
        _refuse_fewer(settings, before, packed, dropped)
        shards = {path.name: path.stat().st_size for path in writer.paths}
        result = PackResult(
            output=settings.output,
            clips=len(clips),
            sentences=len(packed),
            dropped=dropped,
            left_out=left_out,
            speakers=_totals(packed, dropped),
            shards=len(shards),
            bytes=sum(shards.values()),
            codebooks=packed[0].codebooks,
            frames=sum(item.frames for item in packed),
            columns=_histogram([item.frames + item.text_bytes + _MARKUP_COLUMNS for item in packed]),
        )
        names = [item.clip.key for item in packed]
        manifest = Manifest(shards=shards, digests=writer.digests, clips=names, source=source, result=result)
        write_manifest(folder, manifest)
        _read_back(folder, len(packed), result.bytes, reporter)
        reporter.check_stop(_NOTHING_CHANGED)
        _refuse_foreign(output)  # what came there meanwhile
    return result


def _write(
    settings: PackSettings, clips: list[Clip], writer: ShardWriter, reporter: Reporter
) -> tuple[list[_Packed], list[Dropped]]:
    """Add all clips that can be packed; return them without their content, and the others."""
    meter = ProgressMeter(reporter, "packing", len(clips), "clips")
    read = partial(_read_clip, excluded=frozenset(settings.exclude))
    packed: list[_Packed] = []
    dropped: list[Dropped] = []
    said: set[str] = set()  # about transcripts: one command that makes all is not said for each
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
                hint = NOTHING if loss.what_to_do in said else loss.what_to_do
                if loss.reason is DropReason.NO_TEXT:
                    said.add(hint)
                reporter.emit(ItemFailed(item=loss.clip, message=loss.what, hint=hint))
    _refuse_unusable(settings, packed, dropped)
    return packed, dropped


def _other_codec(item: _Packed, codebooks: int) -> Dropped:
    return _drop(
        item.clip,
        DropReason.OTHER_CODEC,
        Message(
            "{file} has {number} codebooks, those before it {other}.",
            file=item.clip.codes,
            number=item.codebooks,
            other=codebooks,
        ),
        Message("Extract all recordings with the same codec: fishtune extract --overwrite"),
    )


def _refuse_unusable(settings: PackSettings, packed: list[_Packed], dropped: list[Dropped]) -> None:
    reasons = Counter(loss.reason for loss in dropped)
    if not packed:
        counts = _counts(reasons)
        raise DataError(
            "None of the {number} clips in {input} can be packed: {reasons}.",
            dropped[0].what_to_do or Message("Leave fewer clips out."),
            number=len(dropped),
            input=settings.input,
            reasons=counts,
        )
    if reasons[DropReason.OTHER_CODEC] > len(packed):
        raise DataError(
            "{file} has {number} codebooks, but most codes have another number.",
            "They come from different codecs. Extract all again with: fishtune extract --overwrite",
            file=packed[0].clip.codes,
            number=packed[0].codebooks,
        )


def _counts(reasons: Counter[DropReason]) -> Message:
    return joined(
        (
            Message("{reason} ({number})", reason=Message(reason), number=number)
            for reason, number in reasons.most_common()
        ),
        ", ",
    )


def _read_clip(clip: Clip, excluded: frozenset[str]) -> _Packed:
    """Read one clip's transcript and codes."""
    if clip.key in excluded:
        left_out = Message("{clip} is left out.", clip=clip.key)
        return _Packed(clip, dropped=_drop(clip, DropReason.EXCLUDED, left_out, NOTHING))
    try:
        text = _read_text(clip)
        sentence = Sentence((text,), _read_codes(clip))
    except _DropError as error:
        return _Packed(clip, dropped=_drop(clip, error.reason, error.message, error.hint))
    codebooks, frames = sentence.codes.shape
    return _Packed(clip, encode_sentence(sentence), codebooks, frames, len(text.encode("utf-8")))


class _DropError(DataError):
    def __init__(self, reason: DropReason, message: Message, hint: Message) -> None:
        super().__init__(message, hint)
        self.reason = reason


def _read_text(clip: Clip) -> str:
    if clip.text is None:
        name = clip.audio[0] if clip.audio else clip.codes
        advice = clip.text_advice or Message("Write what is said beside it.")
        raise _DropError(DropReason.NO_TEXT, Message("{file} has no transcript.", file=name), advice)
    try:
        return read_transcript(clip.text).packed
    except TextError as error:
        if error.fault is TextFault.UNREADABLE:
            _refuse_vanished(clip.text)
        raise _DropError(_REASONS[error.fault], error.message, error.hint) from error


def _read_codes(clip: Clip) -> Codes:
    if len(clip.audio) > 1:
        names = ", ".join(path.name for path in clip.audio)
        raise _DropError(
            DropReason.SEVERAL_RECORDINGS,
            Message(
                "{key} has the recordings {names}; whose codes these are cannot be known.",
                key=clip.key,
                names=names,
            ),
            Message("Keep one of them, or rename one with its transcript, and extract again."),
        )
    extract = Message("Run fishtune extract first.")
    if clip.codes is None:
        what = clip.audio[0] if clip.audio else clip.text
        if clip.is_blocked and what is not None:
            there = what.with_suffix(CODES_EXTENSION)
            raise _DropError(
                DropReason.NO_CODES,
                Message("{file} is not a file.", file=there),
                Message("Rename or remove it."),
            )
        raise _DropError(DropReason.NO_CODES, Message("{file} has no codes beside it.", file=what), extract)
    try:
        codes = read_codes(clip.codes)
    except DataError as error:
        _refuse_vanished(clip.codes)
        raise _DropError(DropReason.DAMAGED_CODES, error.message, error.hint) from error
    if clip.audio and _are_of_another_recording(clip.audio[0], clip.codes, codes):
        raise _DropError(
            DropReason.STALE_CODES,
            Message(
                "{file} was made from another recording than {recording} is now.",
                file=clip.codes,
                recording=clip.audio[0].name,
            ),
            Message("Run fishtune extract again."),
        )
    return codes


def _are_of_another_recording(audio: Path, path: Path, codes: Codes) -> bool:
    try:
        return is_stale(audio, path, known_origin(path, codes_digest(codes)))
    except DataError as error:
        _refuse_vanished(audio)
        raise _DropError(DropReason.STALE_CODES, error.message, error.hint) from error


def _refuse_vanished(path: Path) -> None:
    """End the stage if a file is gone that was listed before: its disk may be, and much more with it."""
    if not os.path.lexists(path):
        raise StorageError(
            "{file} was there a moment ago and is gone.",
            "Check that its disk is still mounted and run the command again; nothing was changed.",
            file=path,
        )


def _refuse_unreadable(found: Scan) -> None:
    """End the stage if a folder could not be listed: its clips would be missing without a word."""
    for problem in found.problems:
        if problem.code is Code.FOLDER_UNREADABLE:
            raise StorageError(problem.what, problem.what_to_do)


def _drop(clip: Clip, reason: DropReason, what: Message, what_to_do: Message) -> Dropped:
    return Dropped(clip=clip.key, reason=reason, what=what, what_to_do=what_to_do)


def _read_back(folder: Path, sentences: int, size: int, reporter: Reporter) -> None:
    """Read every sentence that was written, which also makes the index."""
    meter = ProgressMeter(reporter, Message("reading back"), size, "bytes")
    index = ShardIndex.open(folder, meter.advance)
    if len(index) != sentences:
        raise ShardError(
            "{sentences} sentences were packed but {readable} can be read back.",
            "The disk may be failing; check it and pack again.",
            sentences=sentences,
            readable=len(index),
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


def _folder_to_replace(output: Path) -> Path:
    """Return the folder itself where `output` is a link to it: links that a person made stay.

    Raises:
        UsageError: packing would replace the working folder or a folder around it.
    """
    with reading(output, UsageError, Message("Choose another folder with --output.")):
        folder = output.resolve()
        here = Path.cwd()
    if here.is_relative_to(folder):
        raise UsageError(
            "{output} is the working folder or around it, and packing replaces its output whole.",
            "Name a folder of its own, for example: --output protos",
            output=output,
        )
    return folder


def _refuse_fewer(
    settings: PackSettings, before: Manifest | None, packed: list[_Packed], dropped: list[Dropped]
) -> None:
    """Raise `UsageError` if shards would be replaced by ones of much fewer clips, and nobody asked for it."""
    if before is None or settings.allow_fewer:
        return
    held = len(set(before.clips).difference(settings.exclude))
    lost = held - len(packed)
    if lost < _FEWEST_LOST or lost <= held * _LARGEST_LOSS:
        return
    reasons: Counter[DropReason] = Counter(
        loss.reason for loss in dropped if loss.reason is not DropReason.EXCLUDED
    )
    counts = _counts(reasons)
    allow = Message(
        "If fewer are meant, say so: fishtune pack --input {input} --output {output} --allow-fewer",
        input=shell_quoted(settings.input),
        output=shell_quoted(settings.output),
    )
    if counts:
        raise UsageError(
            "The shards in {output} hold {held} clips, the new ones would hold {now}, so the "
            "old ones were kept. What cannot be packed now: {reasons}.",
            allow,
            output=settings.output,
            held=held,
            now=len(packed),
            reasons=counts,
        )
    raise UsageError(
        "The shards in {output} hold {held} clips, but {input} now has {now}, so the old ones were kept.",
        allow,
        output=settings.output,
        held=held,
        input=settings.input,
        now=len(packed),
    )


def _refuse_foreign(output: Path) -> None:
    """Raise `UsageError` if `output` holds anything that replacing it would destroy and we did not write."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError("{output} is a file.", "Name a folder with --output.", output=output)
    with reading(output, UsageError):
        present = {path.name for path in output.iterdir() if not is_temporary(path)}
    manifest = read_manifest(output)
    foreign = sorted(present - {MANIFEST_FILE, *CACHE_FILES, *(manifest.shards if manifest else ())})
    if not foreign:
        return
    if manifest is None and MANIFEST_FILE in present:
        raise UsageError(
            "{file} is damaged or of another version, so that nothing tells whose files lie in {output}.",
            "Move the folder away and pack again, or choose another one with --output.",
            file=output / MANIFEST_FILE,
            output=output,
        )
    raise UsageError(
        "{output} holds files that fishtune pack did not write: {files}.",
        "Move them away or choose another folder with --output.",
        output=output,
        files=first_of(foreign, 3),
    )
