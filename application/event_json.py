"""Events as JSON and back, without loss: every event is an object with its fields by name.

What JSON lacks is bytes. They are ``{"$base64": "…"}``, and an object of a payload that looks like that, or like
one that was made to differ from it, gets one more ``$`` before the name of its only key; reading takes one away.
So every payload has one form, and every form one payload. Times are RFC 3339, ids text, priorities numbers.
Numbers keep their kind and all their digits: 1 is an integer, 1.0 and -0.0 are floats.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin
from uuid import UUID

import msgspec
from eventsourcing.domain import CanInitAggregate

from application.codec import EventMapper, events_of, stored_fields
from application.upcasts import Upcast

__all__ = ["event_from_json", "event_to_json", "is_topic"]

_BYTES: Final = "$base64"
_LIKE_BYTES: Final = re.compile(r"\$+base64")
_MAY_BE_BYTES: Final = re.compile(rb"\$base64|\\u")
"""Without one of these in it, JSON holds nothing that looks like bytes, and need not be walked through."""

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_Zoned = Annotated[datetime, msgspec.Meta(tz=True)]


class _Form:
    """How the events of one topic are told: as an object with the fields of the stored state."""

    def __init__(self, aggregate_topic: str, event_class: Any) -> None:
        self.event_class = event_class
        self.names = [field.name for field in stored_fields(event_class)]
        self._derived = {"originator_topic": aggregate_topic} if issubclass(event_class, CanInitAggregate) else {}
        fields = [(name, _named(type_), *default) for name, type_, default in _fields(stored_fields(event_class))]
        self._object = msgspec.defstruct(event_class.__name__, fields, kw_only=True, forbid_unknown_fields=True)
        self._decode = msgspec.json.Decoder(self._object).decode
        own = [(name, type_, *default) for name, type_, default in _fields(stored_fields(event_class))]
        self._own = msgspec.defstruct(event_class.__name__, own, kw_only=True)

    def event(self, originator_id: UUID, version: int, told: bytes | memoryview) -> Any:
        own = msgspec.convert(_by_name(told, self._object, self._decode), self._own, from_attributes=True)
        return self.made(originator_id, version, {name: getattr(own, name) for name in self.names})

    def made(self, originator_id: UUID, version: int, fields: dict[str, Any]) -> Any:
        return self.event_class(originator_id=originator_id, originator_version=version, **self._derived, **fields)


class _OldForm:
    """How the events of an old topic are read: an export may be older than the newest form of an event."""

    def __init__(self, upcast: Upcast, newest: _Form) -> None:
        self._upcast, self._newest = upcast, newest
        self._object = _named_struct(upcast.state)
        self._decode = msgspec.json.Decoder(self._object).decode

    def event(self, originator_id: UUID, version: int, told: bytes | memoryview) -> Any:
        by_name = _by_name(told, self._object, self._decode)
        old = msgspec.convert(by_name, self._upcast.state, from_attributes=True)
        return self._newest.made(originator_id, version, self._upcast.convert(old))


def _by_name(told: bytes | memoryview, struct: type[Any], decode: Callable[[bytes | memoryview], Any]) -> Any:
    if _MAY_BE_BYTES.search(told):
        return msgspec.convert(_read(msgspec.json.decode(told)), struct)
    return decode(told)


def _fields(fields: list[msgspec.structs.FieldInfo]) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The name, the type, and what gives the default, if there is one."""
    told = []
    for field in fields:
        if field.required:
            default: tuple[Any, ...] = ()
        elif field.default_factory is not msgspec.NODEFAULT:
            default = (msgspec.field(default_factory=field.default_factory),)
        else:
            default = (field.default,)
        told.append((field.name, field.type, default))
    return told


def _named(type_: Any) -> Any:
    """The type with objects in place of the arrays that structs are stored as."""
    if get_origin(type_) is list:
        return list[_named(get_args(type_)[0])]  # type: ignore[misc]  # made at run time
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return _named_struct(type_)
    return _Zoned if type_ is datetime else type_


@cache
def _named_struct(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields = [(name, _named(type_), *_as_named(type_, default)) for name, type_, default in _fields_of(struct)]
    return msgspec.defstruct(struct.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _fields_of(struct: type[msgspec.Struct]) -> list[tuple[str, Any, tuple[Any, ...]]]:
    return _fields(list(msgspec.structs.fields(struct)))


def _as_named(type_: Any, default: tuple[Any, ...]) -> tuple[Any, ...]:
    """A struct inside a struct has no default here: an export tells all fields."""
    return () if isinstance(type_, type) and issubclass(type_, msgspec.Struct) else default


@cache
def _forms() -> Mapping[str, _Form]:
    """Of the events as they are stored today."""
    return {
        event_class.TOPIC: _Form(aggregate.TOPIC, event_class)  # type: ignore[attr-defined]  # all have one
        for aggregate in EventMapper.aggregates
        for event_class in events_of(aggregate)
    }


@cache
def _readable() -> Mapping[str, _Form | _OldForm]:
    """Of all that were ever stored."""
    old = {
        upcast.topic: _OldForm(upcast, _forms()[upcast.event_class.TOPIC])  # type: ignore[attr-defined]  # likewise
        for upcast in EventMapper.upcasts
    }
    return {**_forms(), **old}


def is_topic(topic: str) -> bool:
    """Whether it is one of the events that can be read."""
    return topic in _readable()


def event_to_json(event: Any) -> dict[str, Any]:
    """The fields of an event that are in its stored state, in JSON's own types."""
    return {name: _told(getattr(event, name)) for name in _forms()[event.TOPIC].names}


def event_from_json(topic: str, originator_id: UUID, version: int, told: bytes | memoryview) -> Any:
    """The event that was told so, in JSON.

    Raises:
        KeyError: there is no such topic.
        ValueError: it is not told so (`msgspec.ValidationError` says where), or bytes are not base64.
    """
    return _readable()[topic].event(originator_id, version, told)


def _told(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        if len(value) == 1 and _LIKE_BYTES.fullmatch(key := next(iter(value))):
            return {f"${key}": _told(value[key])}
        return {key: item if type(item) in _PLAIN else _told(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_told(item) for item in value]
    if isinstance(value, msgspec.Struct):
        told = msgspec.structs.asdict(value)
        return {name: item if type(item) in _PLAIN else _told(item) for name, item in told.items()}
    return _scalar(value)


def _scalar(value: Any) -> object:
    if isinstance(value, bytes):
        return {_BYTES: b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON.")


def _read(told: Any) -> Any:
    if type(told) is dict:
        if len(told) == 1 and _LIKE_BYTES.fullmatch(key := next(iter(told))):
            return _bytes(told[key]) if key == _BYTES else {key[1:]: _read(told[key])}
        return {key: _read(item) for key, item in told.items()}
    if type(told) is list:
        return [_read(item) for item in told]
    return told


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"what {_BYTES} names is no text")  # noqa: TRY004  # it is a fault of the file
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"what {_BYTES} names is not base64: {error}") from None
