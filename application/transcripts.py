"""Transcript files, read lazily into what will be recorded.

Two forms are told apart by the file's first two lines that are not empty:

- **JSON Lines**: each line is an object with messages, or a list of messages. `line` is the line in the file.
- **A JSON document**, which is read at once: such an object or list, and `line` is the line where it starts; or
  a list of such objects, and `line` is the place in that list, from 1.

JSON is read strictly. What it cannot say twice in the same way (a repeated key, an integer beyond 64 bits, half
of a surrogate pair) would come out of the log changed, so it is reported instead.
"""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final, NoReturn
from uuid import UUID, uuid5

import msgspec

from application.chat import UnreadableError, is_dialogue, read_chat
from domain.message import Message, Payload

__all__ = ["MOST_SUBJECT", "NAMESPACE", "BrokenLine", "Transcript", "name_of", "read_transcripts"]

NAMESPACE: Final = UUID("8b5d4a86-6f0e-4f6b-9a55-3c1f5f0a7d21")
"""Of the ids of recorded dialogues. Another one would import every file a second time."""

MOST_SUBJECT: Final = 200

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Transcript(msgspec.Struct, frozen=True):
    """A dialogue of a file, ready to be recorded.

    Attributes:
        id: the UUIDv5 of its canonical JSON (sorted keys, no spaces, UTF-8), a line feed, and how many like it
            the file holds before it.
        subject: the object's `subject` or `title` when that is text of 1 to 200 characters, or file and line.
        attributes: the object's other keys, and under `system_messages` its instructions, if it has any.
        line: see the module.
    """

    id: UUID
    subject: str
    attributes: dict[str, Payload]
    messages: list[Message]
    file: str
    line: int


class BrokenLine(msgspec.Struct, frozen=True):
    """A line that is no transcript, and why, in one sentence."""

    file: str
    line: int
    reason: str


def name_of(file: str | Path | BinaryIO) -> str:
    """What reports call a file; one that has no path is `<stream>`."""
    path = file if isinstance(file, str | Path) else getattr(file, "name", None)
    # A name need not be UTF-8 on disk; what is recorded and reported must be.
    return os.fsencode(path).decode(errors="replace") if isinstance(path, str | bytes | Path) else "<stream>"


def read_transcripts(path: str | Path | BinaryIO) -> Iterator[Transcript | BrokenLine]:
    """The transcripts of a file in order, one for each dialogue; a broken one does not hide the others.

    Args:
        path: the file's, or the file, opened to be read as bytes.

    Raises:
        OSError: with the first item, when the file cannot be opened; later, when it cannot be read.
    """
    source = _Source(name_of(path))
    with Path(path).open("rb") if isinstance(path, str | Path) else nullcontext(path) as file:
        lines = _numbered(file)
        head = list(islice(lines, 2))
        if not head:
            return
        number, first = head[0]
        if len(head) == 1:
            yield from source.document(number, first)
        elif not _goes_on(first):
            yield from source.lines(chain(head, lines))
        else:
            yield from _document_or_lines(source, head, file)


def _document_or_lines(
    source: "_Source", head: list[tuple[int, bytes]], file: BinaryIO
) -> Iterator[Transcript | BrokenLine]:
    """The first line is a beginning. Unless the second stands by itself, the rest of the document follows."""
    (number, first), (following, second) = head
    rest = file.read()
    # Pipes cannot seek. The empty lines make the places in syntax errors those of the file.
    whole = b"\n" * (number - 1) + first + b"\n" * (following - number - 1) + second + rest
    if _is_json(whole) or not _is_json(second):
        return source.document(number, whole)
    return source.lines(chain(head, _numbered(BytesIO(rest), following + 1)))


def _numbered(file: BinaryIO, start: int = 1) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers."""
    for number, line in enumerate(file, start):
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)  # noqa: PLW2901  # it is the same line
        if not line.isspace() and line:
            yield number, line


def _goes_on(line: bytes) -> bool:
    """Whether a line is the beginning of a document: JSON, but for its end."""
    text = line.decode(errors="replace").rstrip()
    try:
        json.loads(text, parse_int=str)
    except json.JSONDecodeError as error:
        return error.pos == len(text)
    except RecursionError:
        return False
    return False


def _is_json(text: bytes) -> bool:
    """Whether this is one JSON value, by its syntax alone."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


