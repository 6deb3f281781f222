"""Reading the consciousness read model. Every answer is of one state of it and says up to which position."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, case, func, select

from domain.dialogue import Kind
from domain.errors import DialogueNotFoundError
from domain.measures import ASSESSABLE_ABOVE, EmergenceSettings
from domain.response_times import ResponseTimes
from domain.stall import STALL
from domain.tract import Tract
from projections.answers import (
    ConsciousnessMetrics,
    DialogueList,
    DialogueSummary,
    EpisodeSummary,
    FindingList,
    Grouping,
    ResponseTime,
    ResponseTimeByTract,
)
from projections.consciousness_tables import activities, dialogues, findings, scopes
from projections.consciousness_tables import episodes as of_episodes
from projections.database import plain
from projections.findings import Judged, Wanted, listed, named, stalled
from projections.grouping import groups
from projections.states import Measures, Status, decode_measures

__all__ = ["DialogueSort", "Queries"]

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC; written with a Z


class DialogueSort(StrEnum):
    OPENED_AT = "opened_at"
    LAST_ACTIVITY = "last_activity"
    TOTAL_MESSAGES = "total_messages"
    DIALOGUE_BALANCE_RATIO = "dialogue_balance_ratio"
    COORDINATION_Z = "coordination_z"
    FINDINGS = "findings"


class Queries:
    """Reads of one state of the read model, that of a connection's transaction: as it is, or as it was."""

    def __init__(self, connection: Connection, judged: Judged, stall_seconds: float = 60.0) -> None:
        """`judged`: up to where the log is folded in it, and the moment at which a dialogue has stalled or not."""
        self._connection = connection
        self._judged = judged
        self._position = judged.position
        self._stall_seconds = stall_seconds
        self._stalled = stalled(judged.now, stall_seconds)

    def consciousness_metrics(self, scope: UUID | Kind, *, episodes: int = 1000) -> ConsciousnessMetrics:
        """The metrics of one dialogue, or of all dialogues of a kind, with the last `episodes` of its episodes.

        Raises:
            DialogueNotFoundError: the read model does not know the dialogue, or not yet.
        """
        connection = self._connection
        measures = _measures(connection, scope)
        return ConsciousnessMetrics(
            scope=str(scope),
            position=self._position,
            **measures.figures(),
            last_emergence_at=_time(measures.balance.last_emergence_at),
            response_time=ResponseTimeByTract(
                _response_time(measures.internal, _unanswered(connection, scope, Tract.INTERNAL)),
                _response_time(measures.external, _unanswered(connection, scope, Tract.EXTERNAL)),
            ),
            episode_count=measures.episodes.begun,
            episodes=_last_episodes(connection, scope, episodes),
            findings=_count(connection, select(findings).where(_within(findings, scope)))
            + _count(connection, select(activities).where(_within(activities, scope), self._stalled)),
        )

    def dialogue(self, dialogue: UUID) -> DialogueSummary:
        """Raises DialogueNotFoundError when the read model does not know it, or not yet."""
        connection = self._connection
        rows = connection.execute(_summaries(self._stalled).where(dialogues.c.dialogue == str(dialogue)))
        row = rows.mappings().one_or_none()
        if row is None:
            raise DialogueNotFoundError(dialogue)
        return _summary(row)

    def dialogues(
        self,
        *,
        kind: Kind | None = None,
        status: Status | None = None,
        pattern: str | None = None,
        sort: DialogueSort = DialogueSort.LAST_ACTIVITY,
        descending: bool = True,
        limit: int = 50,
    ) -> DialogueList:
        """Dialogues that match all that is given; what is not known comes last in either order.

        Raises:
            InvalidCommandError: no detector knows the pattern.
        """
        query = _summaries(self._stalled)
        if kind is not None:
            query = query.where(dialogues.c.kind == kind.value)
        if status is not None:
            query = query.where(activities.c.status == status.value)
        if pattern is not None:
            query = query.where(self._shows(pattern))
        column = query.selected_columns[sort.value]
        place = activities.c.last_position
        order = (column.desc().nulls_last(), place.desc()) if descending else (column.asc().nulls_last(), place)
        connection = self._connection
        rows = connection.execute(query.order_by(*order).limit(limit))
        listed = [_summary(row) for row in rows.mappings()]
        return DialogueList(self._position, _count(connection, query), listed)

    def findings(
        self,
        *,
        dialogue: UUID | None = None,
        kind: Kind | None = None,
        pattern: str | None = None,
        limit: int = 100,
    ) -> FindingList:
        """Findings in the order of their dialogues and messages. A pattern's stronger forms count for it too.

        Raises:
            InvalidCommandError: no detector knows the pattern.
        """
        wanted = Wanted(dialogue, kind, pattern)
        return listed(self._connection, self._judged, wanted, self._stall_seconds, limit)

    def grouped(self, by: str, kind: Kind = Kind.RECORDED) -> Grouping:
        """The dialogues of a kind, by the values of one of their attributes."""
        return Grouping(self._position, by, kind, groups(self._connection, by, kind, self._stalled))

    def _shows(self, pattern: str) -> ColumnElement[bool]:
        """The dialogues in which a pattern is found."""
        if pattern == STALL:
            return self._stalled
        return dialogues.c.dialogue.in_(select(findings.c.dialogue).where(named(pattern)))


