"""Drawing: shares, rows that do not see each other, and nothing that a CUDA graph could not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fishtune.core.model.checkpoint import build_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.families import drawing
from fishtune.core.model.families.drawing import draw, draw_probabilities
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.sampling import S1Rule
from fishtune.core.model.recording import StepRunner
from fishtune.core.model.rows import Rows, random_numbers, recent_frames
from torch._subclasses.fake_tensor import FakeTensorMode

from .s2_kit import GOLDEN, GOLDEN_S2

CASES = [(0.8, 0.8, None), (1.0, 0.9, 30), (0.7, 1.0, None), (1.3, 0.999, 2000)]


def randn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), CASES)
def test_shares_of_draws_are_the_probabilities(temperature: float, top_p: float, top_k: int | None) -> None:
    logits, draws = randn(60) * 1.5, 200_000
    expected = draw_probabilities(logits, temperature, top_p, top_k).double()
    torch.testing.assert_close(float(expected.sum()), 1.0, rtol=1e-5, atol=0)
    rows = logits.expand(draws, -1)
    even = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws
    for random, tolerance in ((even, 1 / draws), (random_numbers(3, draws, 1)[:, 0], 4 * draws**-0.5 / 2)):
        drawn = draw(rows, temperature, top_p, top_k, random)
        shares = drawn.bincount(minlength=60) / draws
        torch.testing.assert_close(shares.double(), expected, rtol=1e-6, atol=tolerance)
        assert not shares[expected == 0].any()


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), CASES)
def test_the_least_and_the_largest_number_draw_the_first_and_the_last_entry(
    temperature: float, top_p: float, top_k: int | None
) -> None:
    logits = randn(5, 3000)
    kept = draw_probabilities(logits, temperature, top_p, top_k)
    kept = kept.masked_fill(kept == 0, torch.inf)
    least, largest = (torch.full((5,), number, dtype=torch.float64) for number in (0.0, 1 - 2.0**-53))
    assert draw(logits, temperature, top_p, top_k, least).equal(logits.argmax(1))
    last = draw(logits, temperature, top_p, top_k, largest)
    torch.testing.assert_close(kept.gather(1, last[:, None])[:, 0], kept.min(1).values, rtol=1e-5, atol=0)


def test_no_temperature_is_the_argmax() -> None:
    logits = randn(50, 200)
    random = random_numbers(1, 50, 1)[:, 0]
    assert draw(logits, 0.0, 0.9, None, random).equal(logits.argmax(1))


@pytest.mark.parametrize("flatness", [0.3, 0.01], ids=["peaked", "flat"])
def test_a_nucleus_found_among_the_most_probable_is_that_of_the_whole_vocabulary(
    flatness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a flat distribution, more entries than are looked at first belong to it."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, 6000, generator=generator) * (1 / flatness) ** 0.5
    random = torch.rand(40, generator=generator, dtype=torch.float64)
    drawn = []
    for candidates in (drawing._CANDIDATES, len(logits[0])):
        monkeypatch.setattr(drawing, "_CANDIDATES", candidates)
        drawn.append(draw(logits, 0.8, 0.8, None, random))
    assert drawn[0].equal(drawn[1])
    assert len(drawn[0].unique()) > 10


def test_a_row_draws_what_it_draws_alone_whatever_is_looked_at_for_the_others() -> None:
    """Of equal logits, which bfloat16 has many of, sorting and choosing candidates take different ones."""
    logits = (randn(12, 6000) * torch.tensor([4.0, 0.1, 2.0]).repeat(4)[:, None]).bfloat16()
    random = random_numbers(5, 12, 1)[:, 0]
    together = draw(logits, 0.8, 0.8, None, random)
    for row, drawn in enumerate(together):
        assert draw(logits[row : row + 1], 0.8, 0.8, None, random[row : row + 1])[0] == drawn


def test_the_penalty_is_on_what_the_same_row_had_in_the_last_frames() -> None:
    logits = torch.zeros(4, 9).index_fill(1, torch.tensor([3]), 3.0)
    logits[:, 5], logits[:, 7] = 2.0, 1.0
    histories = [[], [3], [5, *[3] * 16], [5, *[3] * 15]]
    frames = torch.zeros(4, 20, 11, dtype=torch.int64)
    for row, history in enumerate(histories):
        frames[row, : len(history)] = torch.tensor(history)[:, None]
        frames[row, len(history) :] = 3  # of the text that had the row before
    rule = S1Rule(replace(S1.sampling, top_p=1e-6, repetition_penalty=1e6))
    recent = recent_frames(frames, torch.tensor([len(history) for history in histories]), rule.window)
    random = random_numbers(1, 4, 2)
    assert rule.token(logits, random, recent).tolist() == [3, 5, 5, 7]
    assert rule.code(4, logits, random[:, 0], recent).tolist() == [3, 5, 5, 7]
    assert rule.token(logits - 9, random, recent).tolist() == [3, 5, 5, 7]  # below 0 it multiplies


def test_recent_frames_are_the_newest_first_and_the_first_again_where_there_are_fewer() -> None:
    frames = torch.arange(6)[None, :, None].expand(3, -1, 2)
    recent = recent_frames(frames, torch.tensor([0, 2, 6]), 4)
    assert recent.numbers.tolist() == [[-1] * 4, [1, 0, 0, 0], [5, 4, 3, 2]]
    assert recent.frames[1:, :, 0].tolist() == recent.numbers[1:].tolist()


def test_random_numbers_are_those_of_the_seed_and_more_begin_like_fewer() -> None:
    numbers = random_numbers(7, 1000, 11)
    assert numbers.min() >= 0 and numbers.max() < 1 and numbers.dtype == torch.float64
    assert random_numbers(7, 30, 11).equal(numbers[:30])
    assert not random_numbers(8, 1000, 11).equal(numbers)


@pytest.mark.parametrize("top_k", [None, 30])
@pytest.mark.parametrize("base", [GOLDEN / "base", GOLDEN_S2 / "base"], ids=["s1", "s2"])
def test_a_step_asks_a_gpu_for_no_value(base: Path, top_k: int | None) -> None:
    """Tensors without numbers, on a GPU that is not there, raise where one is asked for."""
    directory = ModelDirectory.open(base)
    model = build_model(directory.shape, directory.tokenizer, base).eval()
    rule = directory.rule(replace(directory.family.sampling, top_k=top_k))
    gpu = torch.device("cuda", 0)
    with FakeTensorMode(), torch.inference_mode():
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=gpu)
                        tensors[name] = torch.nn.Parameter(fake) if tensors is module._parameters else fake
        rows = Rows(model, rule, 8, 96, 50, 64, StepRunner(gpu, 50, print))
        frame = rows._step(96, torch.zeros(8, dtype=torch.int64, device=gpu))
        assert frame.shape == (8, model.config.num_codebooks + 1)
        with pytest.raises(RuntimeError):
            frame.sum().item()
