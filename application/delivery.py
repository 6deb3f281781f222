"""One message in a consumer's hands, and the ways to settle it: `ack`, `reply`, `nak`, `term`.

What is not settled in time goes to somebody else, and settling it then is refused.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import msgspec

from application.commands import Command, Reply, Settle
from application.inbox import Handed, Settlement, Then
from application.reading import RecordedMessage
from application.round import Receipt
from application.validation import MOST_TEXT, stamped_few
from domain.consumer import Outcome, Result
from domain.errors import InvalidCommandError, InvalidMessageError, LeaseLostError
from domain.message import Message
from domain.tract import Tract

if TYPE_CHECKING:
    from application.subscription import Subscription

__all__ = ["Delivery", "DeliverySettings", "End", "Held", "Lease"]

_LONGEST: Final = 30 * 86_400
"""Seconds of the longest delay."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class DeliverySettings:
    """How deliveries are repeated.

    Attributes:
        ack_wait: seconds in which a delivery must be settled. All that is handed out at once has one lease, so as
            many as are asked for must be handled within it, or say that they are in progress. What has not been
            iterated over by then goes to somebody else unseen.
        max_deliver: attempts after which a message is a dead letter.
        backoff, most_backoff: seconds before the second attempt after a `nak`, doubling up to the most; the wait
            is anything up to that, at random.
    """

    ack_wait: float = 30.0
    max_deliver: int = 5
    backoff: float = 0.5
    most_backoff: float = 60.0

    def __post_init__(self) -> None:
        for name in ("ack_wait", "backoff", "most_backoff"):
            if not 0 < getattr(self, name) <= _LONGEST:
                raise InvalidCommandError(name, f"is {getattr(self, name)}; it must be within 0 and {_LONGEST} s")
        if self.max_deliver < 1:
            raise InvalidCommandError("max_deliver", f"is {self.max_deliver}; it must be at least 1")

    def delay(self, attempt: int) -> float:
        doubled = self.backoff * 2.0 ** min(attempt - 1, 32)
        return random.uniform(0, min(self.most_backoff, doubled))  # noqa: S311  # no secret


class Lease(msgspec.Struct):
    """Of all that was handed out together.

    Attributes:
        name: as the store knows it.
        until: of `time.monotonic`, when it ends, unless it is made longer; the store's clock decides.
    """

    name: str
    until: float


class Held(msgspec.Struct, frozen=True):
    """A message that was handed out, the lease it is held under, and the generation of the circuit then."""

    tract: Tract
    lease: Lease
    handed: Handed
    message: RecordedMessage
    generation: int = 0

    def ended(self, end: "End", *, handled_in: float = 0.0) -> tuple[Settlement, Outcome]:
        """The end of the delivery for the inbox and for the log; `handled_in` in seconds."""
        waited = time() - self.message.at / 1000 - handled_in
        return (
            Settlement(
                self.tract,
                self.lease.name,
                self.handed.slot,
                self.handed.attempt,
                end.then,
                end.delay or 0,
                self.message.dialogue.hex,
                uncounted=not end.counts,
            ),
            Outcome(
                self.message.dialogue,
                self.message.sequence,
                self.handed.attempt,
                end.result,
                waited=max(0, round(waited * 1e6)),
                handled_in=round(handled_in * 1e6),
                error=end.error,
                delay=end.delay,
                generation=self.generation if end.counts else None,
            ),
        )

    @property
    def lost(self) -> LeaseLostError:
        return LeaseLostError(self.message.dialogue, self.message.sequence, self.handed.attempt)


@dataclass(frozen=True)
class End:
    """How a delivery ends; `delay` in milliseconds.

    Attributes:
        counts: whether it tells the circuit how the tract does.
    """

    then: Then
    result: Result
    error: str | None = None
    delay: int | None = None
    counts: bool = True


_ACKED: Final = End(Then.DONE, Result.ACKED)
_UNSEEN: Final = End(Then.BACK, Result.RETRIED, "it was given back unseen", 0, counts=False)


