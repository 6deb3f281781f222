"""Patterns in what is said in a dialogue: what a detector is, what it finds, and when two messages say the same.

A detector sees the messages of one dialogue in order, decides without clock or I/O, and keeps a state that is
small and can be stored as MessagePack at any point. `repetition` has one; `detectors` has the list of all.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import count
from typing import Any, ClassVar, Final, Protocol

import msgspec

from domain.message import Payload
from domain.tract import Direction

__all__ = [
    "WAYS",
    "Detector",
    "Finding",
    "all_canonical",
    "canonical",
    "detect",
    "fingerprint",
    "fingerprints",
    "what_is_said",
]

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_IDS: Final = frozenset({"id", "tool_call_id", "tool_use_id"})
_CHAT: Final = frozenset({"content", "tool_calls", "function_call"})
_DIRECTIONS: Final = tuple(Direction)
_PREFIXES: Final = tuple(_encode((direction, None))[:-1] for direction in Direction)
"""How the encoding of a direction with something begins, whatever that is."""

WAYS: Final = {
    Direction.INTERNAL_TO_EXTERNAL: "from internal to external",
    Direction.EXTERNAL_TO_INTERNAL: "from external to internal",
    Direction.INTRA: "within a tract",
}


class Finding(msgspec.Struct):
    """A pattern at a place of a dialogue. It grows while the pattern goes on; its first message identifies it.

    Attributes:
        last_sequence: the message with which it began, or last grew.
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


def fingerprint(direction: Direction, payload: Payload) -> bytes:
    """16 bytes that are the same for two messages that say the same in the same direction.

    Over canonical MessagePack, not JSON, because a payload may hold bytes; the same payloads are equal.
    """
    return fingerprints([direction], [canonical(payload)])[0]


def fingerprints(directions: Sequence[int], said: Sequence[bytes]) -> list[bytes]:
    """The same of many, of what is said in its canonical form."""
    prefixed = [_PREFIXES[direction] + each for direction, each in zip(directions, said, strict=True)]
    return [blake2b(each, digest_size=16).digest() for each in prefixed]


def canonical(payload: Payload) -> bytes:
    """What is said as MessagePack, the same bytes for the same."""
    return _encode(what_is_said(payload))


def all_canonical(payloads: Sequence[Payload]) -> list[bytes]:
    """The same of many, without looking into each where there is no chat."""
    if b"role" in _encode(payloads):
        return list(map(canonical, payloads))
    return list(map(_encode, payloads))


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
