"""What happens before the first screen: arguments, refusals, settings. Textual is imported last."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import threading
from pathlib import Path

from ..core.errors import FishtuneError, UsageError
from . import terminal
from .catalogue import LANGUAGES, _, language_of_environment, sentence, use_language


def parser() -> argparse.ArgumentParser:
    """Return the command line of `fishtune-tui` in the active language."""
    arguments = argparse.ArgumentParser(
        prog="fishtune-tui",
        description=_(
            "Fine-tune fish-speech (OpenAudio S1-mini, S2-Pro) on your own recordings, step by step."
        ),
        epilog=_(
            "Jobs keep running when the wizard is left, the link drops or the terminal closes; start it "
            "again to find them. The same without a screen: fishtune --help."
        ),
        add_help=False,
    )
    arguments.add_argument(
        "project",
        nargs="?",
        type=Path,
        metavar="PROJECT",
        help=_("Project, its fishtune.toml, or a folder for a new one; without it the start page is shown."),
    )
    arguments.add_argument("-h", "--help", action="help", help=_("Show this help."))
    arguments.add_argument("--version", action="store_true", help=_("Show the version."))
    arguments.add_argument("--lang", choices=LANGUAGES, help=_("Language of the screens."))
    arguments.add_argument(
        "--theme",
        metavar="THEME",
        help=_("One of fishtune-dark, fishtune-light, high-contrast, ansi-dark."),
    )
    arguments.add_argument("--ascii", action="store_true", help=_("Draw without line-drawing characters."))
    return arguments


def run(arguments: list[str] | None = None) -> int:
    """Run the wizard and return its exit code: 0 left, 1 failed, 2 wrong use or no suitable terminal."""
    given = sys.argv[1:] if arguments is None else arguments
    use_language(_language_flag(given) or language_of_environment())
    options = parser().parse_args(given)
    if options.version:
        from importlib.metadata import version

        print(f"fishtune {version('fishtune')}")  # noqa: T201
        return 0
    _leave_out_openssl()
    from ..core.cli.arguments import check_arguments, check_working_folder

    try:
        check_arguments(given)
        check_working_folder()
    except UsageError as error:
        print(f"{sentence(error.message)}\n  → {sentence(error.hint)}", file=sys.stderr)  # noqa: T201
        return 2
    refused = terminal.refusal()
    if refused:
        print(refused, file=sys.stderr)  # noqa: T201
        return 2
    gc.disable()  # until the first paint: looking for what is not there yet takes a twentieth of the time
    return _show(options)


def _language_flag(given: list[str]) -> str | None:
    # Before parsing, because --help itself is translated.
    for position, word in enumerate(given):
        if word.startswith("--lang="):
            value = word.partition("=")[2]
            return value if value in LANGUAGES else None
        if word == "--lang" and given[position + 1 : position + 2]:
            value = given[position + 1]
            return value if value in LANGUAGES else None
    return None


def _leave_out_openssl() -> None:
    """Keep OpenSSL out of this process: 3 to 5 MiB of the 50 to 55 that the wizard may take.

    asyncio and hashlib take OpenSSL where they find it and do without where they don't; the wizard opens
    no connection and hashes a few names. Jobs are other processes and have it. Whatever imports hashlib
    comes later, the engine's modules too, or it is for nothing.
    """
    hidden = [name for name in ("ssl", "_hashlib") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes its import fail
    for name in ("asyncio", "hashlib", "hmac"):
        importlib.import_module(name)
    for name in hidden:
        del sys.modules[name]


def _show(options: argparse.Namespace) -> int:
    from .trouble import note
    from .wizard_settings import load_settings, parse_settings

    no_color = "NO_COLOR" in os.environ
    app = None
    try:
        settings = load_settings()
        flags = {
            "theme": options.theme or settings.theme or ("ansi-dark" if no_color else "fishtune-dark"),
            "language": options.lang or settings.language or language_of_environment(),
            "ascii": options.ascii or settings.ascii,
        }
        settings = parse_settings({"keys": settings.keys, **flags}, "fishtune-tui")
        use_language(settings.language or "en")
        from .app import Wizard

        app = Wizard(settings, project=options.project, no_color=no_color)
        threading.excepthook = lambda raised: None if raised.exc_value is None else note(raised.exc_value)
        with terminal.leave_on_hang_up(app.leave_from_outside):
            app.run()
        if app.trouble is not None:
            raise app.trouble
    except FishtuneError as error:
        if app is not None and app.farewell:
            print(app.farewell)  # noqa: T201
        said = f"{sentence(error.message)}\n  → {sentence(error.hint)}"
        print(said.rstrip(" \n→"), file=sys.stderr)  # noqa: T201
        return error.exit_code
    if app.farewell:
        print(app.farewell)  # noqa: T201
    return app.return_code or 0