class _Source:
    """One file: it knows what the reports call it, and which dialogues it has shown before."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._name = Path(file).name
        self._occurrences: dict[UUID, int] = {}

    def lines(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Transcript | BrokenLine]:
        for number, line in lines:
            yield self._transcript(number, line)

    def document(self, line: int, text: bytes) -> Iterator[Transcript | BrokenLine]:
        dialogues = _dialogues(text)
        if dialogues is None:
            yield self._transcript(line, text)
            return
        for ordinal, dialogue in enumerate(dialogues, 1):
            yield self._transcript(ordinal, dialogue)

    def _transcript(self, line: int, text: bytes | msgspec.Raw) -> Transcript | BrokenLine:
        try:
            value = _strict(bytes(text).rstrip())
            chat = read_chat(value)
        except UnreadableError as error:
            return BrokenLine(self._file, line, str(error))
        subject = _subject(value) or f"{self._name}:{line}"
        return Transcript(self._id(value), subject, chat.attributes, chat.messages, self._file, line)

    def _id(self, value: object) -> UUID:
        canonical = _canonical.encode(value).decode()
        known = uuid5(NAMESPACE, canonical)  # stands for it in the count: 16 bytes instead of the text
        occurrence = self._occurrences.get(known, 0)
        self._occurrences[known] = occurrence + 1
        return uuid5(NAMESPACE, f"{canonical}\n{occurrence}")


def _subject(value: object) -> str | None:
    if isinstance(value, dict):
        for key in ("subject", "title"):
            text = value.get(key)
            if isinstance(text, str) and text.strip() and len(text) <= MOST_SUBJECT:
                return text
    return None


_canonical = msgspec.json.Encoder(order="deterministic")
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def _dialogues(text: bytes) -> list[msgspec.Raw] | None:
    """The items of a list of dialogues, each as it is written, so that a broken one is broken alone."""
    try:
        items = _list_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return items if any(map(_holds_dialogue, items)) else None


def _holds_dialogue(item: msgspec.Raw) -> bool:
    try:
        return is_dialogue(_strict(bytes(item)))
    except UnreadableError:
        return False


def _strict(text: bytes) -> object:
    """Decode JSON, unless something in it could not be told apart later. Raises UnreadableError."""
    try:
        return _decoded(text.decode())
    except UnicodeDecodeError as error:
        byte = text[error.start]
        raise UnreadableError(f"It is not UTF-8: byte {error.start + 1} is 0x{byte:02x}.") from None
    except RecursionError:
        raise UnreadableError("It is nested too deep to be read.") from None


def _decoded(text: str) -> object:
    try:
        value = msgspec.json.decode(text)
    except msgspec.ValidationError:
        raise UnreadableError("It holds a number beyond the range of 64 bits.") from None
    except msgspec.DecodeError:
        raise UnreadableError(_fault(text)) from None
    # Of a repeated key msgspec keeps the last and says nothing.
    json.loads(text, object_pairs_hook=_refuse_repeated_keys, parse_int=str)
    return value


def _fault(text: str) -> str:
    """Why msgspec refused a text, from the standard library, which says where."""
    try:
        json.loads(text, parse_constant=_refuse_constant, parse_int=str)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        fault = f"{error.msg[0].lower()}{error.msg[1:]}".removesuffix(" at")
        hint = "; expected one document in a file, or one on a line" if error.msg == "Extra data" else ""
        return f"It is not JSON: {fault} at {place}{hint}."
    except UnreadableError as error:
        return str(error)
    # The one thing left that the standard library lets pass and msgspec does not.
    return "It holds an escape like \\ud800, half of a surrogate pair, which UTF-8 cannot carry."


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableError(f"It is not JSON: it holds {name}, which is not a JSON number.")


def _refuse_repeated_keys(pairs: list[tuple[str, object]]) -> None:
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise UnreadableError(f"An object in it has the key {key[:60]!r} twice.")
        keys.add(key)
