"""A delivery is settled once, by who holds it; what is not settled comes again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from corpus_callosum import (
    ConsumerLeftError,
    CorpusCallosum,
    DeliverySettings,
    DialogueClosedError,
    InvalidCommandError,
    InvalidMessageError,
    LeaseLostError,
    Message,
    Receipt,
    Result,
    Tract,
)
from interface.lines import event_lines
from tests.deliveries import SHORT, following, nothing_comes, outcomes, say, settled


class TestSettling:
    async def test_what_is_acked_never_comes_back(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            dialogue = await callosum.open_dialogue("once")
            await say(callosum, dialogue, "a", "b")
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await (await following(subscription)).ack()
        async with (
            CorpusCallosum.open(lasting_url) as callosum,
            callosum.subscribe(Tract.EXTERNAL, "tool") as subscription,
        ):
            assert (await following(subscription)).message.payload == "b"

    async def test_each_outcome_is_an_event(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "good", "flaky", "bad")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            good, flaky, bad = [await following(subscription) for _ in range(3)]
            await good.ack()
            await flaky.nak("not now", delay=0)
            await bad.term("nobody can")
            again = await following(subscription)
            await again.ack()
        told = [(o.sequence, o.attempt, o.result, o.error, o.delay) for o in await outcomes(callosum)]
        assert told == [
            (1, 1, Result.ACKED, None, None),
            (2, 1, Result.RETRIED, "not now", 0),
            (3, 1, Result.DEAD_LETTERED, "nobody can", None),
            (2, 2, Result.ACKED, None, None),
        ]
        assert all(
            o.dialogue == dialogue and o.waited >= 0 and o.handled_in >= 0 for o in await outcomes(callosum)
        )

    async def test_a_delivery_is_settled_once(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            await delivery.ack()
            with pytest.raises(LeaseLostError):
                await delivery.nak("too late")
        assert len(await outcomes(callosum)) == 1

    async def test_a_message_comes_back_later_when_it_is_refused(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            began = asyncio.get_running_loop().time()
            await (await following(subscription)).nak("later", delay=0.2)
            again = await following(subscription)
            assert asyncio.get_running_loop().time() - began >= 0.2
            assert again.attempt == 2

    async def test_the_last_attempt_that_fails_makes_a_dead_letter(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        settings = DeliverySettings(max_deliver=3, backoff=0.001)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", delivery=settings) as subscription:
            for attempt in (1, 2, 3):
                delivery = await following(subscription)
                assert delivery.attempt == attempt
                await delivery.nak("no")
            assert await nothing_comes(subscription)
        assert [o.result for o in await outcomes(callosum)] == [
            Result.RETRIED,
            Result.RETRIED,
            Result.DEAD_LETTERED,
        ]

    async def test_what_is_not_settled_in_time_goes_to_another(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with (
            callosum.subscribe(Tract.EXTERNAL, "slow", delivery=SHORT) as slow,
            callosum.subscribe(Tract.EXTERNAL, "quick", delivery=SHORT) as quick,
        ):
            both = await asyncio.gather(following(slow), following(quick))
            first, again = sorted(both, key=lambda delivery: delivery.attempt)
            assert (again.message.payload, again.attempt) == ("x", 2)
            await again.ack()
            with pytest.raises(LeaseLostError):
                await first.ack()
        assert [(o.attempt, o.result) for o in await outcomes(callosum)] == [(2, Result.ACKED)]

    async def test_a_lease_is_kept_by_saying_so(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        patient = DeliverySettings(ack_wait=0.6)
        async with (
            callosum.subscribe(Tract.EXTERNAL, "thorough", delivery=patient) as thorough,
            callosum.subscribe(Tract.EXTERNAL, "rival", demand=0) as rival,
        ):
            delivery = await following(thorough)
            rival.request(1)
            for _ in range(6):
                assert await nothing_comes(rival)
                await delivery.in_progress()
            await delivery.ack()
        assert [o.attempt for o in await outcomes(callosum)] == [1]

    @pytest.mark.parametrize("demand", [2, 0])
    async def test_what_has_waited_for_longer_than_its_lease_is_not_given_to_who_iterates(
        self, callosum: CorpusCallosum, dialogue: UUID, demand: int
    ) -> None:
        await say(callosum, dialogue, "first", "second")
        async with callosum.subscribe(Tract.EXTERNAL, "slow", demand=demand, delivery=SHORT) as slow:
            if demand == 0:
                slow.request(2)
            first = await following(slow)
            await asyncio.sleep(SHORT.ack_wait)
            again = await following(slow)
            assert (first.attempt, again.attempt) == (1, 2)
            await again.ack()
            with pytest.raises(LeaseLostError):
                await first.ack()

    async def test_attempts_whose_leases_are_lost_count_too(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "deadly")
        settings = DeliverySettings(ack_wait=0.05, max_deliver=2)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=5, delivery=settings) as subscription:
            for attempt in (1, 2):
                assert (await following(subscription)).attempt == attempt
            ended = await settled(callosum, 1)
        assert [(o.attempt, o.result, o.error) for o in ended] == [
            (3, Result.DEAD_LETTERED, "its last lease was lost")
        ]

    async def test_who_has_left_settles_nothing_and_says_nothing(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
        refused, receipt = await asyncio.gather(  # one round: what is refused must leave nothing to be stored
            delivery.reply(Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload="late")),
            callosum.send(dialogue, source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="other", payload="y"),
            return_exceptions=True,
        )
        assert isinstance(refused, ConsumerLeftError)
        assert isinstance(receipt, Receipt)
        assert receipt.sequence == 2
        assert await outcomes(callosum) == []

    async def test_a_message_beyond_its_deadline_is_not_delivered(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "stale", deadline=datetime.now(UTC) - timedelta(seconds=1))
        await say(callosum, dialogue, "fresh", deadline=datetime.now(UTC) + timedelta(hours=1))
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            assert (await following(subscription)).message.payload == "fresh"
        assert (await outcomes(callosum))[0].result is Result.EXPIRED

    async def test_a_late_ack_does_not_take_the_holders_down_with_it(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        async with (
            callosum.subscribe(Tract.EXTERNAL, "slow", delivery=SHORT) as slow,
            callosum.subscribe(Tract.EXTERNAL, "quick", demand=0) as quick,
        ):
            late = await following(slow)
            quick.request(1)
            held = await following(quick)
            results = await asyncio.gather(late.ack(), held.ack(), return_exceptions=True)
        assert [type(result) for result in results] == [LeaseLostError, type(None)]

    async def test_an_ack_whose_waiting_is_cancelled_gives_its_credit_back(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a", "b")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            acking = asyncio.create_task((await following(subscription)).ack())
            await asyncio.sleep(0)
            acking.cancel()
            assert (await following(subscription)).message.payload == "b"

    @pytest.mark.parametrize("delay", [-0.001, 1e9, float("nan")])
    async def test_a_delay_out_of_range_is_refused_and_settles_nothing(
        self, callosum: CorpusCallosum, dialogue: UUID, delay: float
    ) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with pytest.raises(InvalidCommandError):
                await delivery.nak("later", delay=delay)
            await delivery.ack()

    async def test_a_reply_must_be_a_message(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with pytest.raises(InvalidMessageError, match="must be Message, not str"):
                await delivery.reply("y")  # type: ignore[arg-type]  # what is tried
            await delivery.ack()

    async def test_a_reply_with_a_key_is_refused(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        answer = Message(
            source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload="y", idempotency_key="k"
        )
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with pytest.raises(InvalidMessageError):
                await delivery.reply(answer)
            await delivery.ack()
        assert [said.payload async for said in callosum.transcript(dialogue)] == ["x"]

    async def test_a_reply_that_is_refused_can_be_settled_otherwise(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "x")
        await callosum.close_dialogue(dialogue, "over")
        answer = Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload="y")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with pytest.raises(DialogueClosedError):
                await delivery.reply(answer)
            await delivery.ack()

    @pytest.mark.parametrize(
        "settings", [{"ack_wait": 0}, {"max_deliver": 0}, {"backoff": -1}, {"most_backoff": 1e9}], ids=str
    )
    def test_settings_out_of_range_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(InvalidCommandError):
            DeliverySettings(**settings)


async def test_the_log_reads_as_what_happened(callosum: CorpusCallosum, dialogue: UUID) -> None:
    await say(callosum, dialogue, "x")
    async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
        await (await following(subscription)).nak("bad\x1b weather", delay=0)
        await (await following(subscription)).ack()
    lines = [event_lines(recorded, full=False).plain async for recorded in callosum.replay()]
    short = str(dialogue)[:8]
    told = [line[34:].strip() for line in lines[2:]]
    assert told == [
        "tool joined the external tract",
        f"#1 of {short}  attempt 1 retried: bad\\x1b weather",
        f"#1 of {short}  attempt 2 acked",
        "left: cancelled",
    ]
