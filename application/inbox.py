"""What the application asks of a store about messages on their way to consumers.

What arrives and what is settled goes through the log's own append (`LogRecorder.insert_events`), in one step with
the events that tell of it. Handing out is a step of its own and writes no event: it gives a *lease*. What is not
settled when the lease ends is handed out again. Who waits for something to take may offer to an append to take it
in its step (`Offer`).

A *slot* is a message's place: the position of its event times 1000, and its index within the event.

Who sends something more urgent into a full tract may hold the least urgent that waits there (`Inbox.take_lowest`),
and then either put it back, or settle it with `Then.SHED` in the append that takes its room.

A dead letter is held under a lease that never ends (`DEAD_LETTERS`) until it is settled once more: handed out
again, from the first attempt on, or done with.

Senders that wait for room in a full tract do so in their process's *waiting room*; the store sees to it that they
are let in as often as those of the other ones (`Inbox.let_in`).

A tract's *gate* lets everything through, or nothing, or so many deliveries as there are permits (`GateChange`). A
delivery takes a permit; when it ends without having been a call (`Settlement.is_call`), or with its lease, the
permit is there again, unless the gate's circuit has moved on.

In a tract that is *ordered* the messages of a dialogue are a line: only its head can be handed out, and the next
one when the head is done with. A dead letter stays the head.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from application.entries import Entry
from application.passage import Passage

__all__ = [
    "DEAD_LETTERS",
    "ROOM_LEASE",
    "Arrival",
    "Buried",
    "Handed",
    "Holding",
    "InFlight",
    "Inbox",
    "InboxState",
    "Level",
    "NotEmptyError",
    "Offer",
    "Pending",
    "ReplacedError",
    "Settlement",
    "Take",
    "Taken",
    "Then",
    "slot_of",
]

DEAD_LETTERS: Final = "dead"
"""The lease of the dead letters."""

ROOM_LEASE: Final = 1000
"""Milliseconds for which the others wait for a waiting room that does not ask any more."""


def slot_of(position: int, index: int) -> int:
    return position * 1000 + index


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """Neighbouring messages of one event, for one tract, with the same priority and recipient.

    Attributes:
        event: the index, among the stored events of the append, of the one that holds them.
        first: the first one's index within the event.
        recipient: the consumer that they are for; None: any of the tract.
        exempt: they are let in whatever the capacity is, and by a gate that is shut.
    """

    event: int
    first: int
    count: int
    tract: str
    priority: int
    recipient: str | None = None
    exempt: bool = False


class Then(StrEnum):
    """What becomes of a message whose delivery ends. BACK: it was never seen, and the attempt does not count.

    SHED: it is given up, and what arrives with the same append may take its room; only of `Inbox.take_lowest`.
    Of a dead letter, DONE discards it and AGAIN makes it new: its attempts count from 1, and it needs room.
    """

    DONE = "done"
    AGAIN = "again"
    BACK = "back"
    DEAD = "dead"
    SHED = "shed"


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The end of one delivery, or of a dead letter.

    Attributes:
        attempt: the one that was handed out; another one is not this delivery's.
        delay: milliseconds before it is handed out again; only with `Then.AGAIN`.
        line: the id of its dialogue, 32 hex digits; in an ordered tract the next of it follows.
        uncounted: it was no call, as when it expired before anybody saw it.
    """

    tract: str
    lease: str
    slot: int
    attempt: int
    then: Then
    delay: int = 0
    line: str = ""
    uncounted: bool = False

    @property
    def is_call(self) -> bool:
        """Whether it uses up the permit under which it was handed out, if there was one."""
        return not self.uncounted and self.then not in {Then.BACK, Then.SHED}


class Handed(msgspec.Struct, frozen=True, gc=False):
    """One message that was handed out; attempts count from 1."""

    slot: int
    priority: int
    attempt: int

    @property
    def position(self) -> int:
        return self.slot // 1000

    @property
    def index(self) -> int:
        return self.slot % 1000


