"""A log in memory, and short ways to fill it: the read side's other log beside the service's own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition
from uuid import UUID

from eventsourcing.persistence import OperationalError
from sqlalchemy import Connection, select

from application.recorder import FIRST_CHAIN, next_chain
from domain.consumer import Consumer, Outcome, Result
from domain.dialogue import Dialogue, Kind
from domain.gate import Gate, ShedMessage, gate_id
from domain.message import Message, Payload
from domain.tract import Tract
from projections.consciousness import Consciousness
from projections.feed import Feed
from projections.findings import Judged
from projections.fold import EventLog, Projection, Recorded, Unread, version_of
from projections.folding import Folding, OnError
from projections.model import read_checkpoint
from projections.models import ReadModels
from projections.queries import Queries
from projections.runner import Runner
from projections.tables import values

__all__ = [
    "NOON",
    "MemoryLog",
    "answer",
    "ask",
    "closed",
    "conveyed",
    "discarded",
    "dump",
    "folded_up_to",
    "joined",
    "opened",
    "outcome",
    "queries",
    "reading",
    "redriven",
    "rows_of",
    "runner_of",
    "running",
    "settled",
    "shed",
]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTERNAL, EXTERNAL = Tract


class MemoryLog:
    """Implements `EventLog`.

    Args:
        page: its feed reads at most this many events at once.
        unreadable: reading this position fails.
    """

    def __init__(self, *, epoch: str = "first", page: int = 1000, unreadable: int | None = None) -> None:
        self.epoch = epoch
        self.most = page
        self.unreadable = unreadable
        self.interrupted = False
        self._entries: list[Recorded] = []
        self._grown = Condition()

    def append(self, *events: Dialogue.Event | Consumer.Event | Gate.Event, at: int | None = None) -> int:
        """Returns the position of the last. `at`: the log's time, in milliseconds; else a second a position."""
        with self._grown:
            for event in events:
                position, chain = len(self._entries) + 1, self._entries[-1].chain if self._entries else FIRST_CHAIN
                chain = next_chain(chain, repr(event).encode(), position * 1000)
                topic: str = event.TOPIC  # type: ignore[union-attr]  # every event class of the domain has one
                dialogue = event.originator_id if isinstance(event, Dialogue.Event) else None
                time = position * 1000 if at is None else at
                self._entries.append(Recorded(position, time, chain, topic, dialogue, event))
            self._grown.notify_all()
            return len(self._entries)

    def interrupt(self) -> None:
        with self._grown:
            self.interrupted = True
            self._grown.notify_all()

    def chain_at(self, position: int) -> bytes | None:
        return self._entries[position - 1].chain if 1 <= position <= len(self._entries) else None

    def lose(self, after: int) -> None:
        """Forget what comes after this position, as a server does that had acknowledged more than it wrote."""
        del self._entries[after:]

    def head(self) -> int:
        return len(self._entries)

    def page(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded | Unread]:
        if chain is not None and chain != self.chain_at(after):
            raise OperationalError(f"the log has lost position {after}")
        return [
            Unread(e.position, e.at, e.chain, e.topic, e.dialogue, ValueError("no such topic"))
            if e.position == self.unreadable
            else e
            for e in self._entries[after : after + limit]
        ]

    def wait_beyond(self, position: int, timeout: float) -> bool:
        with self._grown:
            self._grown.wait_for(lambda: len(self._entries) > position or self.interrupted, timeout)
            return len(self._entries) > position and not self.interrupted


def feed_of(log: EventLog) -> Feed:
    return Feed(log, log.most) if isinstance(log, MemoryLog) else Feed(log)


def runner_of(
    log: MemoryLog,
    models: ReadModels,
    make: Callable[[], Projection] = Consciousness,
    on_error: OnError = OnError.FAIL,
) -> Runner:
    return Runner(feed_of(log), models, make, on_error)


@contextmanager
def running(runner: Runner, log: MemoryLog) -> Iterator[Runner]:
    """Stopped at once in the end, instead of when a wait for the log is over."""
    runner.start()
    try:
        yield runner
    finally:
        log.interrupt()
        runner.stop()
        log.interrupted = False


@contextmanager
def reading(models: ReadModels, projection: Projection) -> Iterator[Connection]:
    """The read model that serves."""
    generation = models.serving(projection.NAME, version_of(projection))
    assert generation is not None
    with models.model(generation, projection).reading() as connection:
        yield connection


