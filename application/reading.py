"""Reading the log from the event loop: in pages, from threads; and being told when it has grown."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from threading import Thread
from typing import ParamSpec, TypeVar
from uuid import UUID

from eventsourcing.persistence import OperationalError

from application.entries import Entry
from application.errors import CallosumClosedError, NotReachedError
from application.log import DialogueLog
from application.recorder import LogLostError
from domain.dialogue import Dialogue
from domain.errors import DialogueNotFoundError, InvalidCommandError
from domain.message import Message
from domain.times import in_milliseconds
from projections.fold import Recorded

__all__ = ["Reader", "RecordedMessage", "Tail", "messages_at", "messages_of", "milliseconds"]

_PAGE = 256
_MOST = 2**63 - 1
"""The highest position that any store can count."""

_RETRIES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds before a store that is away is asked again; the last one from then on."""

_logger = logging.getLogger("callosum.reading")
_P = ParamSpec("_P")
_T = TypeVar("_T")


class RecordedMessage(Message, frozen=True, kw_only=True, array_like=False):
    """A message with its place.

    Attributes:
        sequence: in its dialogue, dense from 1.
        position: in the log, of the event that holds it.
        at: the log's time of that event, milliseconds since 1970.
    """

    dialogue: UUID
    sequence: int
    position: int
    at: int


class Tail:
    """Wakes whoever waits for the log to grow: one thread, however many wait; none until somebody does."""

    def __init__(self, log: DialogueLog) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._head = 0
        self._grown = asyncio.Event()
        self._thread: Thread | None = None
        self._losses = 0
        self._ended = False
        self._error: Exception | None = None

    async def beyond(self, position: int) -> bool:
        """Wait until the log's head is beyond `position`, or has gone back; False when the service was closed.

        Raises:
            PersistenceError: the store failed meanwhile. The next call tries again.
        """
        if self._thread is None and not self._ended:
            self._error = None
            self._head = position
            self._thread = Thread(target=self._run, args=(position,), name="callosum-tail", daemon=True)
            self._thread.start()
        losses = self._losses
        while self._head <= position and self._losses == losses and not self._ended:
            await self._grown.wait()
            if self._error is not None:
                raise self._error
        return not self._ended

    def end(self) -> None:
        """End all waits, now and later."""
        self._ended = True
        self._wake(self._head)

    async def close(self) -> None:
        """After `end` and the recorder's `interrupt`."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self, position: int) -> None:
        try:
            while not self._ended:
                if self._log.wait_beyond(position, timeout=60.0):
                    position = self._log.head()
                    self._loop.call_soon_threadsafe(self._wake, position)
        except Exception as error:  # noqa: BLE001  # whatever it is, the followers must hear of it
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: Exception) -> None:
        self._thread = None
        self._error = error
        self._wake(self._head)

    def _wake(self, head: int) -> None:
        self._losses += head < self._head
        self._head = head
        self._grown.set()
        self._grown = asyncio.Event()


class Reader:
    """Pages of the log. Blocking calls run on a few threads of its own."""

    def __init__(self, log: DialogueLog) -> None:
        self._log = log
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="callosum-reader")
        self._tail = Tail(log)
        self._closed = False

    async def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking function on one of the threads."""
        self.check_open()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def check_open(self) -> None:
        """For a call that takes long, from any thread. Raises CallosumClosedError."""
        if self._closed:
            raise CallosumClosedError

    def begin(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T] | None:
        """The same, not awaited, and from any thread; None: it is closed."""
        with suppress(RuntimeError):  # shut down in this moment
            return None if self._closed else self._threads.submit(function, *args, **kwargs)
        return None

    async def pages(self, after: int, stop: int) -> AsyncIterator[Recorded]:
        """Events at positions after + 1 to `stop`, in order."""
        chain: bytes | None = None
        while after < stop:
            events = await self.call(self._log.read, after=after, limit=_PAGE, stop=stop, chain=chain)
            for event in events:
                yield event
            if not events:
                return
            after, chain = events[-1].position, events[-1].chain

    async def follow(self, after: int, seen: bytes | None = None) -> AsyncIterator[Recorded]:
        """Events at positions after + 1 and on: those there are, then each as it comes, until closed.

        `seen`: the chain of the entry at `after`; None: whatever it is.
        """
        epoch, chain = await self.call(lambda: self._log.epoch), await self.chain_after(after)
        if seen is not None and seen != chain:
            raise LogLostError(after, await self.call(self._log.head))
        failures = 0
        while not self._closed:
            try:
                events = await self.call(self._log.read, after=after, limit=_PAGE, chain=chain)
                if not events and not await self._tail.beyond(after):
                    return
            except OperationalError as error:
                await self.outlast(error, failures, epoch)
                failures += 1
                continue
            failures = 0
            for event in events:
                yield event
                after, chain = event.position, event.chain

    async def grown(self, position: int) -> bool:
        """Wait until the log's head is beyond `position`, or has gone back; False when the service was closed."""
        return await self._tail.beyond(position)

    async def chain_after(self, after: int) -> bytes:
        """The chain of the entry to follow from.

        Raises:
            InvalidCommandError: it is no position.
            NotReachedError: the log ends before it.
        """
        if after < 0:
            raise InvalidCommandError("position to follow from", f"is {after}; it must be at least 0")
        chain = await self.call(self._log.chain_at, after) if after <= _MOST else None
        if chain is None:
            raise NotReachedError(after, await self.call(self._log.head))
        return chain

    async def outlast(self, error: OperationalError, failures: int, epoch: str) -> None:
        """Wait a little for a store that is away, for the so-manieth time.

        Raises:
            LogLostError: it was that; it tells whether the log has begun anew since it had this epoch.
        """
        if isinstance(error, LogLostError):
            begun_anew = await self.call(lambda: self._log.epoch) != epoch
            raise LogLostError(error.seen, error.head, begun_anew=begun_anew) from error
        if failures == 0:
            _logger.warning("Followers wait for the log: %s", error)
        await asyncio.sleep(_RETRIES[min(failures, len(_RETRIES) - 1)])

    async def transcript(self, dialogue: UUID) -> AsyncIterator[RecordedMessage]:
        """What was said in a dialogue up to now, in order."""
        version, head = 0, await self.call(self._log.head)
        while events := await self.call(self._log.stream, dialogue, after=version, limit=_PAGE):
            for recorded in events:
                if recorded.position > head:
                    return
                if isinstance(recorded.event, Dialogue.Conveyed):
                    for message in messages_of(recorded):
                        yield message
            version = events[-1].event.originator_version
        if version == 0:
            raise DialogueNotFoundError(dialogue)

    async def bounds(self, start: int | datetime, stop: int | datetime | None) -> tuple[int, int]:
        """The positions (exclusive, inclusive) of a range given by position or time, both ends inclusive."""
        after = start - 1 if isinstance(start, int) else await self._last_before(start)
        if stop is None:
            return after, await self.call(self._log.head)
        if isinstance(stop, int):
            return after, min(stop, _MOST)
        return after, await self.position_at(stop, "end of the range")

    async def check_range(self, start: int | datetime, stop: int | datetime | None) -> None:
        """See `History.check_range`."""
        head = await self.call(self._log.head)
        for what, moment in (("start", start), ("end", stop)):
            if isinstance(moment, int) and moment > max(head, 1):
                raise InvalidCommandError(f"{what} of the range", f"is {moment}; the log ends at {head}")
        if stop is None:
            return
        after, last = await self.bounds(start, stop)
        if isinstance(start, datetime) and isinstance(stop, datetime):
            inverted = start > stop  # nothing may have happened between two times, which is no error
        else:
            inverted = after >= last and not (start == 1 and isinstance(stop, datetime))
        if inverted:
            raise InvalidCommandError("range", f"ends at {_shown(stop)}, before it begins at {_shown(start)}")

    async def _last_before(self, start: datetime) -> int:
        return await self.call(self._log.recorder.position_at, milliseconds(start, "start of the range") - 1)

    async def position_at(self, time: datetime, what: str = "time") -> int:
        """The last position whose time in the log is not later; 0 before all."""
        return await self.call(self._log.recorder.position_at, milliseconds(time, what))

    def end(self) -> None:
        """Take no more calls, and let every `follow` come to its end."""
        self._closed = True
        self._tail.end()

    async def close(self) -> None:
        """After `end` and the recorder's `interrupt`."""
        await self._tail.close()
        await asyncio.to_thread(self._threads.shutdown)


