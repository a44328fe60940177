"""Checks of the machine around it: packages, disk, memory, sound, the hub's token, the terminal.

A hub token is looked for, never shown.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ...config.presets import model_preset
from ...config.settings import ModelOptions
from ...model.families import FAMILIES
from ...units import GIB, format_bytes
from ..main_memory import CONTAINER_LIMIT, main_memory
from .check import Check, Status

FREE_DISK: Final = 12 * GIB
"""Base model and merged model, 3.6 GB each, with room for checkpoints."""
FREE_MEMORY: Final = 6 * GIB
"""Loading and merging hold the model's weights, and torch itself a gigabyte."""


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


def check_memory(limit_file: Path = CONTAINER_LIMIT) -> Check:
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
