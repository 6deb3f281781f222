"""What callers hand in, checked before it goes anywhere. Copied too, so that later changes cannot reach it."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import datetime
from enum import Enum
from typing import Final, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec.structs import force_setattr

from domain.errors import BatchTooLargeError, EmptyBatchError, InvalidCommandError, InvalidMessageError
from domain.message import Message, Payload, check_payload, well_formed

__all__ = [
    "FEW",
    "MOST_BATCH_BYTES",
    "MOST_BATCH_MESSAGES",
    "MOST_NAME",
    "MOST_TEXT",
    "check_batch",
    "check_id",
    "check_text",
    "check_time",
    "checked_attributes",
    "member",
    "stamped",
    "stamped_few",
]

MOST_BATCH_MESSAGES: Final = 1000
MOST_BATCH_BYTES: Final = 8 * 1024 * 1024
FEW: Final = 8
"""Messages of at most 2 MiB together: so many are checked at once."""

MOST_TEXT: Final = 2000
MOST_NAME: Final = 200
_SHORT: Final = 0.0005
"""Seconds that a part of a batch may take before the next one is made smaller."""

_E = TypeVar("_E", bound=Enum)


def stamped_few(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """The same as `stamped` of at most `FEW` messages: they hold up nobody."""
    return _stamped_part(messages, time.time_ns() // 1000)


async def stamped(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """Copies of a checked batch as they will be stored, stamped with the time, and their size in bytes."""
    copies: list[Message] = []
    size, now, start, step = 0, time.time_ns() // 1000, 0, FEW
    while start < len(messages):
        began = time.perf_counter()
        some, encoded = _stamped_part(messages[start : start + step], now)
        size += encoded
        if size > MOST_BATCH_BYTES:
            raise _too_large(len(messages), size)
        copies += some
        start += step
        took = time.perf_counter() - began
        step = step * 2 if took < _SHORT else max(1, step // 4)
        if took > 4 * _SHORT:
            await asyncio.sleep(0)  # a large batch must not hold up the loop
    return copies, size


def check_batch(messages: object) -> None:
    if not isinstance(messages, Sequence):
        raise InvalidCommandError("batch", f"must be a list of messages, not {type(messages).__name__}")
    if not messages:
        raise EmptyBatchError
    if len(messages) > MOST_BATCH_MESSAGES:
        raise _too_large(len(messages), 0)


def _stamped_part(messages: Sequence[Message], now: int) -> tuple[list[Message], int]:
    copies, size = well_formed(messages)
    for copy in copies:
        if copy.sent_at is not None:
            raise InvalidMessageError("sent_at", "is stamped by the service and cannot be given")
        # The copy is ours alone; making another one only to set a field would double the cost of a message.
        force_setattr(copy, "sent_at", now)
    return copies, size


def member(of: type[_E], value: object) -> _E | None:
    """The enum's member that is, or is named by, a value; None for None."""
    if value is None:
        return None
    try:
        return of(value)
    except ValueError:
        allowed = ", ".join(str(known) for known in of)
        raise InvalidCommandError(of.__name__.lower(), f"{value!r} is none of {allowed}") from None


def _too_large(messages: int, size: int) -> BatchTooLargeError:
    return BatchTooLargeError(messages, size, most_messages=MOST_BATCH_MESSAGES, most_bytes=MOST_BATCH_BYTES)


def checked_attributes(attributes: object) -> dict[str, Payload]:
    """A copy that the caller's later changes cannot reach."""
    if not isinstance(attributes, dict):
        raise InvalidCommandError("attributes", f"must be a dict, not {type(attributes).__name__}")
    check_payload(attributes)
    return cast("dict[str, Payload]", msgspec.msgpack.decode(msgspec.msgpack.encode(attributes)))


def check_text(argument: str, text: object, *, most: int = MOST_TEXT) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= most:
        raise InvalidCommandError(argument, f"must be text of 1 to {most} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidCommandError(argument, "holds a lone surrogate, which UTF-8 cannot carry")


def check_time(argument: str, time: object) -> None:
    if not isinstance(time, datetime):
        raise InvalidCommandError(argument, f"must be a datetime, not {type(time).__name__}")
    if time.tzinfo is None:
        raise InvalidCommandError(argument, "has no time zone")


def check_id(dialogue: object) -> None:
    if not isinstance(dialogue, UUID):
        hint = "; is an await missing?" if isinstance(dialogue, Coroutine) else ""
        raise InvalidCommandError("dialogue", f"must be a uuid.UUID, not {type(dialogue).__name__}{hint}")