class Take(msgspec.Struct, frozen=True):
    """What a consumer asks for.

    Attributes:
        generation: of the consumer, as `Inbox.join` counted it.
        lease: an id that is made for it. Taking again with the same gives the same again, so it may be repeated
            when the reply was lost.
        demand: the most messages.
        ack_wait: milliseconds until the lease ends.
    """

    tract: str
    consumer: str
    generation: int
    lease: str
    demand: int
    ack_wait: int


@dataclass(frozen=True)
class Taken:
    """What a take gave.

    Attributes:
        handed: highest priority first, then by position.
        entries: of the log, that hold them; where they are many or large, some of these.
        left: whether more was waiting for this consumer, be it that the gate holds it back.
        next_due: milliseconds until a lease or a delay ends, when there is one.
        generation: the circuit's, under which these were handed out; without any, as it is now.
    """

    handed: Sequence[Handed]
    entries: Sequence[Entry]
    left: bool
    next_due: int | None
    generation: int = 0


@dataclass
class Offer:
    """A take for an append to carry out as its last step, if there is something for it then.

    Attributes:
        taken: what it gave. None: nothing, or whether it was carried out is not known; taking tells.
    """

    take: Take
    taken: Taken | None = None


class Level(msgspec.Struct, frozen=True):
    """How full a tract is, and what its gate lets through, which a `GateChange` tells.

    Attributes:
        backlog: messages accepted and not settled.
        capacity: the most that may be; 0: any number; None: it was never set, which is any number as well.
        permits: those that are left.
    """

    backlog: int
    capacity: int | None
    passage: Passage = Passage.FREE
    generation: int = 0
    permits: int = 0
    retry_at: int | None = None

    def has_room_for(self, count: int) -> bool:
        """`count`: what arrives, without as many as are shed for it."""
        return count <= 0 or not self.capacity or self.backlog + count <= self.capacity

    def lets_out(self, demand: int) -> int:
        """How many of so many deliveries may be handed out."""
        if self.passage is Passage.SHUT:
            return 0
        return min(demand, self.permits) if self.passage is Passage.PROBING else demand


@dataclass(frozen=True)
class Buried:
    """A dead letter.

    Attributes:
        near: the position of the first event of the append that made it one.
    """

    slot: int
    attempt: int
    near: int


@dataclass(frozen=True)
class Pending:
    """Messages that can be handed out now, of one priority and for one recipient.

    Attributes:
        recipient: None: any of the tract.
        oldest: the slot of the first.
    """

    priority: int
    recipient: str | None
    count: int
    oldest: int


@dataclass(frozen=True)
class InFlight:
    """Messages that one consumer holds, or of nobody (None), that wait for a delay to end.

    Attributes:
        oldest: the slot of the first.
        attempt: the highest of any of them.
    """

    consumer: str | None
    count: int
    oldest: int
    attempt: int


@dataclass(frozen=True)
class InboxState:
    """One tract's inbox at one moment. In an ordered tract, what is left of the backlog stands in line."""

    level: Level
    ordered: bool
    pending: Sequence[Pending]
    in_flight: Sequence[InFlight]
    dead: int


@dataclass(frozen=True)
class Holding:
    """Who holds a message; without a consumer, it waits for a delay to end. `until`: milliseconds from now."""

    consumer: str | None
    attempt: int
    until: int


class ReplacedError(Exception):
    """A newer consumer of the same name has joined; what this one held goes to others."""

    def __init__(self, tract: str, consumer: str) -> None:
        super().__init__(f"Another consumer {consumer!r} has joined the {tract} tract.")
        self.tract = tract
        self.consumer = consumer


class NotEmptyError(Exception):
    """Whether a tract is ordered can be changed only while it holds no message and no dead letter."""

    def __init__(self, tract: str) -> None:
        super().__init__(
            f"the {tract} tract holds messages or dead letters; whether it is ordered can change only without any"
        )


