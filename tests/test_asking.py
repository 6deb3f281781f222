"""Who asks gets the answer, and nobody else does."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import PersistenceError

from application.admission import WhenFull
from application.commands import Close, Convey
from application.commit import commit
from application.validation import stamped_few
from corpus_callosum import (
    CallosumClosedError,
    CorpusCallosum,
    DialogueNotFoundError,
    InvalidCommandError,
    Message,
    Priority,
    RecordedMessage,
    ReplyTimeoutError,
    ShedLowest,
    Tract,
    Wait,
)
from tests.deliveries import bounded, following, message, nothing_comes, say
from tests.gates import until, waiting


class Echo:
    async def handle(self, message: Message) -> object:
        return f"re: {message.payload}"


async def ask(
    callosum: CorpusCallosum,
    dialogue: UUID,
    payload: object,
    *,
    within: float = 5,
    key: str | None = None,
    **fields: Any,
) -> RecordedMessage:
    return await callosum.ask(
        dialogue,
        source=Tract.INTERNAL,
        target=Tract.EXTERNAL,
        sender="planner",
        payload=payload,
        timeout=within,
        idempotency_key=key,
        **fields,
    )


def answer(payload: object, to: int) -> Message:
    return Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload=payload, in_reply_to=to)


async def _has_said(callosum: CorpusCallosum, dialogue: UUID, count: int) -> bool:
    return len([said async for said in callosum.transcript(dialogue)]) == count


class TestAsking:
    @pytest.mark.parametrize("when_full", [Wait(timeout=10), ShedLowest()], ids=["wait", "shed"])
    async def test_where_there_is_no_room_it_does_as_it_is_told(self, url: str, when_full: WhenFull) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, "before")
            asked = ask(callosum, dialogue, "ping", priority=Priority.HIGH, when_full=when_full)
            asking = asyncio.create_task(asked)
            if isinstance(when_full, Wait):
                await waiting(callosum, 1)
            else:
                await until(lambda: _has_said(callosum, dialogue, 2))
            async with callosum.attach(Echo(), Tract.EXTERNAL, "echo"):
                assert (await asking).payload == "re: ping"

    async def test_gives_the_reply(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo"):
            reply = await ask(callosum, dialogue, "ping")
        assert (reply.payload, reply.sender, reply.in_reply_to, reply.sequence) == ("re: ping", "echo", 1, 2)

    async def test_many_at_once_get_each_its_own(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        other = await callosum.open_dialogue("another")
        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo", concurrency=4):
            replies = await asyncio.gather(
                *(ask(callosum, dialogue if number % 2 else other, number) for number in range(50))
            )
        assert [reply.payload for reply in replies] == [f"re: {number}" for number in range(50)]

    async def test_the_answer_is_handed_to_nobody_else(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with (
            callosum.attach(Echo(), Tract.EXTERNAL, "echo"),
            callosum.subscribe(Tract.INTERNAL, "planner") as subscription,
        ):
            await ask(callosum, dialogue, "ping")
            assert await nothing_comes(subscription)
            await say(callosum, dialogue, "told, not asked")
            assert (await following(subscription)).message.payload == "re: told, not asked"

    async def test_a_second_reply_is_a_message_like_any_other(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        asking = asyncio.create_task(ask(callosum, dialogue, "ping"))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as tool:
            asked = await following(tool)
            await callosum.send_many(dialogue, [answer("first", 1), answer("second", 1)])
            await asked.ack()
        assert (await asking).payload == "first"
        async with callosum.subscribe(Tract.INTERNAL, "planner", demand=2) as subscription:
            assert (await following(subscription)).message.payload == "second"
            assert await nothing_comes(subscription)

    async def test_of_replies_that_come_at_once_one_answers_and_the_others_are_delivered(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        asking = asyncio.create_task(ask(callosum, dialogue, "ping"))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as tool:
            asked = await following(tool)
            await asyncio.gather(*(callosum.send_many(dialogue, [answer(n, 1)]) for n in range(20)))
            await asked.ack()
        taken = (await asking).payload
        async with callosum.subscribe(Tract.INTERNAL, "planner", demand=20) as subscription:
            others = {(await following(subscription)).message.payload for _ in range(19)}
        assert others == set(range(20)) - {taken}

    async def test_a_third_reply_is_one_too(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        asking = asyncio.create_task(ask(callosum, dialogue, "ping"))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as tool:
            asked = await following(tool)
            for payload in ("first", "second", "third"):
                await callosum.send_many(dialogue, [answer(payload, 1)])
            await asked.ack()
        await asking
        async with callosum.subscribe(Tract.INTERNAL, "planner", demand=3) as subscription:
            assert [(await following(subscription)).message.payload for _ in range(2)] == ["second", "third"]

    async def test_an_answer_of_another_process_is_found(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum, CorpusCallosum.open(lasting_url) as other:
            dialogue = await callosum.open_dialogue("asked")
            async with other.attach(Echo(), Tract.EXTERNAL, "echo"):
                assert (await ask(callosum, dialogue, "ping")).payload == "re: ping"
            async with other.subscribe(Tract.INTERNAL, "planner") as subscription:
                assert await nothing_comes(subscription)

    async def test_no_task_is_left_when_nobody_asks(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo"):
            await ask(callosum, dialogue, "ping")
        await asyncio.sleep(0)
        assert Counter(task.get_name() for task in asyncio.all_tasks())["callosum-answers"] == 0


class TestWithoutAnAnswer:
    async def test_in_time_it_says_so(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(ReplyTimeoutError) as error:
            await ask(callosum, dialogue, "ping", within=0.05)
        assert (error.value.dialogue, error.value.sequence, error.value.timeout) == (dialogue, 1, 0.05)

    async def test_asking_again_with_the_key_finds_one_that_came_later(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("asked")
            with pytest.raises(ReplyTimeoutError):
                await ask(callosum, dialogue, "ping", within=0.05, key="q1")
        async with CorpusCallosum.open(lasting_url) as callosum:
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).reply(answer("late", 1))
            assert (await ask(callosum, dialogue, "ping", key="q1")).payload == "late"
            assert [said.payload async for said in callosum.transcript(dialogue)] == ["ping", "late"]

    async def test_asking_again_waits_on(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(ReplyTimeoutError):
            await ask(callosum, dialogue, "ping", within=0.05, key="q1")
        again = asyncio.create_task(ask(callosum, dialogue, "ping", key="q1"))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).reply(answer("late", 1))
        assert (await again).payload == "late"

    async def test_asking_again_in_the_round_that_closes_the_dialogue_harms_neither(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        with pytest.raises(ReplyTimeoutError):
            await ask(callosum, dialogue, "ping", within=0.05, key="q1")
        asked = Convey(dialogue, *stamped_few([message("ping", idempotency_key="q1")]), asks=True)
        log, now = callosum._open.log, datetime.now(UTC)
        [again], closed = commit(log, [asked, Close(dialogue, "done")], now)  # type: ignore[misc]  # a list, a position
        assert (again.sequence, closed) == (1, log.head())

    async def test_a_late_answer_waits_for_who_asks_again(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(ReplyTimeoutError):
            await ask(callosum, dialogue, "ping", within=0.05)
        await callosum.send_many(dialogue, [answer("late", 1)])
        async with callosum.subscribe(Tract.INTERNAL, "planner") as subscription:
            assert await nothing_comes(subscription)

    async def test_closing_the_service_ends_it(self, url: str) -> None:
        async with CorpusCallosum.open(url) as callosum:
            dialogue = await callosum.open_dialogue("asked")
            asking = asyncio.create_task(ask(callosum, dialogue, "ping"))
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await following(subscription)
        with pytest.raises(CallosumClosedError):
            await asking

    async def test_what_cannot_be_said_is_not_waited_for(self, callosum: CorpusCallosum) -> None:
        with pytest.raises(DialogueNotFoundError):
            await ask(callosum, UUID(int=1), "ping")
        with pytest.raises(InvalidCommandError, match="timeout"):
            await ask(callosum, UUID(int=1), "ping", within=0)

    async def test_a_store_that_fails_is_told_of(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> int:
            raise PersistenceError("away")

        monkeypatch.setattr(callosum._open.log, "head", fail)
        with pytest.raises(PersistenceError, match="away"):
            await ask(callosum, dialogue, "ping")