@contextmanager
def queries(
    models: ReadModels, projection: Projection, *, now: int = 0, stall_seconds: float = 60.0
) -> Iterator[Queries]:
    """`now`: milliseconds of the log's time; at 0 no dialogue has stalled."""
    with reading(models, projection) as connection:
        checkpoint = read_checkpoint(connection)
        yield Queries(connection, Judged(checkpoint.position if checkpoint else 0, now), stall_seconds)


def dump(models: ReadModels, projection: Projection) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the read model that serves, and how far it is."""
    with reading(models, projection) as connection:
        checkpoint = read_checkpoint(connection)
        place: list[tuple[object, ...]] = []
        if checkpoint is not None:  # there is none before a runner has begun
            place.append((checkpoint.position, checkpoint.chain, checkpoint.epoch))
        return rows_of(connection, projection) | {"checkpoint": place}


def rows_of(connection: Connection, projection: Projection) -> dict[str, list[tuple[object, ...]]]:
    return {
        table.name: sorted(
            tuple(map(repr, row)) for row in connection.execute(select(*[table.c[name] for name in values(table)]))
        )
        for table in projection.TABLES
    }


def folded_up_to(log: EventLog, position: int, projection: Projection) -> dict[str, list[tuple[object, ...]]]:
    """The rows that a fold from scratch gives, without a runner."""
    models = ReadModels()
    model = models.model(models.claim(projection.NAME, version_of(projection)), projection)
    folding = Folding(feed_of(log), model, projection, OnError.FAIL)
    folding.resume()
    while folding.step(position):
        pass
    assert folding.checkpoint.position == position
    with model.reading() as connection:
        rows = rows_of(connection, projection)
    models.close()
    return rows


def opened(dialogue: UUID, kind: Kind = Kind.LIVE, **attributes: Payload) -> Dialogue.Opened:
    return Dialogue.Opened(dialogue, 1, NOON, Dialogue.TOPIC, "a subject", kind, attributes)


def conveyed(
    dialogue: UUID, first_sequence: int, *messages: Message, asked: Sequence[int] = ()
) -> Dialogue.Conveyed:
    return Dialogue.Conveyed(dialogue, 2, NOON, first_sequence, list(messages), list(asked))


def closed(dialogue: UUID, reason: str = "done") -> Dialogue.Closed:
    return Dialogue.Closed(dialogue, 3, NOON, reason)


def redriven(dialogue: UUID, *sequences: int) -> Dialogue.Redriven:
    return Dialogue.Redriven(dialogue, 3, NOON, list(sequences), "redriven")


def discarded(dialogue: UUID, *sequences: int) -> Dialogue.Discarded:
    return Dialogue.Discarded(dialogue, 3, NOON, list(sequences), "of no use")


def joined(consumer: UUID, tract: Tract) -> Consumer.Joined:
    return Consumer.Joined(consumer, 1, NOON, Consumer.TOPIC, tract, "a consumer", 1)


def settled(consumer: UUID, *outcomes: Outcome) -> Consumer.Settled:
    return Consumer.Settled(consumer, 2, NOON, list(outcomes))


def shed(tract: Tract, *places: tuple[UUID, int]) -> Gate.MessagesShed:
    return Gate.MessagesShed(gate_id(tract), 2, NOON, [ShedMessage(*place) for place in places])


def outcome(
    dialogue: UUID,
    sequence: int,
    result: Result = Result.ACKED,
    *,
    attempt: int = 1,
    waited: int = 0,
    handled_in: int = 0,
) -> Outcome:
    return Outcome(dialogue, sequence, attempt, result, waited, handled_in)


def ask(sent_at: int | None = None, payload: Payload = None, in_reply_to: int | None = None) -> Message:
    """From the internal tract to the external one."""
    return Message(
        source=INTERNAL,
        target=EXTERNAL,
        sender="planner",
        payload=payload,
        sent_at=sent_at,
        in_reply_to=in_reply_to,
    )


def answer(sent_at: int | None = None, payload: Payload = None, in_reply_to: int | None = None) -> Message:
    """From the external tract to the internal one."""
    return Message(
        source=EXTERNAL,
        target=INTERNAL,
        sender="tool",
        payload=payload,
        sent_at=sent_at,
        in_reply_to=in_reply_to,
    )
