"""Senders that wait for room in a tract: first come, first served.

One task looks at the tract as long as anybody waits: when it is told that something was settled, or where the
store tells nobody of other processes, every now and then. It lets in as many as there is room for, and looks again
when these have sent. Processes do not get ahead of each other: the store has one that is ahead wait until the
others have caught up (`Inbox.let_in`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, islice, takewhile
from typing import Final
from uuid import uuid4

from eventsourcing.persistence import PersistenceError

from application.commit import retry_after
from application.errors import CallosumClosedError
from application.inbox import ROOM_LEASE, Inbox, Level
from application.passage import Passage
from application.reading import Reader
from domain.errors import BackpressureError, CallosumError
from domain.gate_settings import GateSettings
from domain.tract import Tract

__all__ = ["WaitingRoom"]

_RETRY: Final = 0.2
"""Seconds before a store that is away is asked again."""

_ASK_AGAIN: Final = 0.02
"""Seconds before the store is asked again whether others have caught up: nobody tells of it."""

_STAY: Final = ROOM_LEASE / 2000
"""Seconds after which it is told that somebody waits, still."""

_logger = logging.getLogger("callosum.waiting")


class _Turn:
    """Of one sender, for `count` messages. `come` is set when it is to send, `over` when it has, or does not.

    Attributes:
        again: whether it had its turn before.
        waits: whether there was no room for it, or somebody before it: then there is once the backlog is low.
    """

    def __init__(self, count: int, *, again: bool, waits: bool) -> None:
        self.count = count
        self.again = again
        self.waits = waits
        self.come = asyncio.Event()
        self.over = asyncio.Event()


class WaitingRoom:
    """Of one tract; belongs to its event loop.

    Args:
        tract: whose.
        reader: calls the store.
        inbox: tells how full the tract is, and how many may be let in.
        settings: of its gate.
    """

    def __init__(
        self, tract: Tract, reader: Reader, inbox: Inbox, settings: Callable[[], Awaitable[GateSettings]]
    ) -> None:
        self._tract = tract
        self._reader = reader
        self._inbox = inbox
        self._id = uuid4().hex
        self._last = Level(0, None)
        self._settings = settings
        self._line: deque[_Turn] = deque()
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._tight_until = self._known_until = -ROOM_LEASE / 1000
        self._usher: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._line)

    @property
    def in_use(self) -> bool:
        """Whether who comes has to take its turn: somebody waits, or could not be let in a moment ago."""
        return bool(self._line) or self._loop.time() < self._tight_until

    def look(self) -> None:
        """Something was settled: there may be room."""
        self._changed.set()

    @asynccontextmanager
    async def turn(self, count: int, *, until: float, first: bool, waits: bool) -> AsyncIterator[bool]:
        """Wait until there may be room for so many messages, and hold it while the block lasts.

        Gives whether it had to wait.

        Args:
            count: of messages.
            until: the loop's time up to which to wait.
            first: before all others: it had its turn, and somebody else was faster.
            waits: whether it was refused.

        Raises:
            BackpressureError: it did not come to its turn in time.
            CallosumClosedError: the service was closed meanwhile.
        """
        self._check_open()
        turn = _Turn(count, again=first, waits=waits or bool(self._line))
        (self._line.appendleft if first else self._line.append)(turn)
        self._joined.set()
        if self._usher is None or self._usher.done():
            self._usher = asyncio.create_task(self._let_in())
        try:
            try:
                async with asyncio.timeout_at(until):
                    await turn.come.wait()
            except TimeoutError:
                told = self._last
                raise BackpressureError(self._tract, told.backlog, told.capacity or 0, retry_after()) from None
            self._check_open()
            yield turn.waits
        finally:
            turn.over.set()
            if turn in self._line:
                self._line.remove(turn)

    def _check_open(self) -> None:
        if self._closed:
            raise CallosumClosedError

    async def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        for turn in self._line:
            turn.come.set()
        if self._usher is not None and not self._usher.done():
            self._usher.cancel()
            await asyncio.gather(self._usher, return_exceptions=True)
            await self._leave()

    async def _let_in(self) -> None:
        failures = 0
        while await self._somebody():
            self._changed.clear()
            try:
                wanted = await self._wanted()
                invited = [self._line.popleft() for _ in range(await self._allowed(wanted))]
            except CallosumClosedError:
                return
            except (PersistenceError, CallosumError) as error:
                if failures == 0:
                    _logger.warning("Nobody who waits is let into the %s tract for now: %s", self._tract, error)
                failures += 1
                await asyncio.sleep(_RETRY)
                continue
            failures = 0
            if self._line:
                self._tight_until = self._loop.time() + ROOM_LEASE / 1000
            for turn in invited:
                turn.come.set()
            await asyncio.gather(*(turn.over.wait() for turn in invited))
            if not invited and wanted:
                await asyncio.sleep(_ASK_AGAIN)
            elif not invited:
                await self._told_within(min(self._inbox.look_every or _STAY, _STAY))

    async def _somebody(self) -> bool:
        """Whether somebody waits, or does within as long as the store remembers what was let in."""
        if not self._line:
            self._joined.clear()
            self._known_until = self._loop.time()
            await self._leave()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._joined.wait(), ROOM_LEASE / 1000)
        return bool(self._line)

    async def _leave(self) -> None:
        with suppress(PersistenceError):  # or others wait for it as long as the store remembers it
            await self._reader.call(self._inbox.leave, self._tract, self._id)

    async def _told_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _wanted(self) -> int:
        """How many at the head of the line: those that there is room for, or that are to be refused for good.

        There is room once the backlog is down to the low watermark.
        """
        level = self._last = await self._reader.call(self._inbox.level, self._tract)
        low = (await self._settings()).low
        capacity = level.capacity or 0
        if not capacity or level.passage is Passage.SHUT:
            return len(self._line)
        if self._line and self._line[0].count > capacity:
            return 1
        if self._line and not self._has_room(self._line[0], capacity - level.backlog, low - level.backlog):
            return 0
        taken = accumulate(turn.count for turn in self._line)
        return sum(1 for _ in takewhile(lambda count: level.backlog + count <= capacity, taken))

    def _has_room(self, head: _Turn, room: int, below_low: int) -> bool:
        """For the first in line; who waits once goes on to wait until the backlog is low."""
        head.waits |= head.count > room
        return not head.waits or (head.count <= room and below_low >= 0)

    async def _allowed(self, wanted: int) -> int:
        """How many of those the others let go ahead. Who had its turn before has been counted."""
        if wanted == 0 and self._loop.time() < self._known_until:
            return 0
        counted = sum(turn.again for turn in islice(self._line, wanted))
        waiting = max(1, len(self._line))
        allowed = await self._reader.call(self._inbox.let_in, self._tract, self._id, wanted - counted, waiting)
        self._known_until = self._loop.time() + _STAY
        return min(counted + allowed, len(self._line))
