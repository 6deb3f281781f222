"""Corpus Callosum: the service through which two groups of agents talk, durably."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Self, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from application.admission import Fail, Said, WhenFull
from application.agents import Agent, Attachment
from application.commands import Close, Convey, Open
from application.dead_letters import DeadLetters
from application.delivery import DeliverySettings
from application.errors import CallosumClosedError
from application.explanation import Explanation, explain
from application.exporting import Format, export
from application.following import FindingsFollower
from application.gates import Gates
from application.importing import ImportReport, import_transcripts
from application.overview import TractInbox, inboxes
from application.parts import Parts
from application.projections import Projections
from application.read_side import Moment
from application.reading import RecordedMessage
from application.relations import Study
from application.restoring import RestoreReport, import_log
from application.round import Receipt
from application.settings import Settings, emergence, patterns
from application.steps import Replayed, steps
from application.studying import analysis
from application.subscription import Subscription
from application.validation import (
    FEW,
    MOST_NAME,
    check_batch,
    check_id,
    check_text,
    check_time,
    checked_attributes,
    member,
    stamped,
    stamped_few,
)
from application.verification import Verification, verify
from domain.dialogue import Dialogue, Kind
from domain.errors import InvalidCommandError
from domain.message import Message, Payload, encoded_size
from domain.tract import Priority, Tract
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
from projections.fold import Recorded
from projections.queries import DialogueSort, Queries
from projections.states import Status
from projections.studied import studied
from projections.timeline import Timeline, minute_of, timeline

__all__ = ["CorpusCallosum"]

_T = TypeVar("_T")
_FAIL: Final = Fail()


class MessageFields(TypedDict, total=False):
    """The fields of a `Message` that may be left out."""

    priority: Priority
    recipient: str | None
    in_reply_to: int | None
    correlation_id: str | None
    causation_id: str | None
    deadline: datetime | None
    headers: dict[str, str] | None
    idempotency_key: str | None


class CorpusCallosum:
    """The bridge between the internal and the external tract.

    Open it with ``async with CorpusCallosum.open(url) as callosum`` and use it on that event loop. A message is
    stored durably when `send` returns. Cancelling a command that is on its way does not undo it: the append may
    still happen; an `idempotency_key` makes it safe to send again. Closing answers every command that was taken,
    ends every `follow`, and refuses what comes later with `CallosumClosedError`.

    Errors: `domain.errors.CallosumError` for what is refused, `eventsourcing.persistence.PersistenceError` for
    what the store cannot do; in both cases nothing of that command is stored, but for `OutcomeUnknownError`, when
    a server's answer was lost twice.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: Parts | None = None
        self._closing: asyncio.Future[None] | None = None
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    def open(cls, url: str | None = None, *, settings: Settings | None = None) -> Self:
        """Name the store: a URL, or full settings; without either the environment's (`Settings`)."""
        if settings is None:
            settings = Settings() if url is None else Settings(url=url, views=None)
        return cls(settings)

    async def __aenter__(self) -> Self:
        if self._parts is not None or self._closing is not None:
            raise InvalidCommandError("service", "was opened before; open another one")
        self._parts = await Parts.open(self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Answer the commands that were taken, end every `follow`, and close the store.

        Every call returns when all is closed, however many there are. Cancelling one stops only its waiting.
        """
        if self._parts is not None:
            parts, self._parts = self._parts, None
            self._closing = asyncio.ensure_future(parts.close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    # Commands

    async def open_dialogue(self, subject: str, *, attributes: dict[str, Payload] | None = None) -> UUID:
        """Begin a live dialogue.

        Args:
            subject: what it is about, 1 to 2000 characters.
            attributes: values to find and group it by; a payload.
        """
        check_text("subject", subject)
        checked = checked_attributes(attributes or {})
        dialogue = uuid4()

        def create(now: datetime) -> Dialogue:
            return Dialogue.open(dialogue, subject, checked, now=now)

        await self._open.writer.submit(Open(dialogue, create, lambda _: False, encoded_size(checked)))
        return dialogue

    async def send(
        self,
        dialogue: UUID,
        *,
        source: Tract,
        target: Tract,
        sender: str,
        payload: Payload = None,
        when_full: WhenFull = _FAIL,
        **fields: Unpack[MessageFields],
    ) -> Receipt:
        """Say one message; `Message` tells what each field may be. It is durable when this returns.

        `when_full` is what to do where the target tract has no room: `Fail()`, `Wait(timeout)` in line, or
        `ShedLowest()`, which has less urgent ones given up.

        Raises:
            InvalidMessageError: a field or the payload is outside its definition.
            DialogueNotFoundError, DialogueClosedError, DialogueRecordedError
            ReplyToUnknownMessageError: `in_reply_to` names no earlier message of the dialogue.
            IdempotencyConflictError: the key belongs to another message of the dialogue.
            BackpressureError: the target tract has no room, had none in time, or holds too little that may be
                given up.
            CallNotPermittedError: the target tract's circuit is open.
        """
        message = Message(source=source, target=target, sender=sender, payload=payload, **fields)
        return (await self.send_many(dialogue, [message], when_full=when_full))[0]

    async def send_many(
        self, dialogue: UUID, messages: Sequence[Message], *, when_full: WhenFull = _FAIL
    ) -> list[Receipt]:
        """Say 1 to 1000 messages of at most 8 MiB together: all are stored, in order, or none is.

        Calls on one dialogue are stored in their order, whether or not they wait for each other. The payloads must
        not change before it returns.

        Raises:
            EmptyBatchError, BatchTooLargeError: and all that `send` raises, for the first message at fault.
        """
        return await self._say(dialogue, messages, asks=False, when_full=when_full)

    async def _say(
        self, dialogue: UUID, messages: Sequence[Message], *, asks: bool, when_full: WhenFull = _FAIL
    ) -> list[Receipt]:
        parts = self._open
        check_id(dialogue)
        check_batch(messages)
        return await parts.admission.send(messages, when_full, lambda: self._put(parts, dialogue, messages, asks))

    async def _put(self, parts: Parts, dialogue: UUID, messages: Sequence[Message], asks: bool) -> Said:
        writer = parts.writer
        if len(messages) <= FEW and dialogue not in self._turns:  # nobody is half-way with this dialogue
            command = Convey(dialogue, *stamped_few(messages), asks=asks)
            return command, writer.submit(command)
        async with self._turn(dialogue):
            command = Convey(dialogue, *await stamped(messages), asks=asks)
            return command, writer.submit(command)

    async def ask(
        self,
        dialogue: UUID,
        *,
        source: Tract,
        target: Tract,
        sender: str,
        payload: Payload = None,
        timeout: float = 60.0,  # noqa: ASYNC109  # the word that callers look for
        **fields: Unpack[MessageFields],
    ) -> RecordedMessage:
        """Say one message and wait for the first reply to it (`in_reply_to`), which is handed to nobody else.

        With an `idempotency_key` the same may be asked again after a crash: it is said once, and an answer that
        has come meanwhile is found.

        Raises:
            ReplyTimeoutError: no reply came within `timeout` seconds after it was said; it may still come.
        And all that `send` raises.
        """
        message = Message(source=source, target=target, sender=sender, payload=payload, **fields)
        if not timeout > 0:
            raise InvalidCommandError("timeout", f"is {timeout}; it must be above 0 seconds")

        async def say() -> Receipt:
            return (await self._say(dialogue, [message], asks=True))[0]

        return await self._open.answers.ask(dialogue, say, timeout)

    def subscribe(
        self,
        tract: Tract,
        consumer: str,
        *,
        demand: int = 1,
        delivery: DeliverySettings | None = None,
    ) -> Subscription:
        """Take messages of a tract, at most `demand` at a time; more with `Subscription.request`.

        Args:
            tract: whose messages.
            consumer: a name; messages may be addressed to it. Another one that joins under it takes its place.
            demand: deliveries asked for at first, and kept asked for as they are settled; 0: only by `request`.
            delivery: how deliveries are repeated.
        """
        of = member(Tract, tract)
        if of is None:
            raise InvalidCommandError("tract", "must be named")
        if demand < 0:
            raise InvalidCommandError("demand", f"is {demand}; it cannot be negative")
        check_text("consumer", consumer, most=MOST_NAME)
        parts = self._open
        return Subscription(
            parts.log,
            parts.writer,
            parts.reader,
            parts.bells,
            tract=of,
            name=consumer,
            demand=demand,
            settings=delivery or DeliverySettings(),
            ignores=partial(parts.gates.ignores, of),
            settled=partial(parts.admission.make_room, of),
        )

    @asynccontextmanager
    async def attach(
        self,
        agent: Agent,
        tract: Tract,
        name: str,
        *,
        concurrency: int = 1,
        handler_timeout: float | None = None,
        delivery: DeliverySettings | None = None,
        on_reply: Callable[[Message, Receipt], None] = lambda _message, _receipt: None,
    ) -> AsyncIterator[Attachment]:
        """Let an agent handle the messages of a tract while the block lasts; then it drains.

        Args:
            agent: see `Agent`.
            tract: whose messages.
            name: of the consumer, and the sender of what it answers.
            concurrency: how many it handles at once.
            handler_timeout: seconds after which one counts as not handled; None: any number.
            delivery: how deliveries are repeated.
            on_reply: called with each answer, once it is durable.
        """
        async with self.subscribe(tract, name, demand=concurrency, delivery=delivery) as subscription:
            attachment = Attachment(
                agent, subscription, concurrency=concurrency, timeout=handler_timeout, on_reply=on_reply
            )
            try:
                yield attachment
            finally:
                await attachment.stop()

    async def close_dialogue(self, dialogue: UUID, reason: str) -> int:
        """Nothing more will be said in it. The position of the event; `reason` has 1 to 2000 characters."""
        check_id(dialogue)
        check_text("reason", reason)
        writer = self._open.writer
        async with self._turn(dialogue):
            answer = writer.submit(Close(dialogue, reason))
        return await answer

    # Delivery, as an operator looks at it

    async def inbox(self) -> list[TractInbox]:
        """What is on its way, for each tract."""
        return await self._open.reader.call(inboxes, self._open.log)

    async def explain(self, dialogue: UUID, sequence: int) -> Explanation:
        """One message's whole life: accepted, each attempt and its outcome, where it stands, what answered it.

        Raises:
            DialogueNotFoundError, MessageNotFoundError
        """
        check_id(dialogue)
        return await self._open.reader.call(explain, self._open.log, dialogue, sequence)

    @property
    def gates(self) -> Gates:
        """What protects the tracts: their circuits and capacities, to look at and to set."""
        return self._open.gates

    @property
    def dead_letters(self) -> DeadLetters:
        """Messages that were given up: to find, to redrive, to discard."""
        return self._open.dead_letters

    async def import_transcripts(
        self, *paths: str | Path | BinaryIO, progress: Callable[[ImportReport], None] = lambda _: None
    ) -> ImportReport:
        """Record the dialogues of transcript files, each whole or not at all, and none twice.

        Args:
            paths: of JSON Lines or JSON files in chat format; or the files, opened to be read as bytes.
            progress: called now and then with the report so far.

        Raises:
            OSError: a file cannot be read; what was imported before it stays.
        """
        parts, files = self._open, [Path(path) if isinstance(path, str) else path for path in paths]
        return await import_transcripts(parts.log, parts.writer, parts.reader, files, progress)

    async def import_log(
        self, file: str | Path | BinaryIO, progress: Callable[[RestoreReport], None] = lambda _: None
    ) -> RestoreReport:
        """Add the events of an export (`export`, in either form) to the log: history, which is not delivered.

        They keep ids, versions and times. What the log has already is passed over. It stops at the first line that
        is no event of an export, has another content than the log, or lacks what goes before; what was stored
        until then stays. Nobody else should append meanwhile. Gates are set as the events tell. Cancelled, it ends
        after the batch that is under way.

        Args:
            file: its path, or the file, opened to be read as bytes.
            progress: called now and then, from another thread, with the report so far.

        Raises:
            OSError: the file cannot be read; what was stored before stays.
        """
        parts = self._open
        async with parts.gates.held():
            return await import_log(parts.log, parts.reader, file, progress)

    # The read models. An answer includes at least position `at_least`; None: all that is stored when asked. Or it
    # is as of a moment: a position, or a time of the log's, which needs a time zone.

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
        also when it began before. Positions never decrease. Several findings may have one: who must miss none
        resumes at the position before that of the last finding that was handled.

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

    # The log

    async def transcript(self, dialogue: UUID) -> AsyncIterator[RecordedMessage]:
        """What was said in a dialogue up to now, in order. Raises DialogueNotFoundError."""
        check_id(dialogue)
        async for message in self._open.reader.transcript(dialogue):
            yield message

    async def follow(self, after: int = 0, *, chain: bytes | None = None) -> AsyncIterator[Recorded]:
        """Every event beyond position `after`, in order: history first, then live, until the service is closed.

        To resume, pass the position of the last event that was handled, and its chain, if it was kept: then it is
        certain that it still stands there. It outlasts a store that is away.

        Raises:
            LogLostError: the store came back without events that were seen here, or the entry at `after` has
                another chain; what follows is unknown.
            NotReachedError: the log ends before `after`; it may have been restored to an earlier state.
        """
        async for event in self._open.reader.follow(after, chain):
            yield event

    async def replay(
        self, start: int | datetime = 1, stop: int | datetime | None = None
    ) -> AsyncIterator[Recorded]:
        """The events of a range of positions or of times, both ends included; without `stop`, up to now.

        Times are the log's own (`at`), in whole milliseconds, and must have a time zone.
        """
        reader = self._open.reader
        after, last = await reader.bounds(start, stop)
        async for event in reader.pages(after, last):
            yield event

    async def steps(
        self, dialogue: UUID | None = None, *, start: int | datetime = 1, stop: int | datetime | None = None
    ) -> AsyncIterator[Replayed]:
        """The messages of a range (see `replay`), each with its dialogue's measures as they were right after it.

        They are folded as they are read, so that a step costs no query; what goes before the range is read, too.

        Args:
            dialogue: only its messages.
            start: the first position, or the first time.
            stop: the last one, included; None: what there is now.

        Raises:
            DialogueNotFoundError
        """
        if dialogue is not None:
            check_id(dialogue)
        parts = self._open
        after, last = await parts.reader.bounds(start, stop)
        settings, thresholds = emergence(self._settings), patterns(self._settings)
        async for step in steps(
            parts.log, parts.reader, dialogue, after, last, settings=settings, patterns=thresholds
        ):
            yield step

    async def export(
        self,
        form: Format = Format.JSONL,
        *,
        start: int | datetime = 1,
        stop: int | datetime | None = None,
        progress: Callable[[int, int], None] = lambda _position, _last: None,
    ) -> AsyncIterator[str]:
        """The events of the log, or of a range of it (see `replay`), as lines of JSON, without their ends.

        Args:
            form: our own plain form, or CloudEvents.
            start: the first position, or the first time.
            stop: the last one, included; None: what there is now.
            progress: called with the position of each line before it is given, and the last position.
        """
        reader = self._open.reader
        of = member(Format, form) or Format.JSONL
        after, last = await reader.bounds(start, stop)
        async for position, line in export(self._open.log, reader, after, last, of):
            progress(position, last)
            yield line

    async def verify(self, progress: Callable[[int, int], None] = lambda _position, _head: None) -> Verification:
        """Recompute every digest and link of the chain and read every event, up to the first problem.

        Args:
            progress: called now and then, from another thread, with (position, head).
        """
        return await self._open.reader.call(verify, self._open.log, progress)

    def _turn(self, dialogue: UUID) -> asyncio.Lock:
        """Held while a command is checked, so that a large batch is not overtaken in its dialogue."""
        return self._turns.setdefault(dialogue, asyncio.Lock())

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise CallosumClosedError
        return self._parts

    async def _ask_about(
        self, scope: UUID | Kind, query: Callable[[Queries], _T], at_least: int | None, as_of: Moment | None
    ) -> _T:
        if isinstance(scope, Kind):
            return await self._open.read_side.ask(query, at_least, as_of)
        return await self._open.read_side.ask_about(scope, query, at_least, as_of)
