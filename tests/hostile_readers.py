"""What the commands call to read a file, for `hostile_files`.

Each function reads one file of the world, in every way that commands do. Several ways are tried even if the
first refuses.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fishtune.core.audio import recordings as recordings
from fishtune.core.config.project import Project
from fishtune.core.dataset.codes import CodesState, judge_codes, read_codes
from fishtune.core.dataset.headers import whole_codes_shape
from fishtune.core.errors import FishtuneError
from fishtune.core.events import Reporter
from fishtune.core.jobs.follow import EventFollower, last_events
from fishtune.core.jobs.lines import event_line
from fishtune.core.jobs.post_mortem import describe_loss
from fishtune.core.jobs.record import Job, Place, list_jobs
from fishtune.core.pipeline.choice import choose
from fishtune.core.pipeline.status import step_statuses
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.manifest import INDEX_FILE, MANIFEST_FILE
from fishtune.core.text.transcripts import read_transcript
from fishtune.tui.run_view import RunView

from .hostile_world import RATE, SECONDS, SIZES, TEXT, train_settings

TOLERATED = 0.1  # seconds that a recording may lose at its end


class WrongAnswerError(Exception):
    """A reader accepted a file and said of it what is not so."""


@dataclass(frozen=True)
class Target:
    """A damaged file in its world."""

    root: Path
    file: Path
    is_whole: bool
    """Whether what counts in it (the samples) is as it was."""


class Tries:
    """Calls functions of which each may refuse; the last refusal is raised if all did."""

    def __init__(self) -> None:
        self._refusals: list[FishtuneError] = []
        self._results = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what the function returns, None if it refused."""
        try:
            result = function(*arguments, **named)
        except FishtuneError as error:
            self._refusals.append(error)
            if _is_memory(error):
                raise
            return None
        self._results += 1
        return result

    def done(self) -> None:
        """Raise the last refusal if there was nothing else."""
        if self._refusals and not self._results:
            raise self._refusals[-1]


def _is_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def audio(target: Target) -> None:
    """As validate, extract, loudness-norm and synth: its length, its samples, its samples at another rate."""
    tries = Tries()
    info = tries(recordings.read_info, target.file)
    read = tries(recordings.read_channels, target.file)
    if read is not None and read[1] <= 200_000:
        tries(recordings.read_audio, target.file, 44_100)
    tries.done()
    if read is None:
        return
    samples, rate = read
    if info is not None and abs(info.frames - len(samples)) > TOLERATED * rate:
        raise WrongAnswerError(f"read_info says {info.frames} samples, read_channels gives {len(samples)}")
    if target.is_whole and abs(len(samples) / RATE - SECONDS) > TOLERATED:
        raise WrongAnswerError(f"{len(samples) / RATE:.2f} s of {SECONDS} s ({target.file.suffix})")


def codes(target: Target) -> None:
    """As extract and pack; what is accepted must be what numpy reads."""
    tries = Tries()
    shape = whole_codes_shape(target.file)
    judged = tries(judge_codes, target.file.with_suffix(".wav"), target.file, SIZES)
    read = tries(read_codes, target.file)
    tries.done()
    if read is not None:
        expected = np.load(target.file, allow_pickle=False)
        if (
            not np.array_equal(expected, read)
            or shape != read.shape
            or not all(type(n) is int for n in shape)
        ):
            raise WrongAnswerError(f"{shape} and {read.shape} instead of {expected.shape}")
    elif judged is not None and judged.state is CodesState.DONE:
        raise WrongAnswerError("codes that cannot be read are done")


def origins(target: Target) -> object:
    """As extract and pack: whether codes are those of their recording."""
    found = sorted(target.file.parent.glob("*.npy"))
    audio_of = {
        path.stem: path for path in target.file.parent.iterdir() if path.suffix in (".wav", ".flac", ".mp3")
    }
    return [judge_codes(audio_of[path.stem], path, SIZES).state for path in found]


def transcript(target: Target) -> None:
    """As validate, pack and synth."""
    read_transcript(target.file)


def validate(target: Target) -> None:
    """The stage; one file never ends it."""
    from fishtune.core.config.settings import ValidateSettings
    from fishtune.core.stages.validate.run import inspect_clip, run

    _never_refused(run, ValidateSettings(data=target.root / "data", num_workers=1))
    inspect_clip(target.root / "data", f"spk/{target.file.stem}", ".lab", 50)


