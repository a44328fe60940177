"""Which device a setting means, on machines with and without GPUs."""

from __future__ import annotations

import pytest
import torch
from fishtune.core.compute.devices import computes_in_bf16, is_out_of_memory, resolve_device
from fishtune.core.errors import DeviceError, DeviceMemoryError, UsageError
from fishtune.core.events import Warned
from fishtune.core.jobs.failures import explain
from fishtune.core.stages.train.out_of_memory import MicroBatchSplit

from .recorder import Recorder


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_memory_that_libraries_lack_beside_torchs_own_counts_as_out_of_memory(error: RuntimeError) -> None:
    assert is_out_of_memory(error)
    assert isinstance(explain(error, "train"), DeviceMemoryError)


def test_a_library_without_memory_lets_micro_batches_be_cut() -> None:
    recorder = Recorder()

    def work(pieces: int) -> int:
        if pieces < 4:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return pieces

    assert MicroBatchSplit(recorder).attempt(work, 8, "step 3") == 4
    assert len(recorder.of(Warned)) == 2
    with pytest.raises(DeviceMemoryError, match="in step 3: not even one clip fits. cuDNN error"):
        MicroBatchSplit(recorder).attempt(work, 2, "step 3")


def test_other_errors_of_a_device_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match that of b (4)."))


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_is_asked_of_the_device_that_computes_and_not_of_the_current_one(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    capabilities = {torch.device("cuda", 1): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    assert computes_in_bf16(torch.device("cuda", 1)) is expected
    assert computes_in_bf16(torch.device("cpu"))
