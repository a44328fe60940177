"""Fixtures that put a compiled stand-in for the NVIDIA driver's library under the real binding."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pynvml
import pytest
from fishtune.core.hardware import nvml

SOURCE = Path(__file__).with_name("fake_nvml.c")
GIB = 1024**3


class FakeNvml:
    """A machine with GPUs: `keys` are those that `fake_nvml.c` describes."""

    def __init__(self, library: Path, scenario: Path) -> None:
        self.library = library
        self.scenario = scenario
        self.keys: dict[str, str] = {"driver": "580.95.05", "cuda": "13000", "count": "0"}

    def update(self, **keys: object) -> None:
        """Set keys that belong to no GPU (`init_error` is `init.error`) and write the scenario."""
        self.keys |= {key.replace("_", "."): str(value) for key, value in keys.items()}
        self.write()

    def gpu(self, index: int, **keys: object) -> None:
        """Set keys of one GPU (`mig1_uuid` is `mig1.uuid`) and write the scenario."""
        for key, value in keys.items():
            name = key.replace("_", ".", 1) if key.startswith("mig") and key != "mig" else key
            self.keys[f"{index}.{name}"] = str(value)
        gpus = {key.split(".")[0] for key in self.keys if key[0].isdigit()}
        self.keys["count"] = str(len(gpus))
        self.write()

    def add_gpu(self, name: str = "NVIDIA H100 80GB HBM3", gib: int = 80, **keys: object) -> int:
        """Add an ordinary GPU of `gib` GiB with 1 GiB reserved and all else free; return its index."""
        index = int(self.keys["count"])
        ordinary = {
            "name": name,
            "uuid": f"GPU-{index}1111111-2222-3333-4444-555555555555",
            "pci": f"00000000:{index + 1:02X}:00.0",
            "capability": 90,
            "total": gib * GIB,
            "reserved": GIB,
            "free": (gib - 1) * GIB,
            "gpu": 0,
            "temperature": 30,
            "power": 60_000,
            "limit": 700_000,
            "compute": "",
            "graphics": "",
        }
        self.gpu(index, **(ordinary | keys))
        return index

    def write(self) -> None:
        """Write the scenario; the library reads it again at every call."""
        self.scenario.write_text("".join(f"{key}={value}\n" for key, value in self.keys.items()))

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which a process finds this library as the driver's."""
        return os.environ | {"LD_LIBRARY_PATH": str(self.library.parent), "FAKE_NVML": str(self.scenario)}


@pytest.fixture(scope="session")
def fake_nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the compiled `libnvidia-ml.so.1`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("NO C COMPILER: everything that reads GPUs is UNTESTED on this machine; install gcc")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, SOURCE], check=True
    )
    return library


@pytest.fixture
def fake_nvml(fake_nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A machine without GPUs yet, seen by the binding of this process and by children given `environment`."""
    fake = FakeNvml(fake_nvml_library, tmp_path / "nvml.txt")
    fake.write()
    monkeypatch.setenv("FAKE_NVML", str(fake.scenario))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(fake_nvml_library)))
    monkeypatch.setattr(nvml, "library_is_installed", lambda: True)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return fake