class Delivery:
    """One message, handed to one consumer. It is settled once; what was refused may be tried again.

    Every way of settling raises LeaseLostError when it is held no more, ConsumerLeftError after the subscription
    was cancelled, and what the store raises. Cancelling it stops the waiting; it may be settled all the same.
    """

    def __init__(self, subscription: "Subscription", held: Held) -> None:
        self._subscription = subscription
        self._held = held
        self._began = monotonic()
        self._settled = False

    @property
    def message(self) -> RecordedMessage:
        """With its place: dialogue, sequence, position."""
        return self._held.message

    @property
    def attempt(self) -> int:
        """How often it has been handed out, this time included."""
        return self._held.handed.attempt

    @property
    def sequence(self) -> int:
        return self.message.sequence

    @property
    def position(self) -> int:
        return self.message.position

    async def ack(self) -> None:
        """It is handled, and never comes back."""
        await self._settle(_ACKED)

    async def reply(self, message: Message) -> Receipt:
        """Say the answer and ack, in one append; when it is refused, nothing was said. It can have no key."""
        [answer], size = stamped_few([message])
        if answer.idempotency_key is not None:
            raise InvalidMessageError("idempotency_key", "is not needed in a reply: it is said once with its ack")
        return await self._end(partial(Reply, message=answer, size=size), _ACKED)

    async def nak(self, error: str, *, delay: float | None = None, counts: bool = True) -> None:
        """It is not handled: hand it out again after `delay` seconds, by default a backoff that grows.

        After the last attempt it is a dead letter.

        Args:
            error: what went wrong; what stands before a colon is taken as the kind of error.
            delay: seconds.
            counts: whether it is a failure of the tract. Not so when it was only interrupted.
        """
        settings = self._subscription.settings
        if self.attempt >= settings.max_deliver:
            await self._give_up(error, counts=counts)
            return
        wait = settings.delay(self.attempt) if delay is None else delay
        if not 0 <= wait <= _LONGEST:
            raise InvalidCommandError("delay", f"is {delay} seconds; it must be within 0 and {_LONGEST}")
        counts = counts and not await self._subscription.ignores(error)
        await self._settle(End(Then.AGAIN, Result.RETRIED, _told(error), round(wait * 1000), counts))

    async def term(self, reason: str) -> None:
        """Give it up: a dead letter, whatever the attempt."""
        await self._give_up(reason, counts=True)

    async def _give_up(self, reason: str, *, counts: bool) -> None:
        counts = counts and not await self._subscription.ignores(reason)
        await self._settle(End(Then.DEAD, Result.DEAD_LETTERED, _told(reason), counts=counts))

    async def in_progress(self) -> None:
        """It takes longer: all that was handed out with it has `ack_wait` from now."""
        if self._settled or not await self._subscription.extend(self._held.lease):
            raise self._held.lost

    @property
    def has_expired(self) -> bool:
        """Whether its lease has ended: it goes, or went, to somebody else."""
        return monotonic() >= self._held.lease.until

    def begin(self) -> None:
        """It is in the hands of who iterates, from now on."""
        self._began = monotonic()

    async def give_back(self) -> None:
        """Nobody has seen it; this attempt does not count."""
        await self._settle(_UNSEEN)

    def abandon(self) -> None:
        """Leave it to the end of its lease, and ask for another one in its place."""
        if not self._settled:
            self._settled = True
            self._subscription.replenish()

    async def _settle(self, end: End) -> None:
        await self._end(Settle, end)

    async def _end(self, command: Callable[[UUID, Settlement, Outcome], Command[_Answer]], end: End) -> _Answer:
        if self._settled:
            raise self._held.lost
        self._settled = True
        settlement, outcome = self._held.ended(end, handled_in=monotonic() - self._began)
        answer: asyncio.Future[_Answer | Exception] = asyncio.get_running_loop().create_future()
        self._subscription.settle(command, settlement, outcome, partial(self._answer, answer))
        try:
            told = await answer
        except asyncio.CancelledError:  # who waits may stop waiting; the settling goes on
            if not answer.cancelled():
                self._ended(answer.result())
            raise
        self._ended(told)
        if isinstance(told, Exception):
            raise told
        return told

    def _answer(self, answer: "asyncio.Future[_Answer | Exception]", told: _Answer | Exception) -> None:
        if answer.done():
            self._ended(told)  # nobody waits
        else:
            answer.set_result(told)

    def _ended(self, told: object) -> None:
        """Only now that who settled it has heard of it is another one asked for in its place."""
        if isinstance(told, Exception) and not isinstance(told, LeaseLostError):
            self._settled = False
        else:
            self._subscription.replenish()


def _told(text: str) -> str:
    """As much of an error as is worth recording, and as can be."""
    return text[:MOST_TEXT].encode("utf-8", "replace").decode()
