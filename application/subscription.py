"""Handing messages to a consumer, no more than it asked for.

A subscription takes messages from the inbox as leases while it has demand: with the append that brings them, when
the tract's bell rings, when a lease or a delay has ended, or when it is asked for more.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID, uuid4

from eventsourcing.persistence import OperationalError, PersistenceError

from application.bells import Bells
from application.commands import Command, Join, Leave, Settle
from application.commit import Writer
from application.delivery import Delivery, DeliverySettings, End, Held, Lease
from application.inbox import Offer, Settlement, Take, Taken, Then
from application.log import DialogueLog
from application.reading import Reader, messages_at
from domain.consumer import Outcome, Result, consumer_id
from domain.errors import CallosumError, InvalidCommandError, LeaseLostError
from domain.tract import Tract

__all__ = ["Subscription"]

_RETRY: Final = 0.2
"""Seconds before a store that is away is asked again."""

_MOST_AT_ONCE: Final = 256
"""Messages of one take: a larger one would hold up the store, and all of it has one lease."""

_MOST_READY: Final = 512
"""Deliveries that wait for who iterates, whatever was asked for: more would only fill the memory."""

_Answer = TypeVar("_Answer")
_logger = logging.getLogger("callosum.delivery")


class Subscription:
    """An asynchronous iterator of deliveries, within ``async with``.

    It never holds more than was asked for: `demand` deliveries are asked for at first and, unless that is 0, one
    more for each that is settled; `request` asks for more. Cancelling ends it, gives back what nobody was given,
    and may be repeated. Iterating ends with it, and with the service; it raises what else ended the subscription,
    `ReplacedError` above all: another consumer of its name has joined.
    """

    def __init__(
        self,
        log: DialogueLog,
        writer: Writer,
        reader: Reader,
        bells: Bells,
        *,
        tract: Tract,
        name: str,
        demand: int,
        settings: DeliverySettings,
        ignores: Callable[[str], Awaitable[bool]],
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        """Made by the service.

        `ignores`: whether such an error tells nothing of how the tract does. `settled` is called when a delivery
        has ended, before who ended it hears of it.
        """
        self.tract = tract
        self.name = name
        self.settings = settings
        self.ignores = ignores
        self._settled = settled
        self._log, self._writer, self._reader, self._bells = log, writer, reader, bells
        self._inbox = log.recorder.inbox
        self._loop = asyncio.get_running_loop()
        self._credit = demand
        self._replenished = demand > 0
        self._in_hand = 0
        self._entered = False
        self._generation = 0
        self._consumer: UUID | None = None
        subscription = uuid4().hex
        self._leases = (f"{subscription}-{number}" for number in count())
        self._lease = next(self._leases)
        self._offered = 0.0
        self.left = True  # whether there may be more than was asked for
        self._claiming = Lock()
        self._claimed = False
        self._missed = False
        self._about_to_look = False
        self._unclaimed = asyncio.Event()
        self._given_up: set[asyncio.Task[None]] = set()
        self._ready: deque[Delivery] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._cancelled = False
        self._error: Exception | None = None
        self._draining: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise InvalidCommandError("subscription", "was entered before; subscribe again")
        self._entered = True
        self._generation = await self._reader.call(self._join)
        self._consumer = await self._writer.submit(Join(self.tract, self.name, self._generation, self._log.exists))
        self._bells.add(self)
        self.look()
        return self

    def _join(self) -> int:
        """As which generation it joins. The store counts them, and does not know of those that were imported."""
        while True:
            generation = self._inbox.join(self.tract, self.name)
            if not self._log.exists(consumer_id(self.tract, self.name, generation)):
                return generation

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()

    def request(self, count: int) -> None:
        """Ask for more deliveries, beside those that were asked for already. After cancelling it does nothing."""
        if self._cancelled:
            return
        if count < 1:
            raise InvalidCommandError("request", f"is for {count} deliveries; it must be for at least one")
        self._add_credit(count)

    async def cancel(self) -> None:
        """Take no more, give back what was not yet iterated over, and leave. Iterating ends.

        What was given and is not settled by then cannot be any more; it goes to others when its lease ends.
        """
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        await asyncio.shield(self._leaving)

    async def drain(self) -> None:
        """Take no more, and give back what was not yet iterated over. What was given can still be settled."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        await asyncio.shield(self._draining)

    async def _leave(self) -> None:
        await self.drain()
        if self._consumer is not None:
            await self._whatever_comes(self._writer.submit, Leave(self._consumer, "cancelled"))

    async def _drain(self) -> None:
        self._bells.remove(self)
        with self._claiming:
            self._cancelled = True
            if not self._claimed:
                self._unclaimed.set()
        self._tell(len(self._waiters))
        await self._unclaimed.wait()  # what is being taken must be given back, too
        await asyncio.gather(*self._given_up)
        unseen = [*self._ready]
        self._ready.clear()
        await asyncio.gather(*(self._whatever_comes(delivery.give_back) for delivery in unseen))

    async def _whatever_comes(self, act: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Something that is good to do before leaving; without it, leases end by themselves."""
        try:
            await act(*arguments)
        except LeaseLostError:
            return
        except (CallosumError, PersistenceError) as error:
            _logger.warning("Consumer %s leaves something behind: %s", self.name, error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            while self._cancelled or self._to_be_had < 1:
                if self._error is not None:
                    raise self._error
                if self._cancelled:
                    raise StopAsyncIteration
                await self._wait_for_one()
            delivery = self._ready.popleft()
            if len(self._ready) == _MOST_READY // 2 and self._wants_more:
                self._look_soon()
            if not delivery.has_expired:
                delivery.begin()
                return delivery
            self._in_hand -= 1  # it has waited here for too long, and is somebody else's by now
            self._add_credit(1)

    async def _wait_for_one(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:
                self._tell(1)  # what it was told of is for another one
            raise

    @property
    def _to_be_had(self) -> int:
        """Not all that is ready, when it was taken for deliveries whose end is not yet told."""
        return len(self._ready) + min(0, self._credit)

    def _tell(self, count: int) -> None:
        """Tell so many of those who wait that there is a delivery, or that it has ended."""
        while count > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def settle(
        self,
        command: Callable[[UUID, Settlement, Outcome], Command[_Answer]],
        settlement: Settlement,
        outcome: Outcome,
        told: Callable[[_Answer | Exception], None],
    ) -> None:
        """End a delivery. Called by the delivery."""
        self._writer.carry_out(command(self.consumer, settlement, outcome), told)

    def replenish(self) -> None:
        """A delivery has ended; ask for another one in its place. Called by the delivery."""
        self._settled()
        self._in_hand -= 1
        if self._replenished:
            self._add_credit(1)

    def _add_credit(self, count: int) -> None:
        owed = -self._credit
        self._credit += count
        if owed > 0:
            self._tell(min(owed, count))
        if self._wants_more:
            self._look_soon()

    @property
    def _wants_more(self) -> bool:
        """Whether more is asked for, and there may be some."""
        return self.left and self._credit > 0

    def _look_soon(self) -> None:
        """For all that is asked for in this turn of the loop, or by those who hear of one round of the writer."""
        if not self._about_to_look:
            self._about_to_look = True
            self._writer.when_told(self._look_now)

    def _look_now(self) -> None:
        self._about_to_look = False
        self.look()

    def look(self) -> None:
        """There may be something to take: take it. From any thread."""
        if self.claim() and self._reader.begin(self._take, self.offer()) is None:
            self._call(self._close)

    def claim(self, settled: int = 0) -> bool:
        """Whether to take something now, when so many of its deliveries have ended by then. From any thread.

        Only one take is under way at a time, so whoever has the claim makes the offer, and has it read and called.
        Who holds nothing takes without demand, too: its place may have been taken.
        """
        with self._claiming:
            if self._claimed:
                self._missed = True  # it may be too early for what was meant
                return False
            if self._cancelled or self._error is not None:
                return False
            self._claimed = self._in_hand == 0 or self._demand(settled) > 0
            self.left |= not self._claimed
            return self._claimed

    def offer(self, settled: int = 0) -> Offer:
        demand = self._demand(settled)
        self._offered = monotonic()
        return Offer(Take(self.tract, self.name, self._generation, self._lease, demand, self._ack_wait))

    def _demand(self, settled: int) -> int:
        """Who asks for another one in the place of each that ends asks for it in the same step."""
        wanted = self._credit + (settled if self._replenished else 0)
        return max(0, min(wanted, _MOST_AT_ONCE, _MOST_READY - len(self._ready)))

    async def extend(self, lease: Lease) -> bool:
        until = monotonic() + self.settings.ack_wait
        extended = await self._reader.call(self._inbox.extend, self.tract, lease.name, self._ack_wait)
        if extended:
            lease.until = until
        return extended

    @property
    def consumer(self) -> UUID:
        assert self._consumer is not None, "only who has entered takes"
        return self._consumer

    @property
    def _ack_wait(self) -> int:
        return round(self.settings.ack_wait * 1000)

    def _take(self, offer: Offer) -> None:
        """In one of the reader's threads."""
        try:
            offer.taken = self._inbox.take(offer.take)
        except Exception as error:  # noqa: BLE001  # a thread's edge: who iterates hears of it
            self._call(partial(self._fail, error))
        else:
            self._call(self.read(offer))

    def read(self, offer: Offer) -> Callable[[], None]:
        """What is to be called on the event loop now. It may block."""
        if offer.taken is None:
            return partial(self._answer, None)
        try:
            slots = [handed.slot for handed in offer.taken.handed]
            messages = messages_at(self._log, slots, offer.taken.entries)
        except Exception as error:  # noqa: BLE001  # likewise
            return partial(self._fail, error)
        lease = Lease(offer.take.lease, self._offered + self.settings.ack_wait)
        generation = offer.taken.generation
        held = [
            Held(self.tract, lease, handed, messages[handed.slot], generation) for handed in offer.taken.handed
        ]
        return partial(self._answer, offer.taken, held, asked=offer.take.demand)

    def _call(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback)

    def _fail(self, error: Exception) -> None:
        """The lease stays the same, so what was given all the same is taken again."""
        if isinstance(error, OperationalError):
            _logger.warning("Consumer %s waits for the store: %s", self.name, error)
            self._bells.look_in(self.tract, _RETRY)
        else:
            self._error = error
            self._tell(len(self._waiters))
        self._end_claim()

    def _answer(self, taken: Taken | None, held: Sequence[Held] = (), *, asked: int = 0) -> None:
        """What came of a take of so many; None: it is to be tried again."""
        if held:
            self._lease = next(self._leases)
            self._hand_over(held)
        if taken is not None:
            self.left = taken.left
            self._look_later(taken)
        # What is left though it was asked for is held back by the gate, and the bell rings when that changes.
        more = self._wants_more and (len(held) > 0 or asked == 0)
        if self._end_claim() or taken is None or more:
            self._look_soon()

    def _look_later(self, taken: Taken) -> None:
        due = None if taken.next_due is None else taken.next_due / 1000 + 0.001
        waits = [wait for wait in (due, self._inbox.look_every) if wait is not None]
        if waits:
            self._bells.look_in(self.tract, min(waits))

    def _close(self) -> None:
        """The service is closed."""
        self._cancelled = True
        self._tell(len(self._waiters))
        self._end_claim()

    def _end_claim(self) -> bool:
        """Whether somebody wanted to take meanwhile."""
        with self._claiming:
            self._claimed, missed, self._missed = False, self._missed, False
            if self._cancelled:
                self._unclaimed.set()
        return missed

    def _hand_over(self, held: Sequence[Held]) -> None:
        """To whoever iterates; what is not to be delivered is recorded before it leaves the inbox."""
        self._credit -= len(held)
        self._in_hand += len(held)
        for each in held:
            end = self._end_of(each)
            if end is None:
                self._ready.append(Delivery(self, each))
            else:
                self._give_up(each, end)
        self._tell(self._to_be_had)

    def _give_up(self, held: Held, end: End) -> None:
        settle = Settle(self.consumer, *held.ended(end))
        settling = asyncio.create_task(self._whatever_comes(self._writer.submit, settle))
        self._given_up.add(settling)
        settling.add_done_callback(self._gave_up)

    def _gave_up(self, settling: asyncio.Task[None]) -> None:
        self._given_up.discard(settling)
        self._in_hand -= 1
        self._add_credit(1)

    def _end_of(self, held: Held) -> End | None:
        """How it ends without being delivered; None: it is to be delivered."""
        deadline = held.message.deadline
        if held.handed.attempt > self.settings.max_deliver:
            return End(Then.DEAD, Result.DEAD_LETTERED, "its last lease was lost", counts=False)
        if deadline is not None and deadline <= datetime.now(UTC):
            return End(Then.DONE, Result.EXPIRED, "its deadline has passed", counts=False)
        return None
