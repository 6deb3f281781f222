"""Reading a log without the service: a bare sqlite3 loop, and a bare redis-py client.

They read the same entries and fields in the same pages, and leave them as the client library gives them.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import redis

from infrastructure.redis_streams.datastore import Keys

__all__ = ["BareRedis", "BareSQLite", "Reader"]

LOG = Keys("callosum").log


class BareSQLite:
    NAME = "bare SELECT"

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def page(self, after: int, last: int, limit: int) -> Sequence[Any]:
        """Entries at positions after + 1 to last, at most `limit`."""
        return self._connection.execute(
            "SELECT * FROM stored_events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
            (after, last, limit),
        ).fetchall()

    def stream(self, dialogue: UUID, after: int, events: int) -> Sequence[Any]:
        """All of a dialogue's entries."""
        del after, events
        return self._connection.execute(
            "SELECT * FROM stored_events WHERE originator_id = ? ORDER BY originator_version", (dialogue.hex,)
        ).fetchall()

    def close(self) -> None:
        self._connection.close()


class BareRedis:
    NAME = "bare XRANGE"

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url)  # annotated in parts

    def page(self, after: int, last: int, limit: int) -> Sequence[Any]:
        """Entries at positions after + 1 to last, at most `limit`."""
        found: Sequence[Any] = self._client.xrange(LOG, f"{after + 1}-0", f"{last}-0", count=limit)
        return found

    def stream(self, dialogue: UUID, after: int, events: int) -> Sequence[Any]:
        """As many neighbours: what it would be if every dialogue had a stream of its own."""
        del dialogue
        return self.page(after, after + events, events)

    def close(self) -> None:
        self._client.close()


Reader = BareSQLite | BareRedis
