"""Downloading a base model from the hub: which files, into which folder, and that it is one we train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config.presets import ModelPreset, model_preset, preset_names
from ...config.settings import DownloadSettings
from ...errors import CheckpointError, DownloadError, UsageError
from ...events import Reporter
from ...hub.transfer import DownloadResult, fetch
from ...messages import Message, joined, near
from ...model.families import default_family, family_of, is_model_directory, preset_family, supported
from ...model.families.family import Family


def run(settings: DownloadSettings, reporter: Reporter) -> DownloadResult:
    """Download the files of a base model that are not there yet; return what was done.

    Raises:
        DownloadError: see `fetch`; or it is another kind of model.
        StorageError: not enough room on the disk.
        StopRequested: asked to stop; the partial file is kept.
    """
    preset = resolve_model(settings.name)
    if preset.files:
        return _fetch(settings, preset, preset.files, preset_family(preset), reporter)
    # What there is of another's model follows from its configuration, and where there is one, from its index.
    names: tuple[str, ...] = (default_family().config_file,)
    fetched = _fetch(settings, preset, names, default_family(), reporter)
    family = family_of(settings.local_dir)
    while not set(wanted := family.needed_files(settings.local_dir)) <= set(names):
        names = wanted
        more = _fetch(settings, preset, names, family, reporter)
        arrived = [*fetched.downloaded, *more.downloaded]
        present = [name for name in more.present if name not in arrived]
        fetched = more.model_copy(
            update={"downloaded": arrived, "present": present, "bytes": fetched.bytes + more.bytes}
        )
    return fetched


def _fetch(
    settings: DownloadSettings, preset: ModelPreset, names: Sequence[str], family: Family, reporter: Reporter
) -> DownloadResult:
    return fetch(
        settings.local_dir,
        preset.repository,
        names,
        reporter,
        revision=settings.revision,
        endpoint=settings.endpoint,
        licence=preset.licence,
        optional=family.optional_files,
        inspect=lambda directory: _check_family(directory, settings.name),
    )


def resolve_model(name: str) -> ModelPreset:
    """Return the preset `name`, or one made for a hub repository `owner/name`, whose files are not known yet.

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
            files=[],
        )
    if "/" in name:
        raise UsageError("{name} is not a hub repository.", "Write it as owner/name.", name=repr(name))
    if name not in preset_names("models"):
        names = preset_names("models")
        raise UsageError(
            joined([Message("There is no model preset {name}.", name=repr(name)), near(name, names)]),
            "Supported are {names}, and as owner/name any repository of the {family}.",
            names=", ".join(names),
            family=supported(),
        )
    return model_preset(name)


def _check_family(directory: Path, name: str) -> None:
    """Refuse a kind of model that no family knows, before gigabytes of it are fetched."""
    if not is_model_directory(directory):
        return
    try:
        family_of(directory)
    except CheckpointError as error:
        raise DownloadError(
            "{name} is not a model that fishtune trains: {reason}",
            "Supported is the {families}.",
            name=name,
            reason=error.message,
            families=supported(),
        ) from error
