"""One message's whole life, from the log and the inbox: accepted, each attempt, how it ended, what answered it."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from application.inbox import Holding, slot_of
from application.log import DialogueLog
from application.reading import RecordedMessage, messages_of
from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue, Kind
from domain.errors import DialogueNotFoundError, MessageNotFoundError
from domain.gate import Gate, ShedMessage
from projections.fold import Recorded

__all__ = ["Explanation", "Happening", "State", "Step", "explain"]

_PAGE: Final = 128


class State(StrEnum):
    """Where a message stands.

    RECORDED: it is history, or answers a question, and is not delivered. WAITING: to be taken, or in line. PAUSED:
    until a delay after a failed attempt ends, or while somebody would have it shed. SHED: it was given up for
    something more urgent.
    """

    RECORDED = "recorded"
    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    PAUSED = "paused"
    ACKED = "acked"
    EXPIRED = "expired"
    DEAD = "dead_letter"
    DISCARDED = "discarded"
    SHED = "shed"


class Happening(StrEnum):
    """What a step is. LEASE_LOST: its attempt was not settled in time, of which the log has no event."""

    ACCEPTED = "accepted"
    ACKED = "acked"
    RETRIED = "retried"
    EXPIRED = "expired"
    DEAD_LETTERED = "dead_lettered"
    LEASE_LOST = "lease_lost"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"
    SHED = "shed"
    ANSWERED = "answered"


_AFTER: Final = {
    Happening.ACKED: State.ACKED,
    Happening.EXPIRED: State.EXPIRED,
    Happening.DEAD_LETTERED: State.DEAD,
    Happening.DISCARDED: State.DISCARDED,
    Happening.SHED: State.SHED,
}
"""Where a message stands after that; after all else it waits."""

_ENDINGS: Final = {Consumer.Settled.TOPIC, Gate.MessagesShed.TOPIC}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a message.

    Attributes:
        position, at: the event that tells of it, and the log's time, milliseconds since 1970; None: no event does.
        attempt: the number of the delivery; who: the consumer of it, or who answered.
        waited: microseconds from its acceptance to the delivery; handled_in: from the delivery to its end.
        error: why it failed, was redriven or discarded.
        delay: milliseconds before it was to be handed out again.
        sequence: of the message, or of the answer.
    """

    happening: Happening
    position: int | None = None
    at: int | None = None
    attempt: int | None = None
    who: str | None = None
    waited: int | None = None
    handled_in: int | None = None
    error: str | None = None
    delay: int | None = None
    sequence: int | None = None


class Explanation(msgspec.Struct, frozen=True):
    """A message, what happened to it in the order of the log, and where it stands.

    Attributes:
        consumer: who holds it; attempt: which it is; until: milliseconds until the lease or the pause ends.
    """

    message: RecordedMessage
    steps: list[Step]
    state: State
    consumer: str | None = None
    attempt: int | None = None
    until: int | None = None


def explain(log: DialogueLog, dialogue: UUID, sequence: int) -> Explanation:
    """Read as much of the log as the message lived through.

    Raises:
        DialogueNotFoundError, MessageNotFoundError
    """
    history = _History(dialogue, sequence)
    for recorded in _events_of(log, dialogue):
        history.note(recorded)
    message = history.message
    if message is None:
        raise MessageNotFoundError(dialogue, sequence) if history.events else DialogueNotFoundError(dialogue)
    if not history.delivered:
        return Explanation(message, history.steps, State.RECORDED)
    holding = log.recorder.inbox.holding(message.target, slot_of(message.position, history.index))
    told = sorted(
        [*history.steps, *_outcomes(log, message, history.redriven)], key=lambda step: step.position or 0
    )
    steps = list(_with_lost(told, holding))
    last = next(step for step in reversed(steps) if step.happening is not Happening.ANSWERED)
    if holding is not None and last.happening not in _AFTER:  # or it was settled since who holds it was asked
        state = State.PAUSED if holding.consumer is None else State.IN_FLIGHT
        return Explanation(message, steps, state, holding.consumer, holding.attempt, holding.until)
    return Explanation(message, steps, _AFTER.get(last.happening, State.WAITING))


