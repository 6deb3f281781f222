"""Dominance: nearly all that crosses the bridge goes one way."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import msgspec

from domain.message import Payload
from domain.patterns import WAYS, Finding
from domain.tract import Direction

__all__ = ["Dominance"]

_INTRA: Final = bytes([Direction.INTRA])
_OUT: Final = Direction.INTERNAL_TO_EXTERNAL.value
_BACK: Final = Direction.EXTERNAL_TO_INTERNAL.value


class Dominance(msgspec.Struct, array_like=True):
    """Over the last 50 cross-tract messages one direction has more than 80 %.

    One finding goes from the first message of the window where that begins to hold to the last message at which
    it holds. Where the next such stretch of the same direction overlaps it, the two are one.

    Attributes:
        window, share: how many messages are looked at, and which part is too much; at least half.
        latest, sequences: directions and sequences of the last `window` cross-tract messages.
        total: how many there were.
        growing: the finding that a further stretch would continue; None: it would begin another one.
        direction, first: its direction, and which one of all cross-tract messages its first is, from 1.
    """

    PATTERNS: ClassVar[tuple[str, ...]] = ("dominance",)

    window: int = 50
    share: float = 0.8
    latest: bytes = b""
    sequences: list[int] = msgspec.field(default_factory=list)
    total: int = 0
    growing: Finding | None = None
    direction: int = Direction.INTRA.value
    first: int = 0

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        return next(iter(self.add_run(sequence, bytes([direction]), [payload])), None)

    def add_run(
        self, first_sequence: int, directions: bytes | bytearray, _payloads: list[Payload]
    ) -> list[Finding]:
        across = directions.translate(None, _INTRA)
        if not across:
            return []
        known = self.latest + across
        places = _places(first_sequence, directions, len(across))
        self.total += len(across)
        earlier = self.total - len(known) + 1
        found, sequences = [], list[int]()
        for way, first, last in self._stretches(known):
            sequences = sequences or [*self.sequences, *places]
            begin = first - self.window + 1
            self._begin(way, sequences[begin], earlier + begin)
            found.append(self._grow(sequences[last], earlier + last))
        self.latest = known[-self.window :]
        self.sequences = [*self.sequences, *places[-self.window :]][-self.window :]
        if self.growing is not None and self.growing.last_sequence < self.sequences[0]:
            self.growing, self.direction, self.first = None, Direction.INTRA.value, 0
        return found

    def _stretches(self, known: bytes) -> Iterator[tuple[int, int, int]]:
        """Where windows hold too much of a direction that end with a new message: it, and the first and last such.

        A message changes a window by one. So where a direction lacks some messages, or has some too many, as many
        windows need not be looked at.
        """
        window, end = self.window, len(known)
        limit = int(round(self.share * window, 9))
        place = max(window - 1, len(self.latest))
        while place < end:
            out = known.count(_OUT, place - window + 1, place + 1)
            lacking = limit + 1 - (out if out + out > window else window - out)
            if lacking > 0:
                place += lacking
                continue
            first, direction = place, _OUT if out > limit else _BACK
            while place < end:
                beyond = known.count(direction, place - window + 1, place + 1) - limit
                if beyond <= 0:
                    break
                place += beyond
            yield direction, first, min(place, end) - 1

    def _begin(self, direction: int, first_sequence: int, first: int) -> None:
        """Another finding, unless one of this direction overlaps."""
        before = self.growing
        if before is None or self.direction != direction or before.last_sequence < first_sequence:
            self.growing = Finding("dominance", first_sequence, 0, 0, "")
            self.direction, self.first = direction, first

    def _grow(self, last_sequence: int, last: int) -> Finding:
        finding = self.growing
        assert finding is not None, "it has begun"
        finding.last_sequence, finding.count = last_sequence, last - self.first + 1
        finding.why = (
            f"More than {100 * self.share:.4g} % of the last {self.window} messages between the tracts went"
            f" {WAYS[Direction(self.direction)]}, from message {finding.first_sequence} to {last_sequence}."
        )
        return finding


def _places(first_sequence: int, directions: bytes | bytearray, across: int) -> Sequence[int]:
    """The sequences of the cross-tract messages."""
    if across == len(directions):
        return range(first_sequence, first_sequence + across)
    return [sequence for sequence, way in enumerate(directions, first_sequence) if way]
