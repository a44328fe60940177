"""Which device a setting means, on machines with and without GPUs."""

from __future__ import annotations

import pytest
import torch
from fishtune.core.compute.devices import resolve_device
from fishtune.core.errors import DeviceError, UsageError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("name", "local_rank", "expected"),
    [
        ("auto", 0, "cuda:0"),
        ("auto", 1, "cuda:1"),
        ("cuda", 1, "cuda:1"),
        ("cuda:0", 1, "cuda:0"),
        ("cpu", 1, "cpu"),
    ],
)
@pytest.mark.usefixtures("two_gpus")
def test_auto_and_cuda_follow_the_local_rank(name: str, local_rank: int, expected: str) -> None:
    assert resolve_device(name, local_rank) == torch.device(expected)


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert resolve_device("auto") == torch.device("cpu")


@pytest.mark.usefixtures("no_gpu")
def test_cuda_without_a_gpu_names_the_device_and_what_to_do() -> None:
    with pytest.raises(DeviceError, match="The device cuda:0 cannot be used: ") as caught:
        resolve_device("cuda:0")
    assert "--device cpu" in caught.value.hint


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DeviceError, match="cuda:2 does not exist: torch sees 2 GPUs"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "mps"])
def test_an_unknown_name_is_wrong_use(name: str) -> None:
    with pytest.raises(UsageError, match="There is no device"):
        resolve_device(name)
