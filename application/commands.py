"""What can be asked of the aggregates, as the writer sees it: decide within a round, then tell the outcome."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from application.inbox import Settlement
from application.recorder import Duplicate
from application.round import Places, Receipt, Round
from domain.consumer import Consumer, Outcome, consumer_id
from domain.dialogue import Dialogue
from domain.errors import (
    CallosumError,
    DeadLetterGoneError,
    DialogueExistsError,
    IdempotencyConflictError,
    InvalidCommandError,
    LeaseLostError,
)
from domain.message import Message, content_digest
from domain.tract import Tract

__all__ = ["Close", "Command", "Convey", "Discard", "Join", "Leave", "Open", "Redrive", "Reply", "Settle"]

Answer_co = TypeVar("Answer_co", covariant=True)


class Command(ABC, Generic[Answer_co]):
    """One thing that is asked for.

    Attributes:
        aggregates: those that it is about; commands about one are decided in their order.
        size: roughly the bytes that it adds to the append.
    """

    aggregates: tuple[UUID, ...]
    size: int = 200

    @abstractmethod
    def decide(self, round_: Round, now: datetime) -> None:
        """Add to the round's drafts, or raise and leave them as they were."""

    @abstractmethod
    def outcome(self, places: Mapping[UUID, Places]) -> Answer_co:
        """The answer, when all that it added is stored."""

    def unknown_keys(self) -> Sequence[str]:
        """Its idempotency keys that the store may have seen, as far as is known."""
        return ()

    def repeated(self, duplicate: Duplicate) -> None:
        """The store has one of its keys: keep the first receipt, or raise when the content is another."""
        raise AssertionError(f"{type(self).__name__} brings no key, yet {duplicate.key!r} was refused")

    def arriving(self) -> Mapping[str, int]:
        """How many messages it brings to each tract that need room there, as it was decided.

        Without those that it sheds; with as many of them, 0.
        """
        return {}

    def lost(self, settlements: Container[Settlement]) -> CallosumError | None:
        """The error to answer with when one of these, of what is held no more, is its own."""
        del settlements
        return None


class Open(Command[int]):
    """Begin a dialogue, live or recorded. The outcome: the position of its last event."""

    def __init__(
        self,
        dialogue: UUID,
        create: Callable[[datetime], Dialogue],
        exists: Callable[[UUID], bool],
        size: int,
    ) -> None:
        self.aggregates = (dialogue,)
        self.size = size
        self._dialogue = dialogue
        self._create = create
        self._exists = exists

    def decide(self, round_: Round, now: datetime) -> None:
        draft = round_.dialogue(self._dialogue)
        if draft.stored() is not None or self._exists(self._dialogue):
            raise DialogueExistsError(self._dialogue)
        draft.open(self._create(now))

    def outcome(self, places: Mapping[UUID, Places]) -> int:
        return places[self._dialogue].last


class Close(Command[int]):
    """End a dialogue. The outcome: the event's position."""

    def __init__(self, dialogue: UUID, reason: str) -> None:
        self.aggregates = (dialogue,)
        self._dialogue = dialogue
        self._reason = reason

    def decide(self, round_: Round, now: datetime) -> None:
        round_.dialogue(self._dialogue).close(self._reason, now)

    def outcome(self, places: Mapping[UUID, Places]) -> int:
        return places[self._dialogue].last


class Convey(Command[list[Receipt]]):
    """Say messages. The outcome: a receipt for each, in order."""

    def __init__(self, dialogue: UUID, messages: Sequence[Message], size: int, *, asks: bool = False) -> None:
        self.aggregates = (dialogue,)
        self.size = size
        self._asks = asks
        self._dialogue = dialogue
        self._messages = messages
        self._keyed = [message for message in messages if message.idempotency_key is not None]
        self._digests: dict[str, bytes] = {}
        self._known: dict[str, Receipt] = {}
        self._fresh: Sequence[Message] = messages
        self._first = 0
        self._answers: Container[int] = ()

    def decide(self, round_: Round, now: datetime) -> None:
        del now
        draft = round_.dialogue(self._dialogue)
        self._answers = draft.answers
        if not self._keyed:
            self._first = draft.convey(self._messages, {}, asks=self._asks)
            return
        # In the writer's thread, because digests of a large batch would hold up the event loop.
        self._note_keys()
        fresh: list[Message] = []
        keys: dict[str, tuple[int, bytes]] = {}
        for message in self._messages:
            key = message.idempotency_key
            if key is not None:
                if key in self._known or key in keys:
                    continue
                keys[key] = (len(fresh), self._digests[key])
            fresh.append(message)
        self._first = draft.convey(fresh, keys, asks=self._asks)
        self._fresh = fresh

    def _note_keys(self) -> None:
        """Raises IdempotencyConflictError when two of the messages differ under one key."""
        if self._digests:
            return
        digests: dict[str, bytes] = {}
        for message in self._messages:
            key = message.idempotency_key
            if key is not None and digests.setdefault(key, digest := content_digest(message)) != digest:
                raise IdempotencyConflictError(self._dialogue, key, None)
        self._digests = digests

    def unknown_keys(self) -> Sequence[str]:
        return [key for key in self._digests if key not in self._known]

    def repeated(self, duplicate: Duplicate) -> None:
        if duplicate.key not in self._digests:
            return
        if self._digests[duplicate.key] != duplicate.digest:
            raise IdempotencyConflictError(self._dialogue, duplicate.key, duplicate.sequence)
        self._known[duplicate.key] = Receipt(self._dialogue, duplicate.sequence, duplicate.position)

    def arriving(self) -> Mapping[str, int]:
        return Counter(message.target for message in self._bound)

    def bound_for(self, tract: Tract) -> Sequence[Message]:
        """Those that need room there, as it was decided."""
        return [message for message in self._bound if message.target == tract]

    @property
    def _bound(self) -> Iterator[Message]:
        """What is not known already, but for answers, which go to who asked."""
        said = enumerate(self._fresh, self._first)
        return (message for sequence, message in said if sequence not in self._answers)

    def outcome(self, places: Mapping[UUID, Places]) -> list[Receipt]:
        # Without places all of its keys were seen before, and nothing of it is fresh.
        place = places.get(self._dialogue) or Places()
        fresh = place.receipts(self._dialogue, self._first, len(self._fresh))
        if not self._keyed:
            return fresh
        return self._with_keys(fresh)

    def _with_keys(self, fresh: list[Receipt]) -> list[Receipt]:
        """One receipt for every message: its own, or the one that its key got first."""
        receipts: list[Receipt] = []
        own = iter(fresh)
        for message in self._messages:
            key = message.idempotency_key
            if key is None:
                receipts.append(next(own))
            else:
                if key not in self._known:
                    self._known[key] = next(own)
                receipts.append(self._known[key])
        return receipts


