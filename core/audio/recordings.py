"""Recordings: how long they are, their samples as mono float32 at a rate that is asked for; writing.

libsndfile reads mp3, wav and flac, in pieces, through `streams.py`, which decides what of a header it gets to
see.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from ..errors import DataError
from ..files import write_bytes
from ..messages import Message
from ..reading import open_regular, reading, unreadable
from .mixing import Mixing, Waveform, mix
from .resampling import check_rate, resample
from .streams import (
    TOLERATED_LOSS_SECONDS,
    UNKNOWN_LENGTH,
    PlainWave,
    Stream,
    find_stream,
    no_audio,
    truncated,
)

LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
"""Hz; what speech needs, and what converters make."""
# libsndfile's log of AIFF, IFF and AU: "SSND : 132308 (should be 66131)", stated and present bytes.
_STATED_SIZE = re.compile(r"^ *(?:SSND|BODY|Data Size) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
_LARGEST_EMPTY = 4_096  # bytes of a recording without samples
_PIECE = 1 << 16  # samples, over all channels, decoded at a time
# Samples over all channels: 1 GiB. Three minutes of stereo at 192 kHz are a quarter of it.
_MOST_SAMPLES = 1 << 28
# Coded bytes that a decoder may leave unread at the end of its stream; 0.1 s at the highest bit rate.
_UNREAD = 4_096
_MISSING = Message("It may have been moved since the folder was listed; try again.")
_DAMAGED = Message("Listen to it in a player; copy or export it again as wav, flac or mp3, or remove it.")


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What there is of a recording."""

    frames: int
    """Samples per channel."""
    sample_rate: int
    """Hz."""
    channels: int
    container: str = field(default="", compare=False)
    """As libsndfile calls it: WAV, FLAC, MP3, …"""
    encoding: str = field(default="", compare=False)
    """Of the samples, as libsndfile calls it: PCM_16, FLOAT, …"""

    @property
    def seconds(self) -> float:
        """Length, seconds."""
        return self.frames / self.sample_rate


def read_info(path: Path) -> AudioInfo:
    """Return what there is of a recording. It is decoded only where its header cannot say how much there is.

    Counting ends at the samples that `read_channels` would refuse.

    Raises:
        DataError: missing, unreadable, empty, no audio, a rate that is none, or a wav shorter than it says.
        StorageError: the system refused to read it.
    """
    with _found(path) as (file, stream):
        if stream.plain is not None:
            info = _plain_info(stream.plain)
            _check(path, info)
            return info
        with _decoded(path, file, stream) as recording:
            info = recording.info
            if not recording.is_trusted:
                info = replace(info, frames=recording.count())
                _check(path, info)
            return info


def read_audio(path: Path, sample_rate: int) -> Waveform:
    """Return the samples of a recording as mono (`mix`), resampled to `sample_rate` (Hz).

    Raises:
        DataError: see `read_channels`, or a rate that cannot be resampled.
        StorageError: the system refused to read it.
    """
    return read_mono(path, sample_rate)[0]


def read_mono(path: Path, sample_rate: int) -> tuple[Waveform, Mixing]:
    """Return what `read_audio` does, and how its channels were mixed."""
    samples, own_rate = read_channels(path)
    check_rate(path, own_rate, sample_rate)
    mono = mix(samples, own_rate)
    return resample(mono.samples, own_rate, sample_rate), mono.mixing


def read_channels(path: Path) -> tuple[Waveform, int]:
    """Return the samples of a recording as they are, `(samples, channels)`, and its rate in Hz.

    Raises:
        DataError: missing, unreadable, empty, no audio, truncated, too large, or with samples that are not
            numbers.
        StorageError: the system refused to read it.
    """
    with _opened(path) as recording:
        samples = recording.samples()
        is_cut = recording.stops_early()
    if is_cut:
        with _opened(path, believe=False) as recording:
            samples = recording.samples()
    if not np.isfinite(samples).all():
        raise _not_numbers(path)
    return samples, recording.info.sample_rate


def _not_numbers(path: Path) -> DataError:
    return DataError(
        "{file} has samples that are not numbers (NaN or infinite).", "Export the recording again.", file=path
    )


