"""Fixtures for everybody: nothing is written to the person's home, no network, few threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .fake_nvml import fake_nvml, fake_nvml_library  # noqa: F401 - fixtures

# Two pytest workers share two cores; more threads than that only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """Folder of the reference outputs (read only)."""
    return GOLDEN


@pytest.fixture(autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
