"""A conversation across the bridge: the unit of consistency.

It protects three rules: messages have dense sequences from 1, a reply names an earlier message, and nothing is
said in a dialogue that is closed or that is imported history. It knows which questions are open: the first reply
to one is for who asked.

::

    (nothing) --open--> open --convey*--> open --close--> closed
    (nothing) --record--> recorded, complete from birth
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.domain import BaseAggregate, CanInitAggregate, event

from domain.errors import DialogueClosedError, DialogueRecordedError, ReplyToUnknownMessageError
from domain.events import AggregateEvent
from domain.message import Message, Payload

__all__ = ["MOST_MESSAGES_PER_EVENT", "Dialogue", "Kind"]

MOST_MESSAGES_PER_EVENT: Final = 1000


class Kind(StrEnum):
    """LIVE: said through the bridge. RECORDED: imported history, never delivered, passes no gate."""

    LIVE = "live"
    RECORDED = "recorded"


class Dialogue(BaseAggregate[UUID]):
    """Its state is what the rules need; counts and measures are for the read side."""

    TOPIC = "dialogue"

    class Event(AggregateEvent, frozen=True):
        """Of a dialogue."""

    class Opened(Event, CanInitAggregate[UUID], frozen=True):
        """The dialogue began. Attributes: values by name, as a payload; empty for most live dialogues."""

        TOPIC = "dialogue.opened.v1"
        originator_topic: str
        subject: str
        kind: Kind
        attributes: dict[str, Payload]

    class Conveyed(Event, frozen=True):
        """1 to 1000 messages were accepted; the first has `first_sequence`, the others follow densely.

        Who asked waits for the answers to the sequences that are `asked`; they are delivered to nobody else.
        What is `kept` is not to be delivered: it was said where delivery is off.
        """

        TOPIC = "dialogue.conveyed.v1"
        first_sequence: int
        messages: list[Message]
        asked: list[int] = msgspec.field(default_factory=list)
        kept: bool = False

    class Closed(Event, frozen=True):
        """Nothing more will be said."""

        TOPIC = "dialogue.closed.v1"
        reason: str

    class Redriven(Event, frozen=True):
        """Dead letters are to be delivered again, as if for the first time. Their sequences, ascending."""

        TOPIC = "dialogue.redriven.v1"
        sequences: list[int]
        reason: str

    class Discarded(Event, frozen=True):
        """Dead letters will never be delivered. Their sequences, ascending."""

        TOPIC = "dialogue.discarded.v1"
        sequences: list[int]
        reason: str

    @event(Opened)
    def __init__(self, id: UUID, kind: Kind, timestamp: datetime) -> None:  # noqa: A002  # the library's name
        del id, timestamp  # taken by the library's own initialiser
        self.kind = kind
        self.message_count = 0
        self.closed = False
        self.open_questions: frozenset[int] = frozenset()

    @classmethod
    def open(cls, dialogue: UUID, subject: str, attributes: dict[str, Payload], *, now: datetime) -> "Dialogue":
        """Begin a live dialogue under this id."""
        return cls._open(dialogue, subject, Kind.LIVE, attributes, now)

    @classmethod
    def record(
        cls,
        dialogue: UUID,
        subject: str,
        attributes: dict[str, Payload],
        messages: Sequence[Message],
        *,
        now: datetime,
    ) -> "Dialogue":
        """Imported history, whole: all its messages at once, and none ever after."""
        recorded = cls._open(dialogue, subject, Kind.RECORDED, attributes, now)
        recorded._check_replies(messages, waiting=0)  # noqa: SLF001  # a constructor of this very class
        recorded.accept(messages, now=now)
        return recorded

    @classmethod
    def _open(
        cls, dialogue: UUID, subject: str, kind: Kind, attributes: dict[str, Payload], now: datetime
    ) -> "Dialogue":
        return cls._create(
            cls.Opened, id=dialogue, subject=subject, kind=kind, attributes=attributes, timestamp=now
        )

    def check(self, messages: Sequence[Message], *, waiting: int = 0) -> None:
        """Raise unless these messages may be said after `waiting` others that were checked before them.

        Raises:
            DialogueRecordedError, DialogueClosedError, ReplyToUnknownMessageError
        """
        self._check_open()
        self._check_replies(messages, waiting)

    def convey(self, messages: Sequence[Message], *, kept: bool = False, now: datetime) -> None:
        """Accept messages, in order, as one event for every 1000 of them. Raises what `check` does."""
        self.check(messages)
        self.accept(messages, kept=kept, now=now)

    def accept(
        self, messages: Sequence[Message], *, asked: Sequence[int] = (), kept: bool = False, now: datetime
    ) -> None:
        """Messages that `check` has let pass, as one event for every 1000 of them.

        Args:
            messages: at least one.
            asked: the sequences of those whose answers are awaited.
            kept: they are not to be delivered.
            now: when it is.
        """
        for start in range(0, len(messages), MOST_MESSAGES_PER_EVENT):
            some = list(messages[start : start + MOST_MESSAGES_PER_EVENT])
            first = self.message_count + 1
            self.trigger_event(
                self.Conveyed,
                first_sequence=first,
                messages=some,
                asked=[sequence for sequence in asked if first <= sequence < first + len(some)],
                kept=kept,
                timestamp=now,
            )

    def close(self, reason: str, *, now: datetime) -> None:
        self._check_open()
        self.trigger_event(self.Closed, reason=reason, timestamp=now)

    def redrive(self, sequences: Sequence[int], reason: str, *, now: datetime) -> None:
        """Deliver dead letters again; in a closed dialogue, too. That they are dead letters the inbox knows."""
        self.trigger_event(self.Redriven, sequences=sorted(sequences), reason=reason, timestamp=now)

    def discard(self, sequences: Sequence[int], reason: str, *, now: datetime) -> None:
        """Give dead letters up for good; likewise."""
        self.trigger_event(self.Discarded, sequences=sorted(sequences), reason=reason, timestamp=now)

    def _check_open(self) -> None:
        if self.kind is Kind.RECORDED:
            raise DialogueRecordedError(self.id)
        if self.closed:
            raise DialogueClosedError(self.id)

    def _check_replies(self, messages: Sequence[Message], waiting: int) -> None:
        first = self.message_count + waiting + 1
        replies = [(n, m.in_reply_to) for n, m in enumerate(messages, first) if m.in_reply_to is not None]
        for sequence, in_reply_to in replies:
            if not 1 <= in_reply_to < sequence:
                raise ReplyToUnknownMessageError(self.id, in_reply_to, sequence)

    @event(Conveyed)
    def _apply_conveyed(self, messages: list[Message], asked: list[int]) -> None:
        self.message_count += len(messages)
        if asked or self.open_questions:
            answered = {message.in_reply_to for message in messages}
            self.open_questions = self.open_questions.union(asked).difference(answered)

    @event(Closed)
    def _apply_closed(self) -> None:
        self.closed = True

    @event(Redriven)
    def _apply_redriven(self) -> None:
        """What is on its way is for the inbox."""

    @event(Discarded)
    def _apply_discarded(self) -> None:
        """Likewise."""
