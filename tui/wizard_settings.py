"""The settings file that a user may write: `$XDG_CONFIG_HOME/fishtune/wizard.toml`.

Read before the first screen; hence by hand, as pydantic would double the time until something is seen.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import MalformedFileError, SettingsError
from ..core.user_folders import config_folder
from .actions import BY_NAME
from .catalogue import LANGUAGES, _

THEMES = ("fishtune-dark", "fishtune-light", "high-contrast", "ansi-dark")


@dataclass(frozen=True)
class WizardSettings:
    """How the wizard looks and which keys it takes.

    Attributes:
        theme: one of THEMES; None = fishtune-dark, or ansi-dark where NO_COLOR is set.
        language: one of LANGUAGES; None = what the environment says.
        ascii: draw without line-drawing characters.
        keys: action to keys in Textual's names, comma separated: `stop_job = "ctrl+x"`.
    """

    theme: str | None = None
    language: str | None = None
    ascii: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)


def settings_file() -> Path:
    """Return the path of the settings file; it need not exist."""
    return config_folder() / "wizard.toml"


def load_settings() -> WizardSettings:
    """Return the user's settings, the defaults where there is no file.

    Raises:
        SettingsError: the file is not TOML or has wrong keys or values.
        StorageError: the system refused to read it.
    """
    file = settings_file()
    try:
        if not os.path.lexists(file):
            return WizardSettings()
        from ..core.tables import read_toml

        content = read_toml(file)
    except MalformedFileError as error:
        raise SettingsError(error.message, error.hint) from error
    return parse_settings(content, str(file))


def parse_settings(content: Mapping[str, Any], source: str) -> WizardSettings:
    """Return `content` as settings.

    Raises:
        SettingsError: names every wrong key and value at once.
    """
    problems = []
    for key, value in content.items():
        match key:
            case "theme":
                problems += _not_one_of("theme", value, THEMES)
            case "language":
                problems += _not_one_of("language", value, LANGUAGES)
            case "ascii":
                problems += [] if isinstance(value, bool) else [_wrong("ascii", _("true or false"), value)]
            case "keys":
                problems += _key_problems(value)
            case _:
                problems.append(_unknown(key, key, ("theme", "language", "ascii", "keys")))
    if problems:
        raise SettingsError(f"{source}: {'; '.join(problems)}.", _("Correct the named values and try again."))
    return WizardSettings(**content)


def _key_problems(keys: object) -> list[str]:
    if not isinstance(keys, Mapping):
        return [_("keys is a table of action to keys")]
    problems = [_unknown(f"keys.{name}", name, tuple(BY_NAME)) for name in keys if name not in BY_NAME]
    return problems + [
        _wrong(f"keys.{name}", _('keys as text, such as "ctrl+x"'), value)
        for name, value in keys.items()
        if not isinstance(value, str) or not value
    ]


def _not_one_of(key: str, value: object, valid: Sequence[str]) -> list[str]:
    if value is None or value in valid:
        return []
    return [_wrong(key, _("one of {names}").format(names=", ".join(valid)), value)]


def _wrong(key: str, wanted: str, value: object) -> str:
    return _("{key}: {wanted} (it is {value})").format(key=key, wanted=wanted, value=repr(value))


def _unknown(path: str, key: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, valid, n=1)
    meant = _(" (did you mean {name}?)").format(name=near[0]) if near else ""
    return _("{key} is not known{meant}; valid are {names}").format(
        key=path, meant=meant, names=", ".join(valid)
    )
