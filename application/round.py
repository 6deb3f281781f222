"""What one round has decided so far, and what becomes of it in the append.

A round decides many commands before it appends. What one aggregate has been asked for so far in the round is its
*draft*; a command that is refused leaves the drafts as they were.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby, repeat
from operator import attrgetter
from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.domain import DomainEventProtocol

from application.bells import Offers
from application.inbox import Arrival, Settlement
from application.log import DialogueLog
from application.passage import GateChange, Passage
from application.recorder import KeyedMessage
from domain.circuit import CircuitState
from domain.consumer import Consumer, Outcome
from domain.dialogue import Dialogue, Kind
from domain.gate import CircuitMoved, Gate, ShedMessage
from domain.message import Message
from domain.tract import Tract

__all__ = ["ConsumerDraft", "Draft", "Places", "Receipt", "RepeatedError", "Round", "gate_change"]

_ADDRESS = attrgetter("target", "priority", "recipient")
_PASSAGES: Final = {
    CircuitState.CLOSED: Passage.FREE,
    CircuitState.DISABLED: Passage.FREE,
    CircuitState.HALF_OPEN: Passage.PROBING,
    CircuitState.OPEN: Passage.SHUT,
    CircuitState.FORCED_OPEN: Passage.SHUT,
}


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Proof that a message is recorded. Messages of one event share its position."""

    dialogue: UUID
    sequence: int
    position: int


class RepeatedError(Exception):
    """Another command of the round brings the same key, or settles the same: decide this one after that."""


