"""The inner loop of extraction: decode ahead, encode in batches, write behind.

Threads decode the next batch and write the last one while the device computes. A batch that the
device's memory does not hold is halved, down to one clip; a clip that fails costs the others nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from ...audio.mixing import Mixing, Waveform
from ...audio.recordings import read_mono
from ...codec.codec import CodecEncoder, check_length
from ...codec.config import CodecConfig
from ...compute.devices import empty_cache, is_out_of_memory
from ...dataset.clips import Utterance
from ...dataset.codes import Codes, codes_digest, write_codes
from ...dataset.origins import FileState, Origin, append_origins, content_digest
from ...errors import DataError
from ...events import Reporter
from ...hardware.memory.setups import EncodingBatch
from ...messages import plural

# On a CPU a batch is no faster than its clips one by one (published size, batches of 1, 4 and 8: all 0.9 ×
# real time a core), but progress and a request to stop wait for its end.
_CPU_BATCH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A recording to encode."""

    utterance: Utterance
    samples: int
    """At the codec's rate, as the header says; decoding may give another number."""
    seconds: float


@dataclass(frozen=True, slots=True)
class _Decoded:
    clip: PendingClip
    waveform: Waveform
    mixing: Mixing
    state: FileState | None
    """The recording's, before it was read."""
    digest: str
    """Of the recording's content."""


