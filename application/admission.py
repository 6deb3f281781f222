"""Who may send into a tract now.

The store decides, within the append. Once it has refused somebody, this process knows how full the tract is, or
that its circuit is open, and refuses by itself: who floods it is answered without a round of the writer. As long
as it does so it looks at the store every now and then, beside what it is told; a look waits for no append.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final

from eventsourcing.persistence import PersistenceError

from application.commands import Convey
from application.commit import Writer, retry_after
from application.gate_commands import Tell
from application.inbox import Inbox, Level
from application.passage import Passage
from application.reading import Reader
from application.round import Receipt
from application.shedding import Shedding
from application.waiting import WaitingRoom
from domain.errors import BackpressureError, CallNotPermittedError, InvalidCommandError
from domain.gate import Gate
from domain.gate_settings import GateSettings
from domain.message import Message
from domain.tract import Tract

__all__ = ["Admission", "Fail", "Said", "ShedLowest", "Wait", "WhenFull"]

_LOOK_EVERY: Final = 0.05
"""Seconds between looks at a tract into which this process refuses sends by itself."""

_BELIEVED_FOR: Final = 1.0
"""Seconds after which nothing is refused by itself, when the store does not answer a look."""

_COUNT_AFTER: Final = 1.0
"""Seconds from a first refusal to the record of how many there were."""

_COUNT_EVERY: Final = 10.0
"""Seconds between further records, or overload would write the log full."""

_logger = logging.getLogger("callosum.admission")
_Refusal = BackpressureError | CallNotPermittedError

Said = tuple[Convey, asyncio.Future[list[Receipt]]]
"""What was handed to the writer, and its answer to come."""


@dataclass(frozen=True)
class Fail:
    """Where there is no room, be refused at once."""


@dataclass(frozen=True)
class Wait:
    """Where there is no room, wait for it, at most `timeout` seconds."""

    timeout: float

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise InvalidCommandError("timeout", f"is {self.timeout}; it must be above 0 seconds")


@dataclass(frozen=True)
class ShedLowest:
    """Where there is no room, have the least urgent that wait there given up for it.

    Only those that are less urgent than all that is sent there; the latest first among equals. Where there are not
    enough of them, be refused, and nothing is given up.
    """


WhenFull = Fail | Wait | ShedLowest


class _Counts:
    """Messages refused by the circuit and for want of room, and those that waited, since they were recorded."""

    def __init__(self) -> None:
        self.by_circuit = self.by_capacity = self.waited = 0

    def record(self, gate: Gate, now: datetime) -> None:
        gate.count(
            refused_by_circuit=self.by_circuit, refused_by_capacity=self.by_capacity, waited=self.waited, now=now
        )


class _Known:
    """Of a tract into which somebody was refused.

    Attributes:
        room: messages that may still be let pass, to be decided by the store.
        until: of `time.monotonic`.
        used: whether somebody was refused by it since the last look.
        told: whether the store has told of room since a look began, and so may know better.
    """

    def __init__(self, refusal: _Refusal) -> None:
        self.used, self.told = True, False
        self.learn(refusal)

    def learn(self, refusal: _Refusal) -> None:
        self.refusal = refusal
        self.room = refusal.capacity - refusal.backlog if isinstance(refusal, BackpressureError) else 0
        self.until = monotonic() + _BELIEVED_FOR

    def holds_at(self, level: Level) -> bool:
        """Whether it still holds, by a look at the store."""
        self.until = monotonic() + _BELIEVED_FOR
        if isinstance(self.refusal, CallNotPermittedError):
            return level.passage is Passage.SHUT and level.retry_at == self.refusal.retry_at
        self.room = self.refusal.capacity - level.backlog
        return level.passage is not Passage.SHUT and level.capacity == self.refusal.capacity

    def lets_pass(self, count: int, when_full: WhenFull) -> bool:
        """Whether the store is to decide of so many messages. It knows the rules, this only spares it the work."""
        if monotonic() >= self.until:
            return True
        if isinstance(self.refusal, BackpressureError):
            if not isinstance(when_full, Fail):
                return True
            if count <= self.room:
                self.room -= count
                return True
        self.used = True
        return False


class Admission:
    """Of one service; belongs to its event loop.

    Args:
        settings: asks for those of a tract's gate.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        inbox: Inbox,
        shedding: Shedding,
        settings: Callable[[Tract], Awaitable[GateSettings]],
    ) -> None:
        self._writer = writer
        self._shedding = shedding
        self._loop = asyncio.get_running_loop()
        self._known: dict[Tract, _Known] = {}
        self._looking: dict[Tract, asyncio.Task[None]] = {}
        self._reader, self._inbox = reader, inbox
        self._counted: dict[Tract, _Counts] = {}
        self._recording: asyncio.TimerHandle | None = None
        self._recorded_at = -_COUNT_EVERY
        self._rooms = {tract: WaitingRoom(tract, reader, inbox, partial(settings, tract)) for tract in Tract}
        inbox.listen(self._ring)
        inbox.listen_for_room(self._hear)

    async def send(
        self, messages: Sequence[Message], when_full: WhenFull, say: Callable[[], Awaitable[Said]]
    ) -> list[Receipt]:
        """Say them if they may be said.

        Args:
            messages: what is to be said.
            when_full: what to do where there is no room.
            say: hands them to the writer.

        Raises:
            BackpressureError: there is no room, was none for as long as it was waited for, or could not be made.
            CallNotPermittedError: a circuit is open.
        """
        if self._known:
            self._check(messages, when_full)
        try:
            if isinstance(when_full, Wait):
                return await self._say_in_turn(messages, when_full.timeout, say)
            command, answer = await say()
            if isinstance(when_full, ShedLowest):
                return await self._shed(command, answer)
            return await answer
        except (BackpressureError, CallNotPermittedError) as refusal:
            self._learn(_anew(refusal))
            self._count(refusal, len(messages))
            raise

    def _check(self, messages: Sequence[Message], when_full: WhenFull) -> None:
        """Raise what the store would, by what is known of it."""
        for tract, known in list(self._known.items()):
            count = sum(message.target == tract for message in messages)
            if count == 0 or any(message.idempotency_key is not None for message in messages):
                continue  # what has a key may be known, and then gets its receipt
            if not known.lets_pass(count, when_full):
                self._count(known.refusal, len(messages))
                raise _anew(known.refusal)

    def _learn(self, refusal: _Refusal) -> None:
        tract = refusal.tract
        if (known := self._known.get(tract)) is not None:
            known.learn(refusal)
            return
        self._known[tract] = _Known(refusal)
        if tract not in self._looking:
            self._looking[tract] = asyncio.create_task(self._look(tract))

    async def _look(self, tract: Tract) -> None:
        """As long as somebody is refused by what is known."""
        try:
            while (known := self._known.get(tract)) is not None and known.used:
                known.used = False
                await asyncio.sleep(_LOOK_EVERY)
                known.told = False
                level = await self._reader.call(self._inbox.level, tract)
                if not (known.told or known.holds_at(level)):
                    break
        except PersistenceError:
            pass  # who sends is to hear of it
        finally:
            self._known.pop(tract, None)
            del self._looking[tract]

    async def _shed(self, command: Convey, answer: asyncio.Future[list[Receipt]]) -> list[Receipt]:
        try:
            return await answer
        except BackpressureError as refusal:
            refused = refusal
        return await self._shedding.send(command, refused)

    async def _say_in_turn(
        self, messages: Sequence[Message], patience: float, say: Callable[[], Awaitable[Said]]
    ) -> list[Receipt]:
        """Who comes later waits behind those who wait, though there may be room for it."""
        counts = Counter(message.target for message in messages)
        full = next((tract for tract in self._rooms if tract in counts and self._rooms[tract].in_use), None)
        until, had_turn, waited = self._loop.time() + patience, False, False
        while True:
            try:
                if full is None:
                    _, answer = await say()
                    return await answer
                async with self._rooms[full].turn(
                    counts[full], until=until, first=had_turn, waits=waited
                ) as waits:
                    had_turn = True
                    if waits and not waited:
                        self._of(full).waited += len(messages)
                        waited = True
                    _, answer = await say()
                    return await answer
            except BackpressureError as error:
                if counts[error.tract] > error.capacity:
                    raise  # it never fits
                if not waited:
                    self._of(error.tract).waited += len(messages)
                if self._loop.time() >= until:
                    raise
                full, waited = error.tract, True

    def _count(self, refusal: _Refusal, messages: int) -> None:
        counts = self._of(refusal.tract)
        if isinstance(refusal, CallNotPermittedError):
            counts.by_circuit += messages
        else:
            counts.by_capacity += messages

    def _of(self, tract: Tract) -> _Counts:
        """What is to be recorded of a tract, a little later."""
        if self._recording is None:
            at = max(self._loop.time() + _COUNT_AFTER, self._recorded_at + _COUNT_EVERY)
            self._recording = self._loop.call_at(at, self._record)
        return self._counted.setdefault(tract, _Counts())

    def _record(self) -> None:
        self._recording, self._recorded_at = None, self._loop.time()
        counted, self._counted = self._counted, {}
        for tract, counts in counted.items():
            self._writer.carry_out(Tell(tract, counts.record), _note_failure)

    def make_room(self, tract: Tract) -> None:
        """A delivery of this process has ended there; where the store tells of it, it may do so a little later."""
        if (known := self._known.get(tract)) is not None:
            known.room += 1

    def _ring(self, tract: str) -> None:
        """From any thread: something came there, or its circuit lets some through again."""
        known = self._known.get(Tract(tract))
        if known is not None and isinstance(known.refusal, CallNotPermittedError):
            self._known.pop(Tract(tract), None)

    def _hear(self, tract: str, backlog: int) -> None:
        """From any thread: something was settled there, or its gate has changed."""
        known = self._known.get(Tract(tract))
        if known is not None:
            if isinstance(known.refusal, BackpressureError) and backlog >= 0:
                known.room, known.told = known.refusal.capacity - backlog, True
            else:
                self._known.pop(Tract(tract), None)
        room = self._rooms[Tract(tract)]
        if len(room):
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(room.look)

    async def close(self) -> None:
        """Record what was counted, and let nobody wait any more. Before the writer is closed."""
        if self._recording is not None:
            self._recording.cancel()
            self._record()
        for looking in self._looking.values():
            looking.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        for room in self._rooms.values():
            await room.close()


def _anew(refusal: _Refusal) -> _Refusal:
    """For somebody else: an error gathers whatever it passes through, and would keep it."""
    if isinstance(refusal, CallNotPermittedError):
        return CallNotPermittedError(refusal.tract, refusal.state, refusal.reason, refusal.retry_at)
    return BackpressureError(refusal.tract, refusal.backlog, refusal.capacity, retry_after())


def _note_failure(outcome: object) -> None:
    if isinstance(outcome, Exception):
        _logger.warning("How many were refused could not be recorded: %s", outcome)
