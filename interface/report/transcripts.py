"""Messages as the page shows them, packed so that a dialogue costs nothing before it is opened.

All that is shown is text: payloads become it here, where integers of 64 bits and bytes are what they are, and the
page does no more than put it into text nodes.
"""

import gzip
from base64 import b64encode
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.message import Message, Payload
from domain.tract import Direction, Priority
from interface.encoding import as_json
from projections.fold import Recorded

__all__ = ["Packed", "Packer", "Part", "Place", "Shown", "shown", "shown_payload"]

CHUNK: Final = 256 * 1024
"""Bytes of JSON after which a chunk is full."""

ONE_LINE: Final = 100
"""Characters of JSON that stand on one line."""

_ENVELOPE: Final = ("correlation_id", "causation_id", "deadline", "headers", "idempotency_key")
_envelope: Final = attrgetter(*_ENVELOPE)
_PLACED_ELSEWHERE: Final = frozenset({"role", "content", "tool_calls", "function_call", "tool_call_id", "name"})


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of what is said.

    Attributes:
        form: ``text``; ``call`` of a tool, with its arguments; ``result`` of one; ``json``; ``bytes``, as base64;
            ``more``: what else a chat message holds; ``envelope``: what else the message does.
        text: what to show.
        name: of the tool; of an envelope, what is in it.
    """

    form: str
    text: str
    name: str = ""


class Shown(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A message. `direction` as in `Direction`; `at` is the log's time in ms, `sent` in µs, None where unknown."""

    sequence: int
    position: int
    direction: int
    sender: str
    at: int
    parts: list[Part]
    sent: int | None = None
    recipient: str | None = None
    reply: int | None = None
    role: str | None = None
    priority: str | None = None


class Place(msgspec.Struct, array_like=True):
    """Where messages of a dialogue are: `count` of them in a chunk, from its message `start` on."""

    chunk: int
    start: int
    count: int


class Packed(msgspec.Struct, frozen=True):
    """Chunks, each base64 of the gzip of a JSON list of messages; and where each dialogue's messages are."""

    chunks: list[str]
    places: dict[UUID, list[Place]]


def shown(message: Message, direction: Direction, sequence: int, recorded: Recorded) -> Shown:
    """A message of an event."""
    payload = message.payload
    role = payload.get("role") if _is_chat(payload) else None
    values = _envelope(message)
    envelope = {name: value for name, value in zip(_ENVELOPE, values, strict=True) if value is not None}
    parts = shown_payload(payload)
    return Shown(
        sequence=sequence,
        position=recorded.position,
        direction=direction,
        sender=message.sender,
        recipient=message.recipient,
        at=recorded.at,
        sent=message.sent_at,
        reply=message.in_reply_to,
        role=role if isinstance(role, str) and role != message.sender else None,
        priority=None if message.priority is Priority.NORMAL else message.priority.name.lower(),
        parts=[*parts, Part("envelope", _json(envelope), ", ".join(envelope))] if envelope else parts,
    )


def shown_payload(payload: Payload) -> list[Part]:
    """Text as it is, chat format as text, calls and results, all else as JSON."""
    if isinstance(payload, str):
        return [Part("text", payload)]
    if isinstance(payload, bytes):
        return [Part("bytes", b64encode(payload).decode())]
    if _is_chat(payload):
        return _chat(payload)
    return [Part("json", _json(payload))]


def _is_chat(payload: Any) -> bool:
    return isinstance(payload, dict) and "role" in payload and not {"content", "tool_calls"}.isdisjoint(payload)


def _chat(payload: Mapping[str, Any]) -> list[Part]:
    is_result = payload["role"] in ("tool", "function")
    name = payload.get("name")
    form, of = ("result", name if isinstance(name, str) else "") if is_result else ("text", "")
    content = payload.get("content")
    parts = [_content(part, form, of) for part in (content if isinstance(content, list) else [content])]
    calls = payload.get("tool_calls") or payload.get("function_call") or []
    parts += map(_call, calls if isinstance(calls, list) else [calls])
    more = {key: value for key, value in payload.items() if key not in _PLACED_ELSEWHERE and value is not None}
    parts += [Part("more", _json(more))] if more else []
    return [part for part in parts if part is not None]


def _content(part: Payload, form: str, name: str) -> Part | None:
    """One part of a chat message's content; parts may be typed objects that hold their text."""
    if part is None:
        return None
    text = part.get("text") if isinstance(part, dict) else part
    if isinstance(text, str):
        return Part(form, _laid_out(text) if form == "result" else text, name)
    return Part("json", _json(part))


def _call(call: Payload) -> Part:
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return Part("call", _json(function))
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        return Part("call", _laid_out(arguments), function["name"])
    return Part("call", "" if arguments is None else _json(arguments), function["name"])


def _json(value: object) -> str:
    return _laid_out(as_json(value))


def _laid_out(text: str) -> str:
    """An object or a list in JSON on one line or on many, and nothing else changed; all other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        line = msgspec.json.format(text, indent=0)
        return line if len(line) <= ONE_LINE else msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


class Packer:
    """Takes the messages of many dialogues as the log has them, and packs each dialogue's together."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, list[bytes]] = {}
        self._sizes: dict[UUID, int] = {}
        self._chunks: list[str] = []
        self._places: dict[UUID, list[Place]] = {}
        self._encode = msgspec.json.Encoder().encode

    def add(self, dialogue: UUID, message: Shown) -> None:
        encoded = self._encode(message)
        self._waiting.setdefault(dialogue, []).append(encoded)
        size = self._sizes.get(dialogue, 0) + len(encoded)
        self._sizes[dialogue] = size
        if size >= CHUNK:
            self._pack([dialogue])

    def packed(self) -> Packed:
        """All that was added. Small dialogues share a chunk."""
        together: list[UUID] = []
        size = 0
        for dialogue in list(self._waiting):
            together.append(dialogue)
            size += self._sizes[dialogue]
            if size >= CHUNK:
                self._pack(together)
                together, size = [], 0
        if together:
            self._pack(together)
        return Packed(self._chunks, self._places)

    def _pack(self, dialogues: Sequence[UUID]) -> None:
        messages: list[bytes] = []
        for dialogue in dialogues:
            waiting = self._waiting.pop(dialogue)
            self._sizes[dialogue] = 0
            place = Place(len(self._chunks), len(messages), len(waiting))
            self._places.setdefault(dialogue, []).append(place)
            messages += waiting
        self._chunks.append(compressed(b"[" + b",".join(messages) + b"]"))


def compressed(document: bytes) -> str:
    """Base64 of its gzip; the same for the same."""
    return b64encode(gzip.compress(document, 6, mtime=0)).decode()
