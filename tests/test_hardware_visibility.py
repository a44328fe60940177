"""Which GPU is torch's cuda:0."""

from __future__ import annotations

from typing import Any

import pytest
from fishtune.core.errors import DeviceError
from fishtune.core.hardware.readings import DriverState, Gpu, GpuReading, GpuState, Memory, MigDevice
from fishtune.core.hardware.visibility import CudaView, cuda_view, torch_device_uuids


def gpu(index: int, name: str = "A100", **fields: Any) -> Gpu:
    memory = Memory(total=80, free=70 + index, used=10)
    return Gpu(index=index, name=name, uuid=f"GPU-{index}abc-1", memory=memory, **fields)


def reading(*gpus: Gpu) -> GpuReading:
    return GpuReading(state=DriverState.READY, gpus=gpus)


def mig(index: int, uuid: str) -> MigDevice:
    return MigDevice(
        index=index,
        uuid=uuid,
        gpu_instance=index + 1,
        compute_instance=0,
        memory=Memory(total=20, free=19, used=1),
        processes=(),
    )


def indices(view: CudaView) -> list[int]:
    return [device.gpu.index for device in view.devices]


ALIKE = reading(gpu(0), gpu(1), gpu(2))
UNLIKE = reading(gpu(0, "RTX 3060", speed=100), gpu(1, "RTX 4090", speed=900))


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("1gpu,2", [1, 2]),  # read as strtol does
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("1,7,0", [1]),
        ("0,0", []),
        ("none", []),
        ("GPU-2abc-1,GPU-0abc-1", [2, 0]),
        ("GPU-2", [2]),
        ("GPU-", []),  # a prefix of three
        ("GPU-1,GPU-9,GPU-0", [1]),
        ("GPU-1,GPU-1abc", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str | None, expected: list[int]) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    view = cuda_view(ALIKE, environment)
    assert indices(view) == expected
    assert view.certain
    assert [device.ordinal for device in view.devices] == list(range(len(expected)))


def test_an_entry_that_cuda_ignores_is_named() -> None:
    note = cuda_view(ALIKE, {"CUDA_VISIBLE_DEVICES": "1,7,0"}).note
    assert note == "CUDA_VISIBLE_DEVICES=1,7,0. CUDA ignores '7' and what follows it: there is no such GPU."


def test_asking_for_no_gpu_is_not_a_complaint() -> None:
    assert cuda_view(ALIKE, {"CUDA_VISIBLE_DEVICES": "-1"}).note == "CUDA_VISIBLE_DEVICES=-1."


def test_unlike_gpus_are_a_guess_that_says_so() -> None:
    view = cuda_view(UNLIKE, {})
    assert indices(view) == [1, 0]
    assert not view.certain
    assert "guess" in view.note
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in view.note
    assert not cuda_view(UNLIKE, {"CUDA_VISIBLE_DEVICES": "0"}).certain


def test_unlike_gpus_are_certain_by_address_by_uuid_and_from_torch() -> None:
    by_address = cuda_view(UNLIKE, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    by_uuid = cuda_view(UNLIKE, {"CUDA_VISIBLE_DEVICES": "GPU-0"})
    from_torch = cuda_view(UNLIKE, {}, torch_uuids=["1ABC-1", "0abc-1"])
    assert (indices(by_address), by_address.certain) == ([0, 1], True)
    assert (indices(by_uuid), by_uuid.certain) == ([0], True)
    assert (indices(from_torch), from_torch.certain) == ([1, 0], True)


def test_a_lost_gpu_is_not_counted() -> None:
    view = cuda_view(reading(gpu(0, state=GpuState.LOST), gpu(1)), {})
    assert indices(view) == [1]
    assert view.ordinal(gpu(1)) == 0
    assert view.ordinal(gpu(0)) is None


def test_of_multi_instance_gpus_cuda_sees_one_slice_and_nothing_else() -> None:
    sliced = gpu(0, mig_enabled=True, mig_devices=(mig(0, "MIG-aa"), mig(1, "MIG-bb")))
    view = cuda_view(reading(sliced, gpu(1)), {})
    assert [(device.gpu.index, device.mig and device.mig.uuid) for device in view.devices] == [(0, "MIG-aa")]
    assert view.devices[0].memory == Memory(total=20, free=19, used=1)
    assert "one multi-instance device" in view.note


@pytest.mark.parametrize("entry", ["MIG-bb", "MIG-b", "MIG-GPU-0abc-1/2/0"])
def test_a_slice_is_chosen_by_its_uuid(entry: str) -> None:
    sliced = gpu(0, mig_enabled=True, mig_devices=(mig(0, "MIG-aa"), mig(1, "MIG-bb")))
    (device,) = cuda_view(reading(sliced, gpu(1)), {"CUDA_VISIBLE_DEVICES": entry}).devices
    assert device.mig is not None
    assert device.mig.uuid == "MIG-bb"


def test_a_multi_instance_gpu_without_slices_cannot_be_used() -> None:
    bare = gpu(0, mig_enabled=True)
    assert indices(cuda_view(reading(bare, gpu(1)), {})) == [1]
    assert indices(cuda_view(reading(bare, gpu(1)), {"CUDA_VISIBLE_DEVICES": "GPU-0"})) == []


def test_devices_are_found_by_the_name_that_torch_gives_them() -> None:
    view = cuda_view(ALIKE, {"CUDA_VISIBLE_DEVICES": "2,0"})
    assert view.device("auto").gpu.index == 2
    assert view.device("cuda").gpu.index == 2
    assert view.device("cuda:1").gpu.index == 0
    for name in ("cuda:2", "cpu", "cuda:x"):
        with pytest.raises(DeviceError, match=r"visible are: cuda:0 \(A100\), cuda:1 \(A100\)"):
            view.device(name)


def test_torch_is_not_asked_unless_it_already_uses_cuda() -> None:
    assert torch_device_uuids() is None