def read_pieces(path: Path, seconds: int) -> Iterator[tuple[Waveform, int]]:
    """Yield the samples of a recording of any length in pieces, each with the recording's rate in Hz.

    Args:
        seconds: of every piece `(samples, channels)` but the last, which is shorter.

    Raises:
        DataError: missing, unreadable, empty, no audio, or with samples that are not numbers.
        StorageError: the system refused to read it.
    """
    # Nothing that was yielded can be taken back, so no header is believed: what is there is decoded.
    with _opened(path, believe=False) as recording:
        rate = recording.info.sample_rate
        waiting: list[Waveform] = []
        for piece in recording.pieces(limit=None):
            if not np.isfinite(piece).all():
                raise _not_numbers(path)
            waiting.append(piece)
            while sum(map(len, waiting)) >= seconds * rate:
                whole = np.concatenate(waiting)
                yield whole[: seconds * rate], rate
                waiting = [whole[seconds * rate :]]
        if any(map(len, waiting)):
            yield np.concatenate(waiting), rate


def write_audio(path: Path, samples: Waveform, sample_rate: int, audio_format: str = "WAV") -> None:
    """Write mono samples (−1 … 1) as a recording, atomically.

    Args:
        audio_format: one of `soundfile.available_formats()`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    # libsndfile calls a full disk and missing rights alike "System error": the file is written by us.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, format=audio_format)
    write_bytes(path, encoded.getvalue())


class _Source:
    """A stream of a file, as libsndfile reads it."""

    def __init__(self, file: IO[bytes], stream: Stream) -> None:
        self.failure: OSError | None = None
        """What the system refused; between here and the caller lies C, which exceptions do not cross."""
        self._file, self._stream, self._position = file, stream, 0
        self._file_at = -1
        self._size = len(stream.head) + stream.end - stream.start

    @property
    def unread(self) -> int:
        """Bytes behind those that were read last."""
        return max(self._size - self._position, 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        content = bytearray(count)
        return bytes(content[: self.readinto(content)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        position, head = self._position, self._stream.head
        count = min(len(buffer), self._size - position)
        if count <= 0:
            return 0
        if position < len(head):
            view, own = memoryview(buffer)[:count], head[position : position + count]
            view[: len(own)] = own
            count = len(own)
            if count < len(view):  # libsndfile takes a short read for the end
                count += self._from_file(view[count:], self._stream.start)
        else:
            if count < len(buffer):
                buffer = memoryview(buffer)[:count]
            count = self._from_file(buffer, self._stream.start + position - len(head))
        self._position = position + count
        return count

    def _from_file(self, buffer: bytearray | memoryview, at: int) -> int:
        try:
            if at != self._file_at:
                self._file.seek(at)
            count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            self.failure = error
            return 0
        self._file_at = at + count
        return count


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A decoder that is never asked to seek: it would then trust its own idea of the length."""

    def seekable(self) -> bool:
        return False