def journal(target: Target) -> None:
    """As loudness-norm once more, and the wizard."""
    from fishtune.core.config.settings import LoudnessNormSettings
    from fishtune.core.dataset.journal import copied
    from fishtune.core.stages.loudness_norm.run import run

    copied(target.root / "louder")
    before = {path.name for path in (target.root / "louder" / "spk").iterdir()}
    settings = LoudnessNormSettings(source=target.root / "data", target=target.root / "louder", num_workers=1)
    Tries()(run, settings, Reporter())
    if not before <= {path.name for path in (target.root / "louder" / "spk").iterdir()}:
        raise WrongAnswerError("files are gone")


def table(target: Target) -> None:
    """As every stage that lists a data set."""
    from fishtune.core.dataset.layout import scan

    if len(scan(target.root / "data").clips) != 4:
        raise WrongAnswerError("other clips")


def loudness_norm(target: Target) -> None:
    """The stage; one file never ends it."""
    from fishtune.core.config.settings import LoudnessNormSettings
    from fishtune.core.stages.loudness_norm.run import run

    settings = LoudnessNormSettings(source=target.root / "data", target=target.root / "norm", num_workers=1)
    result = _never_refused(run, settings)
    if not (target.root / "norm" / "spk" / "good.wav").is_file():
        raise WrongAnswerError(f"the good recording was not copied: {result}")


def extract(target: Target) -> None:
    """The stage; one file never ends it."""
    from fishtune.core.config.settings import ExtractSettings
    from fishtune.core.stages.extract.run import run

    codec = target.root / "base" / "codec.pth"
    settings = ExtractSettings(data=target.root / "data", checkpoint_path=codec, device="cpu", batch_size=1)
    result = _never_refused(run, settings)
    if result.clips != 4:
        raise WrongAnswerError(f"{result.clips} clips instead of 4")


def pack(target: Target) -> None:
    """The stage; one file never ends it."""
    from fishtune.core.config.settings import PackSettings
    from fishtune.core.stages.pack.run import run

    settings = PackSettings(input=target.root / "data", output=target.root / "packed", num_workers=1)
    result = _never_refused(run, settings)
    if result.sentences + len(result.dropped) != result.clips or result.sentences < 3:
        raise WrongAnswerError(
            f"{result.sentences} sentences, {len(result.dropped)} dropped of {result.clips}"
        )


def _never_refused(run: Callable[[Any, Reporter], Any], settings: Any) -> Any:
    try:
        return run(settings, Reporter())
    except FishtuneError as error:
        if _is_memory(error):
            raise
        raise WrongAnswerError(f"one file ended the stage: {error.message}") from error


def packed(target: Target) -> object:
    """As train: names, lengths and hashes of everything that is trained on, and what it says."""
    from fishtune.core.model.directory import ModelDirectory
    from fishtune.core.stages.train.data import load_data

    base = target.root / "base"
    data = load_data(train_settings(target.root), ModelDirectory.open(base), Reporter())
    index = data.source.index
    numbers = range(len(data.source.places))
    return (
        data.fingerprint,
        index.speakers,
        index.largest_codes,
        data.table.turns.tolist(),
        data.table.frames.tolist(),
        [index.name(int(place)) for place in data.source.places],
        [(turn.text, turn.codes.tolist()) for turn in map(data.source.turn, numbers)],
    )


def _config_of(base: Path) -> Any:
    from fishtune.core.model.directory import ModelDirectory

    return ModelDirectory.open(base).shape


def unindexed(target: Target) -> None:
    """As train, before there is an index: the clips have the names that packing gave them, or none."""
    from fishtune.core.config.settings import PackSettings
    from fishtune.core.shards.manifest import is_current

    (target.root / "protos" / INDEX_FILE).unlink(missing_ok=True)
    tries = Tries()
    tries(is_current, PackSettings(input=target.root / "data", output=target.root / "protos"))
    index = tries(ShardIndex.open, target.root / "protos")
    tries.done()
    if index is not None:
        names = [index.name(number) for number in range(len(index))]
        ours = [f"spk/{name}" for name in ("a", "b", "c", "good")]
        if names not in (ours, [f"spk #{number}" for number in range(4)]):
            raise WrongAnswerError(f"other names: {names}")


def foreign_shards(target: Target) -> None:
    """Shards that another tool wrote."""
    (target.root / "protos" / MANIFEST_FILE).unlink(missing_ok=True)
    index = ShardIndex.open(target.root / "protos")
    for number in range(len(index)):
        index.name(number)
        index.read(number)


