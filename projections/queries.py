"""Reading the consciousness read model. Every answer is of one state of it and says up to which position."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, func, select

from domain.dialogue import Kind
from domain.errors import DialogueNotFoundError
from domain.measures import ASSESSABLE_ABOVE, EmergenceSettings
from domain.response_times import ResponseTimes
from domain.tract import Tract
from projections.answers import (
    ConsciousnessMetrics,
    DialogueList,
    DialogueSummary,
    EpisodeSummary,
    FindingList,
    FindingSummary,
    Grouping,
    ResponseTime,
    ResponseTimeByTract,
)
from projections.consciousness import Consciousness
from projections.errors import ReadModelTakenError
from projections.grouping import groups, named
from projections.states import Measures, Status, decode_measures
from projections.tables import dialogues, episodes, findings, scopes
from projections.views import Views, plain, read_checkpoint

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
    """Blocking reads, from any thread, while a runner of this or another process writes."""

    def __init__(self, views: Views, epoch: Callable[[], str] | None = None) -> None:
        """With the epoch of a log, every answer is of that log's read models or an error."""
        self._views = views
        self._epoch = epoch

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        epoch = self._epoch() if self._epoch else None
        with self._views.reading() as connection:
            checkpoint = read_checkpoint(connection, Consciousness.NAME)
            if checkpoint is not None and epoch not in {None, checkpoint.epoch}:
                raise ReadModelTakenError(Consciousness.NAME, "they are of another log")
            yield connection

    def position(self) -> int:
        """Up to where the read model has folded the log; 0 for nothing."""
        with self._reading() as connection:
            return _position(connection)

    def consciousness_metrics(self, scope: UUID | Kind) -> ConsciousnessMetrics:
        """The metrics of one dialogue, or of all dialogues of a kind.

        Raises:
            DialogueNotFoundError: the read model does not know the dialogue, or not yet.
        """
        with self._reading() as connection:
            measures = _measures(connection, scope)
            balance = measures.balance
            return ConsciousnessMetrics(
                scope=str(scope),
                position=_position(connection),
                total_messages=balance.total_messages,
                internal_to_external=balance.internal_to_external,
                external_to_internal=balance.external_to_internal,
                dialogue_balance_ratio=balance.dialogue_balance_ratio,
                balanced_dialogue_events=balance.balanced_dialogue_events,
                emergence_score=balance.emergence_score,
                emergence_assessable=balance.emergence_assessable,
                last_emergence_at=_time(balance.last_emergence_at),
                runs=measures.coordination.runs,
                coordination_z=measures.coordination.coordination_z,
                response_time=ResponseTimeByTract(
                    _response_time(measures.internal, _unanswered(connection, scope, Tract.INTERNAL)),
                    _response_time(measures.external, _unanswered(connection, scope, Tract.EXTERNAL)),
                ),
                episodes=_episodes(connection, scope),
                findings=_count(connection, select(findings).where(_within(findings, scope))),
            )

    def dialogue(self, dialogue: UUID) -> DialogueSummary:
        """Raises DialogueNotFoundError when the read model does not know it, or not yet."""
        with self._reading() as connection:
            rows = connection.execute(_SUMMARIES.where(dialogues.c.dialogue == str(dialogue)))
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
        query = _SUMMARIES
        if kind is not None:
            query = query.where(dialogues.c.kind == kind.value)
        if status is not None:
            query = query.where(dialogues.c.status == status.value)
        if pattern is not None:
            query = query.where(dialogues.c.dialogue.in_(select(findings.c.dialogue).where(named(pattern))))
        column = query.selected_columns[sort.value]
        place = dialogues.c.last_position
        order = (column.desc().nulls_last(), place.desc()) if descending else (column.asc().nulls_last(), place)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(*order).limit(limit))
            listed = [_summary(row) for row in rows.mappings()]
            return DialogueList(_position(connection), _count(connection, query), listed)

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
        table = findings.c
        query = select(
            table.dialogue,
            dialogues.c.subject,
            table.pattern,
            table.first_sequence,
            table.last_sequence,
            table.count,
            table.why,
        ).join(dialogues, dialogues.c.dialogue == table.dialogue)
        if dialogue is not None:
            query = query.where(table.dialogue == str(dialogue))
        if kind is not None:
            query = query.where(table.kind == kind.value)
        if pattern is not None:
            query = query.where(named(pattern))
        ordered = query.order_by(dialogues.c.first_position, table.first_sequence, table.detector)
        with self._reading() as connection:
            found = [
                msgspec.convert(plain(row), FindingSummary)
                for row in connection.execute(ordered.limit(limit)).mappings()
            ]
            return FindingList(_position(connection), _count(connection, query), found)

    def grouped(self, by: str, kind: Kind = Kind.RECORDED) -> Grouping:
        """The dialogues of a kind, by the values of one of their attributes."""
        with self._reading() as connection:
            return Grouping(_position(connection), by, kind, groups(connection, by, kind))


_found = select(findings.c.dialogue).where(findings.c.dialogue == dialogues.c.dialogue)
_SUMMARIES: Final = select(
    dialogues.c.dialogue,
    dialogues.c.kind,
    dialogues.c.status,
    dialogues.c.subject,
    dialogues.c.attributes,
    dialogues.c.close_reason,
    dialogues.c.awaiting,
    dialogues.c.opened_at,
    dialogues.c.last_activity,
    dialogues.c.first_position,
    dialogues.c.last_position,
    scopes.c.total_messages,
    scopes.c.internal_to_external,
    scopes.c.external_to_internal,
    scopes.c.dialogue_balance_ratio,
    scopes.c.emergence_score,
    scopes.c.runs,
    scopes.c.coordination_z,
    _found.with_only_columns(func.count()).scalar_subquery().label("findings"),
    _found.with_only_columns(func.group_concat(findings.c.pattern.distinct())).scalar_subquery().label("patterns"),
).join(scopes, scopes.c.scope == dialogues.c.dialogue)


def _summary(row: RowMapping) -> DialogueSummary:
    values = {
        **plain(row),
        "opened_at": _time(row["opened_at"] * 1000),
        "last_activity": _time(row["last_activity"] * 1000),
        "emergence_assessable": row["total_messages"] > ASSESSABLE_ABOVE,
        "patterns": sorted(row["patterns"].split(",")) if row["patterns"] else [],
    }
    return msgspec.convert(values, DialogueSummary)


def _position(connection: Connection) -> int:
    checkpoint = read_checkpoint(connection, Consciousness.NAME)
    return 0 if checkpoint is None else checkpoint.position


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
    awaiting = select(dialogues.c.dialogue).where(dialogues.c.awaiting == tract.value, _within(dialogues, scope))
    return _count(connection, awaiting)


def _response_time(times: ResponseTimes, unanswered: int) -> ResponseTime:
    return ResponseTime(times.count, times.p50, times.p95, times.p99, times.max, times.unknown, unanswered)


def _episodes(connection: Connection, scope: UUID | Kind) -> list[EpisodeSummary]:
    query = select(episodes).where(episodes.c.scope == str(scope)).order_by(episodes.c.first_message)
    return [
        msgspec.convert(
            {**plain(row), "start_time": _time(row["start_time"]), "end_time": _time(row["end_time"])},
            EpisodeSummary,
        )
        for row in connection.execute(query).mappings()
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
