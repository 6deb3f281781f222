"""An agent that takes messages from a tract, from its joining to its leaving; and what became of each delivery.

It protects one rule: who has left settles nothing. That a delivery is settled once, and only by who holds it, is
kept by the inbox, in the same append.

::

    (nothing) --join--> joined --settle*--> joined --leave--> left
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, event

from domain.errors import ConsumerLeftError
from domain.events import AggregateEvent
from domain.tract import Tract

__all__ = ["Consumer", "Outcome", "Result", "consumer_id"]

_NAMESPACE: Final = UUID("5d1fbb43-6f0f-5a7a-9a54-5f3a5a0c7e11")


def consumer_id(tract: Tract, name: str, generation: int) -> UUID:
    """Of the consumer that joined under this name as the `generation`-th."""
    return uuid5(_NAMESPACE, f"{tract}/{generation}/{name}")


class Result(StrEnum):
    """ACKED: handled. RETRIED: to be handed out again. EXPIRED: too late for it. DEAD_LETTERED: given up."""

    ACKED = "acked"
    RETRIED = "retried"
    EXPIRED = "expired"
    DEAD_LETTERED = "dead_lettered"


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How one delivery ended.

    Attributes:
        dialogue, sequence: the message.
        attempt: the number of the delivery, from 1 on.
        result: what became of the message by it.
        waited: microseconds from the message's acceptance to this delivery.
        handled_in: microseconds from the delivery to its end.
        error: why, unless it was acked.
        delay: milliseconds before it is handed out again; of RETRIED only.
        generation: of the tract's circuit, when it was handed out; None: it does not count as a call, because
            nobody has tried to handle it to the end.
    """

    dialogue: UUID
    sequence: int
    attempt: int
    result: Result
    waited: int
    handled_in: int
    error: str | None = None
    delay: int | None = None
    generation: int | None = None


class Consumer(BaseAggregate[UUID]):
    TOPIC = "consumer"

    class Event(AggregateEvent, frozen=True):
        """Of a consumer."""

    class Joined(Event, CanInitAggregate[UUID], frozen=True):
        """An agent began to take messages; `generation` counts how often its name has joined the tract."""

        TOPIC = "consumer.joined.v1"
        originator_topic: str
        tract: Tract
        name: str
        generation: int

    class Settled(Event, frozen=True):
        """Deliveries ended, each as its outcome says."""

        TOPIC = "consumer.settled.v1"
        outcomes: list[Outcome]

    class Left(Event, frozen=True):
        """It takes no more."""

        TOPIC = "consumer.left.v1"
        reason: str

    @event(Joined)
    def __init__(self, id: UUID, tract: Tract, name: str, generation: int, timestamp: datetime) -> None:  # noqa: A002  # the library's name
        del id, timestamp  # taken by the library's own initialiser
        self.tract = tract
        self.name = name
        self.generation = generation
        self.left = False

    @classmethod
    def join(cls, tract: Tract, name: str, generation: int, *, now: datetime) -> "Consumer":
        return cls._create(
            cls.Joined,
            id=consumer_id(tract, name, generation),
            tract=tract,
            name=name,
            generation=generation,
            timestamp=now,
        )

    def check(self) -> None:
        """Raise ConsumerLeftError unless it may settle."""
        if self.left:
            raise ConsumerLeftError(self.tract, self.name)

    def settle(self, outcomes: Sequence[Outcome], *, now: datetime) -> None:
        self.check()
        self.trigger_event(self.Settled, outcomes=list(outcomes), timestamp=now)

    def leave(self, reason: str, *, now: datetime) -> None:
        self.check()
        self.trigger_event(self.Left, reason=reason, timestamp=now)

    @event(Settled)
    def _apply_settled(self) -> None:
        """What became of each message is for the read side."""

    @event(Left)
    def _apply_left(self) -> None:
        self.left = True