class Inbox(ABC):
    """Messages of a log that are on their way. All calls block."""

    look_every: float | None = None
    """Seconds between looks for what other processes bring, for a store that tells nobody; None: it tells."""

    @abstractmethod
    def configure(self, tract: str, capacity: int) -> None:
        """Set the most messages that may be on their way to a tract; 0: any number."""

    @abstractmethod
    def order(self, tract: str, ordered: bool) -> None:
        """Set whether a tract is ordered; saying again what it is changes nothing. Raises NotEmptyError."""

    @abstractmethod
    def level(self, tract: str) -> Level: ...

    @abstractmethod
    def join(self, tract: str, consumer: str) -> int:
        """The generation of this consumer, from 1 on. What an earlier one of its name held is free at once."""

    @abstractmethod
    def take(self, take: Take) -> Taken:
        """Hand out what is asked for, as far as it is there and the gate lets it out.

        Raises:
            ReplacedError: the generation is not the newest.
        """

    @abstractmethod
    def extend(self, tract: str, lease: str, ack_wait: int) -> bool:
        """Let the lease end `ack_wait` milliseconds from now; False when it has ended."""

    @abstractmethod
    def take_lowest(self, tract: str, lease: str, *, count: int, below: int, ack_wait: int) -> Sequence[Handed]:
        """Hold the `count` least urgent messages that wait, if there are so many of priorities below one; or none.

        The least urgent first, the latest first among equals, whoever they are for and whatever the gate lets
        out. This is no delivery: `Handed.attempt` is the last one that there was, 0 for none, and when the lease
        ends, after `ack_wait` milliseconds, they are as they were. In an ordered tract it is none: what stands
        behind one that is given up has waited for it.

        Args:
            tract: whose.
            lease: an id that is made for it, as in `Take`.
            count: 1 to 1000.
            below: a priority.
            ack_wait: milliseconds.
        """

    @abstractmethod
    def put_back(self, tract: str, lease: str) -> None:
        """What a lease of `take_lowest` still holds waits again, as before; nothing, when it has ended."""

    @abstractmethod
    def let_in(self, tract: str, room: str, wanted: int, waiting: int) -> int:
        """Let senders of a waiting room in; how many, at most `wanted`.

        So many that each sender of this one has been let in at most once more, on the average, than each of the
        one that is furthest behind, of those where somebody waits and that have asked within `ROOM_LEASE`. Who
        comes has missed nothing.

        Args:
            tract: for which they wait.
            room: an id of the waiting room.
            wanted: how many the tract has room for; 0: to be known as waiting, still.
            waiting: how many wait there, at least 1.
        """

    @abstractmethod
    def leave(self, tract: str, room: str) -> None:
        """Nobody waits there now. If somebody comes within `ROOM_LEASE`, what was let in before counts."""

    @abstractmethod
    def dead(self, tract: str, *, after: int, limit: int) -> Sequence[Buried]:
        """Dead letters at slots beyond `after`, at most `limit`, by slot."""

    @abstractmethod
    def state(self, tract: str) -> InboxState:
        """What there is now: pending by priority, highest first; in flight by consumer."""

    @abstractmethod
    def holding(self, tract: str, slot: int) -> Holding | None:
        """Who holds a message; None: nobody, it can be taken, stands in line, or is settled."""

    @abstractmethod
    def listen(self, ring: Callable[[str], None]) -> None:
        """Have this called, from any thread, with a tract where something may be to take. It must return soon.

        Of what an append's offers took all of, and of what is due by then, only they are told.
        """

    @abstractmethod
    def listen_for_room(self, told: Callable[[str, int], None]) -> None:
        """Have this called, from any thread, with a tract and its backlog; it must return soon.

        After every append in which something of the tract was settled, or its gate has changed; other processes'
        too, unless this store tells nobody of them (`look_every`). With -1, for each tract, when some
        may have been missed: when listening begins, and after a connection was lost. Calls may come in another
        order than their appends.
        """
