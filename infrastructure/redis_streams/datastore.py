"""One log's place on a server: its keys, its identity, and who waits for it to grow."""

import re
from typing import Final
from uuid import UUID, uuid4

from eventsourcing.persistence import ProgrammingError

from domain.tract import Tract
from infrastructure.growth import Growth
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.connection import Connections, Script
from infrastructure.redis_streams.listener import Listener

__all__ = ["LAYOUT", "Datastore", "Keys", "refusal"]

LAYOUT: Final = 3
"""Version of the keys and what they hold; counted up when they change."""

BEFORE: Final = 2
"""The layout that is called this one when a log is opened: it lacks nothing. But programs that know only that one
would let through what a gate holds back, so they must refuse it from then on."""

_CLAIM: Final = Script("claim")


class Keys:
    """All keys of a namespace share a hash tag, so that one script may touch them all."""

    def __init__(self, namespace: str) -> None:
        self._prefix = f"{{{namespace}}}:"
        self.log = self._prefix + "log"
        self.head = self._prefix + "head"
        self.meta = self._prefix + "meta"
        self.tracking = self._prefix + "tracking"

    def of(self, kind: str, originator_id: UUID | str) -> str:
        """Of one aggregate: ``stream``, ``idempotency``, or where events of a purpose are."""
        return f"{self._prefix}{kind}:{stored_id(originator_id)}"

    def level(self, tract: str) -> str:
        return f"{self._prefix}level:{tract}"

    def bell(self, tract: str) -> str:
        """The channel that tells that there may be something to take."""
        return f"{self._prefix}bell:{tract}"

    def own(self, name: str) -> str:
        """A key for something else that belongs to this namespace, such as a read model."""
        return f"{self._prefix}own:{name}"


def stored_id(originator_id: UUID | str) -> str:
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


def _durable(asked: str | None) -> bool:
    if asked not in {None, "none"}:
        raise ValueError(f"durability in the URL's query is {asked!r}; it can only be none, or left out")
    return asked is None


def refusal(namespace: str, layout: str | None) -> str | None:
    """Why a log of this layout is refused; without one, it is another program's."""
    if layout in {str(BEFORE), str(LAYOUT)}:
        return None
    found = f"layout {layout}" if layout else "a log without a layout"
    return f"the namespace {namespace!r} holds {found}; this program knows layout {LAYOUT}"


class Datastore:
    """What the recorders of one factory share.

    Args:
        url: as `Connections` takes it; its ``namespace`` goes before the one that is given, and with
            ``durability=none`` a server may be used that keeps nothing on disk.
        namespace: of the log's keys, letters, digits and ``._-``; several logs may share a server's database.
        timeout: seconds to wait for the server.
        text_ids: whether originator ids are read as text; else as UUIDs.
    """

    def __init__(self, url: str, *, namespace: str, timeout: float, text_ids: bool = False) -> None:
        self.connections = Connections(url, timeout)
        namespace = self.connections.options.get("namespace", namespace)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", namespace):
            raise ValueError(
                f"the namespace {namespace!r} is not 1 to 100 letters, digits, dots, hyphens, underscores"
            )
        self.namespace = namespace
        self.durable = _durable(self.connections.options.get("durability"))
        self.keys = Keys(namespace)
        self.text_ids = text_ids
        self.growth = Growth(told=False)
        self.listener = Listener(
            self.connections.dedicated,
            self.keys.log,
            {self.keys.bell(tract): tract for tract in Tract},
            self.growth,
        )

    def originator_id(self, stored: str) -> UUID | str:
        if self.text_ids:
            return stored
        try:
            return UUID(stored)
        except ValueError:
            return stored  # a damaged entry is for `verify` and for the mapper to tell of

    def claim(self) -> tuple[str, tuple[int, bytes]]:
        """Make an empty namespace this program's. The log's epoch, and its last position and chain."""
        keys = self.keys
        layout, epoch, *tip, _ = self.connections.run(
            _CLAIM, [keys.meta, keys.head, keys.log], [str(LAYOUT), uuid4().hex, str(BEFORE)]
        )
        if reason := refusal(self.namespace, wire.text(layout)):
            raise ProgrammingError(f"Redis at {self.connections.address}: {reason}.")
        return wire.text(epoch), wire.tip(tip)

    def epoch(self) -> str | None:
        """Of the log that is there; None: there is none."""
        found = self.connections.call("HGET", self.keys.meta, "epoch")
        return None if found is None else wire.text(found)

    def close(self) -> None:
        self.growth.interrupt()
        self.listener.stop()
        self.connections.close()