class Join(Command[UUID]):
    """A consumer begins to take messages. The outcome: its id."""

    def __init__(self, tract: Tract, name: str, generation: int, exists: Callable[[UUID], bool]) -> None:
        self.aggregates = (consumer_id(tract, name, generation),)
        self._name = name
        self._create = partial(Consumer.join, tract, name, generation)
        self._exists = exists

    def decide(self, round_: Round, now: datetime) -> None:
        if self._exists(self.aggregates[0]):  # the store counts generations; it has forgotten some
            raise InvalidCommandError("consumer", f"{self._name!r} has joined as this generation before")
        round_.consumer(self.aggregates[0]).join(self._create(now=now))

    def outcome(self, places: Mapping[UUID, Places]) -> UUID:
        del places
        return self.aggregates[0]


class Leave(Command[None]):
    """A consumer takes no more."""

    def __init__(self, consumer: UUID, reason: str) -> None:
        self.aggregates = (consumer,)
        self._reason = reason

    def decide(self, round_: Round, now: datetime) -> None:
        round_.consumer(self.aggregates[0]).leave(self._reason, now)

    def outcome(self, places: Mapping[UUID, Places]) -> None:
        del places


class Settle(Command[None]):
    """End one delivery."""

    def __init__(self, consumer: UUID, settlement: Settlement, outcome: Outcome) -> None:
        self.aggregates = (consumer,)
        self._settlement = settlement
        self._outcome = outcome

    def decide(self, round_: Round, now: datetime) -> None:
        del now
        round_.consumer(self.aggregates[0]).settle([self._outcome], [self._settlement])

    def lost(self, settlements: Container[Settlement]) -> LeaseLostError | None:
        return _lease_lost(self._outcome) if self._settlement in settlements else None

    def outcome(self, places: Mapping[UUID, Places]) -> None:
        del places


def _lease_lost(outcome: Outcome) -> LeaseLostError:
    return LeaseLostError(outcome.dialogue, outcome.sequence, outcome.attempt)


class _OfDeadLetters(Command[None]):
    """About dead letters of one dialogue, their settlements by their sequences."""

    def __init__(self, dialogue: UUID, letters: Mapping[int, Settlement], reason: str) -> None:
        self.aggregates = (dialogue,)
        self._letters = letters
        self._reason = reason

    def lost(self, settlements: Container[Settlement]) -> DeadLetterGoneError | None:
        if all(settlement not in settlements for settlement in self._letters.values()):
            return None
        return DeadLetterGoneError(self.aggregates[0], list(self._letters))

    def outcome(self, places: Mapping[UUID, Places]) -> None:
        del places


class Redrive(_OfDeadLetters):
    """Have dead letters delivered again."""

    def decide(self, round_: Round, now: datetime) -> None:
        round_.dialogue(self.aggregates[0]).redrive(self._letters, self._reason, now)

    def arriving(self) -> Mapping[str, int]:
        return Counter(settlement.tract for settlement in self._letters.values())


class Discard(_OfDeadLetters):
    """Give dead letters up for good."""

    def decide(self, round_: Round, now: datetime) -> None:
        round_.dialogue(self.aggregates[0]).discard(self._letters, self._reason, now)


class Reply(Command[Receipt]):
    """End one delivery and say the answer: both, or neither. The answer is let in whatever the capacity is."""

    def __init__(
        self, consumer: UUID, settlement: Settlement, outcome: Outcome, message: Message, size: int
    ) -> None:
        self.aggregates = (outcome.dialogue, consumer)
        self.size = size
        self._settlement = settlement
        self._outcome = outcome
        self._message = message
        self._sequence = 0

    def decide(self, round_: Round, now: datetime) -> None:
        del now
        dialogue, consumer = self.aggregates
        settling = round_.consumer(consumer)
        settling.consumer.check()  # or the answer would be in the draft when this is refused
        self._sequence = round_.dialogue(dialogue).reply(self._message)
        settling.settle([self._outcome], [self._settlement])

    def lost(self, settlements: Container[Settlement]) -> LeaseLostError | None:
        return _lease_lost(self._outcome) if self._settlement in settlements else None

    def outcome(self, places: Mapping[UUID, Places]) -> Receipt:
        dialogue = self.aggregates[0]
        [receipt] = places[dialogue].receipts(dialogue, self._sequence, 1)
        return receipt