_found = select(findings.c.dialogue).where(findings.c.dialogue == dialogues.c.dialogue)
_FOUND: Final = _found.with_only_columns(func.count()).scalar_subquery()
_SUMMARIES: Final = select(
    dialogues.c.dialogue,
    dialogues.c.kind,
    activities.c.status,
    dialogues.c.subject,
    dialogues.c.attributes,
    activities.c.close_reason,
    activities.c.awaiting,
    dialogues.c.opened_at,
    activities.c.last_activity,
    dialogues.c.first_position,
    activities.c.last_position,
    scopes.c.total_messages,
    scopes.c.internal_to_external,
    scopes.c.external_to_internal,
    scopes.c.dialogue_balance_ratio,
    scopes.c.emergence_score,
    scopes.c.runs,
    scopes.c.coordination_z,
    _found.with_only_columns(func.group_concat(findings.c.pattern.distinct())).scalar_subquery().label("patterns"),
).select_from(
    dialogues.join(activities, activities.c.dialogue == dialogues.c.dialogue).join(
        scopes, scopes.c.scope == dialogues.c.dialogue
    )
)


def _summaries(stalled: ColumnElement[bool]) -> Select[Any]:
    """With those that have stalled among what was found."""
    stalls = case((stalled, 1), else_=0)
    return _SUMMARIES.add_columns((_FOUND + stalls).label("findings"), stalls.label("stalls"))


def _summary(row: RowMapping) -> DialogueSummary:
    patterns = row["patterns"].split(",") if row["patterns"] else []
    values = {
        **plain(row),
        "opened_at": _time(row["opened_at"] * 1000),
        "last_activity": _time(row["last_activity"] * 1000),
        "emergence_assessable": row["total_messages"] > ASSESSABLE_ABOVE,
        "patterns": sorted([*patterns, STALL] if row["stalls"] else patterns),
    }
    return msgspec.convert(values, DialogueSummary)


def _measures(connection: Connection, scope: UUID | Kind) -> Measures:
    state = connection.execute(select(scopes.c.state).where(scopes.c.scope == str(scope))).scalar_one_or_none()
    if state is not None:
        return decode_measures(state)
    if isinstance(scope, UUID):
        raise DialogueNotFoundError(scope)
    return Measures.empty(EmergenceSettings())


def _within(table: Table, scope: UUID | Kind) -> ColumnElement[bool]:
    column = table.c.dialogue if isinstance(scope, UUID) else table.c.kind
    return column == str(scope)


def _count(connection: Connection, query: Select[Any]) -> int:
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()


def _unanswered(connection: Connection, scope: UUID | Kind, tract: Tract) -> int:
    awaiting = select(activities.c.dialogue).where(
        activities.c.awaiting == tract.value, _within(activities, scope)
    )
    return _count(connection, awaiting)


def _response_time(times: ResponseTimes, unanswered: int) -> ResponseTime:
    return ResponseTime(times.count, times.p50, times.p95, times.p99, times.max, times.unknown, unanswered)


def _last_episodes(connection: Connection, scope: UUID | Kind, limit: int) -> list[EpisodeSummary]:
    """In order. There may be thousands: row by row in plain tuples."""
    columns = (of_episodes.c[name] for name in EpisodeSummary.__struct_fields__)
    of_scope = select(*columns).where(of_episodes.c.scope == str(scope))
    rows = connection.execute(of_scope.order_by(of_episodes.c.first_message.desc()).limit(limit)).all()
    return [
        EpisodeSummary(first, last, first_position, last_position, peak, _time(start), _time(end))
        for first, last, first_position, last_position, peak, start, end in reversed(rows)
    ]


def _time(microseconds: int | None) -> str | None:
    """None also for what a file claims to be beyond the year 9999, which RFC 3339 cannot write."""
    if microseconds is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return moment.isoformat(timespec="microseconds") + "Z"
