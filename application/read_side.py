"""The read models of one service: kept current by a thread, asked from the event loop."""

import asyncio
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from application.errors import CallosumClosedError
from application.log import DialogueLog
from application.reading import Reader
from domain.errors import DialogueNotFoundError, InvalidCommandError
from projections.consciousness import Consciousness
from projections.errors import ProjectionStoppedError, ReadModelsBehindError
from projections.queries import Queries
from projections.runner import Runner
from projections.views import Views

__all__ = ["ReadSide"]

_LOOK_EVERY = 0.03
_PATIENCE = 5.0
"""Seconds without any progress after which nobody seems to fold."""

_T = TypeVar("_T")


class ReadSide:
    """Answers of the read models, as current as they are asked to be."""

    def __init__(self, log: DialogueLog, reader: Reader, views: Views, projection: Consciousness | None) -> None:
        """With a projection, this process keeps the read models current; without, another one must."""
        self._log = log
        self._reader = reader
        self._views = views
        self._queries = Queries(views, lambda: log.epoch)
        self._closed = False
        self._runner = Runner(log, views, projection) if projection else None
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        if self._runner is not None:
            self._runner.add_listener(self._tell)
            self._runner.start()

    async def ask(self, query: Callable[[Queries], _T], at_least: int | None) -> _T:
        """Put a query to read models that include position `at_least`; None: all that is stored now.

        Raises:
            InvalidCommandError: the log has not reached that position.
            ProjectionError: the read models never will, because of an event that cannot be folded.
        """
        await self._wait_for(await self._position(at_least))
        return await self._reader.call(query, self._queries)

    async def ask_about(self, dialogue: UUID, query: Callable[[Queries], _T], at_least: int | None) -> _T:
        """The same about one dialogue, which may be younger than the read models are."""
        try:
            return await self.ask(query, at_least)
        except DialogueNotFoundError:
            if not await self._reader.call(self._log.exists, dialogue):
                raise
            return await self.ask(query, None)

    async def _position(self, at_least: int | None) -> int:
        if at_least == 0:
            return 0
        head = await self._trusted_head()
        if at_least is not None and not 0 <= at_least <= head:
            raise InvalidCommandError("position to include", f"is {at_least}; the log ends at {head}")
        return head if at_least is None else at_least

    async def _trusted_head(self) -> int:
        """The log's last position, when the read models are not ahead of it: a server may lose the log's end."""
        while True:
            moved = self._moved
            head, chain = await self._reader.call(self._log.tip)
            if self._runner is None or self._runner.ended:
                return head
            folded = self._runner.checkpoint
            if head > folded.position or (head, chain) == (folded.position, folded.chain) or not folded.position:
                return head
            await moved.wait()  # until the runner has found out, too, or the log is read again as far as it is

    async def _wait_for(self, position: int) -> None:
        runner = self._runner
        if runner is None:
            await self._wait_for_others(position)
            return
        # Until it has compared them with the log, the read models may be another log's.
        while not runner.resumed or runner.checkpoint.position < position:
            if runner.ended:
                if self._closed:
                    raise CallosumClosedError
                raise runner.error or ProjectionStoppedError("consciousness", runner.checkpoint.position)
            runner.hurry()
            await self._moved.wait()

    async def _wait_for_others(self, position: int) -> None:
        # Another process's runner: a database tells nobody that it has changed.
        reached, looks = 0, 0
        while position and (now := await self._reader.call(self._queries.position)) < position:
            reached, looks = (now, 0) if now > reached else (reached, looks + 1)
            if looks * _LOOK_EVERY > _PATIENCE:
                raise ReadModelsBehindError(now, position)
            await asyncio.sleep(_LOOK_EVERY)

    def _tell(self, _position: int) -> None:
        """Called from the runner's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def end(self) -> None:
        """After the recorder's `interrupt`: fold no more."""
        self._closed = True
        if self._runner is not None:
            await asyncio.to_thread(self._runner.stop)

    async def close(self) -> None:
        """After `end`, and when no query is under way any more."""
        await asyncio.to_thread(self._views.close)
