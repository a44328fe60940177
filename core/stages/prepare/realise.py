"""Files of a data set brought in line with the edits of its clips.

What an edit takes apart is never lost: the recording as it was made moves into a hidden folder of the data
set, and comes back when the edit is undone. Whatever is interrupted is finished by the next call: the record
names the clips whose files may not be in line before any is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...audio.mixing import Waveform, mix
from ...audio.recordings import read_channels, read_info, write_audio
from ...audio.resampling import resample
from ...dataset.clips import AUDIO_EXTENSIONS, CODES_EXTENSION
from ...dataset.edits import ChangeText, Edit
from ...dataset.layout import scan
from ...dataset.prepared import PreparedClip, PreparedData, WordsFrom, read_prepared, write_prepared
from ...dataset.proofreading import Piece, ProofClip, as_made, proofread
from ...errors import DataError, UsageError
from ...file_names import TEXT_EXTENSION
from ...files import storage_errors, write_text
from ...text.transcripts import check_typed, read_transcript

ORIGINALS = ".fishtune-originals"
"""Folder in the data set with the clips that edits took apart or left out, as they were made."""


def add_edits(data: Path, edits: Sequence[Edit]) -> PreparedData:
    """Apply edits to a data set, prepared or not, and return its record.

    Raises:
        DataError: an edit is impossible, or a recording cannot be read; nothing is changed then.
        UsageError: a text cannot be spoken.
        StorageError: the disk is full or the data set cannot be written.
    """
    record = read_prepared(data) or PreparedData()
    if not {edit.clip for edit in edits} <= _known(record):
        record = _with_adopted(data, record)
    return _settle(data, record, (*record.edits, *_by_hand(data, record, edits), *edits))


def clips_now(data: Path) -> list[ProofClip]:
    """Return the clips of a data set, prepared or not, as they are now, in their order.

    Raises:
        DataError: the record is damaged, or a recording or a transcript cannot be read.
        StorageError: the system refused to read.
    """
    record = _with_adopted(data, read_prepared(data) or PreparedData())
    clips = proofread(map(as_made, record.made), record.edits)
    texts = [_text_on_disk(data, clip) for clip in clips]
    return [
        clip if text in ("", clip.text) else replace(clip, text=text, score=1.0, words=())
        for clip, text in zip(clips, texts, strict=True)
    ]


def undo(data: Path) -> Edit | None:
    """Take back the last edit of a data set and return it; None where there is none.

    Raises: as `add_edits`.
    """
    record = read_prepared(data) or PreparedData()
    if not record.edits:
        return None
    _settle(data, record, record.edits[:-1])
    return record.edits[-1]


def finish(data: Path) -> None:
    """Bring files in line that an interrupted call left behind."""
    record = read_prepared(data)
    if record is not None and record.unsettled:
        _settle(data, record, record.edits)


def _settle(data: Path, record: PreparedData, edits: Sequence[Edit]) -> PreparedData:
    made = {clip.clip: as_made(clip) for clip in record.made}
    before = {clip.clip: clip for clip in proofread(made.values(), record.edits)}
    after = {clip.clip: clip for clip in proofread(made.values(), edits)}
    for edit in edits[len(record.edits) :]:
        if isinstance(edit, ChangeText):
            check_typed(edit.text, edit.clip)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    for name in sorted(after.keys() - made.keys() - before.keys() - set(record.unsettled)):
        if files := _files(data / name):
            raise UsageError(
                "{file} is in the way of a clip that an edit makes.", "Rename or remove it.", file=files[0]
            )
    names = sorted(changed | set(record.unsettled))
    record = record.model_copy(update={"edits": tuple(edits), "unsettled": tuple(names)})
    write_prepared(data, record)
    with storage_errors(data):
        _bring_in_line(data, names, made, after)
    record = record.model_copy(update={"unsettled": ()})
    write_prepared(data, record)
    return record


def _bring_in_line(
    data: Path, names: Collection[str], made: dict[str, ProofClip], wanted: dict[str, ProofClip]
) -> None:
    whole = {name for name in names if _is_whole(name, made, wanted)}
    for name in names:
        if name in made and name not in whole:
            _move(data / name, data / ORIGINALS / name)
    for name in names:
        clip = wanted.get(name)
        stem = data / name
        if clip is None or name in whole:
            # What lies there now was made by an edit, unless the original is in its place.
            if name not in made or _files(data / ORIGINALS / name):
                _remove(stem)
            if name in whole:
                _move(data / ORIGINALS / name, stem)
        else:
            write_audio(_with_ending(stem, ".wav"), *_sound(data, clip.pieces))
        if clip is not None:
            write_text(_with_ending(stem, TEXT_EXTENSION), f"{clip.text}\n")


def _is_whole(name: str, made: dict[str, ProofClip], wanted: dict[str, ProofClip]) -> bool:
    """Return whether a clip should sound as it was made."""
    return name in made and name in wanted and wanted[name].pieces == made[name].pieces


def _sound(data: Path, pieces: Iterable[Piece]) -> tuple[Waveform, int]:
    parts: list[Waveform] = []
    target = 0
    for piece in pieces:
        samples, rate = read_channels(recording_of(data, piece.clip))
        target = target or rate
        part = mix(samples[round(piece.start * rate) : round(piece.end * rate)], rate).samples
        parts.append(resample(part, rate, target))
    return np.concatenate(parts), target


def recording_of(data: Path, clip: str) -> Path:
    """Return the recording of a clip as it was made.

    Raises:
        DataError: it is gone.
    """
    path = _audio(data / ORIGINALS / clip) or _audio(data / clip)
    if path is None:
        raise DataError(
            "The recording of {clip} is gone.", "Undo the edits that use it, or bring it back.", clip=clip
        )
    return path


# -- clips that were not prepared, or were corrected in another program


def _with_adopted(data: Path, record: PreparedData) -> PreparedData:
    """Return the record with the clips of the data set that it does not know yet."""
    known = _known(record)
    adopted = [
        PreparedClip(
            clip=clip.key,
            start=0.0,
            end=round(read_info(clip.audio[0]).seconds, 3),
            text=" ".join(read_transcript(clip.text).text.split()),
            origin=WordsFrom.GIVEN,
        )
        for clip in scan(data).clips
        if clip.key not in known and clip.text is not None and clip.audio
    ]
    return record.model_copy(update={"adopted": (*record.adopted, *adopted)})


def _known(record: PreparedData) -> set[str]:
    """Return the names of all clips that the record tells of, as they were made and as they are."""
    now = proofread(map(as_made, record.made), record.edits)
    return {clip.clip for clip in record.made} | {clip.clip for clip in now}


def _by_hand(data: Path, record: PreparedData, edits: Sequence[Edit]) -> list[Edit]:
    """Return what was corrected in the transcripts themselves, as edits before the ones that are to come."""
    clips = proofread(map(as_made, record.made), record.edits)
    following = {clip.clip: behind.clip for clip, behind in pairwise(clips)}
    concerned = {name for edit in edits for name in (edit.clip, following.get(edit.clip))}
    found: list[Edit] = []
    for clip in clips:
        text = _text_on_disk(data, clip) if clip.clip in concerned else ""
        if text not in ("", clip.text):
            found.append(ChangeText(clip=clip.clip, text=text))
    return found


def _text_on_disk(data: Path, clip: ProofClip) -> str:
    """Return a clip's transcript as it is in its file, "" where there is none."""
    file = _with_ending(data / clip.clip, TEXT_EXTENSION)
    return " ".join(read_transcript(file).text.split()) if file.is_file() else ""


# -- files


def _with_ending(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{ending}")


def _files(stem: Path) -> list[Path]:
    """Return the files of a clip that are there."""
    endings = (*AUDIO_EXTENSIONS, CODES_EXTENSION, TEXT_EXTENSION)
    return [path for ending in endings if (path := _with_ending(stem, ending)).exists()]


def _audio(stem: Path) -> Path | None:
    return next((path for path in _files(stem) if path.suffix in AUDIO_EXTENSIONS), None)


def _move(source: Path, target: Path) -> None:
    """Move the files of a clip, once: what lies at the target already is what belongs there."""
    files = _files(source)
    if not files or _audio(target) is not None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The recording last: as long as it is not there, the move is not done.
    for path in sorted(files, key=lambda path: path.suffix in AUDIO_EXTENSIONS):
        path.replace(_with_ending(target, path.suffix))


def _remove(stem: Path) -> None:
    for path in _files(stem):
        path.unlink()
