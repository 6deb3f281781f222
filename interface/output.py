"""The file that a command writes: what it must never be, and what it is only when that is said."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final

from application.settings import Settings, log_file, views_path
from interface.session import CommandError

__all__ = ["check_out", "whole_file"]

_OF_DATABASE: Final = re.compile(r"(-wal|-shm|-journal)?")
_OF_READ_MODELS: Final = re.compile(r"(\..+)?\.(db(-wal|-shm|-journal)?|lock)")
"""What follows the name of the file that lists them, without its ``.db``."""


def check_out(out: Path, url: str | None, *, force: bool) -> None:
    """Look before the work begins.

    Raises:
        CommandError: it is a file of the log's or its read models' (whatever `force` is), no file, in no
            directory, or there already without `force`.
    """
    settings = Settings() if url is None else Settings(url=url)
    if _is_a_log(out, settings):
        raise CommandError(f"{out} belongs to the log or its read models; name another file with --out.")
    if not out.parent.is_dir():
        raise CommandError(f"{out.parent} is no directory.")
    if out.exists() and not out.is_file():
        raise CommandError(f"{out} is no file.")
    if out.exists() and not force:
        raise CommandError(f"{out} exists; say --force to write over it, or name another file with --out.")


@contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """What writes to a temporary file beside it, which takes its name when all is written and on the disk.

    Nobody sees half of it, and where it fails, what was there before stays.
    """
    written = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        with written.open("xb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:  # Ctrl-C, too
        written.unlink(missing_ok=True)
        raise


def _is_a_log(out: Path, settings: Settings) -> bool:
    log = log_file(settings.url)
    if log is not None and _follows(out, log, _OF_DATABASE):
        return True
    # By default a server's are in the cache, where nobody writes by mistake; looking for the place would make it.
    views = None if log is None and settings.views is None else views_path(settings, "")
    return views is not None and (
        _follows(out, views.removesuffix(".db"), _OF_READ_MODELS) or _follows(out, views, _OF_DATABASE)
    )


def _follows(out: Path, beginning: str, end: re.Pattern[str]) -> bool:
    """Whether a path is this one and such an end, by whichever links."""
    named = {Path(beginning), Path(beginning).resolve()}
    return any(
        place.parent.resolve() == out_place.parent.resolve()
        and out_place.name.startswith(place.name)
        and end.fullmatch(out_place.name, len(place.name)) is not None
        for place in named
        for out_place in (out, out.resolve())
    )
