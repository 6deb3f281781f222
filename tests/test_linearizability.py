"""Eight writers in four processes: one order explains all that they were told, and a reader sees that order."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import OperationalError

from application.reading import messages_of
from application.settings import IN_MEMORY
from corpus_callosum import (
    CorpusCallosum,
    Dialogue,
    DialogueClosedError,
    Gate,
    IdempotencyConflictError,
    LogLostError,
    Message,
    Recorded,
    ReplyToUnknownMessageError,
    Settings,
    Tract,
)
from infrastructure.redis_streams.binaries import Binary
from tests.contract.shared_log import process
from tests.linearizability import Entry, Operation, Outcome, Place, Refusal, Utterance, What, problems
from tests.redis_stores import shared_server
from tests.servers import BINARIES

PROCESSES: Final = 4
WRITERS: Final = 2
"""In each process."""
DIALOGUES: Final = 20
ENDS: Final = 8
"""About so many operations of a run are to close a dialogue."""
KEYS: Final = 40
"""In each dialogue, shared by all writers."""
GIVEN_UP: Final = 0.03
"""The share of what is said that is cancelled on its way."""
PATIENCE: Final = 120.0
"""Seconds for one run."""
LAST: Final = "nothing comes after this"

REFUSALS: Final[dict[type[Exception], Refusal]] = {
    DialogueClosedError: Refusal.CLOSED,
    ReplyToUnknownMessageError: Refusal.REPLY_TO_UNKNOWN,
    IdempotencyConflictError: Refusal.KEY_TAKEN,
    LogLostError: Refusal.LOG_LOST,
}


def service(url: str) -> CorpusCallosum:
    """One that leaves the read models to others."""
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views=IN_MEMORY, capacity=0))


async def attempt(callosum: CorpusCallosum, dialogue: UUID, *said: Utterance) -> Operation:
    """Say these together, or with none close the dialogue, and note what came of it."""
    invoked = monotonic_ns()
    outcome = await _outcome(callosum, dialogue, said)
    return Operation(dialogue, said, outcome, invoked, monotonic_ns())


async def _outcome(callosum: CorpusCallosum, dialogue: UUID, said: tuple[Utterance, ...]) -> Outcome:
    try:
        if not said:
            return (Place(0, await callosum.close_dialogue(dialogue, "enough")),)
        receipts = await callosum.send_many(dialogue, [_message(utterance) for utterance in said])
    except tuple(REFUSALS) as error:
        return REFUSALS[type(error)]
    except OperationalError:
        return None
    assert {receipt.dialogue for receipt in receipts} == {dialogue}
    return tuple(Place(receipt.sequence, receipt.position) for receipt in receipts)


def _message(utterance: Utterance) -> Message:
    return Message(
        source=Tract.INTERNAL,
        target=Tract.EXTERNAL,
        sender="writer",
        payload=utterance.text,
        in_reply_to=utterance.in_reply_to,
        idempotency_key=utterance.key,
    )


def entry(recorded: Recorded) -> Entry:
    """A recorded event as the checker takes it."""
    position, dialogue, event = recorded.position, recorded.event.originator_id, recorded.event
    if isinstance(event, Dialogue.Conveyed):
        spoken = messages_of(recorded)
        said = tuple(Utterance(str(m.payload), m.idempotency_key, m.in_reply_to) for m in spoken)
        return Entry(position, dialogue, What.CONVEYED, event.first_sequence, said)
    if isinstance(event, Gate.Event):
        return Entry(position, dialogue, What.GATE)
    return Entry(position, dialogue, What.CLOSED if isinstance(event, Dialogue.Closed) else What.OPENED)


# The checker itself

D, E = UUID(int=1), UUID(int=2)
A, B, C, F = Utterance("a"), Utterance("b", key="k"), Utterance("c", in_reply_to=2), Utterance("f")
LOG = [
    Entry(1, D, What.OPENED),
    Entry(2, E, What.OPENED),
    Entry(3, D, What.CONVEYED, 1, (A, B)),
    Entry(4, E, What.CONVEYED, 1, (A,)),
    Entry(5, D, What.CONVEYED, 3, (C, F)),
    Entry(6, D, What.CLOSED),
]


def said(*utterances: Utterance, at: Outcome, during: tuple[int, int], dialogue: UUID = D) -> Operation:
    return Operation(dialogue, utterances, at, *during)


def places(position: int, *sequences: int) -> tuple[Place, ...]:
    return tuple(Place(sequence, position) for sequence in sequences)


SAID_A = said(A, at=places(3, 1), during=(10, 30))
SAID_B = said(B, at=places(3, 2), during=(20, 31))
ELSEWHERE = said(A, at=places(4, 1), during=(35, 39), dialogue=E)
TOGETHER = said(C, F, at=places(5, 3, 4), during=(40, 50))
CLOSED = said(at=places(6, 0), during=(60, 70))
HISTORY = [SAID_A, SAID_B, ELSEWHERE, TOGETHER, CLOSED]
NEW = Utterance("new")


@pytest.mark.parametrize(
    "more",
    [
        [],
        [said(B, at=places(3, 2), during=(25, 26)), said(B, at=places(3, 2), during=(80, 90))],
        [said(NEW, at=None, during=(5, 6))],
        [said(NEW, at=Refusal.CLOSED, during=(50, 61)), said(at=Refusal.CLOSED, during=(55, 80))],
        [said(Utterance("x", in_reply_to=4), at=Refusal.REPLY_TO_UNKNOWN, during=(49, 90))],
        [said(Utterance("x", in_reply_to=9), at=Refusal.REPLY_TO_UNKNOWN, during=(1, 2))],
        [said(replace(NEW, key="k"), at=Refusal.KEY_TAKEN, during=(20, 99))],
    ],
    ids=["nothing", "a repeated key", "unknown and not there", "too late", "too early", "never", "a taken key"],
)
def test_a_history_that_the_log_explains_is_found_right(more: list[Operation]) -> None:
    assert problems([*HISTORY, *more], LOG, dict.fromkeys(range(1, 7), 70)) == []


def test_what_became_of_an_unknown_operation_is_told_by_the_log() -> None:
    unknown = replace(TOGETHER, outcome=None, completed=41)
    assert problems([SAID_A, SAID_B, ELSEWHERE, unknown, CLOSED], LOG) == []
    assert problems([SAID_A, SAID_B, ELSEWHERE, unknown], LOG[:4]) == []


def test_a_kept_key_is_told_by_whoever_may_have_brought_it() -> None:
    again = said(B, at=places(3, 2), during=(80, 90))
    assert problems([SAID_A, replace(SAID_B, outcome=None), ELSEWHERE, TOGETHER, CLOSED, again], LOG) == []


def with_(number: int, /, **changes: Any) -> list[Entry]:
    return [*LOG[: number - 1], replace(LOG[number - 1], **changes), *LOG[number:]]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (with_(3, said=(A,)), "the log holds [None] there"),
        (LOG[:5], "the log holds the end at None"),
        (with_(3, said=(B, A)), "key='k', in_reply_to=None), 3)] there"),
        (with_(5, said=(C, F, A)), f"Position 5 holds {A} again"),
        (with_(5, said=(C, F, replace(NEW, key="k"))), "another message with the key of"),
        (with_(5, said=(C, F, NEW)), "which nobody asked for"),
        (with_(2, dialogue=UUID(int=3)), "the first and no opening"),
        ([*LOG, Entry(7, E, What.CLOSED)], "Position 7 holds an end, which nobody asked for"),
        ([*LOG, Entry(7, E, What.OPENED)], "is an opening and not the first"),
        ([*LOG, Entry(7, D, What.CONVEYED, 5, (NEW,))], "comes after the end"),
        (with_(6, position=7), "Position 7 stands where 6 should"),
        (with_(5, first_sequence=4), "begins with message 4, after message 2"),
        (with_(5, said=(replace(C, in_reply_to=3), F)), "a reply to message 3"),
        (with_(5, said=(F, C)), "its messages stand at"),
        (with_(5, said=(C, NEW, F)), "stand among others"),
        (with_(5, said=(C,)), "its messages stand at"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_log_that_does_not_hold_what_was_told_is_found(log: list[Entry], found: str) -> None:
    assert any(found in problem for problem in problems(HISTORY, log))


LATE, EARLY = "but position 5 not before 40", "but position 3 not before 20"


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        (replace(SAID_A, outcome=places(3, 2)), "the log holds [(Utterance(text='b'"),
        (replace(SAID_A, outcome=places(4, 1)), "the log holds [(Utterance(text='a'"),
        (replace(SAID_A, outcome=()), "the log holds []"),
        (replace(SAID_A, outcome=Refusal.CLOSED), "holds Utterance(text='a', key=None, in_reply_to=None), which"),
        (replace(SAID_A, outcome=Refusal.LOG_LOST), "nothing explains the refusal"),
        (said(NEW, at=places(5, 5), during=(40, 50)), "the log holds [None]"),
        (said(at=places(6, 0), during=(60, 70)), "another operation closed the dialogue"),
        (said(NEW, at=Refusal.CLOSED, during=(60, 70), dialogue=E), "nothing explains the refusal"),
        (said(B, at=Refusal.CLOSED, during=(65, 99)), "nothing explains the refusal"),
        (said(NEW, at=Refusal.CLOSED, during=(50, 59)), "was there at 59, but position 6 not before 60"),
        (said(NEW, at=Refusal.REPLY_TO_UNKNOWN, during=(60, 70)), "nothing explains the refusal"),
        (
            said(Utterance("x", in_reply_to=4), at=Refusal.REPLY_TO_UNKNOWN, during=(51, 90)),
            "Position 5 was there at 50, but position 5 not before 51",
        ),
        (
            said(Utterance("x", in_reply_to=9), at=Refusal.REPLY_TO_UNKNOWN, during=(71, 90)),
            "Position 6 was there at 70, but position 6 not before 71",
        ),
        (said(replace(NEW, key="z"), at=Refusal.KEY_TAKEN, during=(20, 99)), "nothing explains the refusal"),
        (said(replace(NEW, key="k"), at=Refusal.KEY_TAKEN, during=(1, 19)), "was there at 19, but position 3"),
        (said(B, at=places(3, 2), during=(1, 9)), "Position 3 was there at 9, but position 3 not before 10"),
        (said(C, at=Refusal.REPLY_TO_UNKNOWN, during=(51, 55)), "Position 5 was there at 50"),
    ],
)
def test_an_operation_that_was_told_what_cannot_be_is_found(operation: Operation, found: str) -> None:
    others = [other for other in HISTORY if other.invoked != operation.invoked or other.said != operation.said]
    again = [CLOSED] if operation == CLOSED else []
    assert any(found in problem for problem in problems([*others, operation, *again], LOG))
    assert problems(HISTORY, LOG) == []


def test_an_order_that_time_contradicts_is_found_across_dialogues_too() -> None:
    late = replace(SAID_A, invoked=60, completed=70)
    assert problems([late, SAID_B, ELSEWHERE, TOGETHER, CLOSED], LOG) == [
        "Position 3 was there at 31, but position 3 not before 60.",
        "Position 4 was there at 39, but position 3 not before 60.",
        "Position 5 was there at 50, but position 3 not before 60.",
    ]
    early = replace(ELSEWHERE, invoked=1, completed=19)
    assert problems([SAID_A, SAID_B, early, TOGETHER, CLOSED], LOG) == [
        "Position 4 was there at 19, but position 3 not before 20."
    ]


def test_a_reader_that_was_ahead_of_the_writers_is_found() -> None:
    assert problems(HISTORY, LOG, {5: 39}) == ["Position 5 was there at 39, but position 5 not before 40."]


# Writers and a reader, in processes of their own


@dataclass(frozen=True)
class Task:
    url: str
    dialogues: list[UUID]
    seed: int
    operations: int
    """Of each writer."""


class Writer:
    """Does one thing after the other, at random; texts and keys are such that writers meet."""

    def __init__(self, callosum: CorpusCallosum, task: Task, seed: int) -> None:
        self._callosum = callosum
        self._dialogues = task.dialogues
        self._chance = random.Random(seed)  # a test's seed, no secret
        self._name = f"writer {seed}"
        self._known: Counter[UUID] = Counter()
        self._texts = 0
        self._choices: dict[Callable[[UUID], list[Utterance]], float] = {
            self._shared: 30,
            self._conflicting: 5,
            self._doubtful: 10,
            self._reply: 15,
            self._several: 10,
            self._plain: 30,
            self._end: 100 * ENDS / (task.operations * PROCESSES * WRITERS),
        }

    async def run(self, operations: int) -> list[Operation]:
        return [await self._one() for _ in range(operations)]

    async def _one(self) -> Operation:
        dialogue = self._chance.choice(self._dialogues)
        [choice] = self._chance.choices(list(self._choices), list(self._choices.values()))
        said = choice(dialogue)
        if said and self._chance.random() < GIVEN_UP:
            return await self._given_up(dialogue, said)
        operation = await attempt(self._callosum, dialogue, *said)
        assert operation.outcome is not None, "the store is there all the time"
        self._known[dialogue] = max(self._known[dialogue], *(place.sequence for place in operation.places), 0)
        return operation

    def _shared(self, _: UUID) -> list[Utterance]:
        key = f"key {self._chance.randrange(KEYS)}"
        return [Utterance(f"the message of {key}", key)]

    def _conflicting(self, dialogue: UUID) -> list[Utterance]:
        [shared] = self._shared(dialogue)
        return [replace(shared, text=self._new().text)]

    def _doubtful(self, dialogue: UUID) -> list[Utterance]:
        """A reply to a message that may be there by now."""
        return [self._new(self._known[dialogue] + self._chance.randint(1, 4))]

    def _reply(self, dialogue: UUID) -> list[Utterance]:
        return [self._new(self._known[dialogue] or None)]

    def _several(self, dialogue: UUID) -> list[Utterance]:
        return [self._new(), *self._shared(dialogue), self._new(), self._new()]

    def _plain(self, _: UUID) -> list[Utterance]:
        return [self._new()]

    def _end(self, _: UUID) -> list[Utterance]:
        return []

    def _new(self, in_reply_to: int | None = None) -> Utterance:
        self._texts += 1
        return Utterance(f"{self._name}, text {self._texts}", in_reply_to=in_reply_to)

    async def _given_up(self, dialogue: UUID, said: list[Utterance]) -> Operation:
        """Cancelled on its way: it may be dropped, or happen."""
        invoked = monotonic_ns()
        task = asyncio.create_task(attempt(self._callosum, dialogue, *said))
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            return task.result()
        return Operation(dialogue, tuple(said), None, invoked, monotonic_ns())


async def _write(pipe: Connection, task: Task) -> list[Operation]:
    async with service(task.url) as callosum:
        pipe.send("ready")
        pipe.recv()
        writers = [Writer(callosum, task, task.seed * WRITERS + number) for number in range(WRITERS)]
        histories = await asyncio.gather(*(writer.run(task.operations) for writer in writers))
    return [operation for history in histories for operation in history]


def write(pipe: Connection) -> None:
    while (task := pipe.recv()) is not None:
        pipe.send(asyncio.run(_write(pipe, task)))


async def _read(pipe: Connection, url: str) -> list[tuple[int, Entry]]:
    seen: list[tuple[int, Entry]] = []
    async with service(url) as callosum:
        pipe.send("ready")
        async for event in callosum.follow():
            seen.append((monotonic_ns(), entry(event)))
            if isinstance(event.event, Dialogue.Opened) and event.event.subject == LAST:
                break
    return seen


def read(pipe: Connection) -> None:
    while (url := pipe.recv()) is not None:
        pipe.send(asyncio.run(_read(pipe, url)))


class Crowd:
    """The processes; they serve one run after the other, because their start takes longer than a run."""

    def __init__(self, writers: list[Connection], reader: Connection) -> None:
        self._writers = writers
        self._reader = reader

    def run(self, url: str, dialogues: list[UUID], operations: int) -> list[Operation]:
        self._reader.send(url)
        each = operations // (PROCESSES * WRITERS)
        for seed, writer in enumerate(self._writers):
            writer.send(Task(url, dialogues, seed, each))
        for pipe in (self._reader, *self._writers):
            assert self._answer(pipe) == "ready"
        for writer in self._writers:
            writer.send("go")
        return [operation for writer in self._writers for operation in self._answer(writer)]

    def seen(self) -> list[tuple[int, Entry]]:
        """What the reader has seen, when the last event is recorded."""
        answer: list[tuple[int, Entry]] = self._answer(self._reader)
        return answer

    @staticmethod
    def _answer(pipe: Connection) -> Any:
        assert pipe.poll(PATIENCE)
        return pipe.recv()


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        writers = [stack.enter_context(process(write)) for _ in range(PROCESSES)]
        reader = stack.enter_context(process(read))
        yield Crowd(writers, reader)
        for pipe in (*writers, reader):
            pipe.send(None)


@pytest.fixture(params=[None, *BINARIES], ids=lambda binary: binary.name if binary else "sqlite file")
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    binary: Binary | None = request.param
    if binary is None:
        return f"sqlite:///{tmp_path}/callosum.db"
    return f"{shared_server(binary).url}?namespace={uuid4().hex}"


async def _opened(url: str) -> list[UUID]:
    async with service(url) as callosum:
        return [await callosum.open_dialogue(f"dialogue {number}") for number in range(DIALOGUES)]


async def _ended(url: str) -> list[Entry]:
    async with service(url) as callosum:
        await callosum.open_dialogue(LAST)
        assert (await callosum.verify()).problem is None
        return [entry(recorded) async for recorded in callosum.replay()]


def check(crowd: Crowd, url: str, operations: int) -> None:
    dialogues = asyncio.run(_opened(url))
    began = monotonic()
    history = crowd.run(url, dialogues, operations)
    took = monotonic() - began
    log = asyncio.run(_ended(url))
    seen = crowd.seen()
    assert [entry for _, entry in seen] == log
    assert problems(history, log, {entry.position: time for time, entry in seen}) == []
    outcomes = Counter(
        operation.outcome.name if isinstance(operation.outcome, Refusal) else type(operation.outcome).__name__
        for operation in history
    )
    print(f"{len(history)} operations in {took:.1f} s, {len(log)} entries, {dict(outcomes)}")
    assert len(history) == operations
    assert set(outcomes) == {"tuple", "NoneType", "CLOSED", "REPLY_TO_UNKNOWN", "KEY_TAKEN"}
    assert repeated(history) > operations / 20


def repeated(history: list[Operation]) -> int:
    """How many messages got the receipt of another operation's."""
    receipts = Counter((operation.dialogue, place) for operation in history for place in operation.places)
    return receipts.total() - len(receipts)


@pytest.mark.slow
def test_2000_operations_of_8_writers_are_linearizable(crowd: Crowd, store: str) -> None:
    check(crowd, store, 2000)


@pytest.mark.stress
def test_20000_operations_of_8_writers_are_linearizable(crowd: Crowd, store: str) -> None:
    check(crowd, store, 20_000)
