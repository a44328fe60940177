"""The loss in chunks equals the plain one, and never holds the logits of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.stages.train import loss as loss_module
from fishtune.core.stages.train.loss import Losses, loss_sums, summed_cross_entropy
from fishtune.core.text.prompts import IGNORED
from torch import Tensor
from torch.nn import functional as F

from .training_kit import make_batch


def plain_losses(model: DualAR, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Formats.md section 2, written down without any economy: logits everywhere, all at once."""
    hidden = model.slow(tokens)
    logits = model.token_logits(hidden)
    base = F.cross_entropy(logits.flatten(0, 1), labels[:, 0].flatten(), ignore_index=IGNORED)
    semantic = (labels[:, 0] >= model.semantic_begin_id) & (labels[:, 0] <= model.semantic_end_id)
    codes = labels[:, 1:].transpose(1, 2)[semantic]
    codebooks = model.fast_logits(model.fast_input(hidden)[semantic], codes)
    semantic_loss = F.cross_entropy(codebooks.flatten(0, 1), codes.flatten())
    top_5 = (codebooks.topk(5).indices == codes[..., None]).any(-1)[codes != 0].float().mean()
    return base, semantic_loss, top_5


@pytest.mark.parametrize("checkpointing", ["none", "selective", "blocks"])
@pytest.mark.parametrize("prompt", ["inference", "legacy"])
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}, {"fast_dim": 32}])
def test_losses_and_gradients_equal_the_plain_computation(
    model_directory: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    checkpointing: str,
    prompt: str,
    changes: dict[str, object],
) -> None:
    base = model_directory(**changes)
    model = load_model(base).train()
    batch = make_batch(base, prompt=prompt)
    expected_base, expected_semantic, expected_top_5 = plain_losses(model, batch.tokens, batch.labels)
    (expected_base + 0.3 * expected_semantic).backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    model.checkpointing = checkpointing  # type: ignore[assignment]
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", 5 * model.config.vocab_size)
    monkeypatch.setitem(loss_module.FRAMES_PER_PIECE, "cpu", 4)
    sums = loss_sums(model, batch.tokens, batch.labels)
    losses = Losses.of(sums.detached())
    (sums.base / sums.supervised + 0.3 * sums.semantic / sums.codes).backward()

    assert losses.base == pytest.approx(expected_base.item(), rel=1e-5)
    assert losses.semantic == pytest.approx(expected_semantic.item(), rel=1e-5)
    assert losses.top_5_accuracy == pytest.approx(expected_top_5.item(), abs=1e-6)
    for name, parameter in model.named_parameters():
        scale = expected[name].abs().max().clamp_min(1.0)
        assert (parameter.grad - expected[name]).abs().max() <= 1e-5 * scale, name


def test_losses_equal_the_reference(golden: Path) -> None:
    stored = np.load(golden / "dual_ar.npz")
    model = load_model(golden / "base", torch.float32)
    with torch.no_grad():
        sums = loss_sums(model, torch.from_numpy(stored["inputs"]), torch.from_numpy(stored["labels"]))
    losses = Losses.of(sums.detached())
    assert losses.base == pytest.approx(float(stored["base_loss"]), abs=1e-4)
    assert losses.semantic == pytest.approx(float(stored["semantic_loss"]), abs=1e-4)


def test_a_forgotten_scale_of_the_embeddings_would_be_noticed(golden: Path) -> None:
    stored = np.load(golden / "dual_ar.npz")
    assert abs(float(stored["base_loss"]) - float(stored["noscale_base_loss"])) > 1e-2


def test_logits_exist_for_one_piece_at_a_time_and_are_computed_once() -> None:
    weight = torch.randn(100, 8, requires_grad=True)
    unused = torch.randn(3, requires_grad=True)
    hidden = torch.randn(57, 8, requires_grad=True)
    labels = torch.randint(0, 100, (57,))
    sizes: list[int] = []

    def head(rows: Tensor, _: Tensor) -> Tensor:
        sizes.append(len(rows))
        return rows @ weight.T

    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() if tensor.ndim == 2 and tensor.shape[1] == 100 else 0
        return tensor

    # A piece's own graph is differentiated at once; what is left behind must hold no logits.
    total = summed_cross_entropy(head, hidden, labels, 10, [unused, weight])
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        doubled = 2 * total
    assert saved == 0, "logits are kept for the backward pass"
    doubled.backward()
    assert sizes == [10, 10, 10, 10, 10, 7]
    plain = 2 * F.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    assert torch.allclose(total, plain / 2, rtol=1e-6)
    assert torch.allclose(hidden.grad, expected[0], atol=1e-5)
    assert torch.allclose(weight.grad, expected[1], atol=1e-4)
    assert unused.grad is None


def test_token_logits_are_computed_at_supervised_positions_only(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_checkpoint, torch.float32)
    batch = make_batch(tiny_checkpoint)
    rows = 0
    plain = model.token_logits

    def counted(hidden: Tensor) -> Tensor:
        nonlocal rows
        rows += len(hidden)
        return plain(hidden)

    monkeypatch.setattr(model, "token_logits", counted)
    with torch.no_grad():
        loss_sums(model, batch.tokens, batch.labels)
    assert rows == int((batch.labels[:, 0] != IGNORED).sum()) < batch.labels[:, 0].numel() / 2


def test_untrained_weights_lose_the_logarithm_of_the_classes() -> None:
    hidden, labels = torch.zeros(50, 4), torch.randint(0, 1000, (50,))
    total = summed_cross_entropy(lambda rows, _: rows @ torch.zeros(4, 1000), hidden, labels, 7, [])
    assert total.item() / 50 == pytest.approx(math.log(1000), rel=1e-5)


def test_padding_and_company_change_no_sample(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, torch.float32)
    batch = make_batch(tiny_checkpoint)
    with torch.no_grad():
        together = loss_sums(model, batch.tokens, batch.labels).detached()
        alone = sum(loss_sums(model, part.tokens, part.labels).detached() for part in batch.split(3))
    assert torch.allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_a_split_batch_has_the_same_samples_without_their_padding(tiny_checkpoint: Path, parts: int) -> None:
    batch = make_batch(tiny_checkpoint)
    pieces = batch.split(parts)
    assert len(pieces) == min(parts, 3)
    supervised = [int((piece.labels[:, 0] != IGNORED).sum()) for piece in pieces]
    assert sum(supervised) == int((batch.labels[:, 0] != IGNORED).sum())
    assert all((piece.labels[:, 0, -1] != IGNORED).any() for piece in pieces)


def test_a_micro_batch_is_given_to_the_device_whole_without_asking_it_for_a_number(
    model_directory: Callable[..., Path],
) -> None:
    base = model_directory()
    batch = make_batch(base)
    # Tensors of the meta device have no numbers: who asks for one, as a mask as index does, fails.
    model = load_model(base).to("meta").train()
    sums = loss_sums(model, batch.tokens.to("meta"), batch.labels)
    (sums.base / sums.supervised + sums.semantic / sums.codes).backward()
    with pytest.raises(NotImplementedError):
        loss_sums(model, batch.tokens.to("meta"), batch.labels.to("meta"))
