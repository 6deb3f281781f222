"""The projection behind `timeline`: what happened in each minute of the log's own time, by kind of dialogue.

A minute is a number, that of the minutes since 1970. One in which nothing happened has no row.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Connection, Integer, RowMapping, Text, func, select

from domain.consumer import Consumer, Result
from domain.dialogue import Dialogue, Kind
from domain.gate import Gate
from domain.message import Message
from domain.tract import Tract
from projections.answers import Minute, MinuteList
from projections.fold import Projection, Recorded
from projections.known import Known
from projections.model import Stored
from projections.tables import Row, Rows, model_table

__all__ = ["Timeline", "minute_of", "timeline"]

_VERSION: Final = "1"
"""Counted up when the same log would give other rows."""

_MILLISECONDS: Final = 60_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL: Final = Tract.INTERNAL


class _Counts(msgspec.Struct):
    """Of one minute and one kind of dialogues; the fields of `Minute` but for its time."""

    internal_to_external: int = 0
    external_to_internal: int = 0
    intra: int = 0
    opened: int = 0
    closed: int = 0
    acked: int = 0
    retried: int = 0
    expired: int = 0
    dead_lettered: int = 0


class _Minute(msgspec.Struct):
    """By kind; the field is the kind's value."""

    live: _Counts = msgspec.field(default_factory=_Counts)
    recorded: _Counts = msgspec.field(default_factory=_Counts)

    def of(self, kind: Kind) -> _Counts:
        return self.live if kind is Kind.LIVE else self.recorded


minutes = model_table(
    "minutes",
    Column("minute", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    *(Column(name, Integer, nullable=False) for name in _Counts.__struct_fields__),
)
dialogues = model_table(
    "dialogues", Column("dialogue", Text, primary_key=True), Column("kind", Text, nullable=False)
)


class Timeline(Projection):
    """Folds batches of events into rows. Not thread-safe: it belongs to its runner."""

    NAME = "timeline"
    TABLES = (minutes, dialogues)

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._kinds = Known(dialogues, lambda row: Kind(row["kind"]))

    @property
    def version(self) -> str:
        return _VERSION

    def fold(self, events: Sequence[Recorded], stored: Stored) -> Rows:
        rows = Rows()
        self._kinds.load(events, (Dialogue.Conveyed, Dialogue.Closed), stored)
        self._load({event.at // _MILLISECONDS for event in events}, stored)
        for event in events:
            self._apply(event, self._minutes[event.at // _MILLISECONDS], rows)
        for number, minute in self._minutes.items():
            of_kinds = ((kind, minute.of(kind)) for kind in Kind)
            rows.put(minutes, [_row(number, kind, counts) for kind, counts in of_kinds if counts != _Counts()])
        return rows

    def forget(self) -> None:
        self._minutes.clear()
        self._kinds.forget()

    def _load(self, wanted: set[int], stored: Stored) -> None:
        """The log's time never goes back, so that as a rule at most one minute was begun before."""
        self._minutes = {number: minute for number, minute in self._minutes.items() if number in wanted}
        missing = wanted.difference(self._minutes)
        self._minutes.update((number, _Minute()) for number in missing)
        for row in stored.rows(minutes, minute=missing) if missing else ():
            setattr(self._minutes[row["minute"]], row["kind"], _counts(row))

    def _apply(self, recorded: Recorded, minute: _Minute, rows: Rows) -> None:
        match recorded.event:
            case Dialogue.Conveyed(originator_id=dialogue, messages=messages):
                _count_messages(minute.of(self._kinds[dialogue]), messages)
            case Consumer.Settled(outcomes=outcomes):
                _count_results(minute.live, [outcome.result for outcome in outcomes])
            case Dialogue.Opened(originator_id=dialogue, kind=kind):
                self._kinds[dialogue] = kind
                rows.put(dialogues, [{"dialogue": str(dialogue), "kind": kind.value}])
                minute.of(kind).opened += 1
            case Dialogue.Closed(originator_id=dialogue):
                minute.of(self._kinds[dialogue]).closed += 1
            case Dialogue.Redriven() | Dialogue.Discarded() | Consumer.Joined() | Consumer.Left() | Gate.Event():
                pass
            case _:
                raise TypeError(f"no rule for {recorded.topic}")


def _count_messages(counts: _Counts, messages: Sequence[Message]) -> None:
    outward = [message.source is _INTERNAL for message in messages if message.source is not message.target]
    to_external = outward.count(True)
    counts.internal_to_external += to_external
    counts.external_to_internal += len(outward) - to_external
    counts.intra += len(messages) - len(outward)


def _count_results(counts: _Counts, results: Sequence[Result]) -> None:
    counts.acked += results.count(Result.ACKED)
    counts.retried += results.count(Result.RETRIED)
    counts.expired += results.count(Result.EXPIRED)
    counts.dead_lettered += results.count(Result.DEAD_LETTERED)


def minute_of(time: datetime) -> int:
    """The minute that holds this moment, of whatever time zone."""
    return (time - _EPOCH) // timedelta(minutes=1)


def timeline(
    connection: Connection,
    position: int,
    *,
    kind: Kind,
    start: int | None,
    stop: int | None,
    limit: int,
    filled: bool,
) -> MinuteList:
    """The last minutes of a range, at most `limit`, in order.

    Minutes in which nothing happened are left out, unless they are to be `filled` in with zeros: then none is
    missing from `start` to `stop`, or where these are None, from the first to the last minute with something.
    """
    column = minutes.c.minute
    within = [minutes.c.kind == kind.value]
    within += [column >= start] if start is not None else []
    within += [column <= stop] if stop is not None else []
    count, first, last = connection.execute(
        select(func.count(), func.min(column), func.max(column)).where(*within)
    ).one()
    found = connection.execute(select(minutes).where(*within).order_by(column.desc()).limit(limit)).mappings()
    known = {row["minute"]: _counts(row) for row in found}
    listed: Sequence[int] = sorted(known)
    if filled:
        first, last = (first if start is None else start), (last if stop is None else stop)
        whole = range(0) if first is None or last is None else range(first, last + 1)
        count, listed = len(whole), whole[-limit:]
    return MinuteList(position, kind, count, [_told(minute, known.get(minute, _Counts())) for minute in listed])


def _told(minute: int, counts: _Counts) -> Minute:
    at = (_EPOCH + timedelta(minutes=minute)).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Minute(at, **msgspec.structs.asdict(counts))


def _row(minute: int, kind: Kind, counts: _Counts) -> dict[str, Any]:
    return {"minute": minute, "kind": kind.value, **msgspec.structs.asdict(counts)}


def _counts(row: Row | RowMapping) -> _Counts:
    return _Counts(**{name: row[name] for name in _Counts.__struct_fields__})
