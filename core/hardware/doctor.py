"""What this machine has and what is wrong with it: the checks of `fishtune doctor`.

Torch is asked in a process of its own: importing it takes seconds, and a broken one can take the process
with it. A hub token is looked for, never shown.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, ConfigDict

from ..config.presets import model_preset
from ..config.settings import ModelOptions
from ..model.families import FAMILIES
from ..units import GIB, format_bytes
from .nvml import read_gpus
from .readings import DriverState, Gpu, GpuReading, GpuState
from .visibility import cuda_view

FREE_DISK: Final = 12 * GIB
"""Base model and merged model, 3.6 GB each, with room for checkpoints."""
FREE_MEMORY: Final = 6 * GIB
"""Loading and merging hold the model's weights, and torch itself a gigabyte."""
FREE_DEVICE_MEMORY: Final = 6 * GIB
"""Below it no recommended preset trains; see docs/memory.md."""
_PROBE_SECONDS: Final = 120
_PROBE = """
import json, torch
found = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": [], "error": "", "audio": ""}
try:
    import torchaudio
except Exception as error:
    found["audio"] = f"{type(error).__name__}: {error}"
try:
    for number in range(torch.cuda.device_count()):
        torch.ones(8, device=f"cuda:{number}").sum().item()
        found["devices"].append(torch.cuda.get_device_name(number))
except Exception as error:
    found["error"] = str(error).strip().splitlines()[0]
print(json.dumps(found))
"""


class Status(StrEnum):
    """What came out of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(BaseModel):
    """One finding."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    message: str
    hint: str = ""


class TorchProbe(BaseModel):
    """What torch says about itself in a process of its own."""

    version: str = ""
    cuda: str | None = None
    """CUDA version that it was built for; None = without CUDA."""
    devices: list[str] = []
    """Names of the GPUs that it computed on."""
    error: str = ""
    """Why it could not be imported or not compute on a GPU."""
    audio: str = ""
    """Why torchaudio could not be imported."""


def examine(folder: Path) -> Iterator[Check]:
    """Yield all findings, each as soon as it is there.

    Args:
        folder: where projects and models are to lie.
    """
    yield check_python()
    yield check_packages()
    reading = read_gpus()
    probe = probe_torch()
    yield check_torch(probe)
    yield from check_gpus(reading)
    yield from check_agreement(reading, probe, os.environ)
    yield check_disk(folder)
    yield check_memory()
    yield check_audio()
    yield check_token(os.environ)
    yield licence_note()
    yield check_terminal(os.environ, sys.stdout.isatty(), shutil.get_terminal_size(), sys.stdout.encoding)


def check_python() -> Check:
    """Say which Python this is."""
    return Check(name="Python", status=Status.OK, message=f"{sys.version.split()[0]} in {sys.prefix}")


