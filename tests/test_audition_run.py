"""An audition of a run: base, checkpoints and the user's own recordings in one table, kept and continued."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fishtune.core.cli import audition as command
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.presets import LoraPreset
from fishtune.core.config.settings import AuditionSettings
from fishtune.core.errors import CheckpointError, StopRequested, UsageError
from fishtune.core.events import Reporter
from fishtune.core.judge.listeners import Listeners
from fishtune.core.judge.measures import interval, measures_of
from fishtune.core.judge.recognition import Heard, HeardWord
from fishtune.core.judge.record import read_audition, read_run
from fishtune.core.judge.results import (
    AuditionCandidate,
    AuditionResult,
    CandidateKind,
    Cell,
    Pitch,
    TextSource,
)
from fishtune.core.lora.injection import add_adapters, save_adapter
from fishtune.core.model.checkpoint import load_model
from fishtune.core.stages.audition import listening, speaking
from fishtune.core.stages.audition.candidates import spread
from fishtune.core.stages.audition.run import run

from .conftest import write_model
from .training_kit import write_shards

SLOW = LoraPreset(description="", rank=4, alpha=8, targets=[r"layers\.\d+\.attention\.(wqkv|wo)"])
KINDS = [CandidateKind.RECORDING, CandidateKind.BASE, CandidateKind.CHECKPOINT, CandidateKind.CHECKPOINT]


@pytest.fixture(scope="module", autouse=True)
def _impatient() -> Iterator[None]:
    """Let no model go on for longer than a text takes: random ones rarely end by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaking, "_PATIENCE", 0.7)
        yield


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the checkpoints of steps 10 and 20, as training leaves them; half is held out."""
    folder = tmp_path_factory.mktemp("made")
    base = write_model(folder / "model")
    protos = write_shards(folder / "protos", {"ANN": [30, 24, 26, 28]})
    settings = {"base": str(base), "protos": str(protos), "held_out": 0.5}
    for step in (10, 20):
        write_checkpoint(folder / f"me/checkpoints/step_{step:09d}.ckpt", base, settings, seed=step)
    return folder / "me"


@pytest.fixture
def run_folder(tmp_path: Path, made_run: Path) -> Path:
    """`results/me`, a run that nobody has listened to."""
    return shutil.copytree(made_run, tmp_path / "results/me")


@pytest.fixture(scope="module")
def heard_run(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run once it was listened to (read only)."""
    folder = shutil.copytree(made_run, tmp_path_factory.mktemp("heard") / "me")
    listen(folder)
    return folder


@pytest.fixture
def heard_folder(tmp_path: Path, heard_run: Path) -> Path:
    """`results/me`, a run that was listened to there."""
    folder = shutil.copytree(heard_run, tmp_path / "results/me")
    for record in folder.rglob("*.json"):
        told = record.read_text(encoding="utf-8")
        record.write_text(told.replace(str(heard_run), str(folder)), encoding="utf-8")
    return folder


def write_checkpoint(path: Path, base: Path, settings: dict[str, Any], seed: int) -> None:
    path.with_suffix("").mkdir(parents=True)
    model = load_model(base)
    add_adapters(model, SLOW, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.2, generator=generator)
    save_adapter(model, base, path.with_suffix(""))
    state = {f"model.{name}": weight for name, weight in model.named_parameters() if "lora_" in name}
    about = {
        "preset": SLOW.model_dump(mode="json"),
        "identity": {"base_sha256": None},
        "settings": settings,
    }
    torch.save({"state_dict": state, "fishtune": about}, path)


def listen(target: Path, reporter: Reporter | None = None, **changes: Any) -> AuditionResult:
    settings: dict[str, Any] = {"checkpoint": target, "device": "cpu", "texts": ["hi"], "language": "en"}
    return run(AuditionSettings.model_validate(settings | changes), reporter or Reporter())


