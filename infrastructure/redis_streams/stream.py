"""Reading the log's stream: by position, and by aggregate through its index of positions."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final
from uuid import UUID

from application.entries import Entry
from infrastructure.redis_streams import wire
from infrastructure.redis_streams.append import HIGHEST_VERSION
from infrastructure.redis_streams.connection import Connection
from infrastructure.redis_streams.datastore import Datastore

__all__ = ["Stream"]

_PAGE: Final = 256
_VERSIONS: Final = 4096
"""Versions whose places are read at once."""


class Stream:
    """Reads over one connection, so that all of it comes from one run of the server."""

    def __init__(self, datastore: Datastore, connection: Connection) -> None:
        self._datastore = datastore
        self._connection = connection
        self._log = datastore.keys.log

    def tip(self) -> tuple[int, bytes]:
        return wire.tip(self._connection.call("HMGET", self._datastore.keys.head, "position", "chain"))

    def entries(self, after: int, limit: int, stop: int | None) -> list[Entry]:
        """At positions after + 1 to `stop` (inclusive), at most `limit`, in order."""
        first, last = f"{max(after + 1, 1)}-0", "+" if stop is None else f"{max(stop, 0)}-0"
        reply = self._connection.call("XRANGE", self._log, first, last, "COUNT", limit)
        return wire.entries(reply or (), self._datastore.originator_id)

    def at(self, positions: Sequence[int]) -> list[Entry]:
        """At these positions, in their order."""
        commands = [("XRANGE", self._log, f"{first}-0", f"{last}-0") for first, last in _runs(positions)]
        replies = self._connection.together(commands)
        return [entry for reply in replies for entry in wire.entries(reply, self._datastore.originator_id)]

    def of(
        self, originator_id: UUID | str, *, gt: int | None, lte: int | None, desc: bool, limit: int | None
    ) -> list[Entry]:
        """An aggregate's, by version: first their positions, then themselves."""
        first, last = 0 if gt is None else max(gt + 1, 0), HIGHEST_VERSION if lte is None else lte
        positions = islice(self._positions(originator_id, first, last, desc=desc), limit)
        entries: list[Entry] = []
        while page := list(islice(positions, _PAGE)):
            entries += self.at(page)
        return entries

    def _positions(self, originator_id: UUID | str, first: int, last: int, *, desc: bool) -> Iterator[int]:
        """Of the versions first to last that there are."""
        index = self._datastore.keys.of("stream", originator_id)
        last = min(last, wire.integer(self._connection.call("STRLEN", index)) // 8 - 1)
        starts = range(first, last + 1, _VERSIONS)
        for start in reversed(starts) if desc else starts:
            end = min(start + _VERSIONS - 1, last)
            found = wire.positions(self._connection.call("GETRANGE", index, start * 8, end * 8 + 7))
            yield from (position for position in (reversed(found) if desc else found) if position)


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges (inclusive) of ascending neighbours, in order."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position - 1:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs
