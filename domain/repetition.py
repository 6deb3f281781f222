"""Repetition: the same is said again within a dialogue."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import ClassVar, Final

import msgspec

from domain.message import Payload
from domain.patterns import WAYS, Finding, all_canonical, fingerprint, fingerprints
from domain.tract import Direction

__all__ = ["Repetition"]

_DIRECTIONS: Final = tuple(Direction)


class Repetition(msgspec.Struct, array_like=True):
    """The same is said again within the last 20 messages of the dialogue.

    Repetition: a message and an equal one among the 19 before it. Equal ones that follow each other so are one
    finding. It is an echo loop from the moment when three of its messages lie within 20; three that do not, a
    message said a second and a third time 19 messages apart each, stay a repetition. So echo loops are among
    the repetitions, not beside them.

    Attributes:
        window: how many messages of the dialogue are looked at, 20 unless it is set.
        last: by fingerprint the last sequence of it, for the messages of the window, the oldest first.
        growing: by fingerprint the finding that a further equal message would continue.
        before_last: by fingerprint the last sequence but one of that finding.
    """

    PATTERNS: ClassVar[tuple[str, ...]] = ("repetition", "echo_loop")

    window: int = 20
    last: dict[bytes, int] = msgspec.field(default_factory=dict)
    growing: dict[bytes, Finding] = msgspec.field(default_factory=dict)
    before_last: dict[bytes, int] = msgspec.field(default_factory=dict)

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        return self._add(sequence, direction, fingerprint(direction, payload))

    def add_run(
        self, first_sequence: int, directions: Sequence[int], payloads: Sequence[Payload]
    ) -> list[Finding]:
        told = all_canonical(payloads)
        if self._nothing_is_said_again(directions, told):
            latest = fingerprints(directions[-self.window :], told[-self.window :])
            self.last = dict(zip(latest, count(first_sequence + len(told) - self.window)))
            self.growing, self.before_last = {}, {}
            return []
        places = self._places(told)
        said = fingerprints([directions[n] for n in places], [told[n] for n in places])
        found = [
            self._add(first_sequence + n, _DIRECTIONS[directions[n]], each)
            for n, each in zip(places, said, strict=True)
        ]
        return [finding for finding in found if finding is not None]

    def _nothing_is_said_again(self, directions: Sequence[int], told: Sequence[bytes]) -> bool:
        """Whether a run is all new, and so long that the window passes by all that was said before."""
        if len(told) < 2 * self.window or len(set(told)) < len(told):
            return False
        return self.last.keys().isdisjoint(fingerprints(directions[: self.window], told[: self.window]))

    def _places(self, told: Sequence[bytes]) -> list[int]:
        """Where a run must be looked at; of the other messages nothing is left when it is over.

        That is at the first ones, which may repeat what came before the run; at the last ones, which may be
        repeated after it; and in between at what is said more than once.
        """
        last = len(told) - self.window
        times = Counter(told)
        return [n for n, said in enumerate(told) if n < self.window or n >= last or times[said] > 1]

    def _add(self, sequence: int, direction: Direction, said: bytes) -> Finding | None:
        latest = self.last
        while latest and latest[oldest := next(iter(latest))] <= sequence - self.window:
            self._forget(oldest)
        # Taken out and put in again, so that the oldest stays first.
        before = latest.pop(said, None)
        latest[said] = sequence
        if before is None:
            return None
        return self._hit(said, before, sequence, direction)

    def _forget(self, said: bytes) -> None:
        """Let a message that fell out of the window end its finding."""
        del self.last[said]
        if said in self.growing:
            del self.growing[said], self.before_last[said]

    def _hit(self, said: bytes, before: int, sequence: int, direction: Direction) -> Finding:
        finding = self.growing.get(said)
        if finding is None:
            finding = self.growing[said] = Finding("repetition", before, before, 1, "")
        elif sequence - self.before_last[said] < self.window:
            finding.pattern = "echo_loop"
        self.before_last[said] = before
        finding.last_sequence = sequence
        finding.count += 1
        finding.why = self._why(finding, WAYS[direction])
        return finding

    def _why(self, finding: Finding, way: str) -> str:
        place = f"from message {finding.first_sequence} to {finding.last_sequence}"
        slow = finding.pattern == "repetition" and finding.count > 2
        no_loop = f", but never 3 times within {self.window} messages" if slow else ""
        return f"The same was said {finding.count} times {way}, {place}{no_loop}."
