"""The demo's audit passes what is right, and finds each thing that may be wrong."""

from collections.abc import Sequence
from itertools import count
from uuid import uuid4

from msgspec.structs import replace

from application.reading import RecordedMessage
from domain.message import Message, content_digest
from domain.tract import Tract
from interface.demo.agents import PLANNER, Acknowledgement
from interface.demo.audit import audit
from interface.demo.survey import LineCount, Question, Tool, payload_of

DIALOGUE = uuid4()


def recorded(*messages: Message) -> list[RecordedMessage]:
    return [
        RecordedMessage(
            **{field: getattr(message, field) for field in Message.__struct_fields__},
            dialogue=DIALOGUE,
            sequence=sequence,
            position=sequence + 1,
            at=0,
        )
        for sequence, message in zip(count(1), messages, strict=False)
    ]


def asked(path: str) -> Message:
    question = payload_of(Question(Tool.COUNT, path))
    return Message(
        source=Tract.INTERNAL, target=Tract.EXTERNAL, sender=PLANNER, recipient=Tool.COUNT.value, payload=question
    )


def answered(sequence: int, path: str, lines: int = 1) -> Message:
    return Message(
        source=Tract.EXTERNAL,
        target=Tract.INTERNAL,
        sender=Tool.COUNT.value,
        recipient=PLANNER,
        payload=payload_of(LineCount(path, lines, [], [])),
        in_reply_to=sequence,
    )


SAID = [asked("a"), answered(1, "a"), asked("b"), answered(3, "b")]


def acknowledgements(messages: Sequence[Message]) -> list[Acknowledgement]:
    return [
        Acknowledgement(sequence, content_digest(message).hex()) for sequence, message in enumerate(messages, 1)
    ]


def test_an_audit_passes_what_is_stored_as_it_was_acknowledged() -> None:
    found = audit(recorded(*SAID), acknowledgements(SAID))
    assert found.passed
    assert found.acknowledged == 4


def test_an_audit_passes_a_message_that_was_stored_and_not_acknowledged() -> None:
    assert audit(recorded(*SAID), acknowledgements(SAID)[:2]).passed


def test_an_audit_counts_a_message_that_was_acknowledged_twice_once() -> None:
    found = audit(recorded(*SAID), acknowledgements(SAID) * 2)
    assert found.passed
    assert found.acknowledged == 4


def test_an_audit_finds_an_acknowledged_message_that_is_not_stored() -> None:
    assert audit(recorded(*SAID[:3]), acknowledgements(SAID)).lost == [4]


def test_an_audit_finds_an_acknowledged_message_that_is_stored_with_other_content() -> None:
    assert audit(recorded(*SAID[:3], answered(3, "b", 7)), acknowledgements(SAID)).lost == [4]


def test_an_audit_finds_an_acknowledged_message_that_is_stored_elsewhere() -> None:
    moved = [replace(message, sequence=message.sequence + 1) for message in recorded(*SAID)]
    assert audit(moved, acknowledgements(SAID)).lost == [1, 2, 3, 4]


def test_an_audit_finds_a_question_that_was_asked_twice() -> None:
    again = [*SAID, asked("a"), answered(5, "a")]
    assert audit(recorded(*again), acknowledgements(again)).repeated == [5]


def test_an_audit_finds_a_question_that_was_answered_twice() -> None:
    again = [*SAID, answered(1, "a", 2)]
    assert audit(recorded(*again), acknowledgements(again)).repeated == [5]


def test_an_audit_finds_a_sequence_that_stands_twice() -> None:
    first, *others = recorded(*SAID)
    assert audit([first, first, *others], acknowledgements(SAID)).repeated == [1]


def test_an_audit_finds_a_gap_in_the_sequences() -> None:
    assert audit(recorded(*SAID)[1:], ()).missing == [1]


def test_an_audit_finds_a_question_without_an_answer() -> None:
    assert audit(recorded(*SAID[:3]), ()).unanswered == [3]
