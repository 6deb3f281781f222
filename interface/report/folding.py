"""What the report measures while the log passes by: balance, coordination and answers, message by message."""

from collections import Counter, deque
from collections.abc import Iterable
from math import ceil
from typing import Final

import msgspec

from domain.measures import Balance, Coordination
from domain.message import Message
from domain.response_times import Response, ResponseTimes, Said, Turns
from domain.tract import Direction, Tract

__all__ = ["POINTS", "RECENT", "DialogueFold", "Point", "ScopeFold"]

POINTS: Final = 400
"""Of a curve; there are between so many and twice as many where there are more messages than that."""

RECENT: Final = 100
"""Messages that a figure of the latest ones is about."""

BLOCKS: Final = 40
_SECOND: Final = 1_000_000


class Point(msgspec.Struct, frozen=True):
    """The measures right after the message `ordinal` of the scope, over all so far and over the last 100.

    Attributes:
        recent_balance, recent_coordination: None below 100 messages; coordination also where it is not known.
    """

    ordinal: int
    balance: float
    coordination: float | None
    recent_balance: float | None
    recent_coordination: float | None


class DialogueFold:
    """One dialogue: who answered whom, and after how long."""

    def __init__(self) -> None:
        self.times = {tract: ResponseTimes() for tract in Tract}
        self._turns = Turns()
        self._said: list[Said] = []

    def add(self, message: Message, direction: Direction) -> Response | None:
        """Take its next message in; returns the answer that it is, if it is one."""
        reply = message.in_reply_to
        response = self._turns.add(direction, message.sent_at, None if reply is None else self._said[reply - 1])
        self._said.append(Said(direction, message.sent_at))
        if response is not None:
            self.times[response.tract].add(response.duration)
        return response


class ScopeFold:
    """The messages of one kind of dialogue that the report is about, in log order.

    Attributes:
        seconds: messages by direction and the second since 1970 in which they were sent.
        untimed: those of which that is not known.
        blocks: messages by direction, for each of at most 40 parts of the scope that are equally long.
    """

    def __init__(self, total: int) -> None:
        """`total`: how many messages there will be; more are measured as well."""
        self.balance = Balance()
        self.coordination = Coordination()
        self.times = {tract: ResponseTimes() for tract in Tract}
        self.points: list[Point] = []
        self.seconds: dict[Direction, Counter[int]] = {direction: Counter() for direction in Direction}
        self.untimed = 0
        self.block = max(1, ceil(total / BLOCKS))
        self.blocks: list[Counter[Direction]] = []
        self._step = max(1, total // POINTS)
        self._recent: deque[Direction] = deque(maxlen=RECENT)
        self._total = total

    def add(self, message: Message, direction: Direction, response: Response | None) -> int:
        """Take a message in; returns its ordinal, from 1."""
        self.balance.add(direction, message.sent_at)
        self.coordination.add(direction)
        self._recent.append(direction)
        if response is not None:
            self.times[response.tract].add(response.duration)
        if message.sent_at is None:
            self.untimed += 1
        else:
            self.seconds[direction][message.sent_at // _SECOND] += 1
        ordinal = self.balance.total_messages
        if (ordinal - 1) % self.block == 0:
            self.blocks.append(Counter())
        self.blocks[-1][direction] += 1
        if ordinal % self._step == 0 or ordinal == self._total:
            self.points.append(self._point(ordinal))
        return ordinal

    def _point(self, ordinal: int) -> Point:
        balance, coordination = self.balance.dialogue_balance_ratio, self.coordination.coordination_z
        if ordinal < RECENT:
            return Point(ordinal, balance, coordination, None, None)
        recent, turns = _measured(self._recent)
        return Point(ordinal, balance, coordination, recent.dialogue_balance_ratio, turns.coordination_z)


def _measured(directions: Iterable[Direction]) -> tuple[Balance, Coordination]:
    balance, coordination = Balance(), Coordination()
    for direction in directions:
        balance.add(direction, None)
        coordination.add(direction)
    return balance, coordination
