"""An audition: checkpoints, their base and the user's own recordings say the same texts."""

from __future__ import annotations

import torch

from ...audio.mixing import Waveform
from ...audio.recordings import read_audio
from ...audio.resampling import resample
from ...codec.config import CodecConfig, check_codebooks, codec_config
from ...codec.references import encode_reference
from ...compute.devices import resolve_device
from ...config.settings import CODEC_FILE, AuditionSettings
from ...errors import UsageError
from ...events import Reporter
from ...judge.acoustics import SAMPLE_RATE
from ...judge.record import join
from ...judge.results import AuditionResult
from ...judge.rules import expected_seconds
from ...messages import Message
from ...model.base_hash import base_hash
from ...model.directory import ModelDirectory
from ...text.transcripts import check_typed, transcript_beside
from .candidates import Plan, plan_candidates, recordings_of
from .columns import Column
from .listening import listen_to
from .question import DataSet, OwnClip, Question, make_question, read_data_set
from .speaking import Speakers

_REFERENCE_HINT = Message("Put what is said in it into a .lab file beside it.")


def run(settings: AuditionSettings, reporter: Reporter) -> AuditionResult:
    """Let candidates speak, write recordings and records beside them, and return what was found.

    The same seeds, reference and texts are used for everyone, so that they compare. What was said to the same
    question before is kept, and what the same ears have heard is not listened to again.

    Raises:
        UsageError: a base is not known, a folder for recordings holds something else, or a text cannot be
            spoken.
        CheckpointError: checkpoint, base or codec cannot be read or do not fit together.
        StopRequested: asked to stop; what was said is kept.
    """
    for text in settings.texts:
        check_typed(text, "--text")
    plan = plan_candidates(settings)
    device = resolve_device(settings.device)
    shape = codec_config(plan.base / CODEC_FILE, settings.config_name)
    base = ModelDirectory.open(plan.base)
    check_codebooks(shape, base.shape.num_codebooks, plan.base)
    data = read_data_set(plan.protos, plan.held_out, shape.frame_rate)
    question = _question(settings, plan, base, data, shape, device, reporter)
    speakers = [recordings_of(plan), *plan.candidates] if question.recordings else plan.candidates
    columns = [Column(each, question, overwrite=settings.overwrite) for each in speakers]
    voices = Speakers(base, settings.config_name, question, device, reporter)
    voices.say_all(columns)
    voices.forget_model()  # recognition finds its memory free
    _listen(columns, voices, question, settings, reporter)
    return join([column.table for column in columns])


def _question(
    settings: AuditionSettings,
    plan: Plan,
    base: ModelDirectory,
    data: DataSet,
    shape: CodecConfig,
    device: torch.device,
    reporter: Reporter,
) -> Question:
    reference = data.reference
    if settings.reference is not None:
        text = transcript_beside(settings.reference, _REFERENCE_HINT)
        codec = plan.base / CODEC_FILE
        turn = encode_reference(settings.reference, text, codec, settings.config_name, device, reporter)
        reference = OwnClip(settings.reference.name, turn)
    sampling = base.family.sampling
    made_from = {
        "base": base_hash(plan.base, reporter),
        "codec": [settings.config_name, (plan.base / CODEC_FILE).stat().st_size],
        "sampling": [sampling.temperature, sampling.top_p, sampling.top_k, sampling.repetition_penalty],
    }

    def fits(text: str) -> bool:
        turns = [reference.turn] if reference else []
        room = base.shape.max_seq_len - int(base.prompts.prompt(turns, text).shape[1])
        return room >= expected_seconds(text, data.bytes_per_second) * shape.frame_rate

    question = make_question(settings, data, reference, made_from, fits)
    if question.said == 0:
        raise UsageError(
            "The model's sequences of {number} tokens hold none of the texts.",
            "Give shorter ones with --text, or a shorter --reference.",
            number=base.shape.max_seq_len,
        )
    return question


def _listen(
    columns: list[Column],
    speakers: Speakers,
    question: Question,
    settings: AuditionSettings,
    reporter: Reporter,
) -> None:
    def reference() -> Waveform | None:
        if settings.reference is not None:
            return read_audio(settings.reference, SAMPLE_RATE)
        if question.reference is None:
            return None
        return resample(speakers.decoded(question.reference.codes), speakers.sample_rate, SAMPLE_RATE)

    listen_to(columns, question, reference, settings, reporter)