def messages_of(recorded: Recorded) -> list[RecordedMessage]:
    """The messages of a conveyed event, each with its place."""
    event = recorded.event
    assert isinstance(event, Dialogue.Conveyed), "the caller looked"
    return [message_in(recorded, index) for index in range(len(event.messages))]


def message_in(recorded: Recorded, index: int) -> RecordedMessage:
    event = recorded.event
    assert isinstance(event, Dialogue.Conveyed), "the caller looked"
    message = event.messages[index]
    return RecordedMessage(
        **{field: getattr(message, field) for field in Message.__struct_fields__},
        dialogue=event.originator_id,
        sequence=event.first_sequence + index,
        position=recorded.position,
        at=recorded.at,
    )


def messages_at(log: DialogueLog, slots: Iterable[int], known: Iterable[Entry] = ()) -> dict[int, RecordedMessage]:
    """The messages at these places of the inbox, by place; entries that are known are not read again."""
    of: dict[int, list[int]] = {}
    for slot in slots:
        of.setdefault(slot // 1000, []).append(slot)
    entries = {entry.id: entry for entry in known}
    missing = sorted(of.keys() - entries.keys())
    found: dict[int, RecordedMessage] = {}
    for entry in (*entries.values(), *(log.recorder.entries_at(missing) if missing else ())):
        recorded = log.recorded(entry)
        found |= {slot: message_in(recorded, slot % 1000) for slot in of[entry.id]}
    return found


def _shown(moment: int | datetime) -> str:
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def milliseconds(time: datetime, what: str) -> int:
    """Rounded down; a range is by milliseconds, as the log's time is."""
    if time.tzinfo is None:
        raise InvalidCommandError(what, "has no time zone")
    return in_milliseconds(time)
