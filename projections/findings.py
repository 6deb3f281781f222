"""Findings: those that are stored, and dialogues that have stalled when it is asked."""

from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, or_, select

from domain.detectors import PATTERNS
from domain.dialogue import Kind
from domain.errors import InvalidCommandError
from domain.stall import STALL, silent_since, stall
from domain.tract import Tract
from projections.answers import FindingList, FindingSummary
from projections.consciousness_tables import activities, dialogues, findings

__all__ = ["PATTERN_NAMES", "Judged", "News", "Wanted", "listed", "named", "news", "stalled"]

PATTERN_NAMES: Final = tuple(name for names in PATTERNS.values() for name in names)

_AT_ONCE: Final = 5000
"""Findings in one piece of news, about."""

_ORDER: Final = ("begun_at", "first_sequence", "detector")
_BEGUN_AT: Final = dialogues.c.first_position.label("begun_at")
_STORED: Final = select(
    findings.c.dialogue,
    dialogues.c.subject,
    findings.c.pattern,
    findings.c.first_sequence,
    findings.c.last_sequence,
    findings.c.count,
    findings.c.why,
    findings.c.position,
    findings.c.detector,
    _BEGUN_AT,
).join(dialogues, dialogues.c.dialogue == findings.c.dialogue)
_AWAITING: Final = select(
    activities.c.dialogue,
    dialogues.c.subject,
    activities.c.awaiting,
    activities.c.asked_sequence,
    activities.c.asked_at,
    _BEGUN_AT,
).join(dialogues, dialogues.c.dialogue == activities.c.dialogue)


class Judged(msgspec.Struct, frozen=True):
    """What an answer is of: up to where the log is folded, and the moment, in milliseconds of the log's time."""

    position: int
    now: int


class Wanted(msgspec.Struct, frozen=True):
    """Which findings are wanted; None: all. A pattern's stronger forms count for it too."""

    dialogue: UUID | None = None
    kind: Kind | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidCommandError for a pattern that nothing finds."""
        if self.pattern is not None:
            named(self.pattern)


class News(msgspec.Struct, frozen=True):
    """Findings that began or grew, and stalls that began.

    Attributes:
        findings: by the positions at which they last grew; stalls come last.
        reached: the position up to which all is told; complete: that is all there is, stalls included.
        stalls_at: when the next dialogue will have stalled if nobody answers, in milliseconds of the log's time;
            None: no answer is awaited, or that has not been looked at.
    """

    findings: list[FindingSummary]
    reached: int
    complete: bool
    stalls_at: int | None


def named(pattern: str) -> ColumnElement[bool]:
    """The stored findings that count as this pattern: of that name, or all of a detector for its general one.

    Raises:
        InvalidCommandError: nothing finds such a pattern.
    """
    for detector, names in PATTERNS.items():
        if pattern == names[0]:
            return findings.c.detector == detector
        if pattern in names:
            return and_(findings.c.detector == detector, findings.c.pattern == pattern)
    raise InvalidCommandError("pattern", f"is {pattern!r}; known are {', '.join(PATTERN_NAMES)}")


def stalled(now: int, seconds: float) -> ColumnElement[bool]:
    """The activities of dialogues whose awaited tract has not answered for so long."""
    return activities.c.asked_at <= silent_since(now, seconds)


def listed(connection: Connection, judged: Judged, wanted: Wanted, seconds: float, limit: int) -> FindingList:
    """Those there are, in the order of their dialogues and messages."""
    stored, silent = _stored(wanted), _awaiting(wanted).where(stalled(judged.now, seconds))
    order = [stored.selected_columns[name] for name in _ORDER]
    rows = [dict(row) for row in connection.execute(stored.order_by(*order).limit(limit)).mappings()]
    rows += _stalls(connection, silent.order_by(_BEGUN_AT).limit(limit), judged)
    total = sum(
        connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
        for query in (stored, silent)
    )
    return FindingList(judged.position, total, _summaries(sorted(rows, key=itemgetter(*_ORDER))[:limit]))


def news(
    connection: Connection, judged: Judged, wanted: Wanted, seconds: float, *, after: int, before: Judged
) -> News:
    """What is new.

    Args:
        connection: sees the read model as it is.
        judged: what the answer is of.
        wanted: which findings.
        seconds: of silence that are a stall.
        after: the position up to which stored findings were told.
        before: what stalls were told of; a stall is told once.
    """
    stored = _stored(wanted).where(findings.c.position > after)
    in_order = stored.order_by(findings.c.position, *[stored.selected_columns[name] for name in _ORDER])
    beyond = in_order.with_only_columns(findings.c.position).offset(_AT_ONCE).limit(1)
    reached: int | None = connection.execute(beyond).scalar_one_or_none()
    if reached is not None:  # all of its position belong together
        rows = connection.execute(in_order.where(findings.c.position <= reached)).mappings()
        return News(_summaries([dict(row) for row in rows]), reached, complete=False, stalls_at=None)
    told = [dict(row) for row in connection.execute(in_order).mappings()]
    awaiting = _awaiting(wanted)
    began = or_(
        activities.c.asked_at > silent_since(before.now, seconds), activities.c.asked_position > before.position
    )
    told += _stalls(connection, awaiting.where(stalled(judged.now, seconds), began).order_by(_BEGUN_AT), judged)
    silent = silent_since(judged.now, seconds)
    next_one = awaiting.with_only_columns(func.min(activities.c.asked_at)).where(activities.c.asked_at > silent)
    asked_at: int | None = connection.execute(next_one).scalar_one()
    stalls_at = None if asked_at is None else asked_at + judged.now - silent
    return News(_summaries(told), max(after, judged.position), complete=True, stalls_at=stalls_at)


def _stored(wanted: Wanted) -> Select[Any]:
    query = _STORED
    if wanted.dialogue is not None:
        query = query.where(findings.c.dialogue == str(wanted.dialogue))
    if wanted.kind is not None:
        query = query.where(findings.c.kind == wanted.kind.value)
    return query if wanted.pattern is None else query.where(named(wanted.pattern))


def _awaiting(wanted: Wanted) -> Select[Any]:
    query = _AWAITING
    if wanted.dialogue is not None:
        query = query.where(activities.c.dialogue == str(wanted.dialogue))
    if wanted.kind is not None:
        query = query.where(activities.c.kind == wanted.kind.value)
    return query if wanted.pattern in (None, STALL) else query.where(false())


def _stalls(connection: Connection, silent: Select[Any], judged: Judged) -> list[dict[str, Any]]:
    """As rows like those of stored findings."""
    return [
        {
            "dialogue": row["dialogue"],
            "subject": row["subject"],
            "position": judged.position,
            "detector": STALL,
            "begun_at": row["begun_at"],
            **msgspec.structs.asdict(
                stall(row["asked_sequence"], Tract(row["awaiting"]), judged.now - row["asked_at"])
            ),
        }
        for row in connection.execute(silent).mappings()
    ]


def _summaries(rows: list[dict[str, Any]]) -> list[FindingSummary]:
    return [msgspec.convert({str(name): value for name, value in row.items()}, FindingSummary) for row in rows]