def tokenizer(target: Target) -> None:
    """As pack, train and synth: encode a text, with and without special tokens."""
    from fishtune.core.model.families.s1 import S1

    read = S1().tokenizer(target.root / "model")
    for text in (TEXT, "한국어 \0\x7f\U0001f600 ", "<|im_end|><|semantic:3|>", ""):
        ids = read.encode(text)
        read.control_token(ids)
        if not all(0 <= token < read.size for token in ids):
            raise WrongAnswerError(f"ids up to {max(ids)} of {read.size}")


def config(target: Target) -> None:
    """As estimate, train, merge and synth: the shape, what is accounted of it, the model."""
    from fishtune.core.config.presets import lora_preset
    from fishtune.core.hardware.memory.setups import TrainingSetup
    from fishtune.core.model.checkpoint import load_model

    tries = Tries()
    shape = tries(_config_of, target.root / "model")
    if shape is not None:
        preset = lora_preset("r_8_alpha_16")
        tries(lambda: _asked(TrainingSetup.of(shape, train_settings(target.root), preset)))
        tries(load_model, target.root / "model")
    tries.done()


def codec_config(target: Target) -> None:
    """As estimate, extract and synth: the shape, what is accounted of it, the codec."""
    from fishtune.core.codec.checkpoint import load_codec
    from fishtune.core.codec.config import codec_config as read

    tries = Tries()
    weights = target.root / "model" / "codec.pth"
    shape = tries(read, weights, "modded_dac_vq")
    if shape is not None:
        _use_codec_shape(tries, shape)
        tries(load_codec, weights, "modded_dac_vq")
    tries.done()


def _use_codec_shape(tries: Tries, shape: Any) -> None:
    from fishtune.core.hardware.memory.setups import EncodingSetup

    tries(lambda: (shape.codebook_sizes, shape.max_seconds, shape.frames(10_000)))
    for several in (False, True):
        tries(_asked, EncodingSetup(shape, several))


def _asked(setup: Any) -> object:
    """Return what the process that accounts a set-up is asked; building models takes too long for each."""
    from fishtune.core.hardware.memory.accounting_process import SETUPS

    (same,) = SETUPS.validate_json(SETUPS.dump_json([setup]))
    if same != setup:
        raise WrongAnswerError(f"{same} in place of {setup}")
    return setup.fingerprint, setup.line(), setup.probes()


def model(target: Target) -> None:
    """As train, merge and synth."""
    from fishtune.core.model.checkpoint import load_model
    from fishtune.core.model.containers.pth import locate_tensors

    tries = Tries()
    tries(load_model, target.root / "model")
    tries(locate_tensors, target.file)
    tries.done()


def codec(target: Target) -> None:
    """As extract and synth."""
    from fishtune.core.codec.checkpoint import load_codec, load_encoder

    tries = Tries()
    tries(load_codec, target.file, "modded_dac_vq")
    tries(load_encoder, target.file, "modded_dac_vq")
    tries.done()


def verified(target: Target) -> None:
    """What `fishtune verify` calls sound must speak."""
    from fishtune.core.config.settings import SynthSettings, VerifySettings
    from fishtune.core.stages.synth.run import run
    from fishtune.core.stages.verify.run import run as verify

    base = target.root / "model"
    verify(VerifySettings(directory=base), Reporter())
    out = target.root / "spoken.wav"
    settings = SynthSettings(
        checkpoint=base, text="hello", out=out, max_new_tokens=2, seed=1, device="cpu",
        ref_audio=target.root / "data/spk/good.wav", ref_text=TEXT,
    )  # fmt: skip
    try:
        run(settings, Reporter())
    except FishtuneError as error:
        if _is_memory(error):
            raise
        raise WrongAnswerError(f"verify calls it sound; synth: {error.message}") from error


def checkpoint(target: Target) -> None:
    """As merge, audition and train --resume."""
    from fishtune.core.lora.files import read_adapter, read_training_state
    from fishtune.core.stages.train.checkpoints import read_run_state

    tries = Tries()
    reference = target.file.name == "reference.ckpt"
    tries(read_adapter, target.file, None, 8.0 if reference else None)
    tries(read_training_state, target.file)
    tries(read_run_state, target.file)
    tries.done()


def peft(target: Target) -> None:
    """As merge and audition."""
    from fishtune.core.lora.files import read_adapter

    read_adapter(target.root / "peft")


