"""Rebuilding read models in a process of its own, so that the service's loop and threads are left alone.

The two talk in lines of JSON: the order goes in, progress and the result come out. When the one that ordered it
goes away the rebuild ends, and the next one goes on from where it was.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec
from eventsourcing.persistence import PersistenceError
from sqlalchemy.exc import DBAPIError

from application.log import DialogueLog
from application.settings import Settings, emergence, patterns, store_environment, views_path
from domain.errors import CallosumError
from projections.errors import RebuildFailedError, RebuildUnderWayError
from projections.models import ReadModels
from projections.rebuild import Progress, Rebuilt, rebuild
from projections.registry import projections

__all__ = ["rebuild_apart"]

_NICENESS: Final = 5
"""Who is served goes before."""


class _Order(msgspec.Struct):
    settings: str
    names: Sequence[str]
    swap: bool


class _Said(msgspec.Struct, omit_defaults=True):
    progress: Progress | None = None
    rebuilt: list[Rebuilt] | None = None
    under_way: str | None = None
    error: str | None = None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Said).decode


async def rebuild_apart(
    settings: Settings, names: Sequence[str], *, swap: bool, progress: Callable[[Progress], None]
) -> list[Rebuilt]:
    """See `projections.rebuild.rebuild`. Cancelled, it ends the process.

    Raises:
        RebuildUnderWayError: somebody else rebuilds one of them.
        RebuildFailedError: the process could not do it; it has said why.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "application.rebuilding",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    try:
        process.stdin.write(_encode(_Order(settings.model_dump_json(), names, swap)) + b"\n")
        await process.stdin.drain()
        async for line in process.stdout:
            said = _decode(line)
            if said.progress is not None:
                progress(said.progress)
            elif said.rebuilt is not None:
                return said.rebuilt
            elif said.under_way is not None:
                raise RebuildUnderWayError(said.under_way)
            else:
                raise RebuildFailedError(said.error or "it has not said why")
        raise RebuildFailedError(f"its process ended with status {await process.wait()}")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _say(said: _Said) -> None:
    sys.stdout.buffer.write(_encode(said) + b"\n")
    sys.stdout.buffer.flush()


def _main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=_Order)
    os.nice(_NICENESS)
    # Nothing lives long here but what is there now: looking for garbage cycles costs a sixth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    settings = Settings.model_validate_json(order.settings)
    try:
        log = DialogueLog(store_environment(settings.url))
        try:
            models = ReadModels(views_path(settings, log.epoch))
            makers = projections(emergence(settings), patterns(settings))
            chosen = [makers[name]() for name in order.names]
            rebuilt = rebuild(log, models, chosen, swap=order.swap, progress=lambda told: _say(_Said(told)))
            _say(_Said(rebuilt=rebuilt))
        finally:
            log.close()
    except RebuildUnderWayError as error:
        _say(_Said(under_way=error.projection))
    except (CallosumError, PersistenceError, DBAPIError, OSError) as error:
        _say(_Said(error=str(error)))


if __name__ == "__main__":
    _main()
