"""A pseudo-terminal with a program in it, and as much of a terminal emulator as Textual's output needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

from rich.cells import cell_len

_SEQUENCE = re.compile(
    r"\x1b\[([?>=<]*)([0-9;:]*)[ -/]*([@-~])"  # control sequences
    r"|\x1b[\]P_^].*?(?:\x07|\x1b\\)"  # titles, clipboard and the like
    r"|\x1b[()][A-Za-z0-9]|\x1b[=>78cDEHM]",
    re.DOTALL,
)


class Screen:
    """What a terminal of a given size shows after some output."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [[" "] * width for _ in range(height)]
        self.x = self.y = 0
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take output. An unfinished sequence at its end waits for the rest."""
        text = self._rest + text
        position = 0
        while position < len(text):
            character = text[position]
            if character == "\x1b":
                found = _SEQUENCE.match(text, position)
                if found is None:
                    break
                self._control(found)
                position = found.end()
                continue
            self._put(character)
            position += 1
        self._rest = text[position:]

    def _control(self, found: re.Match[str]) -> None:
        private, numbers, kind = found[1], found[2], found[3]
        if kind is None or private:
            return
        values = [int(part) if part.isdigit() else 0 for part in numbers.split(";")] if numbers else [0]
        first = values[0]
        match kind:
            case "H" | "f":
                self.y = max(first, 1) - 1
                self.x = max(values[1] if len(values) > 1 else 1, 1) - 1
            case "A":
                self.y -= max(first, 1)
            case "B":
                self.y += max(first, 1)
            case "C":
                self.x += max(first, 1)
            case "D":
                self.x -= max(first, 1)
            case "G":
                self.x = max(first, 1) - 1
            case "J" if first in (2, 3):
                self.rows = [[" "] * self.width for _ in range(self.height)]
            case "K" if 0 <= self.y < self.height:
                self.rows[self.y][self.x :] = [" "] * (self.width - self.x)

    def _put(self, character: str) -> None:
        if character == "\r":
            self.x = 0
        elif character == "\n":
            self.y = min(self.y + 1, self.height - 1)
        elif character >= " " and 0 <= self.y < self.height:
            cells = cell_len(character)
            if cells == 0:
                return
            if 0 <= self.x < self.width:
                self.rows[self.y][self.x] = character
                if cells == 2 and self.x + 1 < self.width:
                    self.rows[self.y][self.x + 1] = ""
            self.x += cells

    @property
    def text(self) -> str:
        """The screen as lines of text."""
        return "\n".join("".join(row).rstrip() for row in self.rows)


class Terminal:
    """Runs a program in a pseudo-terminal of its own session; use it as a context manager."""

    def __init__(
        self,
        command: list[str],
        *,
        width: int = 80,
        height: int = 24,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.screen = Screen(width, height)
        self.received = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR")}
        variables |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})}
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=variables,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close the terminal's window: what its programs see is a hang-up."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def pump(self, seconds: float = 0.05) -> bool:
        """Take output for up to `seconds`; return whether there was any."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            content = os.read(self._master, 1 << 16)
        except OSError:
            return False
        self.received += len(content)
        self.screen.feed(content.decode("utf-8", "replace"))
        return bool(content)

    def wait_for(self, text: str, seconds: float = 60.0) -> float:
        """Wait until `text` (a regular expression) is on the screen; return how long that took.

        Raises:
            AssertionError: it never came; the message shows the screen.
        """
        begun = time.monotonic()
        while not re.search(text, self.screen.text):
            waited = time.monotonic() - begun
            gone = self.process.poll() is not None and not self.pump(0.0)
            assert waited < seconds and not gone, (
                f"{text!r} did not appear within {waited:.1f} s"
                f"{' and the program is gone' if gone else ''}:\n{self.screen.text}"
            )
            self.pump()
        return time.monotonic() - begun

    def settle(self, quiet: float = 0.3, most: float = 5.0) -> None:
        """Take output until there is none for `quiet` seconds."""
        deadline = time.monotonic() + most
        while time.monotonic() < deadline and self.pump(quiet):
            pass

    def press(self, *keys: str) -> None:
        """Type; names in angle brackets stand for keys: `<enter>`, `<down>`, `<escape>`, `<tab>`."""
        for key in keys:
            os.write(self._master, _KEYS.get(key, key).encode())
            self.pump(0.08)

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the program to end and return its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._master >= 0:
                self.pump(0.02)
            else:
                time.sleep(0.02)
        assert self.process.returncode is not None, f"still running:\n{self.screen.text}"
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self.process.pid, number)


_KEYS = {
    "<enter>": "\r",
    "<escape>": "\x1b",
    "<tab>": "\t",
    "<up>": "\x1b[A",
    "<down>": "\x1b[B",
    "<right>": "\x1b[C",
    "<left>": "\x1b[D",
    "<f1>": "\x1bOP",
    "<ctrl+p>": "\x10",
    "<ctrl+e>": "\x05",
    "<ctrl+u>": "\x15",
}


def wizard_command(*arguments: str) -> list[str]:
    """Return the command that starts the wizard of this installation."""
    return [sys.executable, "-P", "-c", "from fishtune.tui import main; main()", *arguments]
