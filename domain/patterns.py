"""Patterns in what is said in a dialogue, and the detectors that find them.

A new pattern is one class like `Repetition` and one line in `Detectors`. A detector sees the messages of one
dialogue in order, decides without clock or I/O, and keeps a state that is small and can be stored as MessagePack
at any point.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import count
from typing import Any, ClassVar, Final, Protocol

import msgspec

from domain.message import Payload
from domain.tract import Direction

__all__ = [
    "PATTERNS",
    "Detector",
    "Detectors",
    "Finding",
    "Repetition",
    "detect",
    "fingerprint",
    "what_is_said",
]

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_IDS: Final = frozenset({"id", "tool_call_id", "tool_use_id"})
_CHAT: Final = frozenset({"content", "tool_calls", "function_call"})
_DIRECTIONS: Final = tuple(Direction)
_PREFIXES: Final = tuple(_encode((direction, None))[:-1] for direction in Direction)
"""How the encoding of a direction with something begins, whatever that is."""

_WAYS: Final = {
    Direction.INTERNAL_TO_EXTERNAL: "from internal to external",
    Direction.EXTERNAL_TO_INTERNAL: "from external to internal",
    Direction.INTRA: "within a tract",
}


class Finding(msgspec.Struct):
    """A pattern at a place of a dialogue. It grows while the pattern goes on; its first message identifies it.

    Attributes:
        count: how many messages make it up.
        why: one sentence.
    """

    pattern: str
    first_sequence: int
    last_sequence: int
    count: int
    why: str


class Detector(Protocol):
    """What every detector is: a Struct that can be made without arguments.

    It may have a method `add_run` with the arguments and outcome of `detect`, if it knows a shorter way to that.

    Attributes:
        PATTERNS: the names it gives to findings, the general one first. Each of its findings counts as the
            general one; a name further on is a stronger form of it.
    """

    PATTERNS: ClassVar[tuple[str, ...]]

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        """Take the next message in; returns the finding that it begins or makes grow, the same one as before."""
        ...


class Repetition(msgspec.Struct):
    """The same is said again within the last 20 messages of the dialogue.

    Repetition: a message and an equal one among the 19 before it. Equal ones that follow each other so are one
    finding. It is an echo loop from the moment when three of its messages lie within 20; three that do not, a
    message said a second and a third time 19 messages apart each, stay a repetition. So echo loops are among
    the repetitions, not beside them.

    Attributes:
        last: by fingerprint the last sequence of it, for the last 20 messages, the oldest first.
        growing: by fingerprint the finding that a further equal message would continue.
        before_last: by fingerprint the last sequence but one of that finding.
    """

    PATTERNS: ClassVar[tuple[str, ...]] = ("repetition", "echo_loop")
    WINDOW: ClassVar[int] = 20

    last: dict[bytes, int] = msgspec.field(default_factory=dict)
    growing: dict[bytes, Finding] = msgspec.field(default_factory=dict)
    before_last: dict[bytes, int] = msgspec.field(default_factory=dict)

    def add(self, sequence: int, direction: Direction, payload: Payload) -> Finding | None:
        return self._add(sequence, direction, fingerprint(direction, payload))

    def add_run(
        self, first_sequence: int, directions: Sequence[int], payloads: Sequence[Payload]
    ) -> list[Finding]:
        canonical = list(map(_encode, map(what_is_said, payloads)))
        length = len(canonical)
        if length >= 2 * self.WINDOW and len(set(canonical)) == length:
            begin, end = range(self.WINDOW), range(length - self.WINDOW, length)
            if self.last.keys().isdisjoint([_digest(directions[n], canonical[n]) for n in begin]):
                # Nothing is said again, and the window has passed by all that was said before.
                self.last = {_digest(directions[n], canonical[n]): first_sequence + n for n in end}
                self.growing, self.before_last = {}, {}
                return []
        findings = []
        for n in self._places(canonical):
            said = _digest(directions[n], canonical[n])
            finding = self._add(first_sequence + n, _DIRECTIONS[directions[n]], said)
            if finding is not None:
                findings.append(finding)
        return findings

    def _places(self, canonical: Sequence[bytes]) -> list[int]:
        """Where a run must be looked at; of the other messages nothing is left when it is over.

        That is at the first ones, which may repeat what came before the run; at the last ones, which may be
        repeated after it; and in between at what is said more than once.
        """
        last = len(canonical) - self.WINDOW
        times = Counter(canonical)
        return [n for n, said in enumerate(canonical) if n < self.WINDOW or n >= last or times[said] > 1]

    def _add(self, sequence: int, direction: Direction, said: bytes) -> Finding | None:
        latest = self.last
        while latest and latest[oldest := next(iter(latest))] <= sequence - self.WINDOW:
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
        elif sequence - self.before_last[said] < self.WINDOW:
            finding.pattern = "echo_loop"
        self.before_last[said] = before
        finding.last_sequence = sequence
        finding.count += 1
        finding.why = self._why(finding, _WAYS[direction])
        return finding

    def _why(self, finding: Finding, way: str) -> str:
        place = f"from message {finding.first_sequence} to {finding.last_sequence}"
        slow = finding.pattern == "repetition" and finding.count > 2
        no_loop = f", but never 3 times within {self.WINDOW} messages" if slow else ""
        return f"The same was said {finding.count} times {way}, {place}{no_loop}."


def detect(
    detector: Detector, first_sequence: int, directions: Sequence[int], payloads: Sequence[Payload]
) -> list[Finding]:
    """Tell a detector the next messages of a dialogue; returns the findings that they begin or make grow."""
    # Not a protocol that is checked at run time: that takes as long as fifty messages.
    add_run: Callable[..., list[Finding]] | None = getattr(detector, "add_run", None)
    if add_run is not None:
        return add_run(first_sequence, directions, payloads)
    found = map(detector.add, count(first_sequence), map(_DIRECTIONS.__getitem__, directions), payloads)
    return [finding for finding in found if finding is not None]


class Detectors(msgspec.Struct):
    """The registry of detectors, and what they know of one dialogue: one line for each."""

    repetition: Repetition = msgspec.field(default_factory=Repetition)

    def each(self) -> tuple[tuple[str, Detector], ...]:
        """The detectors with their names."""
        return tuple((name, getattr(self, name)) for name in self.__struct_fields__)


PATTERNS: Final = {name: detector.PATTERNS for name, detector in Detectors().each()}
"""The names that each detector gives to its findings, by the detector's own name."""