def merge(target: Target) -> None:
    """The stage; what it merges must speak."""
    from fishtune.core.config.settings import MergeSettings, VerifySettings
    from fishtune.core.stages.merge.run import run
    from fishtune.core.stages.verify.run import run as verify

    weights = target.root / "peft" if target.file.parent.name == "peft" else target.file
    out = target.root / "out"
    run(MergeSettings(base_weight=target.root / "base", lora_weight=weights, output=out), Reporter())
    try:
        verify(VerifySettings(directory=out), Reporter())
    except FishtuneError as error:
        raise WrongAnswerError(f"merged what verify refuses: {error.message}") from error
    finally:
        shutil.rmtree(out)


def project(target: Target) -> None:
    """As every command and the wizard."""
    read = Project.load(target.file)
    tries = Tries()
    for settings in ("download", "validate", "extract", "pack", "train", "merge"):
        tries(getattr(read, f"{settings}_settings"))
    tries(step_statuses, read)
    tries(list_jobs, Place(results=read.results, project=read.name))
    tries(choose, Place(results=read.results, project=read.name))
    tries(read.is_as_on_disk)


def presets(target: Target) -> None:
    """As presets, estimate, train, extract and download."""
    from fishtune.core.codec.config import codec_config as read_codec
    from fishtune.core.codec.config import residual_codebook_size
    from fishtune.core.config.presets import lora_preset, model_preset
    from fishtune.core.hardware.memory.setups import TrainingSetup
    from fishtune.core.model.families.s1 import S1

    tries = Tries()
    match target.file.parent.name:
        case "lora":
            preset = tries(lora_preset, "own")
            if preset is not None:
                shape = _config_of(target.root / "base")
                tries(lambda: _asked(TrainingSetup.of(shape, train_settings(target.root), preset)))
        case "codec":
            shape = tries(read_codec, target.root / "nowhere" / "codec.pth", "own")
            tries(residual_codebook_size, "own")
            if shape is not None:
                _use_codec_shape(tries, shape)
        case "models":
            preset = tries(model_preset, "own")
            if preset is not None and preset.config:
                tries(S1().read_shape, preset.config, "config.json")
    tries.done()


def job(target: Target) -> None:
    """As jobs, attach, logs, resume, run and the wizard."""
    from fishtune.core.jobs.again import settings_again

    folder = target.file.parent
    view = RunView()
    tries = Tries()
    for event in tries(lambda: EventFollower(folder / "events.jsonl").poll()) or []:
        event_line(event)
        view.apply([event])
    assert view.share is None or 0 <= view.share <= 1
    tries(last_events, folder / "events.jsonl", 5)
    tries(lambda: EventFollower(folder / "events.jsonl", last=10).poll())
    opened = tries(Job.open, folder)
    if opened is not None:
        for look in (opened.state, opened.outcome, opened.worker):
            tries(look)
        tries(describe_loss, opened)
        tries(settings_again, opened)
    _look_at(target)


def records(target: Target) -> None:
    """As run, merge and the wizard: what was heard of a checkpoint, what a merged model came from."""
    _look_at(target)


def _look_at(target: Target) -> None:
    read = Project.load(target.root / "project")
    step_statuses(read)
    list_jobs(Place(results=read.results, project=read.name))
    choose(Place(results=read.results, project=read.name))


def wizard(target: Target) -> None:
    """As the wizard's start; the file is found in the environment, as those of the next two."""
    from fishtune.tui.wizard_settings import load_settings

    load_settings()


def base(target: Target) -> object:
    """As train: the hash of the base's weights."""
    from fishtune.core.model.base_hash import base_hash

    return base_hash(target.root / "base", Reporter())


def measured(target: Target) -> None:
    """As estimate, train and extract: what was measured before."""
    from fishtune.core.hardware.memory.measured import MeasurementCache, Setting

    factor = MeasurementCache().factor(Setting(gpu="a", stage="train", what="b", torch="c"))
    if not 0.5 <= factor <= 3:
        raise WrongAnswerError(f"a factor of {factor}")


def notes(target: Target) -> None:
    """As download, merge and synth: what they wrote before."""
    from fishtune.core.hub.transfer import read_record
    from fishtune.core.ownership import is_remembered

    is_remembered(target.root / "written.wav")
    read_record(target.root / "model")


def recent(target: Target) -> None:
    """As jobs --all and the wizard's first page."""
    from fishtune.core.config.recent import recent_projects

    for entry in recent_projects():
        with contextlib.suppress(FishtuneError):
            list_jobs(Place(results=entry.results, project=entry.project))
