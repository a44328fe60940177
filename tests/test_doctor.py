"""`fishtune doctor`: every check finds what it is for, and names what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest
import soundfile
from fishtune.core.cli.app import run
from fishtune.core.hardware.doctor import computing, examine, machine
from fishtune.core.hardware.doctor.check import Check, Status
from fishtune.core.hardware.doctor.computing import TorchProbe
from fishtune.core.hardware.nvml import read_gpus

from .fake_nvml import GIB, FakeNvml

TORCH = TorchProbe(version="2.14.1", cuda="13.0", devices=["NVIDIA H100 80GB HBM3"])
SIZE = os.terminal_size((100, 30))


def only(checks: object) -> Check:
    (check,) = checks  # type: ignore[misc]
    return check


def test_the_whole_report_runs_here_and_torch_stays_outside(tmp_path: Path) -> None:
    program = (
        "import sys; from fishtune.core.cli.app import run; code = run(['doctor', '--json']);"
        "sys.exit(3 if 'torch' in sys.modules else code)"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    content = json.loads(result.stdout)
    names = [check["name"] for check in content["checks"]]
    for name in (
        "Python",
        "Packages",
        "torch",
        "Disk",
        "Memory",
        "Audio",
        "Hub token",
        "Licence",
        "Terminal",
    ):
        assert name in names
    assert result.returncode == (1 if content["failed"] else 0)
    assert result.returncode != 3
    assert {check["name"]: check["status"] for check in content["checks"]}["Audio"] == "ok"
    assert all(check["hint"] for check in content["checks"] if check["status"] == "fail")


def test_a_failed_check_makes_the_exit_code_1_and_is_shown_with_its_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [
        Check(name="Disk", status=Status.FAIL, message="full", hint="delete"),
        Check(name="Memory", status=Status.OK, message="much"),
    ]
    monkeypatch.setattr(examine, "examine", lambda folder: iter(findings))
    assert run(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "✗ fail  Disk: full",
        "          → delete",
        "✓ ok    Memory: much",
        "",
        "2 checks: 1 failed, 0 to look at",
    ]
    monkeypatch.setattr(examine, "examine", lambda folder: iter(findings[1:]))
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 0


def test_missing_and_outdated_packages_are_named() -> None:
    def version_of(name: str) -> str:
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError
        return "0.1" if name == "torch" else importlib.metadata.version(name)

    check = machine.check_packages(version_of)
    assert check.status is Status.FAIL
    assert "peft is missing" in check.message
    assert "torch is 0.1, wanted is >=2.8" in check.message
    assert machine.check_packages().status is Status.OK


def test_torch_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    def python(script: str) -> str:
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        return str(fake)

    crashed = computing.probe_torch(python("echo 'ImportError: libcudart.so.13: cannot open' >&2; exit 1"))
    assert crashed.error == "ImportError: libcudart.so.13: cannot open"
    assert computing.check_torch(crashed).status is Status.FAIL
    assert "libcudart.so.13" in computing.check_torch(crashed).message
    killed = computing.probe_torch(python("kill -9 $$"))
    assert "-9" in killed.error
    without_audio = computing.check_torch(TORCH.model_copy(update={"audio": "OSError: undefined symbol"}))
    assert without_audio.status is Status.FAIL
    assert "torchaudio cannot be imported" in without_audio.message
    assert computing.check_torch(TORCH).message == "2.14.1, built for CUDA 13.0"


def test_a_torch_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setattr(computing, "_PROBE_SECONDS", 0.2)
    assert "no answer" in computing.probe_torch(str(fake)).error


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, Status.WARN),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, Status.FAIL),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, Status.FAIL),
        (pynvml.NVML_ERROR_NO_PERMISSION, Status.FAIL),
    ],
)
def test_a_driver_in_trouble_fails_and_no_driver_warns(
    fake_nvml: FakeNvml, code: int, status: Status
) -> None:
    fake_nvml.update(init_error=code)
    assert only(computing.check_gpus(read_gpus())).status is status


def test_gpus_are_checked_one_by_one(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu()
    fake_nvml.add_gpu(error=pynvml.NVML_ERROR_GPU_IS_LOST)
    fake_nvml.add_gpu(ecc=1, ecc_errors=7)
    fake_nvml.add_gpu(free=2 * GIB, compute=f"{os.getpid()}:{77 * GIB}")
    driver, well, lost, faulty, full = computing.check_gpus(read_gpus())
    assert driver.message == "NVIDIA 580.95.05, supports CUDA up to 13.0"
    assert [check.status for check in (well, lost, faulty, full)] == ["ok", "fail", "warn", "warn"]
    assert "79.0 GiB of 80.0 GiB free" in well.message
    assert "7 uncorrected memory errors" in faulty.message
    assert "The rest is held by" in full.message


@pytest.mark.parametrize(
    ("probe", "keys", "environment", "status", "words"),
    [
        (TORCH, {}, {}, Status.OK, "torch computes on NVIDIA H100 80GB HBM3"),
        (
            TorchProbe(version="2.14.1+cpu"),
            {},
            {},
            Status.FAIL,
            "torch 2.14.1+cpu was built without CUDA, so it cannot use the GPU.",
        ),
        (
            TORCH.model_copy(update={"devices": []}),
            {"cuda": 12020, "driver": "535.183.01"},
            {},
            Status.FAIL,
            "The driver 535.183.01 is too old: it supports CUDA 12.2, torch needs 13.0.",
        ),
        (
            TORCH.model_copy(update={"devices": []}),
            {},
            {"CUDA_VISIBLE_DEVICES": "-1"},
            Status.WARN,
            "CUDA_VISIBLE_DEVICES=-1 hides every GPU.",
        ),
        (
            TORCH.model_copy(update={"devices": [], "error": "no kernel image is available"}),
            {},
            {},
            Status.FAIL,
            "torch cannot compute on the GPU: no kernel image is available",
        ),
    ],
)
def test_torch_and_driver_agree_or_not(
    fake_nvml: FakeNvml,
    probe: TorchProbe,
    keys: dict[str, object],
    environment: dict[str, str],
    status: Status,
    words: str,
) -> None:
    fake_nvml.add_gpu()
    fake_nvml.update(**keys)
    check = only(computing.check_agreement(read_gpus(), probe, environment))
    assert (check.status, check.message) == (status, words)
    assert bool(check.hint) == (status is not Status.OK)


def test_a_driver_of_the_same_cuda_generation_is_new_enough(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu()
    probe = TORCH.model_copy(update={"cuda": "13.2"})
    assert only(computing.check_agreement(read_gpus(), probe, {})).status is Status.OK


def test_a_card_without_bfloat16_is_a_warning(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(name="Tesla T4", gib=16, capability=75)
    check = only(computing.check_agreement(read_gpus(), TORCH, {}))
    assert check.status is Status.WARN
    assert "Tesla T4 has no bfloat16" in check.message


def test_without_a_gpu_there_is_nothing_to_agree_on(fake_nvml: FakeNvml) -> None:
    assert list(computing.check_agreement(read_gpus(), TORCH, {})) == []


def test_a_disk_that_is_nearly_full_or_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(size: int) -> Check:
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: _Usage(size))
        return machine.check_disk(tmp_path)

    assert [free(size * GIB).status for size in (100, 5, 0)] == ["ok", "warn", "fail"]
    monkeypatch.setattr(machine.os, "access", lambda folder, mode: False)
    assert "cannot be written" in free(100 * GIB).message


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{4 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{1 * GIB}\n")
    check = machine.check_memory(limit)
    assert check.status is Status.WARN
    assert check.message.endswith("of 4.0 GiB free")
    limit.write_text("max\n")
    assert "of 4.0 GiB" not in machine.check_memory(limit).message


def test_a_libsndfile_without_mp3_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": ""})
    check = machine.check_audio()
    assert check.status is Status.FAIL
    assert "cannot read mp3" in check.message


def test_a_token_is_found_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    secret = "hf_abcdefSECRET"
    file = tmp_path / "token"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))
    missing = machine.check_token({})
    assert missing.status is Status.WARN
    assert "fishaudio/openaudio-s1-mini" in missing.hint
    from_variable = machine.check_token({"HF_TOKEN": secret})
    assert (from_variable.status, from_variable.message) == (Status.OK, "from the variable HF_TOKEN")
    file.write_text(secret)
    from_file = machine.check_token({"HF_TOKEN": " "})
    assert (from_file.status, from_file.message) == (Status.OK, f"from {file}")
    assert secret not in from_variable.model_dump_json() + from_file.model_dump_json()


@pytest.mark.parametrize(
    ("environment", "size", "encoding", "status", "words"),
    [
        ({"TERM": "xterm-256color"}, SIZE, "utf-8", Status.OK, "100×30, 256 colours, utf-8"),
        (
            {"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "COLORTERM": "truecolor"},
            SIZE,
            "utf-8",
            Status.OK,
            "16 million colours, utf-8, in tmux",
        ),
        ({"TERM": "xterm", "NO_COLOR": "1"}, SIZE, "utf-8", Status.OK, "no colours (NO_COLOR)"),
        ({"TERM": "dumb"}, SIZE, "utf-8", Status.WARN, "TERM is dumb"),
        ({"TERM": "xterm"}, SIZE, "ANSI_X3.4-1968", Status.WARN, "no UTF-8"),
        ({"TERM": "xterm"}, os.terminal_size((79, 24)), "utf-8", Status.WARN, "smaller than 80×24"),
    ],
)
def test_terminals(
    environment: dict[str, str], size: os.terminal_size, encoding: str, status: Status, words: str
) -> None:
    check = machine.check_terminal(environment, True, size, encoding)
    assert check.status is status
    assert words in check.message


def test_no_terminal_is_no_fault() -> None:
    assert machine.check_terminal({}, False, SIZE, "utf-8").status is Status.OK


def test_the_licence_is_told() -> None:
    assert "CC BY-NC-SA 4.0: not for commercial use" in machine.licence_note().message
