"""Corpus Callosum: the service through which two groups of agents talk, durably."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, TypedDict, Unpack
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from application.admission import Fail, Said, WhenFull
from application.agents import Agent, Attachment
from application.commands import Close, Convey, Open
from application.dead_letters import DeadLetters
from application.delivery import DeliverySettings
from application.explanation import Explanation, explain
from application.gates import Gates
from application.history import History
from application.overview import TractInbox, inboxes
from application.parts import Parts
from application.questions import Questions
from application.reading import RecordedMessage
from application.round import Receipt
from application.settings import Settings
from application.subscription import Subscription
from application.validation import (
    FEW,
    MOST_NAME,
    check_batch,
    check_id,
    check_text,
    checked_attributes,
    member,
    stamped,
    stamped_few,
)
from domain.dialogue import Dialogue
from domain.errors import InvalidCommandError
from domain.message import Message, Payload, encoded_size
from domain.tract import Priority, Tract

__all__ = ["CorpusCallosum"]

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


class CorpusCallosum(Questions, History):
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
        super().__init__(settings)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

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
        self, dialogue: UUID, messages: Sequence[Message], *, asks: bool, when_full: WhenFull
    ) -> list[Receipt]:
        parts = self._open
        check_id(dialogue)
        check_batch(messages)
        return await parts.admission.send(messages, when_full, lambda: self._put(parts, dialogue, messages, asks))

    async def _put(self, parts: Parts, dialogue: UUID, messages: Sequence[Message], asks: bool) -> Said:
        writer = parts.writer
        # Nobody is half-way with this dialogue; as a rule with none, which a weak dictionary tells sooner.
        if len(messages) <= FEW and not (self._turns and dialogue in self._turns):
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
        when_full: WhenFull = _FAIL,
        **fields: Unpack[MessageFields],
    ) -> RecordedMessage:
        """Say one message and wait for the first reply to it (`in_reply_to`), which is handed to nobody else.

        What is waited for room does not count in `timeout`.

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
            return (await self._say(dialogue, [message], asks=True, when_full=when_full))[0]

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

    def _turn(self, dialogue: UUID) -> asyncio.Lock:
        """Held while a command is checked, so that a large batch is not overtaken in its dialogue."""
        return self._turns.setdefault(dialogue, asyncio.Lock())
