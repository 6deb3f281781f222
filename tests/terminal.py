"""The command line as a real process, or within this one where a process of its own would show nothing more."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import pytest
import typer.testing
from typer.main import get_command
from typer.testing import CliRunner

from interface.cli import app
from tests.processes import interruptible

ROOT = Path(__file__).parents[1]

# Typer makes the command from `app` for each call, which takes as long as a short command.
typer.testing._get_command = cache(get_command)  # type: ignore[attr-defined]  # it is private


@dataclass
class Ended:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what would change the output, and the checkout importable."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CALLOSUM_")}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONUNBUFFERED"):
        ours.pop(name, None)
    return {**ours, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **settings}


@contextmanager
def started(*arguments: str | Path, directory: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is under way; killed at the end, should it still be."""
    with subprocess.Popen(
        [sys.executable, "-m", "interface.cli", *map(str, arguments)],
        cwd=directory,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=interruptible,  # noqa: PLW1509  # nothing else runs in the child before it is Python
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def callosum(*arguments: str | Path, directory: Path, **settings: str) -> Ended:
    """Run a command to its end."""
    with started(*arguments, directory=directory, **settings) as process:
        out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)


def on_a_terminal(*arguments: str | Path, directory: Path, columns: int, **settings: str) -> list[str]:
    """The lines that a command prints on a terminal of this width, without its styles."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    command = [sys.executable, "-m", "interface.cli", *map(str, arguments)]
    environs = environment(**settings)
    with subprocess.Popen(command, cwd=directory, env=environs, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        with os.fdopen(ours, "rb") as terminal:
            shown = b"".join(_until_closed(terminal)).decode()
    return _without_styles(shown)


def asked_on_a_terminal(*arguments: str, columns: int, **settings: str) -> list[str]:
    """The same within this process and directory, where the environment has to tell the width."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as terminal, ThreadPoolExecutor(1) as reading:
        shown = reading.submit(lambda: b"".join(_until_closed(terminal)))
        with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w") as out, redirect_stdout(out):
            for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns), **settings}.items():
                patch.setenv(name, value)
            app(arguments, prog_name="callosum", standalone_mode=False)
        return _without_styles(shown.result().decode())


def _without_styles(shown: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


class Screen:
    """A command on a terminal, under somebody's fingers."""

    def __init__(self, terminal: BinaryIO, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._terminal = terminal

    def press(self, keys: str) -> None:
        os.write(self._terminal.fileno(), keys.encode())

    def until(self, text: str) -> str:
        """What it shows from now on, up to this text, without styles; it must come within 30 seconds."""
        shown, end = "", monotonic() + 30
        while text not in shown:
            assert select.select([self._terminal], [], [], end - monotonic())[0], shown
            shown += re.sub(r"\x1b\[[0-9;]*m", "", os.read(self._terminal.fileno(), 65536).decode())
        return shown


@contextmanager
def at_a_terminal(*arguments: str | Path, directory: Path, **settings: str) -> Iterator[Screen]:
    """A command that reads keys; killed at the end, should it still be under way."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 120))
    command = [sys.executable, "-m", "interface.cli", *map(str, arguments)]
    environs = environment(**settings)
    with (
        os.fdopen(ours, "rb", buffering=0) as terminal,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environs,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=interruptible,  # noqa: PLW1509  # nothing else runs in the child before it is Python
        ) as process,
    ):
        os.close(theirs)
        try:
            yield Screen(terminal, process)
        finally:
            if process.poll() is None:
                process.kill()


def _until_closed(terminal: BinaryIO) -> Iterator[bytes]:
    with suppress(OSError):  # Linux reports the end of a terminal so
        while some := terminal.read1(65536):  # type: ignore[attr-defined]  # a file opened to read has it
            yield some


def asked(*arguments: str, **settings: str) -> Ended:
    """The same within this process and directory; quicker, and it must not need a terminal."""
    result = CliRunner().invoke(app, arguments, prog_name="callosum", env=settings)
    return Ended(result.exit_code, result.stdout, result.stderr)
