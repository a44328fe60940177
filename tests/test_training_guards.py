"""Guards and the learning rate: plain functions of numbers."""

from __future__ import annotations

import pytest
from fishtune.core.config.settings import TrainOptions
from fishtune.core.stages.train.guards import HeldOutGuard, PlateauGuard
from fishtune.core.stages.train.schedule import learning_rate


def test_overfitting_is_reported_once_each_time_the_held_out_loss_rises_for_three_checks() -> None:
    guard = HeldOutGuard()
    losses = [5.0, 4.0, 4.1, 4.2, 4.3, 4.4, 3.9, 4.0, 4.0, 4.0]
    assert [step for step, loss in enumerate(losses, start=1) if guard.observe(step, loss)] == [5, 10]
    assert (guard.best_step, guard.best_loss) == (7, 3.9)


def test_early_stopping_waits_for_its_patience_and_is_optional() -> None:
    guard = HeldOutGuard()
    for step, loss in enumerate([5.0, 4.0, 4.1, 4.2], start=1):
        guard.observe(step, loss)
    assert guard.exhausted(2)
    assert not guard.exhausted(3)
    assert not guard.exhausted(None)


def run_plateau(guard: PlateauGuard, losses: list[float]) -> list[int]:
    reported = []
    for interval, loss in enumerate(losses):
        for noise in (-0.01, 0.01):
            guard.add(loss + noise)
        if guard.observe():
            reported.append(interval)
    return reported


def test_a_plateau_is_reported_once_and_a_falling_loss_never() -> None:
    falling = [5.0 * 0.98**step for step in range(40)]
    assert run_plateau(PlateauGuard(), falling) == []
    assert run_plateau(PlateauGuard(), falling[:10] + [falling[9]] * 20) == [17]


def test_a_restored_guard_says_what_the_uninterrupted_one_says() -> None:
    losses = [5.0, 4.0, 3.5] + [3.4] * 20
    whole = run_plateau(PlateauGuard(), losses)
    first = PlateauGuard()
    before = run_plateau(first, losses[:7])
    after = run_plateau(PlateauGuard.from_state(first.state_dict()), losses[7:])
    assert whole == before + [7 + interval for interval in after] != []
    held_out = HeldOutGuard()
    held_out.observe(3, 2.0)
    assert HeldOutGuard(**held_out.state_dict()) == held_out


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(schedule: str) -> None:
    options = TrainOptions.model_validate({"learning_rate": 1e-3, "warmup_steps": 10, "schedule": schedule})
    rates = [learning_rate(options, step, 110) for step in range(110)]
    assert 0 < rates[0] < rates[5] < rates[9] < rates[10] == 1e-3
    assert rates[60] == pytest.approx(1e-3 if schedule == "constant" else 5e-4)
    assert rates[-1] == pytest.approx(1e-3) if schedule == "constant" else rates[-1] < 2e-5
    assert learning_rate(options, 60, None) == 1e-3, "without a known end the rate stays"