def _events_of(log: DialogueLog, dialogue: UUID) -> Iterator[Recorded]:
    version = 0
    while events := log.stream(dialogue, after=version, limit=_PAGE):
        yield from events
        version = events[-1].event.originator_version


class _History:
    """What a dialogue's own events tell of one message.

    Attributes:
        delivered: False for history, and for the answer to a question, which goes to who asked.
        redriven: the position where it last was; 0: never.
    """

    def __init__(self, dialogue: UUID, sequence: int) -> None:
        self.message: RecordedMessage | None = None
        self.index = 0
        self.delivered = True
        self.redriven = 0
        self.events = 0
        self.steps: list[Step] = []
        self._dialogue, self._sequence = dialogue, sequence
        self._questions: set[int] = set()

    def note(self, recorded: Recorded) -> None:
        self.events += 1
        event, position, at = recorded.event, recorded.position, recorded.at
        match event:
            case Dialogue.Opened():
                self.delivered = event.kind is Kind.LIVE
            case Dialogue.Conveyed():
                self._questions |= set(event.asked)
                for index, message in enumerate(messages_of(recorded)):
                    self._note_message(message, index)
            case Dialogue.Redriven(sequences=sequences, reason=reason) if self._sequence in sequences:
                self.redriven = position
                self.steps.append(Step(happening=Happening.REDRIVEN, position=position, at=at, error=reason))
            case Dialogue.Discarded(sequences=sequences, reason=reason) if self._sequence in sequences:
                self.steps.append(Step(happening=Happening.DISCARDED, position=position, at=at, error=reason))

    def _note_message(self, message: RecordedMessage, index: int) -> None:
        answers = message.in_reply_to in self._questions
        if answers:
            self._questions.discard(message.in_reply_to or 0)
        if message.sequence == self._sequence:
            self.message, self.index = message, index
            self.delivered = self.delivered and not answers
            happening = Happening.ACCEPTED
        elif message.in_reply_to == self._sequence:
            happening = Happening.ANSWERED
        else:
            return
        self.steps.append(
            Step(
                happening=happening,
                position=message.position,
                at=message.at,
                who=message.sender,
                sequence=message.sequence,
            )
        )


def _outcomes(log: DialogueLog, message: RecordedMessage, redriven: int) -> Iterator[Step]:
    """How its deliveries ended, and that it was shed. Not read beyond the last of them, when that is the end."""
    after = message.position
    while entries := log.recorder.select_entries(after=after, limit=_PAGE):
        for entry in entries:
            if entry.topic not in _ENDINGS:
                continue
            recorded = log.recorded(entry)
            if isinstance(recorded.event, Gate.MessagesShed):
                if ShedMessage(message.dialogue, message.sequence) in recorded.event.messages:
                    yield Step(happening=Happening.SHED, position=recorded.position, at=recorded.at)
                    return
                continue
            assert isinstance(recorded.event, Consumer.Settled), "by its topic"
            for outcome in recorded.event.outcomes:
                if (outcome.dialogue, outcome.sequence) == (message.dialogue, message.sequence):
                    yield _step(outcome, recorded, log.consumer_name(recorded.event.originator_id))
                    if outcome.result is not Result.RETRIED and recorded.position > redriven:
                        return
        after = entries[-1].id


def _step(outcome: Outcome, recorded: Recorded, who: str) -> Step:
    return Step(
        happening=Happening(outcome.result),
        position=recorded.position,
        at=recorded.at,
        attempt=outcome.attempt,
        who=who,
        waited=outcome.waited,
        handled_in=outcome.handled_in,
        error=outcome.error,
        delay=outcome.delay,
    )


def _with_lost(steps: Iterable[Step], holding: Holding | None) -> Iterator[Step]:
    """Attempts are counted without gaps; one that no event tells of ended with its lease."""
    expected = 1

    def lost(before: int) -> Iterator[Step]:
        return (Step(happening=Happening.LEASE_LOST, attempt=number) for number in range(expected, before))

    for step in steps:
        if step.happening is Happening.REDRIVEN:
            expected = 1
        if step.attempt is not None:
            # The attempt beyond the last is the consumer's that found the last lease lost, and gave it up.
            yield from lost(step.attempt)
            expected = step.attempt + 1
        yield step
    if holding is not None:
        yield from lost(holding.attempt)
