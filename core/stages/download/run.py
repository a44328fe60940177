"""Downloading a base model from the hub: which files, into which folder, and that it is one we train."""

from __future__ import annotations

import difflib
from pathlib import Path

from ...config.presets import ModelPreset, model_preset, preset_names
from ...config.settings import DownloadSettings
from ...errors import DownloadError, UsageError
from ...events import Reporter
from ...hub.transfer import DownloadResult, fetch
from ...tables import read_json

CONFIG_FILE = "config.json"
MODEL_TYPE = "dual_ar"
SUPPORTED = "S1 family (model_type dual_ar)"


def run(settings: DownloadSettings, reporter: Reporter) -> DownloadResult:
    """Download the files of a base model that are not there yet; return what was done.

    Raises:
        DownloadError: see `fetch`; or it is another kind of model.
        StorageError: not enough room on the disk.
        StopRequested: asked to stop; the partial file is kept.
    """
    preset = resolve_model(settings.name)
    return fetch(
        settings.local_dir,
        preset.repository,
        preset.files,
        reporter,
        revision=settings.revision,
        endpoint=settings.endpoint,
        licence=preset.licence,
        inspect=lambda directory: _check_family(directory, settings.name),
    )


def resolve_model(name: str) -> ModelPreset:
    """Return the preset `name`, or one made for a hub repository `owner/name`.

    Raises:
        UsageError: it is neither.
    """
    if name.count("/") == 1:
        for preset_name in preset_names("models"):
            preset = model_preset(preset_name)
            if preset.repository == name:
                return preset
        return ModelPreset(
            description=name,
            repository=name,
            licence="",
            files=["config.json", "model.pth", "codec.pth", "tokenizer.tiktoken", "special_tokens.json"],
        )
    if "/" in name:
        raise UsageError(f"{name!r} is not a hub repository.", "Write it as owner/name.")
    if name not in preset_names("models"):
        near = difflib.get_close_matches(name, preset_names("models"), n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"There is no model preset {name!r}.{meant}",
            f"Supported are {', '.join(preset_names('models'))}, and as owner/name any repository of the "
            f"{SUPPORTED}.",
        )
    return model_preset(name)


def _check_family(directory: Path, name: str) -> None:
    """Refuse another kind of model by its `config.json`, before gigabytes of it are fetched."""
    file = directory / CONFIG_FILE
    if not file.is_file():
        return
    config = read_json(file)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != MODEL_TYPE:
        raise DownloadError(
            f"{name} is a model of the type {str(kind)[:40]!r}, which fishtune does not train.",
            f"Supported is the {SUPPORTED}, such as openaudio-s1-mini.",
        )