def sounds(candidate: AuditionCandidate) -> list[list[float]]:
    files = [candidate.audio(cell) for cell in candidate.cells]
    return [soundfile.read(file)[0].tolist() for file in files if file is not None]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the models that are loaded and the texts that are said."""
    counted = {"load_model": 0, "generate_all": 0}

    def counting(name: str) -> Callable[..., Any]:
        plain = getattr(speaking, name)

        def count(*values: Any, **named: Any) -> Any:
            counted[name] += len(values[1]) if name == "generate_all" else 1
            return plain(*values, **named)

        return count

    for name in counted:
        monkeypatch.setattr(speaking, name, counting(name))
    return counted


def test_base_recordings_and_every_checkpoint_say_the_same_in_one_process(
    run_folder: Path, calls: dict[str, int]
) -> None:
    result = listen(run_folder, seeds=2)
    assert [each.kind for each in result.candidates] == KINDS
    assert [each.name for each in result.candidates] == ["recording", "base", "step 10", "step 20"]
    assert calls == {"load_model": 1, "generate_all": 6}
    recordings, base, *checkpoints = result.candidates
    assert [row.source for row in result.texts[1:]] == [TextSource.HELD_OUT] * len(recordings.cells)
    assert recordings.cells and all(cell.text > 0 and cell.seed is None for cell in recordings.cells)
    for candidate in (base, *checkpoints):
        assert [(cell.text, cell.seed) for cell in candidate.cells] == [(0, 1), (0, 2)]
        assert candidate.measures.faulty is not None and candidate.measures.faulty.texts == 1
        assert candidate.complete
    assert read_run(run_folder) == result
    # What one leaves behind is not heard in the next: alone each says the same.
    for candidate in (base, *checkpoints):
        before = sounds(candidate)
        shutil.rmtree(candidate.folder)
        (alone,) = (each for each in listen(run_folder, seeds=2).candidates if each.name == candidate.name)
        assert sounds(alone) == before


def test_what_was_said_and_heard_before_is_not_made_again(heard_folder: Path, calls: dict[str, int]) -> None:
    first = read_run(heard_folder)
    assert first is not None and listen(heard_folder) == first
    assert calls == {"load_model": 0, "generate_all": 0}
    # A checkpoint that changed speaks again, alone; so does everyone to another question.
    path = heard_folder / "checkpoints/step_000000020.ckpt"
    torch.save(torch.load(path), path)
    joined = read_run(heard_folder)
    assert joined is not None and [each.step for each in joined.candidates] == [None, None, 10]
    listen(heard_folder)
    assert calls["generate_all"] == 1
    listen(heard_folder, texts=["ho"])
    assert calls["generate_all"] == 1 + 3


def test_a_stopped_audition_continues_where_it_was(
    run_folder: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = listen(run_folder, texts=["hi", "ho"])
    shutil.rmtree(run_folder / "audition")
    monkeypatch.setattr(speaking, "_TOGETHER", 1)
    plain, said = speaking.generate_all, 0
    reporter = Reporter()

    def stopping(*values: Any, **named: Any) -> Any:
        nonlocal said
        if said == 3:
            reporter.request_stop()
        said += 1
        return plain(*values, **named)

    monkeypatch.setattr(speaking, "generate_all", stopping)
    with pytest.raises(StopRequested, match="the same command continues"):
        listen(run_folder, reporter, texts=["hi", "ho"])
    assert read_run(run_folder) is None, "nothing is complete before it was listened to"
    calls["generate_all"] = 0
    assert listen(run_folder, texts=["hi", "ho"]) == whole
    assert calls["generate_all"] == 3


def test_a_killed_audition_leaves_nothing_in_the_way(heard_folder: Path) -> None:
    whole = read_run(heard_folder)
    folder = heard_folder / "audition/step_000000010"
    record = (folder / "audition.json").read_text()
    (folder / "audition.json").write_text(record.replace('"complete": true', '"complete": false'))
    (folder / "7.wav").touch()  # said, and not yet in the record
    assert listen(heard_folder) == whole
    assert not (folder / "7.wav").exists()


def test_a_grid_of_strengths_begins_with_the_base_itself_which_speaks_once(
    run_folder: Path, calls: dict[str, int]
) -> None:
    result = listen(run_folder, strengths=[0, 0.5, 1])
    named = {each.name: each for each in result.candidates}
    assert list(named)[1:4] == ["base", "step 10 × 0.5", "step 10"]
    assert calls["generate_all"] == 5
    alone = listen(run_folder / "checkpoints/step_000000010.ckpt", strengths=[0])
    assert [each.name for each in alone.candidates] == ["recording", "base"]
    whole = sounds(named["step 10"])
    assert whole != sounds(named["base"])
    assert sounds(named["step 10 × 0.5"]) not in (whole, sounds(named["base"]))
    assert named["step 10 × 0.5"].folder == run_folder / "audition/step_000000010@0.5"


class Ears:
    """Stands for recognition, encoder and pitch meter: hears "hi" whatever is said, always in one voice."""

    loaded = 0

    def listen(self, samples: np.ndarray, language: str | None) -> Heard:
        return Heard((HeardWord(" hi", 0.0, 0.1, 0.9),), language or "en")

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return np.array([1, 0], np.float32)

    def measure(self, samples: np.ndarray) -> Pitch:
        return Pitch(median=200, spread=10)


def test_what_was_said_is_listened_to_once_ears_are_there_and_not_said_again(
    heard_folder: Path, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("num2words", reason="the extra is not installed: pip install 'fishtune[judge]'")
    plain = read_run(heard_folder)
    assert plain is not None
    assert all(each.measures.wer is None for each in plain.candidates)
    assert any(sentence.startswith("Words and pace are not judged") for sentence in plain.not_judged)
    ears = Ears()

    def load(*_: Any) -> Listeners:
        ears.loaded += 1
        return Listeners(recogniser=ears, speaker=ears, pitch=ears, language="en", names={"recognition": "e"})

    monkeypatch.setattr(listening, "load_listeners", load)
    heard = listen(heard_folder)
    assert calls["generate_all"] == 0
    recordings, base, *checkpoints = heard.candidates
    for candidate in (base, *checkpoints):
        (cell,) = candidate.cells
        assert (cell.heard, cell.wer, cell.deletions) == ("hi", 0.0, 0)
        assert cell.similarity == pytest.approx(1.0)
        assert cell.pitch == Pitch(median=200, spread=10)
        assert candidate.measures.wer is not None and candidate.measures.wer.mean == 0
    assert recordings.measures.wer is not None and recordings.measures.wer.mean == 1
    assert heard.models == {"recognition": "e"} and heard.not_judged == []
    assert listen(heard_folder) == heard == read_run(heard_folder)
    assert ears.loaded == 1, "nothing has changed"
    # Of what is new alone the old numbers stay: another checkpoint is heard beside them.
    listen(heard_folder / "checkpoints/step_000000010.ckpt", strengths=[0.5])
    assert ears.loaded == 2


def test_what_was_heard_before_is_lost_only_once_something_takes_its_place(
    heard_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_run(heard_folder)
    assert before is not None

    def damaged(_: Path) -> Any:
        raise CheckpointError("It is damaged.", "Copy it again.")

    monkeypatch.setattr(speaking, "load_model", damaged)
    with pytest.raises(CheckpointError):
        listen(heard_folder, texts=["ho"])
    checkpoints = [each for each in before.candidates if each.kind is CandidateKind.CHECKPOINT]
    for candidate in checkpoints:
        assert read_audition(candidate.path or Path()) == candidate
        assert all(audio.exists() for cell in candidate.cells if (audio := candidate.audio(cell)))


def test_a_run_without_checkpoints_says_so(run_folder: Path) -> None:
    for path in (run_folder / "checkpoints").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match="has no checkpoints yet"):
        listen(run_folder)


def test_checkpoints_are_spread_over_a_long_run() -> None:
    paths = [Path(str(number)) for number in range(20)]
    assert [int(path.name) for path in spread(paths, 6)] == [0, 4, 8, 11, 15, 19]
    assert spread(paths[:4], 6) == paths[:4]


def test_a_single_checkpoint_stands_beside_its_base_where_that_is_asked_for(run_folder: Path) -> None:
    path = run_folder / "checkpoints/step_000000010.ckpt"
    assert [each.kind for each in listen(path).candidates] == [KINDS[0], KINDS[2]]
    assert [each.kind for each in listen(path, with_base=True).candidates] == KINDS[:3]
    assert read_audition(path) is not None


def test_the_command_finds_a_run_by_its_name_and_shows_a_row_for_each(
    run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folder.parents[1])
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command(["audition", "me", "--text", "hi", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in shown if "%" in line][:4] == [
        "recording", "base", "step 10", "step 20"
    ]  # fmt: skip


def cell(text: int, seed: int = 1, **numbers: Any) -> Cell:
    known = {"audio": "", "seconds": 1.0, "expected_seconds": 1.0, "ended": True, "findings": []}
    return Cell.model_validate({**known, "text": text, "seed": seed, **numbers})


def test_means_are_over_texts_and_their_intervals_hold_them() -> None:
    found = measures_of([cell(0, 1, wer=0.2), cell(0, 2, wer=0.4), cell(1, wer=0.0), cell(2)])
    assert found.wer is not None and found.similarity is None
    assert found.wer.mean == pytest.approx(0.15)
    assert (found.wer.low, found.wer.high, found.wer.texts) == (0.0, pytest.approx(0.3), 2)
    assert found.faulty is not None and (found.faulty.mean, found.faulty.texts) == (0, 3)
    made_up = measures_of([cell(0, wer=40.0), cell(1, wer=0.0)])
    assert made_up.wer is not None and made_up.wer.mean == 0.5


def test_an_interval_is_as_wide_as_that_of_a_mean() -> None:
    values = [0.0] * 50 + [1.0] * 50
    found = interval(values)
    # A mean of 100 coins has a standard error of .05.
    assert found.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_a_reference_that_is_not_there_is_named_as_such(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        listen(run_folder, reference=tmp_path / "missing.wav")
    assert raised.value.message == f"{tmp_path / 'missing.wav'} does not exist."
    assert raised.value.hint == "Name a recording of the voice, 3 to 15 s long."


def test_the_project_file_says_what_no_flag_does_of_its_own_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[AuditionSettings] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_stage", lambda _, given, **__: asked.append(given))
    (tmp_path / "fishtune.toml").write_text(
        'name = "me"\n[audition]\ntext_source = "mine.txt"\nreference = "a.wav"\nseeds = 3\nlanguage = "ko"\n'
    )
    for name in ("me", "other"):
        (tmp_path / "results" / name / "checkpoints").mkdir(parents=True)
    assert run_command(["audition", "results/me", "--seeds", "2"]) == 0
    assert run_command(["audition", "results/me", "--text", "hi"]) == 0
    assert run_command(["audition", "results/other"]) == 0
    own, typed, other = asked
    assert (own.text_source, own.reference) == (str(tmp_path / "mine.txt"), tmp_path / "a.wav")
    assert (own.seeds, own.language) == (2, "ko")
    assert (typed.texts, typed.text_source, typed.seeds) == (["hi"], None, 3)
    assert (other.text_source, other.reference, other.seeds, other.language) == (None, None, 1, None)
