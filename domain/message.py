"""One utterance across the bridge: what it may hold, and the checks that it does.

A message is stored as a MessagePack array of its fields in order. Fields are only ever appended, with defaults,
so that every message ever stored can be read.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha1
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from domain.errors import InvalidMessageError, InvalidPayloadError
from domain.tract import Direction, Priority, Tract

__all__ = [
    "MOST_PAYLOAD_BYTES",
    "MOST_PAYLOAD_DEPTH",
    "Message",
    "Name",
    "Payload",
    "check_payload",
    "content_digest",
    "encoded_size",
    "well_formed",
]

MOST_PAYLOAD_BYTES: Final = 256 * 1024
MOST_PAYLOAD_DEPTH: Final = 100

_EARLIEST: Final = -62_135_596_800_000_000
_LATEST: Final = 253_402_300_799_999_999
"""The years 1 to 9999, which a datetime can tell."""

Payload = Any
"""None, bool, int of 64 bits, finite float, str, bytes, or a list of, or dict from str to, these."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Key = Annotated[str, Meta(min_length=1, max_length=500)]


class Message(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """What one agent says across the bridge.

    Attributes:
        source: the tract it comes from.
        target: the tract it goes to; may be the source.
        sender: the agent's name, 1 to 200 characters.
        payload: see `Payload`; at most 256 KiB encoded, nested at most 100 deep.
        priority: NORMAL unless said.
        recipient: the one agent it is for, or None: any agent of the target tract.
        in_reply_to: the sequence of an earlier message in the same dialogue.
        correlation_id, causation_id: free text up to 500 characters, for tracing.
        deadline: after this it is of no use; timezone-aware.
        headers: text by text, such as a W3C ``traceparent``.
        idempotency_key: up to 500 characters; the same key and content again gives the first receipt.
        sent_at: UTC in microseconds since 1970, years 1 to 9999; None where unknown. Live ones are stamped.
    """

    source: Tract
    target: Tract
    sender: Name
    payload: Payload = None
    priority: Priority = Priority.NORMAL
    recipient: Name | None = None
    in_reply_to: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    correlation_id: Key | None = None
    causation_id: Key | None = None
    deadline: Annotated[datetime, Meta(tz=True)] | None = None
    headers: dict[Key, Annotated[str, Meta(max_length=8192)]] | None = None
    idempotency_key: Key | None = None
    sent_at: Annotated[int, Meta(ge=_EARLIEST, le=_LATEST)] | None = None

    @property
    def direction(self) -> Direction:
        return Direction.of(self.source, self.target)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Message])
_canonical = msgspec.msgpack.Encoder(order="deterministic")
_FIELDS: Final = Message.__struct_fields__


def well_formed(messages: Sequence[Message]) -> tuple[list[Message], int]:
    """The messages as they will be stored, copies that later changes of a payload cannot reach, and their size.

    Raises:
        InvalidMessageError: a field of one is outside its definition.
        InvalidPayloadError: a payload is.
    """
    for message in messages:
        if not isinstance(message, Message):
            raise InvalidMessageError("type", f"must be Message, not {type(message).__name__}")
        if type(message.payload) is not str:
            _check(message.payload, (), 0)
    try:
        encoded = _encoder.encode(messages)
        copies = _decoder.decode(encoded)
    except msgspec.ValidationError as error:
        raise _explained(error) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        for message in messages:
            _check_size(message.payload)  # or it is one of the other fields
        raise InvalidMessageError("fields", f"cannot be stored: {error}") from None
    if len(encoded) > MOST_PAYLOAD_BYTES:
        for message in messages:
            _check_size(message.payload)
    return copies, len(encoded)


def _explained(error: msgspec.ValidationError) -> InvalidMessageError:
    """The library names the field by its place, ``$[17][3]`` in the 18th message; people know it by its name."""
    reason, _, path = str(error).partition(" - at `$[")
    _, _, inside = path.rstrip("`").partition("][")
    place, _, rest = inside.partition("]")
    field = _FIELDS[int(place)] + rest if place.isdigit() else "fields"
    return InvalidMessageError(field, "is refused: " + reason[0].lower() + reason[1:])


def encoded_size(payload: Payload) -> int:
    return len(_encoder.encode(payload))


def content_digest(message: Message) -> bytes:
    """SHA-1 of all that was said, without when: two messages with one digest are the same message."""
    return sha1(_canonical.encode(msgspec.structs.replace(message, sent_at=None)), usedforsecurity=False).digest()


def check_payload(payload: Payload) -> None:
    """Raise InvalidPayloadError unless the payload is within its definition. Nothing is ever coerced."""
    _check(payload, (), 0)
    _check_size(payload)


def _check_size(payload: Payload) -> None:
    try:
        size = encoded_size(payload)
    except UnicodeEncodeError:
        raise InvalidPayloadError(
            "payload", "holds text with a lone surrogate, which UTF-8 cannot carry"
        ) from None
    if size > MOST_PAYLOAD_BYTES:
        raise InvalidPayloadError("payload", f"is {size} bytes encoded; at most {MOST_PAYLOAD_BYTES} are allowed")


# Exact types on purpose: a subclass (an enum member, a named tuple) would come back as something else.
def _check(value: object, path: tuple[str | int, ...], depth: int) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is bytes:
        return
    if kind is int:
        if not -(2**63) <= value < 2**64:  # type: ignore[operator]  # the exact type was just compared
            raise InvalidPayloadError(_where(path), "is an integer beyond 64 bits")
    elif kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]  # likewise
            raise InvalidPayloadError(_where(path), f"is {value}, which is not a finite number")
    elif kind is dict or kind is list:
        if depth == MOST_PAYLOAD_DEPTH:
            raise InvalidPayloadError("payload", f"is nested more than {MOST_PAYLOAD_DEPTH} deep")
        _check_inside(value, path, depth + 1)  # type: ignore[arg-type]  # likewise
    else:
        article = "an" if kind.__name__[0] in "aeiouAEIOU" else "a"
        raise InvalidPayloadError(
            _where(path),
            f"is {article} {kind.__name__}; allowed are None, bool, int, float, str, bytes, list and dict",
        )


def _check_inside(value: dict[object, object] | list[object], path: tuple[str | int, ...], depth: int) -> None:
    if isinstance(value, list):
        for place, item in enumerate(value):
            kind = type(item)
            if kind is not str and not (kind is int and 0 <= item < 2**63):  # type: ignore[operator]  # just compared
                _check(item, (*path, place), depth)
        return
    for key, item in value.items():
        if type(key) is not str:
            raise InvalidPayloadError(_where(path), f"has the key {key!r}; keys must be str")
        if type(item) is not str:
            _check(item, (*path, key), depth)


def _where(path: tuple[str | int, ...]) -> str:
    return "payload" + "".join(f"[{step!r}]" for step in path)