def fingerprint(direction: Direction, payload: Payload) -> bytes:
    """16 bytes that are the same for two messages that say the same in the same direction.

    Over canonical MessagePack, not JSON, because a payload may hold bytes; the same payloads are equal.
    """
    return _digest(direction, _encode(what_is_said(payload)))


def _digest(direction: int, canonical: bytes) -> bytes:
    return blake2b(_PREFIXES[direction] + canonical, digest_size=16).digest()


def what_is_said(payload: Payload) -> Payload:
    """A payload without what tells two sayings of it apart.

    In chat format (a dict with `role` and a `content` or calls) that is the content and the names of the called
    tools with their arguments as they were written, without ids; otherwise the payload itself.
    """
    if type(payload) is not dict or "role" not in payload or _CHAT.isdisjoint(payload):
        return payload
    calls = payload.get("tool_calls") or payload.get("function_call")
    return [_without_ids(payload.get("content")), [_call(call) for call in _listed(calls)]]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _call(call: Any) -> Any:
    function = call.get("function", call) if isinstance(call, dict) else call
    return [function.get("name"), function.get("arguments")] if isinstance(function, dict) else function


def _without_ids(content: Any) -> Any:
    """Content may be a list of parts, some of them tool calls and results with ids of their own."""
    if not isinstance(content, list):
        return content
    return [
        {key: value for key, value in part.items() if key not in _IDS} if isinstance(part, dict) else part
        for part in content
    ]