def check_packages(version_of: Callable[[str], str] = importlib.metadata.version) -> Check:
    """Compare the installed packages with what fishtune asks for."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in importlib.metadata.requires("fishtune") or []]
    wrong = []
    for requirement in (
        each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})
    ):
        try:
            installed = version_of(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} is {installed}, wanted is {requirement.specifier}")
    own = version_of("fishtune")
    if wrong:
        return Check(
            name="Packages",
            status=Status.FAIL,
            message=f"fishtune {own}: {'; '.join(wrong)}.",
            hint="Install again, in the same environment: make install, or pip install --upgrade fishtune",
        )
    return Check(name="Packages", status=Status.OK, message=f"fishtune {own} and all that it needs")


def probe_torch(python: str = sys.executable) -> TorchProbe:
    """Ask torch in a process of its own."""
    try:
        result = subprocess.run(
            [python, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchProbe(error=f"no answer within {_PROBE_SECONDS} s")
    if result.returncode == 0:
        return TorchProbe.model_validate_json(result.stdout.splitlines()[-1])
    lines = result.stderr.strip().splitlines()
    return TorchProbe(error=lines[-1] if lines else f"it ended with code {result.returncode}")


def check_torch(probe: TorchProbe) -> Check:
    """Say whether torch and torchaudio can be used at all."""
    if not probe.version:
        return Check(
            name="torch",
            status=Status.FAIL,
            message=f"torch cannot be imported: {probe.error}",
            hint="Install it again in this environment; see the installation page of PyTorch.",
        )
    built = f"built for CUDA {probe.cuda}" if probe.cuda else "built without CUDA"
    if probe.audio:
        return Check(
            name="torch",
            status=Status.FAIL,
            message=f"torch {probe.version} works, but torchaudio cannot be imported: {probe.audio}",
            hint="Install versions of torch and torchaudio that belong together, from the same place.",
        )
    return Check(name="torch", status=Status.OK, message=f"{probe.version}, {built}")


def check_gpus(reading: GpuReading) -> Iterator[Check]:
    """Yield the state of the driver and of every GPU."""
    if reading.state is not DriverState.READY:
        absent = reading.state in (DriverState.NO_DRIVER, DriverState.NO_GPU)
        yield Check(
            name="GPU",
            status=Status.WARN if absent else Status.FAIL,
            message=f"{reading.state}. {reading.message}",
            hint="Without a GPU everything works, but S1-mini trains very slowly." if absent else "",
        )
        return
    cuda = ".".join(map(str, reading.cuda_version)) if reading.cuda_version else "an unknown version"
    yield Check(
        name="Driver",
        status=Status.OK,
        message=f"NVIDIA {reading.driver_version}, supports CUDA up to {cuda}",
    )
    for gpu in reading.gpus:
        yield _check_gpu(gpu)


def _check_gpu(gpu: Gpu) -> Check:
    name = f"GPU {gpu.index}"
    if gpu.state is not GpuState.READY:
        what = f"{gpu.name or 'unknown card'}: {gpu.state}."
        return Check(name=name, status=Status.FAIL, message=what, hint=gpu.message)
    if gpu.ecc_errors:
        return Check(
            name=name,
            status=Status.WARN,
            message=f"{gpu.name}: {gpu.ecc_errors} uncorrected memory errors since the driver was loaded.",
            hint="Results may be wrong. Restart the machine; if they come back, have the card replaced.",
        )
    if gpu.memory is None:
        return Check(name=name, status=Status.OK, message=f"{gpu.name}, memory unknown")
    free = f"{gpu.name}, {format_bytes(gpu.memory.free)} of {format_bytes(gpu.memory.total)} free"
    if gpu.memory.free < FREE_DEVICE_MEMORY:
        held = ", ".join(process.name or str(process.pid) for process in gpu.processes or ())
        return Check(
            name=name,
            status=Status.WARN,
            message=f"{free}." + (f" The rest is held by {held}." if held else ""),
            hint="See what fits with: fishtune estimate",
        )
    return Check(name=name, status=Status.OK, message=free)


def check_agreement(
    reading: GpuReading, probe: TorchProbe, environment: Mapping[str, str]
) -> Iterator[Check]:
    """Yield whether torch can use the GPUs that the driver has."""
    ready = [gpu for gpu in reading.gpus if gpu.state is GpuState.READY]
    if not ready or not probe.version:
        return
    visible = cuda_view(reading, environment).devices
    needed = tuple(int(part) for part in probe.cuda.split(".")) if probe.cuda else None
    status = Status.FAIL
    if needed is None:
        message = f"torch {probe.version} was built without CUDA, so it cannot use the GPU."
        hint = "Install a torch built for CUDA; see the installation page of PyTorch."
    elif reading.cuda_version and reading.cuda_version[0] < needed[0]:
        supported = ".".join(map(str, reading.cuda_version))
        message = (
            f"The driver {reading.driver_version} is too old: it supports CUDA {supported}, "
            f"torch needs {probe.cuda}."
        )
        hint = f"Update the driver, or install a torch built for CUDA {reading.cuda_version[0]}."
    elif not visible:
        status = Status.WARN
        message = f"CUDA_VISIBLE_DEVICES={environment.get('CUDA_VISIBLE_DEVICES', '')} hides every GPU."
        hint = "Unset it, or name a GPU: fishtune gpus"
    elif probe.error or not probe.devices:
        message = f"torch cannot compute on the GPU: {probe.error or 'it finds none'}"
        hint = "If it says 'no kernel image', this torch is too new or too old for the card."
    else:
        old = [d.gpu.name for d in visible if (d.gpu.compute_capability or (8, 0)) < (8, 0)]
        status = Status.WARN if old else Status.OK
        message, hint = f"torch computes on {', '.join(probe.devices)}", ""
        if old:
            message += f"; {', '.join(old)} has no bfloat16"
            hint = (
                "Training then runs in float32, with twice the memory: fishtune estimate --precision float32"
            )
    yield Check(name="torch and GPU", status=status, message=message, hint=hint)


def check_disk(folder: Path) -> Check:
    """Say how much room the disk of a folder has."""
    free = shutil.disk_usage(folder).free
    message = f"{format_bytes(free)} free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check(
            name="Disk",
            status=Status.FAIL,
            message=f"{folder} cannot be written.",
            hint="Change to a folder of your own.",
        )
    if free < FREE_DISK:
        return Check(
            name="Disk",
            status=Status.FAIL if free < GIB else Status.WARN,
            message=message,
            hint=f"Base and merged model take 3.6 GB each: have {format_bytes(FREE_DISK)} free.",
        )
    return Check(name="Disk", status=Status.OK, message=message)


def main_memory(limit_file: Path = Path("/sys/fs/cgroup/memory.max")) -> tuple[int, int]:
    """Return the bytes of this machine's memory, all and free; the limit of a container counts."""
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    try:
        limit = int(limit_file.read_text(encoding="ascii"))
        used = int(limit_file.with_name("memory.current").read_text(encoding="ascii"))
        total, free = min(total, limit), min(free, max(limit - used, 0))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return total, free


