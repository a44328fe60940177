"""Several texts in one batch: each gets what it would get alone, and what they share is computed once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.config.presets import model_preset
from fishtune.core.errors import StopRequested, UsageError
from fishtune.core.model import cache, recording
from fishtune.core.model.cache import rows_that_fit
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.sampling import S1Rule
from fishtune.core.model.frame import FrameModel
from fishtune.core.model.generate import Generation, Request, generate, generate_all, shared_columns
from fishtune.core.model.recording import StepRunner
from fishtune.core.model.sampling import Sampling

ModelDirectory = Callable[..., Path]
GREEDY = replace(S1.sampling, greedy=True)
DRAWN = S1.sampling
LIMITS = (9, 14, 5, 12, 1)


@pytest.fixture
def prompts(golden: Path) -> list[torch.Tensor]:
    """Five prompts of different lengths that begin alike, as texts in one voice do."""
    whole = torch.from_numpy(np.load(golden / "generate.npz")["prompt"]).long()
    tails = [whole[:, 40 : 40 + length] for length in (33, 7, 20, 1, 12)]
    for number, tail in enumerate(tails):
        tail = tails[number] = tail.clone()
        tail[0, 0] = 100 + number
        tail[1:, 0] = 0
    return [torch.cat([whole[:, :40], tail], dim=1) for tail in tails]


def alone(
    model: DualAR, prompts: Sequence[torch.Tensor], sampling: Sampling, end_id: int = -1
) -> list[Generation]:
    return [
        generate(
            model,
            prompt,
            S1Rule(sampling),
            seed=seed,
            end_id=end_id,
            max_new_tokens=limit,
            residual_codebook_size=64,
        )
        for seed, (prompt, limit) in enumerate(zip(prompts, LIMITS, strict=True))
    ]


def together(
    model: DualAR, prompts: Sequence[torch.Tensor], sampling: Sampling, **changes: Any
) -> list[Generation]:
    requests = [Request(*each) for each in zip(prompts, range(len(LIMITS)), LIMITS, strict=True)]
    return generate_all(
        model, requests, S1Rule(sampling), **({"end_id": -1, "residual_codebook_size": 64} | changes)
    )


def assert_same(found: Sequence[Generation], expected: Sequence[Generation]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.tokens, other.tokens, rtol=0, atol=0)
        assert one.ended == other.ended


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("rows", [2, 5])
def test_a_text_gets_in_a_batch_what_it_gets_alone(
    model_directory: ModelDirectory, prompts: list[torch.Tensor], rows: int, sampling: Sampling
) -> None:
    model = load_model(model_directory())
    expected = alone(model, prompts, sampling)
    assert [each.tokens.shape[1] for each in expected] == list(LIMITS)
    assert_same(together(model, prompts, sampling, rows=rows), expected)


@pytest.mark.parametrize(
    "shape",
    [
        {"num_codebooks": 1},
        {"n_local_heads": -1, "fast_n_local_heads": 1},
        {"fast_dim": 48, "norm_fastlayer_input": True, "tie_word_embeddings": True},
    ],
)
def test_so_it_is_for_every_shape(
    model_directory: ModelDirectory, prompts: list[torch.Tensor], shape: dict[str, Any]
) -> None:
    model = load_model(model_directory(**shape))
    prompts = [prompt[: model.config.num_codebooks + 1] for prompt in prompts]
    assert_same(together(model, prompts, DRAWN, rows=3), alone(model, prompts, DRAWN))


def test_each_text_ends_by_itself(model_directory: ModelDirectory, prompts: list[torch.Tensor]) -> None:
    model = load_model(model_directory())
    free = alone(model, prompts, DRAWN)
    end = int(free[1].tokens[0, 6])
    expected = alone(model, prompts, DRAWN, end_id=end)
    assert expected[1].ended and not all(each.ended for each in expected)
    assert_same(together(model, prompts, DRAWN, end_id=end, rows=2), expected)


def test_what_a_text_gets_does_not_depend_on_its_neighbours(
    model_directory: ModelDirectory, prompts: list[torch.Tensor]
) -> None:
    model = load_model(model_directory())
    first = together(model, prompts, DRAWN, rows=5)
    strangers = [prompts[0], *(prompt.flip(1) for prompt in prompts[1:])]
    torch.testing.assert_close(together(model, strangers, DRAWN, rows=5)[0], first[0])


def test_logits_of_a_batch_are_those_of_one_row(
    model_directory: ModelDirectory, prompts: list[torch.Tensor]
) -> None:
    model = load_model(model_directory())
    frames = torch.cat([prompt[:, 5:6].T for prompt in prompts])
    frames[:, 0] += torch.arange(len(frames))
    found = {}
    with torch.inference_mode():
        for name, groups in (("one", [[n] for n in range(5)]), ("all", [list(range(5))])):
            rows = []
            for group in groups:
                batch = FrameModel(model, len(group), 100)
                for row, number in enumerate(group):
                    batch.read(row, prompts[number], 0)
                places = torch.tensor([prompts[number].shape[1] for number in group])
                hidden = batch.hidden(frames[group], places, 100)
                rows.append(batch.token_logits(hidden))
            found[name] = torch.cat(rows)
    torch.testing.assert_close(found["all"], found["one"], rtol=1e-5, atol=1e-5)


def test_what_prompts_share_is_read_once(
    model_directory: ModelDirectory, prompts: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, plain = [], FrameModel.read

    def noting(self: FrameModel, row: int, columns: torch.Tensor, start: int) -> None:
        read.append((start, columns.shape[1]))
        plain(self, row, columns, start)

    monkeypatch.setattr(FrameModel, "read", noting)
    together(load_model(model_directory()), prompts, GREEDY, rows=2)
    # The last column of a prompt gives the first frame, together with the other rows.
    rest = [prompt.shape[1] - 41 for prompt in prompts]
    assert read == [(0, 40), *((40, columns) for columns in rest if columns)]


def test_shared_columns_are_those_at_the_beginning_and_never_a_whole_prompt() -> None:
    def prompt(*tokens: int) -> torch.Tensor:
        return torch.tensor([tokens, [0] * len(tokens)])

    assert shared_columns([prompt(1, 2, 3)]) == 0
    assert shared_columns([prompt(1, 2, 3), prompt(1, 2, 4, 5)]) == 2
    assert shared_columns([prompt(1, 2, 3), prompt(1, 2, 3, 4)]) == 2
    assert shared_columns([prompt(1, 2), prompt(3, 2)]) == 0
    other = prompt(1, 2, 3)
    other[1, 1] = 9  # a code
    assert shared_columns([prompt(1, 2, 3), other]) == 1


def test_frames_of_all_texts_are_counted(
    model_directory: ModelDirectory, prompts: list[torch.Tensor]
) -> None:
    counted: list[int] = []
    together(load_model(model_directory()), prompts, GREEDY, on_frame=counted.append)
    assert counted == list(range(1, sum(LIMITS) + 1))


def test_a_prompt_that_is_too_long_stops_all_before_the_first_frame(
    model_directory: ModelDirectory, prompts: list[torch.Tensor]
) -> None:
    model = load_model(model_directory(max_seq_len=70))
    counted: list[int] = []
    with pytest.raises(UsageError, match="The prompt takes 70 tokens; the model holds 70"):
        together(model, prompts, GREEDY, on_frame=counted.append)
    assert not counted


def test_no_texts_are_no_generations_and_no_frames_an_empty_one(
    model_directory: ModelDirectory, prompts: list[torch.Tensor]
) -> None:
    model = load_model(model_directory())
    limits = {"end_id": -1, "residual_codebook_size": 64}
    assert generate_all(model, [], S1Rule(GREEDY), **limits) == []
    requests = [Request(prompt, 0, limit) for prompt, limit in zip(prompts, (3, 0), strict=False)]
    found = generate_all(model, requests, S1Rule(GREEDY), **limits)
    assert [each.tokens.shape for each in found] == [(11, 3), (11, 0)]
    assert not any(each.tokens.is_inference() for each in found)


def test_a_gpu_that_is_nearly_full_gets_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json").slow
    row = 28 * 2 * 8 * 128 * 1000 * 2  # layers, keys and values, heads, channels, columns, bytes
    fits = partial(rows_that_fit, shape, 1000, 8, torch.bfloat16)
    for unused, rows in ((17 * row, 8), (7 * row, 3), (row, 1)):
        monkeypatch.setattr(cache, "unused_memory", lambda _, unused=unused: unused)
        assert fits(torch.device("cuda", 0)) == rows
    assert fits(torch.device("cpu")) == 8


class GraphOnCpu:
    """What a CUDA graph is to its user: inputs and output have their places, and a replay overwrites them."""

    def __init__(self, step: Callable[..., torch.Tensor], examples: Sequence[torch.Tensor]) -> None:
        self._step, self._inputs = step, [example.clone() for example in examples]
        self._output = step(*self._inputs).clone()

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        for own, given in zip(self._inputs, inputs, strict=True):
            assert own.shape == given.shape and own.dtype == given.dtype
            own.copy_(given)
        self._output.copy_(self._step(*self._inputs))
        return self._output


@pytest.fixture
def graphs_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "DEVICES", ("cpu",))
    monkeypatch.setattr(recording, "LEAST_FRAMES", 2)
    monkeypatch.setattr(recording, "RecordedStep", GraphOnCpu)


@pytest.mark.parametrize("codebooks", [1, 2, 10])
def test_recorded_steps_generate_the_same(
    model_directory: ModelDirectory,
    prompts: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    codebooks: int,
) -> None:
    model = load_model(model_directory(num_codebooks=codebooks))
    prompts = [prompt[: codebooks + 1] for prompt in prompts]
    expected = together(model, prompts, DRAWN, rows=2)
    monkeypatch.setattr(recording, "DEVICES", ("cpu",))
    monkeypatch.setattr(recording, "LEAST_FRAMES", 2)
    made: list[GraphOnCpu] = []
    monkeypatch.setattr(
        recording, "RecordedStep", lambda *arguments: made.append(GraphOnCpu(*arguments)) or made[-1]
    )
    said: list[str] = []
    assert_same(together(model, prompts, DRAWN, rows=2, log=said.append), expected)
    assert len(made) == 1
    assert not said


@pytest.mark.parametrize("fault", ["cannot be recorded", "gives other numbers"])
def test_where_steps_cannot_be_recorded_the_log_says_so_and_frames_are_the_same(
    model_directory: ModelDirectory,
    prompts: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    graphs_on_cpu: None,
    fault: str,
) -> None:
    class Faulty(GraphOnCpu):
        def __init__(self, *arguments: Any) -> None:
            if fault == "cannot be recorded":
                raise RuntimeError("operation not permitted when stream is capturing\nmore")
            super().__init__(*arguments)

        def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
            return super().__call__(*inputs) + 1

    model = load_model(model_directory())
    expected = alone(model, prompts, GREEDY)
    monkeypatch.setattr(recording, "RecordedStep", Faulty)
    said: list[str] = []
    assert_same(together(model, prompts, GREEDY, log=said.append), expected)
    reason = "operation not permitted when stream is capturing" if "cannot" in fault else "other numbers"
    assert len(said) == 1 and reason in said[0] and "\n" not in said[0]


@pytest.mark.parametrize("stops", [False, True], ids=["to the end", "stopped"])
def test_no_graph_outlives_the_generation(
    model_directory: ModelDirectory,
    prompts: list[torch.Tensor],
    graphs_on_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
    stops: bool,
) -> None:
    """It would keep its memory, too; so may the traceback of whatever stopped the generation."""
    graphs: list[weakref.ref[GraphOnCpu]] = []

    def recorded(*arguments: Any) -> GraphOnCpu:
        graph = GraphOnCpu(*arguments)
        graphs.append(weakref.ref(graph))
        return graph

    def stop(frames: int) -> None:
        assert graphs[0]() is not None
        if stops:
            raise StopRequested("nothing")

    monkeypatch.setattr(recording, "RecordedStep", recorded)
    model = load_model(model_directory())
    with pytest.raises(StopRequested) if stops else nullcontext() as stopped:
        together(model, prompts, DRAWN, on_frame=stop)
    assert len(graphs) == 1 and graphs[0]() is None
    del stopped


def test_more_frames_begin_like_fewer(model_directory: ModelDirectory, prompts: list[torch.Tensor]) -> None:
    model, rule = load_model(model_directory()), S1Rule(DRAWN)
    few, more = (
        generate(model, prompts[0], rule, end_id=-1, max_new_tokens=limit, residual_codebook_size=64)
        for limit in (4, 9)
    )
    assert more.tokens[:, :4].equal(few.tokens)


def test_a_few_frames_are_not_worth_a_recording_and_autocast_forbids_it(
    graphs_on_cpu: None,
) -> None:
    device = torch.device("cpu")
    assert StepRunner(device, 2, print).records
    assert not StepRunner(device, 1, print).records
    with torch.autocast("cpu", torch.bfloat16):
        assert not StepRunner(device, 2, print).records
