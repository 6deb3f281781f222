"""What the application asks of a log beyond the eventsourcing library's own recorder contract.

A persistence module's application recorder implements `LogRecorder`; it is found by name
(``PERSISTENCE_MODULE``), never imported. Errors stay the library's PEP 249 tree.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from types import MappingProxyType
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    OperationalError,
    StoredEvent,
)

from application.entries import Entry
from application.inbox import Arrival, Inbox, Level, Offer, Settlement
from application.passage import GateChange

__all__ = [
    "FIRST_CHAIN",
    "AppendRefusedError",
    "Duplicate",
    "KeyedMessage",
    "LogLostError",
    "LogRecorder",
    "OutcomeUnknownError",
    "next_chain",
    "stored_digest",
]

FIRST_CHAIN = bytes(20)
"""The chain before the first entry."""


@dataclass(frozen=True)
class KeyedMessage:
    """A message with an idempotency key, as the store remembers it.

    Attributes:
        event: the index, among the stored events of the append, of the one that holds the message.
        digest: of its content, 20 bytes.
    """

    originator_id: UUID
    key: str
    sequence: int
    digest: bytes
    event: int


@dataclass(frozen=True)
class Duplicate:
    """A key that the store has seen already, with the place of the message that brought it."""

    originator_id: UUID
    key: str
    sequence: int
    position: int
    digest: bytes


class AppendRefusedError(IntegrityError):
    """Nothing was appended; these are all the reasons.

    Attributes:
        conflicts: ids of the aggregates of which another event has the version.
        duplicates: keys seen before.
        full: tracts without room for what arrives, with their levels.
        lost: settlements of what is held no more.
        shut: tracts whose gate lets nothing in that arrives, with their levels.
    """

    def __init__(
        self,
        conflicts: Sequence[UUID | str] = (),
        duplicates: Sequence[Duplicate] = (),
        full: Mapping[str, Level] = MappingProxyType({}),
        lost: Sequence[Settlement] = (),
        shut: Mapping[str, Level] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            f"{len(conflicts)} version conflicts, {len(duplicates)} repeated idempotency keys, "
            f"{len(full)} full tracts, {len(shut)} shut tracts, {len(lost)} lost leases"
        )
        self.conflicts = tuple(conflicts)
        self.duplicates = tuple(duplicates)
        self.full = dict(full)
        self.lost = tuple(lost)
        self.shut = dict(shut)


class LogLostError(OperationalError):
    """The log is not the one that was seen: its server lost entries that it had acknowledged, or all of it.

    Attributes:
        seen: the last position that was known.
        head: where the log ends now.
        first: the first position whose entry is known to be lost; None: one up to `seen`, but not known which.
    """

    def __init__(self, seen: int, head: int, *, begun_anew: bool = False) -> None:
        end = f"ends at position {head}" if head < seen else "holds another history"
        lost = f"{end}; what was acknowledged at position {seen} is lost" if seen else "is another one now"
        super().__init__(f"The log was begun anew and {lost}." if begun_anew and seen else f"The log {lost}.")
        self.seen = seen
        self.head = head
        self.first = 1 if begun_anew else head + 1 if head < seen else None


class OutcomeUnknownError(OperationalError):
    """The append was sent, and sent again, and no answer came: it may be stored, or not.

    An idempotency key makes it safe to send again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} Whether the append happened is not known.")


def stored_digest(stored: StoredEvent) -> bytes:
    """SHA-1 over originator id (a UUID as 32 hex digits), version (decimal), topic and state.

    Each is UTF-8 and preceded by its length as 8 bytes, big-endian, so that no two events share an encoding.
    """
    originator = stored.originator_id.hex if isinstance(stored.originator_id, UUID) else stored.originator_id
    digest = sha1(usedforsecurity=False)
    for part in (
        originator.encode(),
        str(stored.originator_version).encode(),
        stored.topic.encode(),
        stored.state,
    ):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def next_chain(chain: bytes, digest: bytes, at: int) -> bytes:
    """SHA-1 over the previous chain, the entry's digest (both as hex digits) and its time (decimal).

    Text rather than bytes, because a Lua script of a Redis server must be able to compute it.
    """
    return sha1(f"{chain.hex()}{digest.hex()}{at}".encode(), usedforsecurity=False).digest()


class LogRecorder(ApplicationRecorder):
    """An application recorder whose log has times, a chain, an epoch and idempotency keys."""

    @property
    @abstractmethod
    def inbox(self) -> Inbox:
        """The messages of this log that are on their way."""

    @property
    @abstractmethod
    def epoch(self) -> str:
        """Random text, made when the log was created."""

    @abstractmethod
    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        keyed: Sequence[KeyedMessage] = (),
        arrivals: Sequence[Arrival] = (),
        settlements: Sequence[Settlement] = (),
        offers: Sequence[Offer] = (),
        gates: Sequence[GateChange] = (),
        times: Sequence[int] = (),
        **kwargs: Any,
    ) -> Sequence[int] | None:
        """Append all of these, with their keys, arrivals, settlements and changes of gates, or nothing.

        The time of each is now, or what `times` says of it (milliseconds since 1970; for each event, or for none),
        but never before that of the entry before it.

        Arrivals are judged by the gates as they were before, and need room but for as many as are shed with them
        (`Then.SHED`); what else is settled makes room for later appends. Offers are carried out last, in their
        order and by the gates as they are then, if all was appended.

        Raises:
            AppendRefusedError: a version or a key is taken, a tract full or shut, a lease lost; names all of them.
            OutcomeUnknownError: no answer came; all other errors mean that nothing was stored.
            LogLostError: the log is not the one that was appended to and told by aggregate before; raised by
                `select_events` too, and again until `accept_loss`.
        """

    @abstractmethod
    def select_entries(self, *, after: int, limit: int, stop: int | None = None) -> Sequence[Entry]:
        """Entries at positions after + 1 to `stop` (inclusive), in order: `limit`, or as many as there are."""

    @abstractmethod
    def entries_at(self, positions: Sequence[int]) -> Sequence[Entry]:
        """The entries at these ascending positions, those that there are."""

    @abstractmethod
    def select_stream(self, originator_id: UUID, *, after: int = 0, limit: int) -> Sequence[Entry]:
        """An aggregate's entries of versions after + 1 and on, at most `limit`, in order."""

    @abstractmethod
    def select_keys(self, originator_id: UUID, keys: Sequence[str]) -> Sequence[Duplicate]:
        """Those of the keys that the aggregate's messages have brought, with their places."""

    @abstractmethod
    def position_at(self, time: int) -> int:
        """The last position whose `at` is not later than `time` (milliseconds since 1970); 0 when none is."""

    @abstractmethod
    def wait_beyond(self, position: int, timeout: float) -> bool:
        """Block until the head is beyond `position`: True, or False after `timeout` seconds or `interrupt`.

        At once for entries appended through this recorder, within 50 ms for others'. True as well when the log
        has become shorter than `position`.
        """

    @abstractmethod
    def tip(self) -> tuple[int, bytes]:
        """The last position and its chain; 0 and `FIRST_CHAIN` when the log is empty."""

    @abstractmethod
    def accept_loss(self) -> None:
        """Go on from what there is, after a `LogLostError`, when all that came of the lost entries is forgotten.

        The epoch may be another one then.
        """

    @abstractmethod
    def check(self) -> str | None:
        """What the store's own check of its files finds wrong first; None: nothing, or it has no such check."""

    @abstractmethod
    def interrupt(self) -> None:
        """End every `wait_beyond` that blocks now or later; called once, before the store is closed."""
