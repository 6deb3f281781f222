"""The log as lines of JSON: one event a line, in our own plain form or as CloudEvents 1.0."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from io import BufferedReader
from typing import Any, Final
from uuid import UUID

import msgspec

from application.event_json import event_from_json, event_to_json, is_topic
from application.log import DialogueLog
from application.reading import Reader
from domain.times import in_milliseconds, log_time
from projections.fold import Recorded

__all__ = ["Exported", "Format", "LineError", "export", "is_export", "line_of", "read_line"]

_PAGE: Final = 256
_LATEST: Final = in_milliseconds(datetime(9999, 12, 31, tzinfo=UTC))
_SPECVERSION: Final = "1.0"
_BEGINS: Final = re.compile(rb'\s*\{\s*"(position"\s*:\s*\d+\s*,\s*"at"|specversion")\s*:')
_USUAL: Final = b'{"position":'
"""How our own form begins as it is written here, whatever it may look like elsewhere."""

_encode: Final = msgspec.json.Encoder().encode


class Format(StrEnum):
    """JSONL: our own plain form. CLOUDEVENTS: CloudEvents 1.0 in its JSON format, structured mode."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


class Exported(msgspec.Struct, frozen=True):
    """One event of an export, with its place and time in the log that it comes from (milliseconds since 1970)."""

    position: int
    at: int
    event: Any


class LineError(ValueError):
    """Why a line is no event of an export, in one sentence."""


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    position: int
    at: str
    topic: str
    id: UUID
    version: int
    event: msgspec.Raw


class _CloudEvent(msgspec.Struct, kw_only=True):
    """Other attributes may have been added on the way, and are passed over; in any order."""

    specversion: str
    id: str
    source: str
    type: str
    subject: UUID
    time: str
    datacontenttype: str = "application/json"
    position: str
    version: int
    data: msgspec.Raw


class _Seen(msgspec.Struct):
    """What tells an export's line from a transcript's."""

    specversion: Any = None
    topic: Any = None
    position: Any = None
    version: Any = None


_plain: Final = msgspec.json.Decoder(_Plain)
_cloud_event: Final = msgspec.json.Decoder(_CloudEvent)
_seen: Final = msgspec.json.Decoder(_Seen)


def is_export(file: BufferedReader) -> bool:
    """Whether the file's first line is an export's. Nothing of it is read; a pipe can be asked, too."""
    begin = file.peek().removeprefix(b"\xef\xbb\xbf").lstrip()
    line, ended, _ = begin.partition(b"\n")
    if not ended:  # longer than what was seen of it
        return _BEGINS.match(line) is not None
    try:
        seen = _seen.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return _BEGINS.match(line) is not None
    return seen.specversion is not None or None not in {seen.topic, seen.position, seen.version}


def line_of(recorded: Recorded, form: Format, epoch: str) -> str:
    """An event as a line, without its end."""
    event: Any = recorded.event
    told = event_to_json(event)
    line: dict[str, Any]
    if form is Format.JSONL:
        line = {
            "position": recorded.position,
            "at": log_time(recorded.at),
            "topic": event.TOPIC,
            "id": event.originator_id,
            "version": event.originator_version,
            "event": told,
        }
    else:
        line = {
            "specversion": _SPECVERSION,
            "id": f"{event.originator_id}:{event.originator_version}",
            "source": f"/callosum/{epoch}",
            "type": event.TOPIC,
            "subject": event.originator_id,
            "time": log_time(recorded.at),
            "datacontenttype": "application/json",
            "position": str(recorded.position),  # their integers have 32 bits
            "version": event.originator_version,
            "data": told,
        }
    return _encode(line).decode()


def read_line(line: bytes) -> Exported:
    """The event of a line, in either form.

    Raises:
        LineError
    """
    try:
        if line.startswith(_USUAL) or _seen.decode(line).specversion is None:
            plain = _plain.decode(line)
            return _exported(plain.position, plain.at, plain.topic, plain.id, plain.version, plain.event)
        told = _cloud_event.decode(line)
        if told.specversion != _SPECVERSION:
            raise LineError(f"It is CloudEvents {told.specversion}; {_SPECVERSION} can be read.")
        if not told.datacontenttype.startswith("application/json"):
            raise LineError(f"Its data is {told.datacontenttype}; expected application/json.")
        if not told.position.isdecimal():
            raise LineError(f"Its position is {told.position!r}; expected digits.")
        return _exported(int(told.position), told.time, told.type, told.subject, told.version, told.data)
    except msgspec.ValidationError as error:
        raise LineError(f"It is no event of an export: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineError(f"It is not JSON: {error}.") from None
    except RecursionError:
        raise LineError("It is nested too deep.") from None


def _exported(  # noqa: PLR0917  # in the order of a line
    position: int, at: str, topic: str, originator_id: UUID, version: int, told: msgspec.Raw
) -> Exported:
    if not is_topic(topic):
        raise LineError(f"Its topic is {topic!r}, which is unknown here.")
    if not (0 < position < 2**63 and 0 < version < 2**63):
        raise LineError(f"Its position is {position} and its version {version}; both count from 1 on.")
    try:
        event = event_from_json(topic, originator_id, version, memoryview(told))
    except ValueError as error:
        raise LineError(f"It is no {topic}: {error}.") from None
    return Exported(position, _milliseconds(at), event)


def _milliseconds(text: str) -> int:
    moment: datetime = msgspec.convert(text, datetime)
    if moment.tzinfo is None:
        raise LineError(f"Its time {text} has no zone.")
    at = in_milliseconds(moment)
    if not 0 <= at <= _LATEST:
        raise LineError(f"Its time {text} is before 1970 or after 9999.")
    return at


async def export(
    log: DialogueLog, reader: Reader, after: int, last: int, form: Format
) -> AsyncIterator[tuple[int, str]]:
    """Positions with lines, of the events at positions after + 1 to `last`."""
    epoch, chain = await reader.call(lambda: log.epoch), None

    def page(after: int, chain: bytes | None) -> tuple[list[tuple[int, str]], bytes | None]:
        events = log.read(after=after, limit=_PAGE, stop=last, chain=chain)
        return [(event.position, line_of(event, form, epoch)) for event in events], (
            events[-1].chain if events else None
        )

    while after < last:
        lines, chain = await reader.call(page, after, chain)
        for line in lines:
            yield line
        if not lines:
            return
        after = lines[-1][0]
