"""What can be asked of the read models."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection

from application.following import FindingsFollower
from application.projections import Projections
from application.read_side import Moment
from application.relations import Study
from application.service import Service
from application.studying import analysis
from application.validation import (
    check_id,
    check_time,
    member,
)
from domain.dialogue import Kind
from domain.errors import InvalidCommandError
from projections.answers import (
    ConsciousnessMetrics,
    DeliveryMetrics,
    DialogueList,
    DialogueSummary,
    FindingList,
    FindingSummary,
    Grouping,
    MinuteList,
)
from projections.consciousness import Consciousness
from projections.deliveries import Deliveries, deliveries
from projections.findings import Wanted
from projections.queries import DialogueSort, Queries
from projections.states import Status
from projections.studied import studied
from projections.timeline import Timeline, minute_of, timeline

__all__ = ["Questions"]

_T = TypeVar("_T")


class Questions(Service):
    """The part of `CorpusCallosum` that asks the read models.

    An answer includes at least position `at_least`; None: all that is stored when asked. Or it is as of a moment:
    a position, or a time of the log's, which needs a time zone.
    """

    async def consciousness_metrics(
        self,
        scope: UUID | Kind = Kind.LIVE,
        *,
        episodes: int = 1000,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> ConsciousnessMetrics:
        """Balance, emergence, coordination and response times of a dialogue, or of all dialogues of a kind.

        Args:
            scope: the dialogue, or the kind.
            episodes: at most so many emergence episodes, the last ones; all are counted in `episode_count`.
            at_least: a position that the answer includes.
            as_of: a position, or a time of the log's, to answer as of.

        Raises:
            DialogueNotFoundError: there is no such dialogue.
            InvalidCommandError: fewer than no episodes are asked for, or there is no such moment.
            ProjectionError: the read models have stopped at an event that cannot be folded.
        """
        if not isinstance(scope, Kind):
            check_id(scope)
        if episodes < 0:
            raise InvalidCommandError("number of episodes", f"is {episodes}; it must be at least 0")

        def query(queries: Queries) -> ConsciousnessMetrics:
            return queries.consciousness_metrics(scope, episodes=episodes)

        return await self._ask_about(scope, query, at_least, as_of)

    async def dialogue(
        self, dialogue: UUID, *, at_least: int | None = None, as_of: Moment | None = None
    ) -> DialogueSummary:
        """One dialogue's row of `dialogues`. Raises DialogueNotFoundError."""
        check_id(dialogue)
        return await self._ask_about(dialogue, lambda queries: queries.dialogue(dialogue), at_least, as_of)

    async def dialogues(
        self,
        *,
        kind: Kind | None = None,
        status: Status | None = None,
        pattern: str | None = None,
        sort: DialogueSort = DialogueSort.LAST_ACTIVITY,
        descending: bool = True,
        limit: int = 50,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> DialogueList:
        """The dialogues that match all that is given; what is not known comes last in either order."""
        of_kind, of_status = member(Kind, kind), member(Status, status)
        by = member(DialogueSort, sort) or DialogueSort.LAST_ACTIVITY

        def query(queries: Queries) -> DialogueList:
            return queries.dialogues(
                kind=of_kind, status=of_status, pattern=pattern, sort=by, descending=descending, limit=limit
            )

        return await self._open.read_side.ask(query, at_least, as_of)

    async def grouped(
        self,
        by: str,
        kind: Kind = Kind.RECORDED,
        *,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> Grouping:
        """The dialogues of a kind by the values of one of their attributes, with the measures' means."""
        of_kind = member(Kind, kind) or Kind.RECORDED
        return await self._open.read_side.ask(lambda queries: queries.grouped(by, of_kind), at_least, as_of)

    async def study(
        self,
        outcome: str,
        kind: Kind = Kind.RECORDED,
        *,
        positive: object = None,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> Study:
        """Whether an attribute of the dialogues of a kind has to do with what was measured and found in them.

        Args:
            outcome: the attribute.
            kind: of the dialogues.
            positive: the value to compare with all others; needed when it has more than two that are no numbers.
            at_least: a position that the answer includes.
            as_of: a position, or a time of the log's, to answer as of.

        Raises:
            ExtraMissingError: the extra `study` is not installed.
            InvalidCommandError: no dialogue of the kind has the attribute, there is nothing to compare, or more
                than two groups.
        """
        of_kind = member(Kind, kind) or Kind.RECORDED
        relate = analysis()
        query = partial(studied, attribute=outcome, kind=of_kind)
        found = await self._open.read_side.read(Consciousness.NAME, query, at_least, as_of)
        return await asyncio.to_thread(relate, found, of_kind, outcome, positive)

    async def findings(
        self,
        *,
        dialogue: UUID | None = None,
        kind: Kind | None = None,
        pattern: str | None = None,
        limit: int = 100,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> FindingList:
        """Patterns that were found, in the order of their dialogues and messages.

        Dialogues that have stalled are among them: now, or as of a time of the log's. As of a position that is the
        time of its entry; as of a time to come, what stalls if nothing more is said.
        """
        if dialogue is not None:
            check_id(dialogue)
        of_kind = member(Kind, kind)

        def query(queries: Queries) -> FindingList:
            return queries.findings(dialogue=dialogue, kind=of_kind, pattern=pattern, limit=limit)

        return await self._open.read_side.ask(query, at_least, as_of)

    async def follow_findings(
        self,
        after: int | None = 0,
        *,
        dialogue: UUID | None = None,
        kind: Kind | None = None,
        pattern: str | None = None,
    ) -> AsyncIterator[FindingSummary]:
        """Findings as they begin or grow: those there are, then live, until the service is closed.

        A finding that grows is told again, as it is then, though not for each of many messages at once; its
        dialogue and first message tell which one it is. A stall is told once, when it begins; to who resumes,
        also when it began before. Positions never decrease, but when the read model of a newer program takes
        over: then it begins again at `after`. Several findings may have one position: who must miss none resumes
        at the one before that of the last finding that was handled.

        Args:
            after: only what began or grew beyond this position; None: from now on.
            dialogue: only in this one.
            kind: only in dialogues of this kind.
            pattern: only this, and its stronger forms.

        Raises:
            LogLostError: the store came back without events that were seen here; what follows them is unknown.
            ProjectionError: the read models stand before an event that cannot be folded, or are paused.
        """
        if dialogue is not None:
            check_id(dialogue)
        wanted, parts = Wanted(dialogue, member(Kind, kind), pattern), self._open
        async for finding in FindingsFollower(parts.log, parts.reader, parts.read_side, wanted).follow(after):
            yield finding

    async def read_model(
        self,
        projection: str,
        query: Callable[[Connection, int], _T],
        *,
        at_least: int | None = None,
        as_of: Moment | None = None,
    ) -> _T:
        """Any projection's tables.

        Args:
            projection: its name.
            query: gets a connection that sees one state of them, and up to which position the log is folded in it.
                It is called in another thread, and what it returns is returned.
            at_least: see above.
            as_of: see above.

        Raises:
            UnknownProjectionError
        """
        return await self._open.read_side.read(projection, query, at_least, as_of)

    @property
    def projections(self) -> Projections:
        """The read models as such: how they fare; to rebuild, compare, pause, and put back."""
        return self._open.projections

    async def deliveries(
        self, *, at_least: int | None = None, as_of: int | datetime | None = None
    ) -> DeliveryMetrics:
        """What became of the messages to each tract: how many, and how long it took.

        Args:
            at_least: a position that the answer includes.
            as_of: a position, or a time of the log's, to answer as of.
        """
        return await self._open.read_side.read(Deliveries.NAME, deliveries, at_least, as_of)

    async def timeline(
        self,
        kind: Kind = Kind.LIVE,
        *,
        start: datetime | None = None,
        stop: datetime | None = None,
        limit: int = 60,
        filled: bool = False,
        at_least: int | None = None,
        as_of: int | datetime | None = None,
    ) -> MinuteList:
        """What happened in each minute of the log's own time: messages, dialogues, outcomes of deliveries.

        Minutes in which nothing happened are left out, unless `filled` asks for them: then none is missing from
        `start` to `stop`, or without these, from the first to the last minute in which something happened.

        Args:
            kind: of the dialogues.
            start: a moment in the first minute of a range; it must have a time zone.
            stop: a moment in the last one.
            limit: at most so many minutes, the last ones of the range; at least 1.
            filled: whether gaps are filled with zeros.
            at_least: a position that the answer includes.
            as_of: a position, or a time of the log's, to answer as of.
        """
        for name, time in (("start", start), ("stop", stop)):
            if time is not None:
                check_time(name, time)
        if limit < 1:
            raise InvalidCommandError("limit", f"is {limit}; it must be at least 1")
        query = partial(
            timeline,
            kind=member(Kind, kind) or Kind.LIVE,
            start=None if start is None else minute_of(start),
            stop=None if stop is None else minute_of(stop),
            limit=limit,
            filled=filled,
        )
        return await self._open.read_side.read(Timeline.NAME, query, at_least, as_of)

    async def _ask_about(
        self, scope: UUID | Kind, query: Callable[[Queries], _T], at_least: int | None, as_of: Moment | None
    ) -> _T:
        if isinstance(scope, Kind):
            return await self._open.read_side.ask(query, at_least, as_of)
        return await self._open.read_side.ask_about(scope, query, at_least, as_of)
