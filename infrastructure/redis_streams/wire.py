"""What the server answers, as types; and what more than one script is asked."""

import struct
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from application.entries import Entry
from application.inbox import Handed, Level, Take, Taken
from application.passage import Passage
from application.recorder import Duplicate

__all__ = [
    "asked",
    "duplicate",
    "entries",
    "handed",
    "integer",
    "level",
    "levels",
    "positions",
    "taken",
    "text",
    "tip",
    "versioned",
]

_KEYED = struct.Struct(">QQ20s")


def text(reply: Any) -> str:
    return str(reply, "utf-8", "surrogateescape")


def integer(reply: Any) -> int:
    """Of a number, or its decimal digits; None is 0."""
    return int(reply or 0)


def tip(reply: Sequence[Any]) -> tuple[int, bytes]:
    """Position and chain of the last entry, as the head and the scripts give them."""
    position, chain = reply
    return integer(position), bytes.fromhex(text(chain)) if chain else bytes(20)


def positions(packed: bytes) -> tuple[int, ...]:
    """Of consecutive versions; 0 where a version has no event."""
    return struct.unpack(f">{len(packed) // 8}Q", packed)


def entries(reply: Sequence[Any], originator_id: Callable[[str], UUID | str]) -> list[Entry]:
    """Of pairs of an entry's id and its fields: id, version, topic, at, chain, state, each behind its name."""
    return [
        Entry(
            originator_id(text(fields[1])),
            int(fields[3]),
            text(fields[5]),
            fields[11],
            int(position[:-2]),
            int(fields[7]),
            bytes.fromhex(text(fields[9])),
        )
        for position, fields in reply
    ]


def asked(take: Take) -> tuple[str | int, ...]:
    # A plain string: the client takes no enum's member for one.
    return (str(take.tract), take.consumer, take.generation, take.lease, take.demand, take.ack_wait)


def handed(reply: Sequence[Any]) -> list[Handed]:
    """Of slots, priorities and attempts in turns."""
    numbers = [int(number) for number in reply]
    return list(map(Handed, numbers[::3], numbers[1::3], numbers[2::3]))


def taken(reply: Sequence[Any], originator_id: Callable[[str], UUID | str]) -> Taken:
    left, next_due, told, found, generation = reply
    return Taken(
        sorted(handed(told), key=lambda message: (-message.priority, message.slot)),
        entries(found, originator_id),
        bool(left),
        int(next_due) if next_due else None,
        int(generation),
    )


def level(reply: Sequence[Any]) -> Level:
    """Of what `level_words` tells: of a field that is missing, or empty, what it means that it was never set."""
    backlog, capacity, passage, generation, permits, retry_at = reply
    return Level(
        integer(backlog),
        None if capacity is None else int(capacity),
        Passage(text(passage)) if passage else Passage.FREE,
        integer(generation),
        integer(permits),
        int(retry_at) if retry_at else None,
    )


def levels(reply: Sequence[Any]) -> dict[str, Level]:
    """Of tracts and their levels in turns."""
    return {text(tract): level(words) for tract, words in zip(reply[::2], reply[1::2], strict=True)}


def duplicate(originator_id: UUID, key: str, packed: bytes) -> Duplicate:
    return Duplicate(originator_id, key, *_KEYED.unpack(packed))


def versioned(reply: Sequence[Any]) -> list[tuple[int, bytes]]:
    """Versions and members of a sorted set, as ZRANGE … WITHSCORES gives them."""
    return [(int(float(reply[place + 1])), reply[place]) for place in range(0, len(reply), 2)]