def check_memory(limit_file: Path = Path("/sys/fs/cgroup/memory.max")) -> Check:
    """Say how much memory is free; the limit of a container counts."""
    total, free = main_memory(limit_file)
    message = f"{format_bytes(free)} of {format_bytes(total)} free"
    if free < FREE_MEMORY:
        return Check(
            name="Memory",
            status=Status.WARN,
            message=message,
            hint=f"Loading and merging S1-mini want {format_bytes(FREE_MEMORY)}: end other programs.",
        )
    return Check(name="Memory", status=Status.OK, message=message)


def check_audio() -> Check:
    """Write and read a short mp3 through libsndfile."""
    hint = "Install the soundfile package again: pip install --force-reinstall soundfile"
    try:
        import soundfile

        version = soundfile.__libsndfile_version__
        if "MP3" not in soundfile.available_formats():
            return Check(
                name="Audio",
                status=Status.FAIL,
                message=f"libsndfile {version} cannot read mp3; 1.1 and newer can.",
                hint=hint,
            )
        recording = io.BytesIO()
        soundfile.write(recording, [0.0] * 4410, 44100, format="MP3")
        recording.seek(0)
        samples, _ = soundfile.read(recording)
    except (ImportError, OSError, RuntimeError) as error:
        return Check(name="Audio", status=Status.FAIL, message=f"mp3 cannot be read: {error}", hint=hint)
    return Check(
        name="Audio",
        status=Status.OK if len(samples) else Status.FAIL,
        message=f"libsndfile {version} reads mp3, wav and flac",
    )


def check_token(environment: Mapping[str, str]) -> Check:
    """Say whether there is a token of the model hub and where it comes from; never the token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environment.get(name, "").strip():
            return Check(name="Hub token", status=Status.OK, message=f"from the variable {name}")
    from huggingface_hub import constants

    file = Path(constants.HF_TOKEN_PATH)
    try:
        if file.read_text(encoding="utf-8").strip():
            return Check(name="Hub token", status=Status.OK, message=f"from {file}")
    except (OSError, UnicodeDecodeError):
        pass  # no such file: there is no token
    repository = model_preset(ModelOptions().name).repository
    return Check(
        name="Hub token",
        status=Status.WARN,
        message="There is none; base models may be gated.",
        hint=f"Accept the licence of {repository} on the hub, make a read token, then: hf auth login",
    )


def licence_note() -> Check:
    """Remind of the licences of the weights."""
    presets = (model_preset(family.model_preset) for family in FAMILIES)
    terms = "The weights of {} and all that is trained from them are under {}: not for commercial use."
    return Check(
        name="Licence",
        status=Status.OK,
        message=" ".join(terms.format(preset.repository, preset.licence) for preset in presets),
    )


def check_terminal(
    environment: Mapping[str, str], is_terminal: bool, size: os.terminal_size, encoding: str
) -> Check:
    """Say whether the wizard can be shown here."""
    name = "Terminal"
    if not is_terminal:
        return Check(name=name, status=Status.OK, message="none: commands write plain lines")
    term = environment.get("TERM", "")
    colours = "no colours (NO_COLOR)" if environment.get("NO_COLOR") else _colours(term, environment)
    where = ", in tmux" if environment.get("TMUX") else ""
    message = f"{size.columns}×{size.lines}, {colours}, {encoding}{where}"
    if term in ("", "dumb"):
        problem, hint = f"TERM is {term or 'not set'}", "Commands work; fishtune-tui needs a real terminal."
    elif "utf" not in encoding.lower():
        problem, hint = "no UTF-8", "Set LANG=C.UTF-8, and start tmux with tmux -u."
    elif size.columns < 80 or size.lines < 24:
        problem, hint = "smaller than 80×24", "Enlarge the window for fishtune-tui; commands work."
    elif not where and environment.get("SSH_CONNECTION"):
        return Check(
            name=name,
            status=Status.OK,
            message=message,
            hint="Jobs survive a lost connection; tmux keeps the screen as well.",
        )
    else:
        return Check(name=name, status=Status.OK, message=message)
    return Check(name=name, status=Status.WARN, message=f"{message}: {problem}", hint=hint)


def _colours(term: str, environment: Mapping[str, str]) -> str:
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256color" in term else "few colours"
