"""Which of the processes' waiting rooms may let somebody in: see `Inbox.let_in`."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Final

from eventsourcing import sqlite as library

from application.inbox import ROOM_LEASE
from infrastructure.sqlite.datastore import Datastore

__all__ = ["CREATE_WAITING", "WaitingRooms"]

CREATE_WAITING: Final = {
    "inbox_waiting": "room TEXT, rounds REAL, due INTEGER, idle INTEGER, PRIMARY KEY (tract, room)"
}
_OWN: Final = "SELECT rounds, due, idle FROM inbox_waiting WHERE tract = ? AND room = ? AND due > ?"
_OTHERS: Final = "SELECT min(rounds) FROM inbox_waiting WHERE tract = ? AND room != ? AND due > ? AND NOT idle"
_PUT: Final = "INSERT OR REPLACE INTO inbox_waiting VALUES (?,?,?,?,0)"
_END: Final = "DELETE FROM inbox_waiting WHERE tract = ? AND due <= ?"
_LEAVE: Final = "UPDATE inbox_waiting SET idle = 1 WHERE tract = ? AND room = ?"


@dataclass(frozen=True)
class _Standing:
    """How often each sender of a room was let in, and of the room that was least; None: there is no other.

    Attributes:
        lasts: milliseconds that others wait for it, still.
    """

    rounds: float
    others: float | None
    lasts: int

    def allows(self, wanted: int, waiting: int) -> int:
        if self.others is None:
            return wanted
        most = floor((self.others + 1 - self.rounds) * waiting)
        if self.rounds <= self.others:
            most = max(1, most)  # a fraction that was rounded must not keep back both
        return max(0, min(wanted, most))


class WaitingRooms:
    """`clock`: milliseconds since 1970."""

    def __init__(self, datastore: Datastore, clock: Callable[[], int]) -> None:
        self._datastore = datastore
        self._clock = clock

    def let_in(self, tract: str, room: str, wanted: int, waiting: int) -> int:
        with self._datastore.transaction(commit=False) as c:
            standing = _standing(c, tract, room, self._clock())
        if standing.lasts > ROOM_LEASE // 2 and (standing.others is None or not standing.allows(wanted, waiting)):
            return standing.allows(wanted, waiting)  # without a commit: who is alone need not be counted
        with self._datastore.transaction(commit=True) as c:
            now = self._clock()
            standing = _standing(c, tract, room, now)
            allowed = standing.allows(wanted, waiting)
            c.execute(_END, (tract, now))
            c.execute(_PUT, (tract, room, standing.rounds + allowed / waiting, now + ROOM_LEASE))
        return allowed

    def leave(self, tract: str, room: str) -> None:
        with self._datastore.transaction(commit=True) as c:
            c.execute(_LEAVE, (tract, room))


def _standing(c: library.SQLiteCursor, tract: str, room: str, now: int) -> _Standing:
    c.execute(_OTHERS, (tract, room, now))
    others: float | None = c.fetchone()[0]
    c.execute(_OWN, (tract, room, now))
    own = c.fetchone()
    if own is None:  # who comes has missed nothing
        return _Standing(others or 0.0, others, 0)
    rounds, due, idle = own
    return _Standing(max(rounds, others or 0.0) if idle else rounds, others, 0 if idle else due - now)
