"""One transcript object in chat format, as the attributes and messages of a recorded dialogue.

The assistant is the internal tract; users, tools and functions are the external one. Instructions (system,
developer) are no messages: they are kept among the attributes. What a message says is never touched: its
payload is the object of the file, whole.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from domain.errors import InvalidMessageError, InvalidPayloadError
from domain.message import Message, Payload, check_payload, well_formed
from domain.tract import Tract

__all__ = ["Chat", "UnreadableError", "is_dialogue", "read_chat"]

_MESSAGES_KEYS: Final = ("messages", "traj", "history")
_TIME_KEYS: Final = ("timestamp", "created_at", "ts")
_INSTRUCTIONS: Final = ("system", "developer")


class UnreadableError(ValueError):
    """Why a line is no transcript, in one sentence. It never leaves `read_transcripts`, which reports it."""


class Chat(msgspec.Struct, frozen=True):
    """A dialogue as it will be recorded."""

    attributes: dict[str, Payload]
    messages: list[Message]


class _Chat(BaseModel):
    """A pure validator: it names what must hold for the meaning to survive, and lets everything else be."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Function(_Chat):
    name: str


class _ToolCall(_Chat):
    id: str | None = None
    function: _Function | None = None


class _ChatMessage(_Chat):
    role: Literal["assistant", "user", "tool", "function", "system", "developer"]
    content: str | list[str | dict[str, Any]] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    name: Any = None


def is_dialogue(value: object) -> bool:
    """Whether this is an object that holds messages, rather than a message or a list of them."""
    return isinstance(value, dict) and "role" not in value and any(key in value for key in _MESSAGES_KEYS)


def read_chat(value: object) -> Chat:
    """Turn a decoded object, or a list of messages, into what will be recorded.

    Raises:
        UnreadableError: it is not chat format, or holds what a message or attributes may not.
    """
    said, attributes = _parts(value)
    turns = _Turns()
    for number, message in enumerate(said, 1):
        turns.add(number, message)
    if not turns.messages:
        raise UnreadableError("It holds no messages, only instructions.")
    if turns.instructions:
        if "system_messages" in attributes:
            raise UnreadableError("It has a key 'system_messages', which is where its instructions would be kept.")
        attributes["system_messages"] = turns.instructions
    _check_attributes(attributes)
    return Chat(attributes, turns.messages)


def _parts(value: object) -> tuple[list[object], dict[str, Payload]]:
    """The messages, and what stands beside them."""
    if isinstance(value, list) and value:
        if any(map(is_dialogue, value)):
            raise UnreadableError("It is a list of dialogues; in JSON Lines each has a line of its own.")
        return value, {}
    if isinstance(value, dict):
        for key in _MESSAGES_KEYS:
            if isinstance(value.get(key), list) and value[key]:
                return value[key], {name: kept for name, kept in value.items() if name != key}
    elif not isinstance(value, list):
        raise UnreadableError(f"It is {_shown(value)}; expected an object with messages, or a list of messages.")
    raise UnreadableError("It holds no messages; expected a list of them under 'messages', 'traj' or 'history'.")


class _Turns:
    """The messages of one dialogue so far, and which of them made which tool call."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.instructions: list[Payload] = []
        self._callers: dict[str, int] = {}

    def add(self, number: int, said: object) -> None:
        """Take the next message; `number` is its place in the file's list, for the reason when it is refused."""
        chat = _validated(number, said)
        if chat.role in _INSTRUCTIONS:
            # As a part of the attributes it is checked again; here the reason can name the message.
            _check_instruction(number, said)
            self.instructions.append(said)
            return
        self.messages.append(_message(number, chat, said, self._replied_to(chat)))
        if chat.role == "assistant":
            sequence = len(self.messages)
            self._callers.update({call.id: sequence for call in chat.tool_calls or () if call.id is not None})

    def _replied_to(self, chat: _ChatMessage) -> int | None:
        if chat.role != "tool" or chat.tool_call_id is None:
            return None
        return self._callers.get(chat.tool_call_id)


def _validated(number: int, said: object) -> _ChatMessage:
    if not isinstance(said, dict):
        raise UnreadableError(f"Message {number} is {_shown(said)}; expected an object.")
    try:
        return _ChatMessage.model_validate(said)
    except ValidationError as error:
        # Of the branches of a union, the one that came furthest says most.
        fault = max(error.errors(include_url=False), key=lambda details: len(details["loc"]))
        raise UnreadableError(f"Message {number}: {_explained(fault)}.") from None


_EXPECTED: Final = {
    "string_type": "text",
    "list_type": "a list",
    "model_type": "an object",
    "literal_error": "assistant, user, tool, function, system or developer",
}


def _explained(fault: ErrorDetails) -> str:
    place = str(fault["loc"][0])
    if place == "content":
        # The path through a union names its branches too; only the part's number means something to people.
        place += "".join(f"[{step}]" for step in fault["loc"] if isinstance(step, int))
        expected = "text or an object" if "[" in place else "text, a list of parts, or null"
    else:
        place += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"][1:])
        expected = _EXPECTED.get(fault["type"], fault["msg"])
    if fault["type"] == "missing":
        return f"its {place} is missing"
    return f"its {place} is {_shown(fault['input'])}; expected {expected}"


def _shown(value: object) -> str:
    """A value of the file, as short as a reason needs it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:59] + "…"


def _message(number: int, chat: _ChatMessage, said: object, in_reply_to: int | None) -> Message:
    inward = chat.role != "assistant"
    message = Message(
        source=Tract.EXTERNAL if inward else Tract.INTERNAL,
        target=Tract.INTERNAL if inward else Tract.EXTERNAL,
        sender=chat.name if isinstance(chat.name, str) and chat.name else chat.role,
        payload=said,
        in_reply_to=in_reply_to,
        sent_at=_sent_at(said),
    )
    try:
        [checked], _ = well_formed([message])  # one by one, or the reason could not say which it is
    except InvalidMessageError as error:
        field = "name" if error.field == "sender" else error.field
        raise UnreadableError(f"Message {number}: its {field} {error.reason}.") from None
    return checked


def _check_instruction(number: int, said: Payload) -> None:
    try:
        check_payload(said)
    except InvalidPayloadError as error:
        raise UnreadableError(f"Message {number}: its {error.path} {error.reason}.") from None


def _check_attributes(attributes: dict[str, Payload]) -> None:
    try:
        check_payload(attributes)
    except InvalidPayloadError as error:
        place = error.path.removeprefix("payload")
        raise UnreadableError(f"Beside its messages, the object{place} {error.reason}.") from None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EARLIEST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def _sent_at(said: Any) -> int | None:
    """The first readable time of a message, in microseconds since 1970."""
    for key in _TIME_KEYS:
        value = said.get(key)
        if isinstance(value, str):
            at = _from_text(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            at = _from_number(value)
        else:
            continue
        if at is not None and _EARLIEST <= at <= _LATEST:
            return at
    return None


def _from_text(text: str) -> int | None:
    """RFC 3339 with an offset; without one it is not known when it was."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // _MICROSECOND


def _from_number(number: float) -> int:
    """Seconds since 1970; beyond 10^11 milliseconds, beyond 10^14 microseconds."""
    magnitude = abs(number)
    unit = 1_000_000 if magnitude <= 10**11 else 1_000 if magnitude <= 10**14 else 1
    return round(number * unit)
