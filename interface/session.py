"""Running a command: the service around it, what goes wrong as one sentence, and the exit status.

====  ===========================================================================
0     done
1     done, and something was found wrong: a broken line, a log that is not as written
2     not done: wrong arguments, no log, a store that fails; of `doctor`: one that every command would refuse
130   ended by Ctrl-C
141   whoever read the output stopped reading
====  ===========================================================================
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from eventsourcing.persistence import PersistenceError
from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from application.callosum import CorpusCallosum
from application.errors import LogError
from application.settings import IN_MEMORY, Settings, log_file
from domain.errors import CallosumError
from interface.text import one_line
from projections.errors import ProjectionFailedError

__all__ = [
    "Command",
    "CommandError",
    "console",
    "errors",
    "fail",
    "leave_with",
    "print_lines",
    "print_table",
    "progress",
    "run",
]

Command = Callable[[CorpusCallosum], Awaitable[int]]
"""What a command does with the open service; returns the exit status."""

WIDE: Final = 4000


class CommandError(CallosumError):
    """What was asked for cannot be done; the message says why in one sentence."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would leave with status 1 here, which means something else


def console() -> Console:
    """Standard output. Where it is no terminal, it is as wide as anything needs to be."""
    width = None if sys.stdout.isatty() else WIDE
    return _Console(width=width, markup=False, emoji=False, highlight=False)


def print_table(table: RenderableType) -> None:
    """A terminal that is too narrow for what must be shown of the table wraps its lines; figures are never cut."""
    console().print(table, crop=False)


def print_lines(out: Console, text: Text) -> None:
    """Lines wrap at words on a terminal; elsewhere they do not wrap."""
    out.print(text, soft_wrap=not sys.stdout.isatty())


def errors() -> Console:
    return _Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def progress(*, shows: bool = True) -> Progress:
    """A bar on standard error; nothing where that is no terminal. Without a total it only moves."""
    out = errors()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), TimeElapsedColumn())
    return Progress(*columns, console=out, transient=True, disable=not (shows and out.is_terminal))


def run(
    command: Command,
    url: str | None,
    *,
    creates: bool = False,
    reads_views: bool = True,
    projects: bool = True,
) -> NoReturn:
    """Run a command on the service and leave with its exit status.

    Args:
        command: what to do.
        url: the log, or None for the environment's.
        creates: whether the log may be made; a command that only reads must find one.
        reads_views: whether it needs the read models; if not, they are left alone.
        projects: whether it brings them up to date; if not, it finds them as they are.
    """
    leave_with(_on_service(command, url, creates=creates, reads_views=reads_views, projects=projects))


def leave_with(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Do the work and leave with the exit status that it returns, or that its error has."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an old terminal's encoding lacks the arrows
    _log_warnings()
    try:
        status = asyncio.run(work)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (CallosumError, PersistenceError, DBAPIError, ValidationError, OSError) as error:
        fail(_sentence(error))
    raise typer.Exit(status)


def _log_warnings() -> None:
    """Warnings are for the person at the screen; errors come as the command's own sentence, not twice."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("callosum: %(message)s"))
    handler.addFilter(lambda record: record.levelno == logging.WARNING)
    logger = logging.getLogger("callosum")
    logger.handlers[:] = [handler]
    logger.propagate = False


def fail(sentence: str) -> NoReturn:
    errors().print(f"callosum: {one_line(sentence)}")
    raise typer.Exit(2)


async def _on_service(
    command: Command, url: str | None, *, creates: bool, reads_views: bool, projects: bool
) -> int:
    settings = Settings() if url is None else Settings(url=url)
    if creates:
        # An import: what is recorded passes no gate, and an exported log brings its own gates. What they decide is
        # not recorded here, or a later export of that log could not be imported.
        settings = settings.model_copy(update={"gate": {}, "capacity": None, "watch_gates": False})
    else:
        _check_exists(settings.url)
    if not reads_views:
        settings = settings.model_copy(update={"project": False, "views": IN_MEMORY})
    elif not projects:
        settings = settings.model_copy(update={"project": False})
    async with CorpusCallosum.open(settings=settings) as callosum:
        return await command(callosum)


def _check_exists(url: str) -> None:
    path = log_file(url)
    if url == IN_MEMORY:
        raise CommandError("A log in memory begins empty; name a file with --url.")
    if path is not None and not Path(path).exists():
        raise CommandError(f"No log at {path}; import or send something first, or name another with --url.")


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        return f"The setting CALLOSUM_{name} is refused: {reason}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    sentence = f"The read models' database: {error.orig}" if isinstance(error, DBAPIError) else str(error)
    if isinstance(error, LogError | ProjectionFailedError):
        return f"{sentence.rstrip('.')}. See `callosum verify`."
    return sentence if sentence.endswith(".") else f"{sentence}."
