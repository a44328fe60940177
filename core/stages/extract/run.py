"""Extracts codes: every recording of a data set through the encoding half of the codec, to `NAME.npy`.

A recording that cannot be used is listed with its reason; what is done and valid is not done again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, computed_field

from ...audio.mixing import Mixing, warn_of_channels
from ...audio.recordings import read_info
from ...audio.resampling import check_rate
from ...codec.checkpoint import load_encoder
from ...codec.codec import check_length
from ...codec.config import CodecConfig, codec_config, codec_identity
from ...compute.devices import peak_meter, resolve_device
from ...compute.ranks import Ranks
from ...config.settings import ExtractSettings
from ...dataset.clips import CODES_EXTENSION, Scan, Utterance
from ...dataset.codes import CodesState, Verdict, judge_codes
from ...dataset.findings import LEAVES_OUT, Finding, FindingKind, Severity
from ...dataset.layout import scan
from ...dataset.origins import FileState, Origin, append_origins, content_digest, inputs_digest, tidy_origins
from ...errors import DataError, StorageError
from ...events import ItemFailed, Progress, ProgressMeter, Reporter
from ...files import check_writable, sweep_targets
from ...hardware.memory.measured import MeasurementCache
from ...hardware.memory.needs import EncodingNeeds
from ...messages import Message, plural
from ...model.families import check_codec_file
from ...terminal import shell_quoted
from ...units import format_count, format_duration
from .clip_encoder import ClipEncoder, PendingClip

_SHOWN_EVERY = 0.5  # seconds


class FailedClip(BaseModel):
    """A recording without codes, and why."""

    clip: str
    """`SPEAKER/NAME`, or the path of what is no clip."""
    message: Message
    hint: Message


class ExtractResult(BaseModel):
    """What became of every recording: clips = already_done + encoded + those that failed."""

    clips: int
    """Recordings found, usable or not."""
    already_done: int
    """Whose codes were valid before."""
    encoded: int
    failed: list[FailedClip]
    left_out: list[Finding] = []
    """What lies in the data set and is neither a clip nor counted, such as recordings that lie too deep."""
    audio_seconds: float
    """Length of what was encoded."""
    elapsed: float
    """Seconds that took, without loading the codec; of the slowest rank."""
    device: str
    batch_size: int
    """Clips per batch at the end: less than asked for if the device's memory did not suffice."""
    source: str = ""
    """`inputs_digest` of the recordings."""
    one_sided: list[str] = []
    """Recordings encoded now with the voice on some channels only; the others were left out."""
    opposite_phase: list[str] = []
    """Recordings encoded now whose channels cancel each other; one of them was used."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def speed(self) -> float:
        """Seconds of audio encoded a second."""
        return self.audio_seconds / self.elapsed if self.elapsed else 0.0


def run(settings: ExtractSettings, reporter: Reporter) -> ExtractResult:
    """Write the codes of every recording of `settings.data` that has no valid ones.

    Under torchrun every rank takes its share of the recordings, and the first returns what all did.

    Raises:
        DataError: there are no recordings, or none can be used.
        CheckpointError, SettingsError, UsageError: the codec cannot be loaded.
        DeviceError: the device does not exist.
        StorageError: the disk is full, or the data set vanished; what was written before is kept.
        StopRequested: asked to stop; what was written before is kept.
    """
    ranks = Ranks.from_environment()
    device = resolve_device(settings.device, ranks.local_rank)
    check_codec_file(settings.checkpoint_path)
    config = codec_config(settings.checkpoint_path, settings.config_name)
    found, unusable, left_out = _find(settings)
    for finding in left_out:
        reporter.warn(finding.what, finding.what_to_do)
    utterances, source = found.utterances, inputs_digest(found)
    codec = codec_identity(settings.checkpoint_path, config)
    # By position among all recordings, done or not, so that every rank sees the same division.
    mine = utterances[ranks.rank :: ranks.count]
    if ranks.count > 1:
        reporter.log(
            f"Rank {ranks.rank} of {ranks.count} takes {len(mine)} of "
            f"{format_count(len(utterances), 'recording')}."
        )
    share = _Share(settings, config, codec, device, reporter)
    results = ranks.gather(share.run(mine, unusable if ranks.is_first else []))
    for other in results[1:]:  # only the first rank's events are kept
        for failed in other.failed:
            reporter.emit(ItemFailed(item=failed.clip, message=failed.message, hint=failed.hint))
    result = _joined(results).model_copy(update={"source": source, "left_out": left_out})
    warn_of_channels(reporter, result.one_sided, result.opposite_phase)
    if len(results) == ranks.count and len(result.failed) == result.clips:
        raise DataError(
            "No recording in {data} could be encoded; the first: {reason}",
            "See what is wrong with all of them: fishtune validate {quoted}",
            data=settings.data,
            reason=result.failed[0].message,
            quoted=shell_quoted(settings.data),
        )
    return result


def _find(settings: ExtractSettings) -> tuple[Scan, list[Finding], list[Finding]]:
    """Return the recordings in a fixed order, what keeps others from being used, and what is passed over."""
    found = scan(settings.data, exclude=settings.exclude)
    unusable: list[Finding] = []
    left_out: list[Finding] = []
    for problem in found.problems:  # the others are about transcripts
        if problem.code is FindingKind.AUDIO_TWICE:
            unusable.append(problem)
        elif problem.code in LEAVES_OUT:
            (unusable if problem.severity is Severity.ERROR else left_out).append(problem)
    if not found.utterances and not unusable:
        raise DataError(
            "{data} has no recordings.",
            "Put them there as {data}/SPEAKER/NAME.mp3 (or .wav, .flac).",
            data=settings.data,
        )
    return found, unusable, left_out


def _clip_of(path: Path, data: Path) -> str:
    """Return the clip whose codes a finding is about, as `SPEAKER/NAME`; any other file as it is."""
    return str(path.with_suffix("").relative_to(data)) if path.suffix == CODES_EXTENSION else str(path)


def _joined(results: Sequence[ExtractResult]) -> ExtractResult:
    return ExtractResult(
        clips=sum(result.clips for result in results),
        already_done=sum(result.already_done for result in results),
        encoded=sum(result.encoded for result in results),
        failed=[failed for result in results for failed in result.failed],
        audio_seconds=sum(result.audio_seconds for result in results),
        elapsed=max(result.elapsed for result in results),
        device=", ".join(dict.fromkeys(result.device for result in results)),
        batch_size=min(result.batch_size for result in results),
        one_sided=[key for result in results for key in result.one_sided],
        opposite_phase=[key for result in results for key in result.opposite_phase],
    )


class _Share:
    """One rank's share of the recordings: what is done, what failed, how far it is."""

    def __init__(
        self,
        settings: ExtractSettings,
        config: CodecConfig,
        codec: str,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._settings, self._config, self._device, self._reporter = settings, config, device, reporter
        self._codec = codec
        self._batch_size = settings.batch_size
        self._failed: list[FailedClip] = []
        self._mixed: dict[Mixing, list[str]] = {}
        self._clips = self._already_done = self._encoded = 0
        self._seconds = self._total_seconds = 0.0
        self._begun_at = self._shown_at = self._elapsed = 0.0

    def run(self, utterances: list[Utterance], unusable: list[Finding]) -> ExtractResult:
        self._clips = len(utterances) + len(unusable)
        for problem in unusable:
            self._fail(_clip_of(problem.path, self._settings.data), problem.what, problem.what_to_do)
        _sweep(utterances, alone=Ranks.from_environment().count == 1)
        clips = self._inspect(utterances)
        # A folder that cannot be written is told now, not after the first batch is done.
        for first in {clip.utterance.codes_path.parent: clip for clip in clips}.values():
            check_writable(first.utterance.codes_path)
        if clips:
            self._encode(clips)
        return ExtractResult(
            clips=self._clips,
            already_done=self._already_done,
            encoded=self._encoded,
            failed=self._failed,
            audio_seconds=self._seconds,
            elapsed=self._elapsed,
            device=str(self._device),
            batch_size=self._batch_size,
            one_sided=sorted(self._mixed.get(Mixing.ONE_SIDED, [])),
            opposite_phase=sorted(self._mixed.get(Mixing.OPPOSITE_PHASE, [])),
        )

    def _inspect(self, utterances: list[Utterance]) -> list[PendingClip]:
        """Return the clips to encode; count what is done, list what cannot be read."""
        meter = ProgressMeter(self._reporter, "checking", len(utterances), "clips")
        clips = []
        known: dict[Path, list[tuple[str, Origin]]] = defaultdict(list)
        inspect = partial(_inspect, settings=self._settings, config=self._config, codec=self._codec)
        pool = ThreadPoolExecutor(self._settings.num_workers, "inspect")
        try:
            for utterance, found in zip(utterances, pool.map(inspect, utterances), strict=True):
                self._reporter.check_stop("Nothing had been begun.")
                if isinstance(found, PendingClip):
                    clips.append(found)
                elif isinstance(found, _Done):
                    self._already_done += 1
                    if found.origin is not None:
                        known[utterance.codes_path.parent].append((utterance.codes_path.name, found.origin))
                else:
                    self._fail_utterance(utterance, found)
                meter.advance()
        finally:
            pool.shutdown(cancel_futures=True)
        for folder, origins in known.items():
            append_origins(folder, origins)
        return clips

    def _encode(self, clips: list[PendingClip]) -> None:
        self._total_seconds = sum(clip.seconds for clip in clips)
        codec = load_encoder(self._settings.checkpoint_path, self._settings.config_name, self._device)
        self._reporter.log(
            f"Encoding {len(clips):,} of {format_count(self._clips, 'clip')}, "
            f"{format_duration(self._total_seconds)} of audio, on {self._device}."
        )
        encoder = ClipEncoder(
            codec,
            self._reporter,
            batch_size=self._settings.batch_size,
            batch_seconds=self._settings.batch_seconds,
            num_workers=self._settings.num_workers,
            codec_identity=self._codec,
            on_written=self._on_written,
            on_failed=self._on_failed,
        )
        meter = peak_meter(self._device)
        if meter is not None:
            meter.reset()
        self._begun_at = time.monotonic()
        encoder.run(clips)
        self._batch_size, self._mixed = encoder.batch_size, encoder.mixed
        if meter is not None and encoder.largest.clips and not encoder.ran_short:
            needs = EncodingNeeds(self._config, meter.device_name)
            if needs.known:  # to work them out now would only delay the end
                MeasurementCache().record(needs.setting, needs.predicted(encoder.largest), meter.peak())
        if self._settled < self._clips:
            self._reporter.check_stop(
                "The codes of {done} of {clips} are there; starting again continues with the rest.",
                done=self._already_done + self._encoded,
                clips=plural(self._clips, "{number} clip", "{number:,} clips"),
            )

    @property
    def _settled(self) -> int:
        """Recordings that nothing more will be done about."""
        return self._already_done + self._encoded + len(self._failed)

    def _on_written(self, clip: PendingClip) -> None:
        self._encoded += 1
        self._seconds += clip.seconds
        self._show()

    def _on_failed(self, clip: PendingClip, error: DataError) -> None:
        self._total_seconds -= clip.seconds
        self._fail_utterance(clip.utterance, error)
        self._show()

    def _fail_utterance(self, utterance: Utterance, error: DataError) -> None:
        if not self._settings.data.is_dir():
            raise StorageError(
                "The data set {data} is gone.",
                "Check that its disk is still mounted and run the command again; what is done is kept.",
                data=self._settings.data,
            ) from error
        self._fail(utterance.key, error.message, error.hint)

    def _fail(self, item: str, message: Message, hint: Message) -> None:
        self._failed.append(FailedClip(clip=item, message=message, hint=hint))
        self._reporter.emit(ItemFailed(item=item, message=message, hint=hint))

    def _show(self) -> None:
        """Emit progress in clips and in seconds of audio; only the latter tells how long it takes."""
        now = time.monotonic()
        self._elapsed = now - self._begun_at
        if now - self._shown_at < _SHOWN_EVERY and self._settled < self._clips:
            return
        self._shown_at = now
        speed = self._seconds / self._elapsed if self._elapsed else 0.0
        self._reporter.emit(
            Progress(task=Message("clips"), done=self._settled, total=self._clips, unit="clips")
        )
        self._reporter.emit(
            Progress(
                task=Message("audio"),
                done=self._seconds,
                total=self._total_seconds,
                unit="s",
                rate=speed,
                eta=(self._total_seconds - self._seconds) / speed if speed else None,
                detail=Message("{speed:.1f} × real time", speed=speed),
            )
        )


def _sweep(utterances: list[Utterance], *, alone: bool) -> None:
    """Remove what killed runs left half written; of the own clips only, where other ranks are at work."""
    targets = [utterance.codes_path for utterance in utterances]
    sweep_targets(targets)
    if alone:
        for folder in {target.parent for target in targets}:
            tidy_origins(folder)


@dataclass(frozen=True, slots=True)
class _Done:
    """A clip whose codes are there."""

    origin: Origin | None
    """What is to be remembered of them, where that is not known yet."""


def _inspect(
    utterance: Utterance, *, settings: ExtractSettings, config: CodecConfig, codec: str
) -> PendingClip | DataError | _Done:
    """Return the clip if it is to be encoded, that its codes are there, or why it cannot be used."""
    try:
        verdict = judge_codes(utterance.audio, utterance.codes_path, config.codebook_sizes, codec)
        if verdict.state is CodesState.FOREIGN:
            return _not_ours(verdict)
        if not settings.overwrite:
            if verdict.state is CodesState.OTHER_CODEC:
                return _not_ours(verdict)
            if verdict.state is CodesState.DONE:
                return _Done(_newly_known(utterance.audio, verdict))
        info = read_info(utterance.audio)
        check_rate(utterance.audio, info.sample_rate, config.sample_rate)
        samples = -(-info.frames * config.sample_rate // info.sample_rate)
        check_length(samples, config, str(utterance.audio))
    except DataError as error:
        return error
    return PendingClip(utterance, samples, info.seconds)


def _not_ours(verdict: Verdict) -> DataError:
    assert verdict.error is not None
    if verdict.state is CodesState.OTHER_CODEC:
        return verdict.error
    return DataError(
        "{reason} fishtune did not write this file and does not replace it.",
        "Move it away, or rename the recording and its transcript, and extract again.",
        reason=verdict.error.message,
    )


def _newly_known(audio: Path, verdict: Verdict) -> Origin | None:
    """Return what is to be remembered of finished codes of another tool, or of copied files."""
    before = FileState.of(audio)
    if verdict.origin is None:
        return Origin(before, content_digest(audio), verdict.digest)
    if verdict.origin.state != before:
        return verdict.origin._replace(state=before)
    return None
