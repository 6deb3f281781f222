"""Monologue: one tract goes on and on, and the other says nothing."""

import re
from typing import ClassVar, Final

import msgspec

from domain.message import Payload
from domain.patterns import WAYS, Finding
from domain.tract import Direction

__all__ = ["Monologue"]

_INTRA: Final = bytes([Direction.INTRA])
_OUT: Final = bytes([Direction.INTERNAL_TO_EXTERNAL])
_BACK: Final = bytes([Direction.EXTERNAL_TO_INTERNAL])
_TURNS: Final = re.compile(rb"\x01[\x00\x01]*|\x02[\x00\x02]*")
"""Turns among directions: all that goes one way, and what is said within a tract meanwhile."""


class Monologue(msgspec.Struct, array_like=True):
    """So many or more consecutive cross-tract messages in one direction; those within a tract are passed over.

    Attributes:
        messages: how many make one.
        direction: of the turn under way; INTRA before the first.
        first_sequence, count: its first message, and how many it has.
    """

    PATTERNS: ClassVar[tuple[str, ...]] = ("monologue",)

    messages: int = 20
    direction: int = Direction.INTRA.value
    first_sequence: int = 0
    count: int = 0

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        return next(iter(self.add_run(sequence, bytes([direction]), [payload])), None)

    def add_run(
        self, first_sequence: int, directions: bytes | bytearray, _payloads: list[Payload]
    ) -> list[Finding]:
        found = []
        for turn in _TURNS.finditer(directions, self._begin(directions)):
            said = turn[0].rstrip(_INTRA)
            if said[0] != self.direction:
                self.direction, self.count = said[0], 0
                self.first_sequence = first_sequence + turn.start()
            self.count += len(said) - said.count(_INTRA)
            if self.count >= self.messages:
                found.append(self._finding(first_sequence + turn.start() + len(said) - 1))
        return found

    def _begin(self, directions: bytes | bytearray) -> int:
        """Where to begin to look at turns: where no one is long enough, the last one is all that matters."""
        across = directions.translate(None, _INTRA)
        known = bytes([self.direction]) * min(self.count, self.messages) + across
        if not across or _OUT * self.messages in known or _BACK * self.messages in known:
            return 0
        begin = len(directions.rstrip(_INTRA + across[-1:]))
        if begin:
            self.direction = Direction.INTRA.value  # the turn that was under way is over
        return begin

    def _finding(self, last_sequence: int) -> Finding:
        way, first = WAYS[Direction(self.direction)], self.first_sequence
        why = f"{self.count} messages in a row went {way}, from message {first} to {last_sequence}."
        return Finding("monologue", first, last_sequence, self.count, why)
