"""What the demo claims at its end, looked up in the log: nothing lost, nothing repeated, nothing left open."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from application.reading import RecordedMessage
from domain.message import Message, content_digest
from interface.demo.agents import Acknowledgement
from interface.demo.survey import Question, said_in

__all__ = ["Audit", "audit"]

_T = TypeVar("_T")


class Audit(msgspec.Struct, frozen=True):
    """What an audit found.

    Attributes:
        acknowledged: messages that the bridge said it has accepted, each counted once.
        lost: sequences of those that the log does not hold as they were sent.
        repeated: sequences of messages that ask, or answer, what an earlier one did.
        missing: sequences that the log leaves out.
        unanswered: sequences of questions without an answer.
    """

    acknowledged: int
    lost: list[int]
    repeated: list[int]
    missing: list[int]
    unanswered: list[int]

    @property
    def passed(self) -> bool:
        return not (self.lost or self.repeated or self.missing or self.unanswered)


def audit(transcript: Sequence[RecordedMessage], acknowledged: Iterable[Acknowledgement]) -> Audit:
    """Compare what was acknowledged with what is in the log.

    A question is repeated when the same is asked of the same agent, an answer when it replies to the same
    message; the idempotency keys, which are to prevent that, are not looked at.
    """
    accepted = set(acknowledged)
    stored = {_acknowledgement(message) for message in transcript}
    asked = {message.sequence: message for message in transcript if _is_question(message)}
    replies = [(message.in_reply_to, message.sequence) for message in transcript if message.in_reply_to]
    questions = [((message.recipient, str(message.payload)), sequence) for sequence, message in asked.items()]
    sequences = Counter(message.sequence for message in transcript)
    return Audit(
        acknowledged=len(accepted),
        lost=sorted({one.sequence for one in accepted - stored}),
        repeated=sorted(
            {*_later(questions), *_later(replies), *(s for s, count in sequences.items() if count > 1)}
        ),
        missing=sorted(set(range(1, max(sequences, default=0) + 1)) - sequences.keys()),
        unanswered=sorted(asked.keys() - {replied_to for replied_to, _ in replies}),
    )


def _acknowledgement(message: RecordedMessage) -> Acknowledgement:
    said = Message(**{field: getattr(message, field) for field in Message.__struct_fields__})
    return Acknowledgement(message.sequence, content_digest(said).hex())


def _is_question(message: RecordedMessage) -> bool:
    return isinstance(said_in(message.payload), Question)


def _later(things: Iterable[tuple[_T, int]]) -> list[int]:
    """The sequences of things that equal an earlier one."""
    seen: set[_T] = set()
    later = []
    for thing, sequence in things:
        if thing in seen:
            later.append(sequence)
        seen.add(thing)
    return later
