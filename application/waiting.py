"""Senders that wait for room in a tract: first come, first served.

One task looks at the tract as long as anybody waits: when it is told that something was settled, or where the
store tells nobody of other processes, every now and then. It lets in as many as there is room for, and lets these
send before it looks again. It does not look just because they have sent: then a process that has had room would
be the first to have the next, before those who must first be told.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, takewhile
from typing import Final

from eventsourcing.persistence import PersistenceError

from application.commit import retry_after
from application.errors import CallosumClosedError
from application.inbox import Level
from application.passage import Passage
from domain.errors import BackpressureError
from domain.gate_settings import GateSettings
from domain.tract import Tract

__all__ = ["WaitingRoom"]

_RETRY: Final = 0.2
"""Seconds before a store that is away is asked again."""


class _Turn:
    """Of one sender, for `count` messages. `come` is set when it is to send, `over` when it has, or does not."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.come = asyncio.Event()
        self.over = asyncio.Event()


class WaitingRoom:
    """Of one tract; belongs to its event loop.

    Args:
        tract: whose.
        level: asks the store how full the tract is.
        settings: of its gate.
        look_every: seconds between looks at what nobody tells of; None: all is told.
    """

    def __init__(
        self,
        tract: Tract,
        level: Callable[[], Awaitable[Level]],
        settings: Callable[[], Awaitable[GateSettings]],
        look_every: float | None,
    ) -> None:
        self._tract = tract
        self._level = level
        self._last = Level(0, None)
        self._settings = settings
        self._look_every = look_every
        self._line: deque[_Turn] = deque()
        self._changed = asyncio.Event()
        self._usher: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._line)

    def look(self) -> None:
        """Something was settled: there may be room."""
        self._changed.set()

    @asynccontextmanager
    async def turn(self, count: int, *, until: float, first: bool) -> AsyncIterator[None]:
        """Wait until there may be room for so many messages, and hold it while the block lasts.

        Args:
            count: of messages.
            until: the loop's time up to which to wait.
            first: before all others: it had its turn, and somebody else was faster.

        Raises:
            BackpressureError: it did not come to its turn in time.
            CallosumClosedError: the service was closed meanwhile.
        """
        self._check_open()
        turn = _Turn(count)
        (self._line.appendleft if first else self._line.append)(turn)
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
            yield
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
        if self._usher is not None:
            self._usher.cancel()
            await asyncio.gather(self._usher, return_exceptions=True)

    async def _let_in(self) -> None:
        while self._line:
            self._changed.clear()
            wait = self._look_every
            try:
                level = self._last = await self._level()
                low = (await self._settings()).low
            except PersistenceError:
                wait = _RETRY
            else:
                invited = [self._line.popleft() for _ in range(self._to_invite(level, low))]
                for turn in invited:
                    turn.come.set()
                if invited:
                    all_of_them = not self._line
                    await asyncio.gather(*(turn.over.wait() for turn in invited))
                    if all_of_them:
                        continue  # there may be room for who has come meanwhile
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait and _about(wait))

    def _to_invite(self, level: Level, low: int) -> int:
        """How many at the head of the line: those that there is room for, or that are to be refused for good.

        There is room once the backlog is down to the low watermark.
        """
        capacity = level.capacity or 0
        if not capacity or level.passage is Passage.SHUT:
            return len(self._line)
        if self._line and self._line[0].count > capacity:
            return 1
        if self._line and level.backlog > min(low, capacity - self._line[0].count):
            return 0
        taken = accumulate(turn.count for turn in self._line)
        return sum(1 for _ in takewhile(lambda count: level.backlog + count <= capacity, taken))


def _about(seconds: float) -> float:
    """Or processes that look one after the other would go on so, and who comes after the longest gap find most."""
    return random.uniform(0.5, 1.5) * seconds  # noqa: S311  # no secret