class Draft:
    """What one round has decided for one dialogue: its working copy, and messages not yet made an event.

    Messages wait so that all of a round's become as few events as can be.

    Attributes:
        answers: sequences of those that go to who asked.
    """

    def __init__(self, load: Callable[[], Dialogue], *, delivers: bool) -> None:
        self._load = load
        self._delivers = delivers
        self._dialogue: Dialogue | None = None
        self._waiting: list[Message] = []
        self._keys: dict[str, tuple[int, bytes]] = {}
        self._exempt: set[int] = set()
        self._asked: list[int] = []
        self._answered: set[int | None] = set()
        self.answers: set[int] = set()
        self.settlements: list[Settlement] = []

    @property
    def dialogue(self) -> Dialogue:
        if self._dialogue is None:
            self._dialogue = self._load()
        return self._dialogue

    def open(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def convey(
        self, messages: Sequence[Message], keys: dict[str, tuple[int, bytes]], *, asks: bool = False
    ) -> int:
        """Take messages; the first one's sequence.

        Args:
            messages: to be said.
            keys: key -> (index in messages, content digest).
            asks: their answers are awaited.
        """
        if not messages:
            return 0
        if not self._keys.keys().isdisjoint(keys):
            raise RepeatedError
        self.dialogue.check(messages, waiting=len(self._waiting))
        first = self.dialogue.message_count + len(self._waiting) + 1
        self._note_answers(messages, first)
        if asks:
            self._asked += range(first, first + len(messages))
        self._waiting.extend(messages)
        self._keys.update({key: (first + index, digest) for key, (index, digest) in keys.items()})
        return first

    def _note_answers(self, messages: Sequence[Message], first: int) -> None:
        """The first reply to a question goes to who asked, not to the inbox."""
        questions = self.dialogue.open_questions.union(self._asked)
        for sequence, message in enumerate(messages if questions else (), first):
            if message.in_reply_to in questions and message.in_reply_to not in self._answered:
                self._answered.add(message.in_reply_to)
                self.answers.add(sequence)

    def reply(self, message: Message) -> int:
        """Take a message that is let in whatever the capacity is; its sequence."""
        sequence = self.convey([message], {})
        self._exempt.add(sequence)
        return sequence

    def close(self, reason: str, now: datetime) -> None:
        self.flush(now)
        self.dialogue.close(reason, now=now)

    def flush(self, now: datetime) -> None:
        if self._waiting:
            self.dialogue.accept(self._waiting, asked=self._asked, kept=not self._delivers, now=now)
            self._waiting = []

    def redrive(self, letters: Mapping[int, Settlement], reason: str, now: datetime) -> None:
        """Dead letters by their sequences."""
        self._settle(letters.values(), now).redrive(list(letters), reason, now=now)

    def discard(self, letters: Mapping[int, Settlement], reason: str, now: datetime) -> None:
        """Likewise."""
        self._settle(letters.values(), now).discard(list(letters), reason, now=now)

    def _settle(self, settlements: Collection[Settlement], now: datetime) -> Dialogue:
        """The dialogue to tell of it."""
        if any(settlement in self.settlements for settlement in settlements):
            raise RepeatedError
        dialogue = self.dialogue
        self.flush(now)
        self.settlements += settlements
        return dialogue

    def stored(self) -> Dialogue | None:
        """The working copy when it has events to store."""
        return self._dialogue if self._dialogue is not None and self._dialogue.pending_events else None

    def keyed(self, first_event: int) -> list[KeyedMessage]:
        """The keys of this draft; its first event is number `first_event` of the append."""
        if not self._keys:
            return []
        conveyed = [
            (event.first_sequence + len(event.messages) - 1, number)
            for number, event in enumerate(self.dialogue.pending_events, first_event)
            if isinstance(event, Dialogue.Conveyed)
        ]
        return [
            KeyedMessage(
                self.dialogue.id, key, sequence, digest, conveyed[bisect_left(conveyed, (sequence, -1))][1]
            )
            for key, (sequence, digest) in self._keys.items()
        ]

    def arrivals(self, first_event: int) -> list[Arrival]:
        """What is to be delivered of this draft; its first event is number `first_event` of the append."""
        if self.dialogue.kind is Kind.RECORDED or not self._delivers:
            return []
        return [
            arrival
            for number, event in enumerate(self.dialogue.pending_events, first_event)
            if isinstance(event, Dialogue.Conveyed)
            for arrival in self._arrivals(number, event)
        ]

    def _arrivals(self, number: int, event: Dialogue.Conveyed) -> Iterator[Arrival]:
        """Runs of neighbours that go to the same place; as a rule all of an event are one."""
        messages = event.messages
        if not (self._exempt or self.answers) and len(addresses := set(map(_ADDRESS, messages))) == 1:
            yield Arrival(number, 0, len(messages), *addresses.pop())
            return
        places = (
            (*_ADDRESS(message), sequence in self._exempt, sequence in self.answers)
            for sequence, message in enumerate(messages, event.first_sequence)
        )
        index = 0
        for (target, priority, recipient, exempt, answers), run in groupby(places):
            count = sum(1 for _ in run)
            if not answers:
                yield Arrival(number, index, count, target, priority, recipient, exempt)
            index += count


class ConsumerDraft:
    """What one round has decided for one consumer; its outcomes become one event."""

    def __init__(self, load: Callable[[], Consumer]) -> None:
        self._load = load
        self._consumer: Consumer | None = None
        self._outcomes: list[Outcome] = []
        self.settlements: list[Settlement] = []

    @property
    def consumer(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._load()
        return self._consumer

    def join(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def settle(self, outcomes: Sequence[Outcome], settlements: Sequence[Settlement]) -> None:
        self.consumer.check()
        self._outcomes += outcomes
        self.settlements += settlements

    def leave(self, reason: str, now: datetime) -> None:
        self.flush(now)
        self.consumer.leave(reason, now=now)

    def flush(self, now: datetime) -> None:
        if self._outcomes:
            self.consumer.settle(self._outcomes, now=now)
            self._outcomes = []

    def stored(self) -> Consumer | None:
        """The working copy when it has events to store."""
        return self._consumer if self._consumer is not None and self._consumer.pending_events else None


class Round:
    """The drafts of one round, by aggregate; and the offers to take with its append."""

    def __init__(self, log: DialogueLog, offers: Offers | None) -> None:
        self._log = log
        self._offers = offers
        self._dialogues: dict[UUID, Draft] = {}
        self._consumers: dict[UUID, ConsumerDraft] = {}
        self._gates: dict[Tract, Gate] = {}
        self._shed: dict[Tract, list[ShedMessage]] = {}
        self._settlements: list[Settlement] = []

    def dialogue(self, dialogue: UUID) -> Draft:
        draft = self._dialogues.get(dialogue)
        if draft is None:
            load = partial(self._log.dialogue, dialogue)
            draft = self._dialogues[dialogue] = Draft(load, delivers=self._log.delivers)
        return draft

    def consumer(self, consumer: UUID) -> ConsumerDraft:
        draft = self._consumers.get(consumer)
        if draft is None:
            draft = self._consumers[consumer] = ConsumerDraft(partial(self._log.consumer, consumer))
        return draft

    def gate(self, tract: Tract, now: datetime) -> Gate:
        """The working copy; it is built if nothing was decided about the tract before."""
        gate = self._gates.get(tract)
        if gate is None:
            gate = self._gates[tract] = self._log.gate(tract) or Gate.build(tract, now=now)
        return gate

    def shed(self, tract: Tract, settlements: Sequence[Settlement], messages: Sequence[ShedMessage]) -> None:
        """Give messages up; those of a round become one event."""
        if messages:
            self._shed.setdefault(tract, []).extend(messages)
            self._settlements += settlements

    def append(self, now: datetime) -> dict[UUID, "Places"]:
        """Store all of it together; where each aggregate's events went.

        Raises:
            PersistenceError: nothing was stored.
        """
        keyed: list[KeyedMessage] = []
        arrivals: list[Arrival] = []
        changed: list[Dialogue | Consumer] = []
        settlements = list(self._settlements)
        settled: dict[UUID, int] = {}
        making_room = self._making_room(now)
        first_event = sum(len(gate.pending_events) for gate in making_room)
        for draft in self._dialogues.values():
            draft.flush(now)
            if (dialogue := draft.stored()) is not None:
                settlements += draft.settlements
                keyed += draft.keyed(first_event)
                arrivals += draft.arrivals(first_event)
                changed.append(dialogue)
                first_event += len(dialogue.pending_events)
        for settling in self._consumers.values():
            settling.flush(now)
            if (consumer := settling.stored()) is not None:
                settlements += settling.settlements
                settled[consumer.id] = len(settling.settlements)
                changed.append(consumer)
        moved = [gate for gate in self._gates.values() if gate.tract not in self._shed and _is_told(gate)]
        offers = self._offers.to(arrivals, settled) if self._offers else ()
        stored = self._log.append(
            *making_room,
            *changed,
            *moved,
            keyed=keyed,
            arrivals=arrivals,
            settlements=settlements,
            offers=offers,
            gates=[
                change
                for gate in (*making_room, *moved)
                if (change := gate_change(gate, gate.pending_events)) is not None
            ],
        )
        return _places((recording.domain_event, recording.notification.id) for recording in stored)

    def _making_room(self, now: datetime) -> list[Gate]:
        """Gates that shed. They tell of it before what takes the room, or more would seem to be on its way."""
        gates = [self.gate(tract, now) for tract in self._shed]
        for gate in gates:
            gate.shed(self._shed[gate.tract], now=now)
        return gates


def _is_told(gate: Gate) -> bool:
    """Whether it was told something: not if it was only built."""
    return any(not isinstance(event, Gate.Built) for event in gate.pending_events)


def gate_change(gate: Gate, events: Collection[object]) -> GateChange | None:
    """What these events, the gate's last ones, change in the store."""
    configured = any(isinstance(event, Gate.Configured) for event in events)
    moved = any(isinstance(event, CircuitMoved) for event in events)
    if not (configured or moved):
        return None
    half_open = moved and gate.state is CircuitState.HALF_OPEN
    return GateChange(
        gate.tract,
        passage=_PASSAGES[gate.state],
        generation=gate.last.generation,
        permits=gate.settings.circuit.permitted_calls_in_half_open if half_open else 0,
        retry_at=gate.last.retry_at,
        capacity=gate.settings.capacity if configured else None,
    )


def _places(stored: Iterable[tuple[DomainEventProtocol[UUID], int]]) -> dict[UUID, "Places"]:
    places: dict[UUID, Places] = {}
    for event, position in stored:
        places.setdefault(event.originator_id, Places()).add(event, position)
    return places


class Places:
    """Where a dialogue's events of one append went."""

    def __init__(self) -> None:
        self.last = 0
        self._lasts: list[int] = []
        self._positions: list[int] = []

    def add(self, event: object, position: int) -> None:
        self.last = position
        if isinstance(event, Dialogue.Conveyed):
            self._lasts.append(event.first_sequence + len(event.messages) - 1)
            self._positions.append(position)

    def receipts(self, dialogue: UUID, first: int, count: int) -> list[Receipt]:
        """For `count` messages from the sequence `first` on."""
        receipts: list[Receipt] = []
        event, end = bisect_left(self._lasts, first), first + count
        while first < end:
            position, after = self._positions[event], min(self._lasts[event] + 1, end)
            receipts += map(Receipt, repeat(dialogue), range(first, after), repeat(position))
            first, event = after, event + 1
        return receipts
