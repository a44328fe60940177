"""What the wizard keeps for a person: settings they write, state it writes itself.

$XDG_CONFIG_HOME/fishtune/wizard.toml    theme, language, ascii, [keys]
$XDG_STATE_HOME/fishtune/wizard.json     recent projects
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import field_validator

from ..core.errors import SettingsError
from ..core.validation import Table, parse
from .actions import BY_NAME

ThemeName = Literal["fishtune-dark", "fishtune-light", "high-contrast", "ansi-dark"]
THEMES: tuple[ThemeName, ...] = ("fishtune-dark", "fishtune-light", "high-contrast", "ansi-dark")


class WizardSettings(Table):
    """The settings file `wizard.toml`."""

    theme: ThemeName | None = None
    """None = fishtune-dark, or ansi-dark where NO_COLOR is set."""
    language: Literal["en", "ko"] | None = None
    """None = what the environment says."""
    ascii: bool = False
    """Draw without line-drawing characters."""
    keys: dict[str, str] = {}
    """Action to keys in Textual's names, comma separated: `stop_job = "ctrl+x"`."""

    @field_validator("keys")
    @classmethod
    def _known_actions(cls, keys: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(keys) - set(BY_NAME))
        if unknown:
            raise ValueError(f"no such action: {', '.join(unknown)}; valid are {', '.join(BY_NAME)}")
        return keys


def settings_file() -> Path:
    """Return the path of the settings file; it need not exist."""
    return Path(platformdirs.user_config_dir("fishtune")) / "wizard.toml"


def load_settings() -> WizardSettings:
    """Return the person's settings, the defaults where there is no file.

    Raises:
        SettingsError: the file is not TOML or has wrong keys or values.
    """
    file = settings_file()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return WizardSettings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}.", "Correct that line.") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.", "Check its permissions.") from error
    return parse(WizardSettings, content, str(file))
