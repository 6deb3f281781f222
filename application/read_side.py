"""The read models of one service: kept current by threads, asked from the event loop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from time import time
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection

from application.errors import CallosumClosedError
from application.log import DialogueLog
from application.reading import Reader, milliseconds
from application.recorder import LogLostError
from domain.errors import DialogueNotFoundError, InvalidCommandError
from projections.as_of import as_of
from projections.consciousness import Consciousness
from projections.errors import (
    ProjectionPausedError,
    ProjectionStoppedError,
    ReadModelsBehindError,
    ReadModelTakenError,
    UnknownProjectionError,
)
from projections.feed import Feed
from projections.findings import Judged
from projections.fold import Projection, version_of
from projections.folding import OnError
from projections.model import Checkpoint, read_checkpoint
from projections.models import ReadModels, State
from projections.queries import Queries
from projections.runner import Runner, Watch

__all__ = ["Moment", "ReadSide"]

_APART = 0.005
"""Seconds from an append to the first fold, and to each further projection's: at once they only take the
interpreter from each other, and from who sent."""

_LOOK_EVERY = 0.03
_PATIENCE = 5.0
"""Seconds without any progress after which nobody seems to fold."""

Moment = int | datetime
"""A position of the log, or a time of the log's: the position reached by then."""

_T = TypeVar("_T")


