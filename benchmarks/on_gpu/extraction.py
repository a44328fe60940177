"""Extraction at the codec's true shape, through the stage itself: speed and memory by size of batch."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator

from fishtune.core.codec.config import codec_config
from fishtune.core.config.settings import CODEC_FILE, ExtractSettings
from fishtune.core.events import Reporter
from fishtune.core.hardware.memory.needs import EncodingNeeds
from fishtune.core.hardware.memory.setups import EncodingBatch
from fishtune.core.stages.extract.run import run
from fishtune.core.units import GIB

from .bench import Bench
from .running import Row

_DECODERS = 8


def extraction_speed(bench: Bench) -> Iterator[Row]:
    """Yield speed and memory for each size of batch, after a first run that loads kernels."""
    run(_settings(bench, bench.sizes.recording_seconds), Reporter())
    for seconds in bench.sizes.batch_seconds:
        settings = _settings(bench, seconds)
        gc.collect()  # the stage measures from what is there
        result = run(settings, Reporter())
        yield {
            "what": f"{seconds:g} s per batch",
            "clips per batch": settings.batch_size,
            "audio s": result.audio_seconds,
            "seconds": result.elapsed,
            "× real time": result.speed,
            **_memory(bench, settings.batch_size),
            "passed": not result.failed and result.batch_size == settings.batch_size,
        }


def _settings(bench: Bench, batch_seconds: float) -> ExtractSettings:
    return ExtractSettings(
        data=bench.recordings,
        checkpoint_path=bench.base / CODEC_FILE,
        batch_size=max(1, math.floor(batch_seconds / bench.sizes.recording_seconds)),
        batch_seconds=batch_seconds,
        num_workers=_DECODERS,
        device=bench.device,
        overwrite=True,
    )


def _memory(bench: Bench, clips: int) -> Row:
    """Return predicted and measured peak, where there is one; the stage forgets what was before."""
    measured, held = bench.peak_bytes(), bench.allocated_bytes()
    if measured is None or held is None:
        return {}
    predicted = predicted_peak(bench, min(clips, bench.sizes.recordings))
    return {
        "predicted GiB": predicted / GIB,
        "measured GiB": measured / GIB,
        "held by tensors GiB": held / GIB,
        "measured/predicted": measured / predicted,
    }


def predicted_peak(bench: Bench, clips: int) -> int:
    """Return what torch is predicted to reserve for a batch of recordings, bytes."""
    config = codec_config(bench.base / CODEC_FILE, "modded_dac_vq")
    batch = EncodingBatch.of(config, clips, bench.sizes.recording_seconds)
    return EncodingNeeds(config).predicted(batch).reserved