class ClipEncoder:
    """Encodes clips and writes their codes.

    Args:
        batch_size: clips a batch, at most; lowered where the device's memory does not suffice.
        batch_seconds: audio a batch, padding included, at most; None = 15 s on a CPU, else no limit.
        num_workers: decoding threads.
        codec_identity: kept with the codes, to know them by.
        on_written: told of each clip whose codes are on disk.
        on_failed: told of each clip without codes, and why; may raise to end the work.
    """

    def __init__(
        self,
        codec: CodecEncoder,
        reporter: Reporter,
        *,
        batch_size: int,
        batch_seconds: float | None,
        num_workers: int,
        codec_identity: str,
        on_written: Callable[[PendingClip], None],
        on_failed: Callable[[PendingClip, DataError], None],
    ) -> None:
        self.batch_size = batch_size
        self._codec, self._device, self._reporter = codec, codec.device, reporter
        self._num_workers, self._on_written, self._on_failed = num_workers, on_written, on_failed
        self._codec_identity = codec_identity
        seconds = batch_seconds or (_CPU_BATCH_SECONDS if self._device.type == "cpu" else float("inf"))
        self._batch_samples = seconds * codec.config.sample_rate
        self.largest = EncodingBatch(0, 0)
        """The batch that needed most memory, padded to whole frames; of none until one was encoded."""
        self.ran_short = False
        """Whether a batch did not fit the device's memory."""
        self.mixed: dict[Mixing, list[str]] = {mixing: [] for mixing in Mixing}
        """Keys of the recordings that were decoded, by how their channels were mixed."""
        self._waiting: deque[PendingClip] = deque()
        self._ahead: deque[tuple[PendingClip, Future[_Decoded]]] = deque()
        self._writing: deque[tuple[PendingClip, Future[None]]] = deque()

    def run(self, clips: Iterable[PendingClip]) -> None:
        """Encode the clips, the longest first; return early, between two batches, if asked to stop.

        Raises:
            StorageError: codes cannot be written; those that were are kept.
        """
        # Neighbours of one length need little padding, and a batch that is too large shows at once.
        self._waiting.extend(sorted(clips, key=lambda clip: (-clip.samples, clip.utterance)))
        decoders = ThreadPoolExecutor(self._num_workers, "decode")
        writer = ThreadPoolExecutor(1, "write")
        try:
            self._decode_ahead(decoders)
            while self._ahead and not self._reporter.stop_requested:
                for decoded, codes in self._encode(self._next_batch(decoders)):
                    self._writing.append((decoded.clip, writer.submit(self._write, decoded, codes)))
                self._finish_writing(wait=False)
            self._finish_writing(wait=True)
        finally:
            decoders.shutdown(cancel_futures=True)
            writer.shutdown()

    def _decode_ahead(self, decoders: ThreadPoolExecutor) -> None:
        """Keep one batch decoded or decoding, and every decoder busy."""
        while self._waiting and len(self._ahead) < self.batch_size + self._num_workers:
            clip = self._waiting.popleft()
            self._ahead.append((clip, decoders.submit(_decode, clip, self._codec.config)))

    def _next_batch(self, decoders: ThreadPoolExecutor) -> list[_Decoded]:
        """Return the next clips that could be decoded: as many as the limits allow, perhaps none."""
        batch: list[_Decoded] = []
        while self._ahead and len(batch) < self.batch_size:
            clip, future = self._ahead[0]
            if batch and (len(batch) + 1) * batch[0].clip.samples > self._batch_samples:
                break
            self._ahead.popleft()
            self._decode_ahead(decoders)
            try:
                decoded = future.result()
            except DataError as error:
                self._on_failed(clip, error)
            else:
                self.mixed[decoded.mixing].append(clip.utterance.key)
                batch.append(decoded)
        return batch

    def _encode(self, batch: list[_Decoded]) -> list[tuple[_Decoded, Codes]]:
        """Return the codes of a batch, computed in parts where the device's memory does not suffice."""
        if not batch:
            return []
        codes = self._try(batch)
        if codes is not None:
            return list(zip(batch, codes, strict=True))
        longest = batch[0].clip
        if len(batch) == 1:
            self._on_failed(
                longest,
                DataError(
                    "{file} ({seconds:.1f} s) alone needs more memory than {device} has free.",
                    "End what else uses the device (fishtune gpus), split the clip, or use --device cpu.",
                    file=longest.utterance.audio,
                    seconds=longest.seconds,
                    device=self._device,
                ),
            )
            return []
        half = -(-len(batch) // 2)
        self.batch_size = min(self.batch_size, half)
        self._reporter.warn(
            "{device} has too little free memory for {clips} of up to {seconds:.1f} s at "
            "once: continuing with {smaller}.",
            "A smaller --batch-size or --batch-seconds spares the attempt; fishtune gpus shows what else "
            "uses the memory.",
            device=self._device,
            clips=plural(len(batch), "{number} clip", "{number:,} clips"),
            seconds=longest.seconds,
            smaller=half,
        )
        return self._encode(batch[:half]) + self._encode(batch[half:])

    def _try(self, batch: list[_Decoded]) -> list[Codes] | None:
        """Return the codes of each clip, or None if the device's memory does not suffice."""
        lengths = [len(decoded.waveform) for decoded in batch]
        audio = torch.zeros(len(batch), 1, max(lengths))
        for row, decoded in zip(audio, batch, strict=True):
            row[0, : len(decoded.waveform)] = torch.from_numpy(decoded.waveform)
        try:
            codes = self._codec.encode(audio.to(self._device), lengths).cpu().numpy()
            self._note(len(batch), max(lengths))
            return [own[:, : self._codec.frames(length)] for own, length in zip(codes, lengths, strict=True)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.ran_short = True
        # Only here is the exception gone, and with it the tensors that its traceback held.
        empty_cache()
        return None

    def _note(self, clips: int, samples: int) -> None:
        config = self._codec.config
        batch = EncodingBatch(clips, config.frames(samples) * config.frame_length)
        self.largest = max(self.largest, batch, key=lambda batch: batch.size)

    def _finish_writing(self, *, wait: bool) -> None:
        """Report what has been written; with `wait`, everything that is to be."""
        while self._writing and (wait or self._writing[0][1].done()):
            clip, future = self._writing.popleft()
            try:
                future.result()
            except DataError as error:
                self._on_failed(clip, error)
            else:
                self._on_written(clip)

    def _write(self, decoded: _Decoded, codes: Codes) -> None:
        utterance = decoded.clip.utterance
        # Codes of a replaced recording would pass for the new one's.
        state = _state(utterance.audio)
        if state is None or decoded.state is None or not state.same_content(decoded.state):
            raise DataError(
                "{file} changed while it was being encoded.",
                "Run fishtune extract again.",
                file=utterance.audio,
            )
        write_codes(utterance.codes_path, codes)
        origin = Origin(state, decoded.digest, codes_digest(codes), self._codec_identity)
        append_origins(utterance.codes_path.parent, [(utterance.codes_path.name, origin)])


def _decode(clip: PendingClip, config: CodecConfig) -> _Decoded:
    audio = clip.utterance.audio
    state = _state(audio)
    waveform, mixing = read_mono(audio, config.sample_rate)
    check_length(len(waveform), config, str(audio))
    return _Decoded(clip, waveform, mixing, state, content_digest(audio))


def _state(audio: Path) -> FileState | None:
    try:
        return FileState.of(audio)
    except OSError:  # reading it, or the comparison, says what is the matter
        return None
