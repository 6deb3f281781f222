"""A log in memory, and short ways to fill it: the read side's other log beside the service's own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Condition
from uuid import UUID

from eventsourcing.persistence import OperationalError
from sqlalchemy import select

from application.recorder import FIRST_CHAIN, next_chain
from domain.dialogue import Dialogue, Kind
from domain.message import Message, Payload
from domain.tract import Tract
from projections.fold import Recorded
from projections.runner import Runner
from projections.tables import TABLES, checkpoints
from projections.views import Views

__all__ = ["NOON", "MemoryLog", "answer", "ask", "closed", "conveyed", "dump", "opened", "running"]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTERNAL, EXTERNAL = Tract


class MemoryLog:
    """Implements `EventLog`.

    Args:
        page: a read gives at most this many events.
        unreadable: reading this position fails.
    """

    def __init__(self, *, epoch: str = "first", page: int = 1000, unreadable: int | None = None) -> None:
        self.epoch = epoch
        self.page = page
        self.unreadable = unreadable
        self.interrupted = False
        self._entries: list[Recorded] = []
        self._grown = Condition()

    def append(self, *events: Dialogue.Event) -> int:
        """Returns the position of the last."""
        with self._grown:
            for event in events:
                position, chain = len(self._entries) + 1, self._entries[-1].chain if self._entries else FIRST_CHAIN
                chain = next_chain(chain, repr(event).encode(), position * 1000)
                topic: str = event.TOPIC  # type: ignore[attr-defined]  # every event class of the domain has one
                self._entries.append(Recorded(position, position * 1000, chain, topic, event.originator_id, event))
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

    def read(self, *, after: int, limit: int, chain: bytes | None = None) -> Sequence[Recorded]:
        if chain is not None and chain != self.chain_at(after):
            raise OperationalError(f"the log has lost position {after}")
        entries = self._entries[after : after + min(limit, self.page)]
        before = [entry for entry in entries if self.unreadable is None or entry.position < self.unreadable]
        if entries and not before:
            raise ValueError("no such topic")
        return before

    def wait_beyond(self, position: int, timeout: float) -> bool:
        with self._grown:
            self._grown.wait_for(lambda: len(self._entries) > position or self.interrupted, timeout)
            return len(self._entries) > position and not self.interrupted


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


def dump(views: Views) -> dict[str, list[tuple[object, ...]]]:
    """Everything that a read model holds."""
    with views.reading() as connection:
        return {
            table.name: sorted(tuple(row) for row in connection.execute(select(table)))
            for table in (*TABLES, checkpoints)
        }


def opened(dialogue: UUID, kind: Kind = Kind.LIVE, **attributes: Payload) -> Dialogue.Opened:
    return Dialogue.Opened(dialogue, 1, NOON, Dialogue.TOPIC, "a subject", kind, attributes)


def conveyed(dialogue: UUID, first_sequence: int, *messages: Message) -> Dialogue.Conveyed:
    return Dialogue.Conveyed(dialogue, 2, NOON, first_sequence, list(messages))


def closed(dialogue: UUID, reason: str = "done") -> Dialogue.Closed:
    return Dialogue.Closed(dialogue, 3, NOON, reason)


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
