r"""Values as JSON.

Structs become objects with their field names, times RFC 3339 text in UTC ending in Z, UUIDs text, enumerations
their names in lower case, bytes ``{"$base64": "…"}``. Floats keep every digit. Characters that a terminal would
act on are written as ``\u`` escapes, so that the output may be shown as it is.
"""

import re
from base64 import b64encode
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = ["as_json", "plain", "shown_safely"]

# What JSON leaves as it is although a terminal acts on it; it can only stand inside a string.
_HARMFUL: Final = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def as_json(value: object, *, indent: int = 0) -> str:
    """One JSON document; on one line unless indented."""
    encoded = msgspec.json.encode(plain(value))
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    return shown_safely(encoded.decode())


def shown_safely(encoded: str) -> str:
    """JSON that means the same, and that a terminal does not act on."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded)


def plain(value: Any) -> Any:
    """The value in JSON's own types."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {field: plain(getattr(value, field)) for field in value.__struct_fields__}
    return _scalar(value)


def _scalar(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return {"$base64": b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.name.lower() if isinstance(value, IntEnum) else value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON.")
