"""What happened to one message, from the log and the inbox."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from application.inbox import Holding
from corpus_callosum import (
    CorpusCallosum,
    DialogueNotFoundError,
    Explanation,
    Happening,
    Message,
    MessageNotFoundError,
    Priority,
    Settings,
    State,
    Tract,
)
from tests.deliveries import SHORT, following, message, say

H = Happening


@pytest.fixture
def callosum(projecting: CorpusCallosum) -> CorpusCallosum:
    return projecting


def told(explanation: Explanation) -> list[tuple[object, ...]]:
    return [(step.happening, step.attempt, step.who, step.error) for step in explanation.steps]


class TestAMessage:
    async def test_that_nobody_took_waits(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "a", "b")
        explanation = await callosum.explain(dialogue, 2)
        assert (explanation.message.payload, explanation.state) == ("b", State.WAITING)
        assert told(explanation) == [(H.ACCEPTED, None, "planner", None)]
        assert explanation.steps[0].position == explanation.message.position

    async def test_that_is_held_is_in_flight(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await following(subscription)
            explanation = await callosum.explain(dialogue, 1)
        assert (explanation.state, explanation.consumer, explanation.attempt) == (State.IN_FLIGHT, "tool", 1)
        assert explanation.until is not None
        assert 0 < explanation.until <= 30_000

    async def test_that_failed_pauses(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).nak("not now", delay=60)
            explanation = await callosum.explain(dialogue, 1)
        assert (explanation.state, explanation.consumer, explanation.attempt) == (State.PAUSED, None, 1)
        assert told(explanation)[1:] == [(H.RETRIED, 1, "tool", "not now")]
        assert explanation.steps[1].delay == 60_000

    async def test_has_each_attempt_with_consumer_outcome_and_error(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "other", "a")
        async with callosum.subscribe(Tract.EXTERNAL, "first", demand=2) as subscription:
            await (await following(subscription)).ack()
            await (await following(subscription)).nak("not now", delay=0)
            await (await following(subscription)).term("never")
        await callosum.dead_letters.redrive(reason="try again")
        async with callosum.subscribe(Tract.EXTERNAL, "second") as subscription:
            await (await following(subscription)).reply(
                Message(
                    source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="second", payload="done", in_reply_to=2
                )
            )
        explanation = await callosum.explain(dialogue, 2)
        assert told(explanation) == [
            (H.ACCEPTED, None, "planner", None),
            (H.RETRIED, 1, "first", "not now"),
            (H.DEAD_LETTERED, 2, "first", "never"),
            (H.REDRIVEN, None, None, "try again"),
            (H.ANSWERED, None, "second", None),
            (H.ACKED, 1, "second", None),
        ]
        assert explanation.state is State.ACKED
        assert [step.position for step in explanation.steps] == sorted(
            step.position or 0 for step in explanation.steps
        )
        assert explanation.steps[4].sequence == 3

    async def test_whose_leases_were_lost_says_so(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3, delivery=SHORT) as subscription:
            assert [(await following(subscription)).attempt for _ in range(2)] == [1, 2]
            held = await callosum.explain(dialogue, 1)
            await (await following(subscription)).ack()
        settled = await callosum.explain(dialogue, 1)
        lost = (H.LEASE_LOST, 1, None, None)
        assert told(held)[1:2] == [lost]
        assert told(settled)[1:] == [lost, (H.LEASE_LOST, 2, None, None), (H.ACKED, 3, "tool", None)]

    async def test_that_was_given_up_is_a_dead_letter_until_it_is_discarded(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).term("never")
        assert (await callosum.explain(dialogue, 1)).state is State.DEAD
        await callosum.dead_letters.discard(reason="obsolete")
        explanation = await callosum.explain(dialogue, 1)
        assert (explanation.state, told(explanation)[-1]) == (
            State.DISCARDED,
            (H.DISCARDED, None, None, "obsolete"),
        )

    async def test_that_answers_a_question_is_not_delivered(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        class Echo:
            async def handle(self, message: Message) -> object:
                return message.payload

        async with callosum.attach(Echo(), Tract.EXTERNAL, "echo"):
            await callosum.ask(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="p", payload="x")
        assert (await callosum.explain(dialogue, 2)).state is State.RECORDED

    async def test_of_imported_history_is_not_delivered(self, callosum: CorpusCallosum, tmp_path: Path) -> None:
        path = tmp_path / "runs.jsonl"
        path.write_text('{"messages": [{"role": "user", "content": "a"}]}')
        await callosum.import_transcripts(path)
        [run] = (await callosum.dialogues()).dialogues
        explanation = await callosum.explain(run.dialogue, 1)
        assert (explanation.state, len(explanation.steps)) == (State.RECORDED, 1)

    async def test_that_was_settled_since_its_holder_was_asked_is_settled(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await say(callosum, dialogue, "a")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await (await following(subscription)).ack()
        inbox = callosum._open.log.recorder.inbox
        monkeypatch.setattr(inbox, "holding", lambda _tract, _slot: Holding("tool", 1, 100))
        assert (await callosum.explain(dialogue, 1)).state is State.ACKED

    async def test_that_is_not_there_is_an_error(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        with pytest.raises(MessageNotFoundError, match="has no message 1"):
            await callosum.explain(dialogue, 1)
        with pytest.raises(DialogueNotFoundError):
            await callosum.explain(uuid4(), 1)


class TestTheInbox:
    async def test_counts_what_is_on_its_way(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        urgent = message("now", priority=Priority.URGENT)
        await callosum.send_many(dialogue, [message("a"), message("b", recipient="other"), urgent])
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await following(subscription)
            internal, external = await callosum.inbox()
        assert (internal.tract, internal.backlog, internal.pending) == (Tract.INTERNAL, 0, [])
        assert (external.backlog, external.capacity, external.ordered) == (3, 10_000, False)
        assert [(p.priority, p.recipient, p.count) for p in external.pending] == [
            (Priority.NORMAL, None, 1),
            (Priority.NORMAL, "other", 1),
        ]
        assert [(f.consumer, f.count, f.attempt) for f in external.in_flight] == [("tool", 1, 1)]
        assert 0 <= external.pending[0].oldest < 60_000
        assert (external.paused, external.in_line, external.dead_letters) == (0, 0, 0)

    async def test_tells_what_is_paused_in_line_and_given_up(self, url: str) -> None:
        settings = Settings(url=url, ordered=frozenset({Tract.EXTERNAL}), capacity=0)
        async with CorpusCallosum.open(settings=settings) as callosum:
            dead, paused, waiting = [await callosum.open_dialogue(name) for name in ("dead", "paused", "waiting")]
            for dialogue in (dead, paused, waiting):
                await say(callosum, dialogue, str(dialogue), "next")
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
                for _ in range(3):
                    delivery = await following(subscription)
                    if delivery.message.dialogue == dead:
                        await delivery.term("never")
                    elif delivery.message.dialogue == paused:
                        await delivery.nak("later", delay=60)
                _, external = await callosum.inbox()
        assert (external.capacity, external.ordered, external.backlog) == (None, True, 5)
        assert (external.paused, external.in_line, external.dead_letters) == (1, 3, 1)
        assert [(f.consumer, f.count) for f in external.in_flight] == [("tool", 1)]


async def test_a_message_is_explained_while_the_log_grows(callosum: CorpusCallosum, dialogue: UUID) -> None:
    await say(callosum, dialogue, "a")
    growing = asyncio.gather(*(say(callosum, dialogue, number) for number in range(100)))
    assert (await callosum.explain(dialogue, 1)).state is State.WAITING
    await growing