class _Recording:
    """An open recording."""

    def __init__(self, path: Path, source: _Source, stream: Stream) -> None:
        self._path, self._source, self._stream = path, source, stream
        with self._decoding():
            self._decoder = _Decoder(source)
        frames = stream.frames or self._decoder.frames
        self.info = AudioInfo(
            frames,
            self._decoder.samplerate,
            self._decoder.channels,
            self._decoder.format,
            self._decoder.subtype,
        )
        self._check_container()

    def _check_container(self) -> None:
        """Refuse what is cut or was never finished in a container that `find_stream` does not know."""
        held = self._stream.end - self._stream.start
        if not self.info.frames and held > _LARGEST_EMPTY:
            raise DataError(
                "{file} was never finished: it states that it contains no audio, but holds {held:,} bytes.",
                "Repair it, for example: ffmpeg -i '{file}' repaired.wav",
                file=self._path,
                held=held,
            )
        stated = _STATED_SIZE.search(self._decoder.extra_info)
        if stated is None or not 0 < int(stated[2]) < int(stated[1]) < UNKNOWN_LENGTH:
            return
        seconds = self.info.seconds * int(stated[1]) / int(stated[2])
        if seconds - self.info.seconds > TOLERATED_LOSS_SECONDS:
            raise truncated(self._path, self.info.seconds, seconds)

    @property
    def is_trusted(self) -> bool:
        """Whether `info` may be believed; else count."""
        return self._stream.is_trusted

    def close(self) -> None:
        self._decoder.close()

    def count(self) -> int:
        """Return how many samples per channel there are, by decoding them."""
        return sum(map(len, self.pieces()))

    def samples(self) -> Waveform:
        """Return the samples, `(samples, channels)`."""
        pieces = list(self.pieces())
        frames = sum(map(len, pieces))
        if frames * self.info.channels > _MOST_SAMPLES:
            raise DataError(
                "{file} has too many samples to be read at once: more than {limit:,} over its "
                "{channels} channels.",
                "Split it at pauses into clips of 3 to 15 s, each with its own transcript.",
                file=self._path,
                limit=_MOST_SAMPLES,
                channels=self.info.channels,
            )
        if not frames:
            raise no_audio(self._path)
        if self._stream.is_trusted and self.info.frames - frames > self._tolerated:
            raise truncated(self._path, frames / self.info.sample_rate, self.info.seconds)
        return np.concatenate(pieces)

    def stops_early(self) -> bool:
        """Return whether coded audio was left over after the samples that the header states."""
        return self._stream.is_mpeg and self._stream.is_trusted and self._source.unread > _UNREAD

    @property
    def _tolerated(self) -> float:
        return TOLERATED_LOSS_SECONDS * self.info.sample_rate

    def pieces(self, limit: int | None = _MOST_SAMPLES) -> Iterator[Waveform]:
        """Yield the samples in pieces of bounded size, whatever the header says of their number.

        Args:
            limit: samples over all channels, behind which the yielding ends; None = none.
        """
        length = max(_PIECE // self.info.channels, 1)
        stated, done = self.info.frames if self._stream.is_trusted else 0, 0
        while limit is None or done * self.info.channels <= limit:
            # The stated ones first: behind them may lie something else, which the decoder chokes on.
            wanted = min(length, stated - done) if done < stated else length
            try:
                with self._decoding():
                    piece: Waveform = self._decoder.read(wanted, dtype="float32", always_2d=True)
            except DataError:
                if 0 < stated <= done:
                    return
                raise
            if len(piece):
                yield piece
            if len(piece) < wanted:
                return
            done += len(piece)

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Turn libsndfile's vague messages into errors that say what is the matter."""
        try:
            with reading(self._path, DataError, _DAMAGED):
                try:
                    yield
                except soundfile.LibsndfileError as error:
                    raise DataError(
                        "{file} cannot be read as audio: it is damaged, or not what its name says.",
                        _DAMAGED,
                        file=self._path,
                    ) from error
        finally:
            # In place of whatever the decoder made of it, be it only an early end.
            if self._source.failure is not None:
                raise unreadable(self._path, self._source.failure)


@contextmanager
def _found(path: Path, *, believe: bool = True) -> Iterator[tuple[IO[bytes], Stream]]:
    with open_regular(path, DataError, _MISSING) as file:
        with reading(path):
            if not file.read(1):
                raise DataError(
                    "{file} is empty (0 bytes).", "Copy or record it again, or remove it.", file=path
                )
            stream = find_stream(file, path, believe=believe)
        yield file, stream


@contextmanager
def _decoded(path: Path, file: IO[bytes], stream: Stream) -> Iterator[_Recording]:
    recording = _Recording(path, _Source(file, stream), stream)
    with closing(recording):
        _check(path, recording.info)
        yield recording


@contextmanager
def _opened(path: Path, *, believe: bool = True) -> Iterator[_Recording]:
    with _found(path, believe=believe) as (file, stream), _decoded(path, file, stream) as recording:
        yield recording


def _plain_info(wave: PlainWave) -> AudioInfo:
    encoding = "PCM_U8" if wave.bits == 8 else f"PCM_{wave.bits}"
    return AudioInfo(wave.frames, wave.rate, wave.channels, "WAV", encoding)


def _check(path: Path, info: AudioInfo) -> None:
    if not LOWEST_RATE <= info.sample_rate <= HIGHEST_RATE:
        raise DataError(
            "{file} has a sample rate of {rate} Hz, which no recording of speech has.",
            "Its header may be damaged: export it again at 24,000 Hz or more.",
            file=path,
            rate=info.sample_rate,
        )
    if not info.frames:
        raise no_audio(path)
