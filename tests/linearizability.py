"""Whether what the clients of a log were told can be true: a checker of recorded histories.

An operation takes effect at one moment between its invocation and its completion, and the order of these moments
is the order of the log. So the log is the only candidate for a linearization, and one pass checks it: every
operation bounds the moments at which entries were appended, and the bounds must leave room for such moments, one
after the other.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import zip_longest
from uuid import UUID

__all__ = ["Entry", "Operation", "Outcome", "Place", "Refusal", "Utterance", "What", "problems"]


@dataclass(frozen=True)
class Utterance:
    """A message. Its text identifies it in its dialogue: only with the same key may it be sent again."""

    text: str
    key: str | None = None
    in_reply_to: int | None = None


@dataclass(frozen=True, order=True)
class Place:
    """Of a message; of the end of a dialogue, with sequence 0."""

    sequence: int
    position: int


class Refusal(Enum):
    CLOSED = auto()
    REPLY_TO_UNKNOWN = auto()
    KEY_TAKEN = auto()
    LOG_LOST = auto()
    """Nothing explains it: a log that can be checked lost nothing."""


Outcome = tuple[Place, ...] | Refusal | None
"""Where it went, in order; why it was refused; None: not known, and it may still happen."""


@dataclass(frozen=True)
class Operation:
    """What a client asked for, and what it was told.

    Attributes:
        said: together and in this order; empty: the dialogue is to be closed.
        invoked, completed: nanoseconds of one clock.
    """

    dialogue: UUID
    said: tuple[Utterance, ...]
    outcome: Outcome
    invoked: int
    completed: int

    @property
    def places(self) -> tuple[Place, ...]:
        return self.outcome if isinstance(self.outcome, tuple) else ()

    @property
    def refused(self) -> bool:
        return isinstance(self.outcome, Refusal)


class What(Enum):
    OPENED = auto()
    CONVEYED = auto()
    CLOSED = auto()
    GATE = auto()  # of a tract, and of no dialogue


@dataclass(frozen=True)
class Entry:
    position: int
    dialogue: UUID
    what: What
    first_sequence: int = 0
    said: tuple[Utterance, ...] = ()


def problems(
    history: Sequence[Operation], log: Sequence[Entry], seen: Mapping[int, int] | None = None
) -> list[str]:
    """What cannot be, a sentence each; empty for a history that this log explains.

    Args:
        history: every operation on the dialogues of the log but their opening, in any order.
        log: all of it, in the order of a reader.
        seen: position -> nanoseconds at which a reader had it.
    """
    index = _Index(history, log)
    found = [*_malformed(log), *_unsaid(index, log)]
    for operation in history:
        found += (f"{operation}: {problem}." for problem in _unexplained(operation, index))
    return found + list(_out_of_order(_Bounds(index, history, log, seen or {}), log))


class _Index:
    """The log by what is looked up in it, and who asked for what."""

    def __init__(self, history: Sequence[Operation], log: Sequence[Entry]) -> None:
        self.heard: dict[tuple[UUID, int], tuple[Utterance, int]] = {}
        self.places: dict[tuple[UUID, str], Place] = {}
        self.keys: dict[tuple[UUID, str], tuple[Utterance, int]] = {}
        self.ends: dict[UUID, int] = {}
        for entry in log:
            self._add(entry)
        self.asked: dict[tuple[UUID, Utterance | None], list[Operation]] = defaultdict(list)
        for operation in history:
            if not operation.refused:
                for utterance in operation.said or [None]:
                    self.asked[operation.dialogue, utterance].append(operation)

    def _add(self, entry: Entry) -> None:
        if entry.what is What.CLOSED:
            self.ends.setdefault(entry.dialogue, entry.position)
        for sequence, utterance in enumerate(entry.said, entry.first_sequence):
            self.heard[entry.dialogue, sequence] = (utterance, entry.position)
            self.places[entry.dialogue, utterance.text] = Place(sequence, entry.position)
            if utterance.key is not None:
                self.keys[entry.dialogue, utterance.key] = (utterance, entry.position)

    def recorded(self, operation: Operation) -> list[Place]:
        """Of those of its messages that the log holds, whoever brought them."""
        held = (self.places.get((operation.dialogue, utterance.text)) for utterance in operation.said)
        return [
            place
            for place, utterance in zip(held, operation.said, strict=True)
            if place is not None and self.heard[operation.dialogue, place.sequence] == (utterance, place.position)
        ]

    def taken(self, operation: Operation) -> list[int]:
        """Positions of other messages that have its keys."""
        found = [(u, self.keys.get((operation.dialogue, u.key))) for u in operation.said if u.key is not None]
        return [held[1] for utterance, held in found if held is not None and held[0] != utterance]

    def own(self, operation: Operation) -> list[Utterance]:
        """Those of its messages that nobody else has asked for."""
        return [u for u in operation.said if self.asked[operation.dialogue, u] == [operation]]


@dataclass
class _Dialogue:
    opened: bool = False
    closed: bool = False
    count: int = 0
    texts: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def apply(self, entry: Entry) -> Iterator[str]:
        if self.opened is (entry.what is What.OPENED):
            yield "is an opening and not the first, or the first and no opening"
        if self.closed:
            yield "comes after the end of its dialogue"
        self.opened = True
        self.closed = self.closed or entry.what is What.CLOSED
        if entry.what is What.CONVEYED:
            yield from self._convey(entry)

    def _convey(self, entry: Entry) -> Iterator[str]:
        if entry.first_sequence != self.count + 1:
            yield f"begins with message {entry.first_sequence}, after message {self.count}"
        for sequence, utterance in enumerate(entry.said, entry.first_sequence):
            if utterance.in_reply_to is not None and not 1 <= utterance.in_reply_to < sequence:
                yield f"holds message {sequence}, a reply to message {utterance.in_reply_to}"
            self.texts[utterance.text] += 1
            if self.texts[utterance.text] > 1:
                yield f"holds {utterance} again"
            elif utterance.key is not None:
                self.keys[utterance.key] += 1
                if self.keys[utterance.key] > 1:
                    yield f"holds another message with the key of {utterance}"
        self.count = entry.first_sequence + len(entry.said) - 1


def _malformed(log: Sequence[Entry]) -> Iterator[str]:
    dialogues: dict[UUID, _Dialogue] = defaultdict(_Dialogue)
    for position, entry in enumerate(log, 1):
        if entry.position != position:
            yield f"Position {entry.position} stands where {position} should."
        for problem in () if entry.what is What.GATE else dialogues[entry.dialogue].apply(entry):
            yield f"Position {entry.position} {problem}."


def _unsaid(index: _Index, log: Sequence[Entry]) -> Iterator[str]:
    """Entries that nobody asked for, or only operations that were refused."""
    for entry in log:
        said = [None] if entry.what is What.CLOSED else entry.said
        for utterance in said:
            if not index.asked.get((entry.dialogue, utterance)):
                yield f"Position {entry.position} holds {utterance or 'an end'}, which nobody asked for."


def _unexplained(operation: Operation, index: _Index) -> Iterator[str]:
    if isinstance(operation.outcome, Refusal):
        if not _is_reason(operation.outcome, operation, index):
            yield "nothing explains the refusal"
        return
    if not operation.said:
        yield from _unexplained_end(operation, index)
        return
    if operation.outcome is not None:
        held = [index.heard.get((operation.dialogue, place.sequence)) for place in operation.places]
        positions = (place.position for place in operation.places)
        if held != list(zip_longest(operation.said, positions)):
            yield f"the log holds {held} there"
    yield from _torn(operation, index)


def _is_reason(refusal: Refusal, operation: Operation, index: _Index) -> bool:
    if refusal is Refusal.CLOSED:
        # What was recorded before the end gets its first receipt even after it.
        recorded = operation.said and len(index.recorded(operation)) == len(operation.said)
        return operation.dialogue in index.ends and not recorded
    if refusal is Refusal.REPLY_TO_UNKNOWN:
        return any(utterance.in_reply_to is not None for utterance in operation.said)
    return refusal is Refusal.KEY_TAKEN and bool(index.taken(operation))


def _unexplained_end(operation: Operation, index: _Index) -> Iterator[str]:
    if operation.outcome is None:
        return
    end = index.ends.get(operation.dialogue)
    if [place.position for place in operation.places] != [end]:
        yield f"the log holds the end at {end}"
    if sum(other.outcome is not None for other in index.asked[operation.dialogue, None]) > 1:
        yield "another operation closed the dialogue, too"


def _torn(operation: Operation, index: _Index) -> Iterator[str]:
    """What was said together must stand together, in its order, or not at all."""
    own = index.own(operation)
    places = [index.places.get((operation.dialogue, utterance.text)) for utterance in own]
    held = [place.sequence for place in places if place is not None]
    if not held:
        return
    if len(held) < len(own) or held != sorted(held):
        yield f"its messages stand at {places}"
        return
    between = [index.heard[operation.dialogue, sequence][0] for sequence in range(held[0], held[-1] + 1)]
    if [utterance for utterance in operation.said if utterance in between] != between:
        yield f"its messages stand among others, as {between}"


class _Bounds:
    """Between which moments each position was appended, as far as one operation or reader tells."""

    def __init__(
        self, index: _Index, history: Sequence[Operation], log: Sequence[Entry], seen: Mapping[int, int]
    ) -> None:
        self.earliest: dict[int, int] = {}
        self.latest: dict[int, int] = dict(seen)
        for entry in log:
            for utterance in [None] if entry.what is What.CLOSED else entry.said:
                self._not_before_asked_for(entry, index.asked.get((entry.dialogue, utterance), ()))
        for operation in history:
            self._take(operation, index)

    def _not_before_asked_for(self, entry: Entry, operations: Sequence[Operation]) -> None:
        if operations:
            self._not_before(entry.position, min(operation.invoked for operation in operations))

    def _take(self, operation: Operation, index: _Index) -> None:
        for place in operation.places:
            self._not_after(place.position, operation.completed)
        if operation.outcome is Refusal.CLOSED and operation.dialogue in index.ends:
            self._not_after(index.ends[operation.dialogue], operation.completed)
        if operation.outcome is Refusal.KEY_TAKEN and (taken := index.taken(operation)):
            self._not_after(min(taken), operation.completed)
        if operation.outcome is Refusal.REPLY_TO_UNKNOWN:
            for position in self._unknown_then(operation, index):
                self._not_before(position, operation.invoked)

    @staticmethod
    def _unknown_then(operation: Operation, index: _Index) -> Iterator[int]:
        """With any of these in the log, a reply to an unknown message would have been answered otherwise."""
        named = max((u.in_reply_to for u in operation.said if u.in_reply_to is not None), default=0)
        if answered := index.heard.get((operation.dialogue, named)):
            yield answered[1]
        if operation.dialogue in index.ends:
            yield index.ends[operation.dialogue]
        recorded = index.recorded(operation)
        if len(recorded) == len(operation.said):
            yield max(place.position for place in recorded)

    def _not_before(self, position: int, time: int) -> None:
        self.earliest[position] = max(time, self.earliest.get(position, time))

    def _not_after(self, position: int, time: int) -> None:
        self.latest[position] = min(time, self.latest.get(position, time))


def _out_of_order(bounds: _Bounds, log: Sequence[Entry]) -> Iterator[str]:
    reached, since = 0, 0
    for entry in log:
        earliest, latest = bounds.earliest.get(entry.position), bounds.latest.get(entry.position)
        if earliest is not None and earliest > reached:
            reached, since = earliest, entry.position
        if latest is not None and latest < reached:
            yield f"Position {entry.position} was there at {latest}, but position {since} not before {reached}."