class _BehindError(Exception):
    """The read model does not include the position yet; it is known where it stands."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class ReadSide:
    """Answers of the read models, as current as they are asked to be.

    Args:
        makers: what makes an instance of each projection, by name.
        on_error: what becomes of an event that a projection cannot fold; None: another process must fold.
        patience: seconds that folding one event may take.
        stall_seconds: so long without the awaited answer a dialogue has stalled.
    """

    def __init__(
        self,
        log: DialogueLog,
        reader: Reader,
        models: ReadModels,
        *,
        makers: dict[str, Callable[[], Projection]],
        on_error: Callable[[str], OnError] | None,
        patience: float,
        stall_seconds: float,
    ) -> None:
        self._log = log
        self._reader = reader
        self.models = models
        self.stall_seconds = stall_seconds
        self.makers = makers
        self._kinds = {name: make() for name, make in makers.items()}
        self._versions = {name: version_of(projection) for name, projection in self._kinds.items()}
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._runners: dict[str, Runner] = {}
        if on_error is not None:
            feed = Feed(log)
            self._runners = {
                name: Runner(feed, models, make, on_error(name), gives_way=place * _APART)
                for place, (name, make) in enumerate(makers.items(), 1)
            }
        self._watch = Watch(list(self._runners.values()), patience)
        for runner in self._runners.values():
            runner.add_listener(self._tell)
            runner.start()

    def runner(self, projection: str) -> Runner | None:
        """The one of this process; None: this process leaves the folding to others.

        Raises:
            UnknownProjectionError
        """
        if projection not in self.makers:
            raise UnknownProjectionError(projection, list(self.makers))
        return self._runners.get(projection)

    async def ask(
        self,
        query: Callable[[Queries], _T],
        at_least: int | None = None,
        at: Moment | None = None,
    ) -> _T:
        """Put a query to the consciousness read model, and return its answer.

        Args:
            query: is called in another thread.
            at_least: a position that the answer includes; None: all that is stored now.
            at: as of this position or time; None: as it is.

        Raises:
            InvalidCommandError: the log has not reached that position, or the time has no time zone.
            ProjectionError: the read model does not, because of an event that cannot be folded.
        """

        def put(connection: Connection, position: int) -> _T:
            judged = Judged(position, self.moment(at))
            return query(Queries(connection, judged, self.stall_seconds))

        return await self.read(Consciousness.NAME, put, at_least, at)

    async def read(
        self,
        projection: str,
        query: Callable[[Connection, int], _T],
        at_least: int | None = None,
        at: Moment | None = None,
    ) -> _T:
        """The same of any projection: the query gets a connection, and up to which position the log is folded."""
        if at is not None:
            position = await self._position_of(projection, at)
            return await self._answer(projection, position, lambda: self._as_of(projection, query, position))
        position = await self._position(projection, at_least)
        return await self._answer(projection, position, lambda: self._now(projection, query, position))

    def moment(self, at: Moment | None) -> int:
        """The time of an answer as of this position or time, or of one that is given now, in milliseconds."""
        if at is None:
            return int(time() * 1000)
        if isinstance(at, datetime):
            return milliseconds(at, "time")
        entries = self._log.page(after=at - 1, limit=1) if at else ()
        return entries[0].at if entries else 0

    async def beyond(self, projection: str, position: int, chain: bytes, seconds: float | None) -> bool:
        """Wait until the log is folded beyond this position; nobody is hurried for that. False: not in time.

        Args:
            projection: its name.
            position: where it stood; 0: nothing was folded.
            chain: of the log there.
            seconds: to wait at most; None: any number.

        Raises:
            CallosumClosedError: the service was closed meanwhile.
            LogLostError: the log does not hold that position any more.
            PersistenceError: the store is away.
            ProjectionError: the read model stands before an event that cannot be folded, or is paused.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._wait_beyond(projection, position, chain)
        except TimeoutError:
            return False
        return True

    async def _wait_beyond(self, projection: str, position: int, chain: bytes) -> None:
        runner = self.runner(projection)
        if runner is None:
            if not await self._reader.grown(position):
                raise CallosumClosedError
            await self._check_holds(position, chain)
            await self._wait_for_others(projection, position + 1)
            return
        while not runner.resumed or runner.checkpoint.position <= position:
            self._check_runs(projection, runner)
            moved = self._moved
            if runner.checkpoint.position < position:  # another process is ahead, or it was begun anew
                await self._check_holds(position, chain)
            await moved.wait()

    async def _check_holds(self, position: int, chain: bytes) -> None:
        if position and await self._reader.call(self._log.chain_at, position) != chain:
            raise LogLostError(position, await self._reader.call(self._log.head))

    async def ask_about(
        self,
        dialogue: UUID,
        query: Callable[[Queries], _T],
        at_least: int | None,
        at: Moment | None = None,
    ) -> _T:
        """The same about one dialogue, which may be younger than the read models are."""
        try:
            return await self.ask(query, at_least, at)
        except DialogueNotFoundError:
            if at is not None or not await self._reader.call(self._log.exists, dialogue):
                raise
            return await self.ask(query, None)

    async def _answer(self, projection: str, position: int, answer: Callable[[], _T]) -> _T:
        while True:
            await self._wait_for(projection, position)
            try:
                return await self._reader.call(answer)
            except _BehindError:  # another generation took its place, and its runners are a moment behind
                await asyncio.sleep(_LOOK_EVERY)

    def _now(self, projection: str, query: Callable[[Connection, int], _T], position: int) -> _T:
        with self._served(projection, position) as (connection, checkpoint):
            return query(connection, checkpoint.position)

    def _as_of(self, projection: str, query: Callable[[Connection, int], _T], position: int) -> _T:
        instance = self.makers[projection]()
        generation = self.models.current(projection, self._versions[projection])
        if generation is None:  # nobody folds this version
            raise ReadModelsBehindError(0, position)
        model = self.models.model(generation, instance)
        with as_of(model, instance, self._log, position) as connection:
            self._check(projection, read_checkpoint(connection), position)
            return query(connection, position)

    @contextmanager
    def _served(self, projection: str, position: int) -> Iterator[tuple[Connection, Checkpoint]]:
        generation = self.models.serving(projection, self._versions[projection])
        if generation is None:
            raise _BehindError(0)
        with self.models.model(generation, self._kinds[projection]).reading() as connection:
            yield connection, self._check(projection, read_checkpoint(connection), position)

    def _check(self, projection: str, checkpoint: Checkpoint | None, position: int) -> Checkpoint:
        if checkpoint is None:
            raise _BehindError(0)
        if checkpoint.epoch != self._log.epoch:
            raise ReadModelTakenError(projection, "they are of another log")
        if checkpoint.position < position:
            raise _BehindError(checkpoint.position)
        return checkpoint

    async def _position_of(self, projection: str, moment: Moment) -> int:
        if isinstance(moment, datetime):
            return await self._reader.position_at(moment)
        head = await self._trusted_head(projection)
        if not 0 <= moment <= head:
            raise InvalidCommandError("position to answer as of", f"is {moment}; the log ends at {head}")
        return moment

    async def _position(self, projection: str, at_least: int | None) -> int:
        if at_least == 0:
            return 0
        runner = self.runner(projection)
        if runner is not None and at_least is not None and runner.checkpoint.position < at_least:
            runner.hurry()  # it folds while the log is asked whether there is such a position
        head = await self._trusted_head(projection)
        if at_least is not None and not 0 <= at_least <= head:
            raise InvalidCommandError("position to include", f"is {at_least}; the log ends at {head}")
        if at_least is not None:
            return at_least
        if runner is not None and runner.generation is not None and runner.generation.state is State.BUILDING:
            serving = await self._reader.call(self.models.serving, projection, self._versions[projection])
            if serving is not None and serving.id != runner.generation.id:
                return 0  # one of another version serves meanwhile, and says how far it goes
        return head

    async def _trusted_head(self, projection: str) -> int:
        """The log's last position, when the read models are not ahead of it: a server may lose the log's end."""
        runner = self.runner(projection)
        while True:
            moved = self._moved
            head, chain = await self._reader.call(self._log.tip)
            if runner is None or runner.ended or runner.paused or runner.error is not None:
                return head
            folded = runner.checkpoint
            if head > folded.position or (head, chain) == (folded.position, folded.chain) or not folded.position:
                return head
            await moved.wait()  # until the runner has found out, too, or the log is read again as far as it is

    async def _wait_for(self, projection: str, position: int) -> None:
        runner = self.runner(projection)
        if runner is None:
            await self._wait_for_others(projection, position)
            return
        # Until it has compared them with the log, the read models may be another log's.
        while not runner.resumed or runner.checkpoint.position < position:
            self._check_runs(projection, runner)
            runner.hurry()
            await self._moved.wait()

    def _check_runs(self, projection: str, runner: Runner) -> None:
        """Raise when it will not fold any further."""
        if runner.ended:
            if self._closed:
                raise CallosumClosedError
            raise runner.error or ProjectionStoppedError(projection, runner.checkpoint.position)
        if runner.error is not None:
            raise runner.error
        if runner.paused:
            raise ProjectionPausedError(projection, runner.checkpoint.position)

    async def _wait_for_others(self, projection: str, position: int) -> None:
        # Another process's runner: a database tells nobody that it has changed.
        reached, looks = -1, 0
        while (now := await self._reader.call(self._folded, projection)) < position:
            reached, looks = (now, 0) if now > reached else (reached, looks + 1)
            if looks * _LOOK_EVERY > _PATIENCE:
                raise ReadModelsBehindError(max(0, now), position)
            await asyncio.sleep(_LOOK_EVERY)

    def _folded(self, projection: str) -> int:
        """Up to where the log is folded in the read model; -1: there is none yet."""
        try:
            with self._served(projection, 0) as (_connection, checkpoint):
                return checkpoint.position
        except _BehindError:
            return -1

    def _tell(self) -> None:
        """Called from the runners' threads."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def end(self) -> None:
        """After the recorder's `interrupt`: fold no more."""
        self._closed = True
        for runner in self._runners.values():
            await asyncio.to_thread(runner.stop)
        await asyncio.to_thread(self._watch.stop)  # after them, because one might hang

    async def close(self) -> None:
        """After `end`, and when no query is under way any more."""
        await asyncio.to_thread(self.models.close)
