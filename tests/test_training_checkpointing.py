"""`--checkpointing auto`: the fastest way that fits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
from fishtune.core.config.settings import Checkpointing
from fishtune.core.events import Log
from fishtune.core.hardware.memory.suggest import MARGIN_BYTES, TrainingNeeds
from fishtune.core.stages.train import checkpointing, run
from fishtune.core.stages.train.checkpointing import choose_checkpointing

from .accounting_kit import made_up_memory  # noqa: F401 - a fixture
from .recorder import Recorder
from .test_training_run import assert_equal_weights
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures


class _Needs:
    """Needs 30, 20 or 10 bytes a token beside the margin."""

    def __init__(self, each: int = 0) -> None:
        self._each = each

    def changed(self, checkpointing: str) -> _Needs:
        return _Needs({"none": 30, "selective": 20, "blocks": 10}[checkpointing])

    def prepare(self, others: Iterable[_Needs]) -> None:
        assert [self._each, *(other._each for other in others)] == [20, 10], "together, and only if none fits"

    def at(self, tokens: int) -> Any:
        return type("Estimate", (), {"reserved": self._each * tokens})


@pytest.mark.parametrize(
    ("free", "chosen"),
    [
        (3000, "none"),
        (2999, "selective"),
        (2000, "selective"),
        (1999, "blocks"),
        (1000, "blocks"),
        (0, "blocks"),
    ],
)
def test_the_fastest_that_fits_is_chosen_and_the_smallest_where_none_does(free: int, chosen: str) -> None:
    needs = cast(TrainingNeeds, _Needs())
    assert choose_checkpointing(needs, 100, free + MARGIN_BYTES) == chosen


def test_a_run_says_what_was_chosen_and_computes_the_same(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_up_memory: None,  # noqa: F811
) -> None:
    values = {"max_steps": 2, "held_out": 0}
    plain = train_settings(tmp_path, small_base, shards, project="plain", checkpointing="selective", **values)
    expected = run.run(plain, Recorder())
    for free, chosen in ((0, "blocks"), (1 << 40, "none")):
        monkeypatch.setattr(checkpointing, "free_memory", lambda _, free=free: free)
        recorder = Recorder()
        asked = train_settings(tmp_path, small_base, shards, project=chosen, checkpointing="auto", **values)
        found = run.run(asked, recorder)
        assert any(f"Checkpointing is {chosen}" in event.message for event in recorder.of(Log))
        assert_equal_weights(found, expected)


def test_where_the_compiler_fails_the_way_is_chosen_anew_for_blocks_that_keep_more(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choose(needs: TrainingNeeds, _tokens: int, _free: int) -> Checkpointing:
        return "none" if needs.compiled else "blocks"

    monkeypatch.setattr(run, "expects_compiling", lambda _: True)
    monkeypatch.setattr(checkpointing, "choose_checkpointing", choose)
    recorder = Recorder()
    settings = train_settings(
        tmp_path, small_base, shards, max_steps=1, held_out=0, checkpointing="auto", precision="bf16"
    )
    run.run(settings, recorder)
    said = [event.message for event in recorder.of(Log) if event.message.startswith("Checkpointing is")]
    assert [line.split()[2] for line in said] == ["none:", "blocks:"]
