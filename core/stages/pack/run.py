"""Packs codes and transcripts into shards: the same input gives the same bytes, whoever does the work.

The shards are written to a temporary folder, read back and indexed there, and swapped in whole. Every
clip is either packed or listed with the reason why not.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...config.settings import PackSettings
from ...dataset.clips import Clip, Scan
from ...dataset.findings import FindingKind
from ...dataset.layout import scan
from ...dataset.usage import DropReason
from ...errors import DataError, ShardError, StorageError, UsageError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...files import atomic_folder, is_temporary, recover_folder
from ...messages import NOTHING, Message, first_of, joined, plural
from ...reading import reading
from ...shards.index_file import IndexBuilder, IndexEntry, shard_states
from ...shards.manifest import (
    CACHE_FILES,
    INDEX_FILE,
    MANIFEST_FILE,
    Dropped,
    Histogram,
    Manifest,
    PackedSpeaker,
    PackResult,
    check_place,
    read_manifest,
    source_from,
    write_manifest,
)
from ...shards.wire import Place, ShardWriter, shard_digest
from ...terminal import shell_quoted
from ...workers import ordered_map, seldom_searched, worker_count
from .clips import dropped, read_clip

_CHUNK = 250  # clips; a fortieth of a second of work
_WORTH_STARTING = 1.0
"""Seconds of work from which workers are started: what they send back costs little beside their work."""
_NOTHING_CHANGED = Message("Nothing was changed.")
# Markers and turn ends of a training sequence, at most.
_MARKUP_COLUMNS = 32
_HISTOGRAM_BINS = 20
# A speaker's folder on a disk that is not there, or codes that went missing, cost a fifth of the clips and
# more; what people weed out at once after listening is less. A false alarm costs a flag, a missed one a
# training run on the wrong data.
_LARGEST_LOSS = 0.2
_FEWEST_LOST = 2


class _Packed(NamedTuple):
    """A clip that is in the shards."""

    clip: Clip
    entry: IndexEntry


@seldom_searched()
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
    before = _refuse_foreign(output)
    check_place(settings)
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
    with atomic_folder(output) as folder:
        with ShardWriter(folder, settings.shard_size) as writer:
            packed, losses, source = _write(settings, clips, writer, reporter)
        _refuse_fewer(settings, before, packed, losses)
        shards = {path.name: path.stat().st_size for path in writer.paths}
        result = PackResult(
            output=settings.output,
            clips=len(clips),
            sentences=len(packed),
            dropped=losses,
            left_out=left_out,
            speakers=_totals(packed, losses),
            shards=len(shards),
            bytes=sum(shards.values()),
            codebooks=packed[0].entry.codebooks,
            frames=sum(item.entry.frames for item in packed),
            columns=_histogram(
                [item.entry.frames + item.entry.text_bytes + _MARKUP_COLUMNS for item in packed]
            ),
        )
        names = [item.clip.key for item in packed]
        manifest = Manifest(shards=shards, digests=writer.digests, clips=names, source=source, result=result)
        write_manifest(folder, manifest)
        _write_index(folder, packed, names, writer.places)
        _read_back(writer, shards, settings.num_workers, reporter)
        reporter.check_stop(_NOTHING_CHANGED)
        _refuse_foreign(output)  # what came there meanwhile
    return result


def _write(
    settings: PackSettings, clips: list[Clip], writer: ShardWriter, reporter: Reporter
) -> tuple[list[_Packed], list[Dropped], str]:
    """Add all clips that can be packed; return them, the others, and a hash of what they were made from."""
    meter = ProgressMeter(reporter, "packing", len(clips), "clips")
    read = partial(read_clip, excluded=frozenset(settings.exclude))
    packed: list[_Packed] = []
    losses: list[Dropped] = []
    states: list[bytes] = []
    said: set[str] = set()  # about transcripts: one command that makes all is not said for each
    with closing(ordered_map(read, clips, settings.num_workers, _CHUNK, _WORTH_STARTING)) as results:
        for clip, found in zip(clips, results, strict=True):
            reporter.check_stop(_NOTHING_CHANGED)
            meter.advance()
            states.append(found.states)
            loss = found.dropped or _other_codec(clip, found.entry, packed)
            if loss is None and found.entry is not None:
                writer.add(clip.speaker, found.content)
                packed.append(_Packed(clip, found.entry))
                continue
            assert loss is not None
            losses.append(loss)
            if loss.reason is not DropReason.EXCLUDED:
                hint = NOTHING if loss.what_to_do in said else loss.what_to_do
                if loss.reason is DropReason.NO_TEXT:
                    said.add(hint)
                reporter.emit(ItemFailed(item=loss.clip, message=loss.what, hint=hint))
    _refuse_unusable(settings, packed, losses)
    return packed, losses, source_from(settings, states)


def _other_codec(clip: Clip, entry: IndexEntry | None, packed: list[_Packed]) -> Dropped | None:
    if entry is None or not packed or entry.codebooks == packed[0].entry.codebooks:
        return None
    return dropped(
        clip,
        DropReason.OTHER_CODEC,
        Message(
            "{file} has {number} codebooks, those before it {other}.",
            file=clip.codes,
            number=entry.codebooks,
            other=packed[0].entry.codebooks,
        ),
        Message("Extract all recordings with the same codec: fishtune extract --overwrite"),
    )


def _refuse_unusable(settings: PackSettings, packed: list[_Packed], losses: list[Dropped]) -> None:
    reasons = Counter(loss.reason for loss in losses)
    if not packed:
        raise DataError(
            plural(
                len(losses),
                "The clip in {input} cannot be packed: {reasons}.",
                "None of the {number} clips in {input} can be packed: {reasons}.",
                input=settings.input,
                reasons=_counts(reasons),
            ),
            losses[0].what_to_do or Message("Leave fewer clips out."),
        )
    if reasons[DropReason.OTHER_CODEC] > len(packed):
        raise DataError(
            "{file} has {number} codebooks, but most codes have another number.",
            "They come from different codecs. Extract all again with: fishtune extract --overwrite",
            file=packed[0].clip.codes,
            number=packed[0].entry.codebooks,
        )


def _counts(reasons: Counter[DropReason]) -> Message:
    return joined(
        (
            Message("{reason} ({number})", reason=Message(reason), number=number)
            for reason, number in reasons.most_common()
        ),
        ", ",
    )


def _refuse_unreadable(found: Scan) -> None:
    """End the stage if a folder could not be listed: its clips would be missing without a word."""
    for problem in found.problems:
        if problem.code is FindingKind.FOLDER_UNREADABLE:
            raise StorageError(problem.what, problem.what_to_do)


def _read_back(writer: ShardWriter, sizes: dict[str, int], workers: int, reporter: Reporter) -> None:
    """Compare every byte that is there with what was written."""
    meter = ProgressMeter(reporter, Message("reading back"), sum(sizes.values()), "bytes")
    with ThreadPoolExecutor(worker_count(workers), "read back") as threads:
        for path, digest in zip(writer.paths, threads.map(shard_digest, writer.paths), strict=True):
            if digest != writer.digests[path.name]:
                raise ShardError(
                    "{file} cannot be read back as it was written.",
                    "The disk may be failing; check it and pack again.",
                    file=path.name,
                )
            meter.advance(sizes[path.name])


def _write_index(folder: Path, packed: list[_Packed], names: list[str], places: list[Place]) -> None:
    """Write what `ShardIndex` would find out by reading every sentence."""
    builder = IndexBuilder()
    for (clip, entry), name, place in zip(packed, names, places, strict=True):
        builder.add(clip.speaker, name, place, entry)
    builder.write(folder / INDEX_FILE, shard_states(folder))


def _histogram(values: list[int]) -> Histogram:
    width = -(-(max(values) + 1) // _HISTOGRAM_BINS)
    edges = np.arange(0, _HISTOGRAM_BINS + 1) * width
    counts, _ = np.histogram(values, edges)
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def _totals(packed: list[_Packed], losses: list[Dropped]) -> list[PackedSpeaker]:
    sentences: Counter[str] = Counter(item.clip.speaker for item in packed)
    lost: Counter[str] = Counter(loss.clip.partition("/")[0] for loss in losses)
    frames: Counter[str] = Counter()
    for item in packed:
        frames[item.clip.speaker] += item.entry.frames
    return [
        PackedSpeaker(
            speaker=speaker, sentences=sentences[speaker], dropped=lost[speaker], frames=frames[speaker]
        )
        for speaker in sorted(sentences | lost)
    ]


def _folder_to_replace(output: Path) -> Path:
    """Return the folder itself where `output` is a link to it: links that a user made stay.

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
    settings: PackSettings, before: Manifest | None, packed: list[_Packed], losses: list[Dropped]
) -> None:
    """Raise `UsageError` if shards would be replaced by ones of much fewer clips, and nobody asked for it."""
    if before is None or settings.allow_fewer:
        return
    held = len(set(before.clips).difference(settings.exclude))
    lost = held - len(packed)
    if lost < _FEWEST_LOST or lost <= held * _LARGEST_LOSS:
        return
    reasons: Counter[DropReason] = Counter(
        loss.reason for loss in losses if loss.reason is not DropReason.EXCLUDED
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


def _refuse_foreign(output: Path) -> Manifest | None:
    """Return what is said about the shards in `output`, None if there are none.

    Raises:
        UsageError: it holds anything that replacing it would destroy and we did not write.
    """
    if not output.exists():
        return None
    if not output.is_dir():
        raise UsageError("{output} is a file.", "Name a folder with --output.", output=output)
    with reading(output, UsageError):
        present = {path.name for path in output.iterdir() if not is_temporary(path)}
    manifest = read_manifest(output)
    foreign = sorted(present - {MANIFEST_FILE, *CACHE_FILES, *(manifest.shards if manifest else ())})
    if not foreign:
        return manifest
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
