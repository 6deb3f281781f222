"""What agents said, made fit for a terminal.

Text from a dialogue may hold escape sequences that would recolour, rewrite or remote-control the terminal of
whoever reads it. Nothing of it is printed before it went through `visible`.
"""

import re
from base64 import b64encode
from datetime import timedelta
from typing import Any, Final

from domain.message import Payload
from domain.times import EPOCH
from interface.encoding import as_json

__all__ = ["duration", "many", "one_line", "said", "sent_time", "shortened", "visible"]

MOST_CHARACTERS: Final = 400
"""Of a payload, before it is cut."""

# Controls (C0 but tab and newline, DEL, C1), line and paragraph separators, and the marks that reorder text.
_HARMFUL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""The text with every character that a terminal would act on written as its escape, ``\x1b``."""
    return _HARMFUL.sub(lambda found: _escape(found[0]), text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most this many characters, the last one "…" when some were left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


def many(number: int, noun: str, plural: str | None = None) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def said(payload: Payload) -> str:
    """A payload as a person reads it: text as it is, chat format as text and calls, all else as JSON."""
    if isinstance(payload, str):
        return payload
    if isinstance(payload, bytes):
        return f"{len(payload)} bytes, base64 {b64encode(payload).decode()}"
    if isinstance(payload, dict) and "role" in payload and ("content" in payload or "tool_calls" in payload):
        return "\n".join(part for part in _chat(payload) if part)
    return as_json(payload)


def _chat(payload: dict[str, Any]) -> list[str]:
    content = payload.get("content")
    parts = content if isinstance(content, list) else [content]
    calls = payload.get("tool_calls") or []
    return [*map(_part, parts), *map(_call, calls if isinstance(calls, list) else [calls])]


def _part(part: Payload) -> str:
    """One part of a chat message's content; parts may be typed objects that hold their text."""
    if part is None:
        return ""
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else said(part)


def _call(call: Payload) -> str:
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict):
        return f"calls {said(function)}"
    arguments = function.get("arguments")
    return f"calls {said(function.get('name'))}({'' if arguments is None else said(arguments)})"


def sent_time(microseconds: int | None) -> str | None:
    """The time of a message as RFC 3339 in UTC; None when unknown."""
    if microseconds is None:
        return None
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration(milliseconds: float | None) -> str:
    """As a person reads it, three digits of it: ``1.27 s``; "unknown" when it is."""
    if milliseconds is None:
        return "unknown"
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{milliseconds:.3g} ms"
