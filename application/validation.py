"""What callers hand in, checked before it goes anywhere. Copied too, so that later changes cannot reach it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec.structs import force_setattr

from domain.errors import BatchTooLargeError, EmptyBatchError, InvalidCommandError, InvalidMessageError
from domain.message import Message, Payload, check_payload, well_formed

__all__ = ["MOST_BATCH_BYTES", "MOST_BATCH_MESSAGES", "check_id", "check_text", "checked_attributes", "stamped"]

MOST_BATCH_MESSAGES: Final = 1000
MOST_BATCH_BYTES: Final = 8 * 1024 * 1024
MOST_TEXT: Final = 2000
_AT_ONCE: Final = 50
_LARGE: Final = 256 * 1024


async def stamped(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """Copies of a batch as they will be stored, stamped with the time, and their size in bytes."""
    if not messages:
        raise EmptyBatchError
    if len(messages) > MOST_BATCH_MESSAGES:
        raise _too_large(len(messages), 0)
    copies: list[Message] = []
    size, now = 0, time.time_ns() // 1000
    for start in range(0, len(messages), _AT_ONCE):
        some, encoded = well_formed(messages[start : start + _AT_ONCE])
        size += encoded
        if size > MOST_BATCH_BYTES:
            raise _too_large(len(messages), size)
        for copy in some:
            if copy.sent_at is not None:
                raise InvalidMessageError("sent_at", "is stamped by the service and cannot be given")
            # The copy is ours alone; making another one only to set a field would double the cost of a message.
            force_setattr(copy, "sent_at", now)
        copies += some
        if encoded > _LARGE:
            await asyncio.sleep(0)  # a large batch must not hold up the loop
    return copies, size


def _too_large(messages: int, size: int) -> BatchTooLargeError:
    return BatchTooLargeError(messages, size, most_messages=MOST_BATCH_MESSAGES, most_bytes=MOST_BATCH_BYTES)


def checked_attributes(attributes: object) -> dict[str, Payload]:
    """A copy that the caller's later changes cannot reach."""
    if not isinstance(attributes, dict):
        raise InvalidCommandError("attributes", f"must be a dict, not {type(attributes).__name__}")
    check_payload(attributes)
    return cast("dict[str, Payload]", msgspec.msgpack.decode(msgspec.msgpack.encode(attributes)))


def check_text(argument: str, text: object) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= MOST_TEXT:
        raise InvalidCommandError(argument, f"must be text of 1 to {MOST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidCommandError(argument, "holds a lone surrogate, which UTF-8 cannot carry")


def check_id(dialogue: object) -> None:
    if not isinstance(dialogue, UUID):
        raise InvalidCommandError("dialogue", f"must be a UUID, not {type(dialogue).__name__}")
