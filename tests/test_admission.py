"""Who sends into a full tract is refused at once, or waits in line, and is counted."""

import asyncio
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from application.admission import Admission, WhenFull
from application.inbox import ROOM_LEASE, Inbox
from application.recorder import LogRecorder
from corpus_callosum import (
    BackpressureError,
    CorpusCallosum,
    Fail,
    Gate,
    InvalidCommandError,
    Message,
    Subscription,
    Tract,
    UnknownTopicError,
    Wait,
)
from domain.gate import gate_id
from domain.gate_settings import GateSettings
from tests.deliveries import bounded, following, message, say
from tests.gates import ScriptedAgent, counting, gate_events, guarded, put, until, waiting


def noted(asked: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, which is counted."""

    def counting_call(*arguments: object) -> Any:
        asked[name] += 1
        return call(*arguments)

    return counting_call


async def ack(subscription: Subscription, count: int) -> list[object]:
    said = []
    for _ in range(count):
        delivery = await following(subscription)
        said.append(delivery.message.payload)
        await delivery.ack()
    return said


class TestRefusing:
    async def test_it_is_known_for_a_moment_and_forgotten_when_there_is_room(self, url: str) -> None:
        async with bounded(url, 2) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1, 2)
            for _ in range(3):
                with pytest.raises(BackpressureError) as refused:
                    await say(callosum, dialogue, 3)
                assert (refused.value.backlog, refused.value.capacity) == (2, 2)
                assert refused.value.retry_after > 0
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 1)
                await say(callosum, dialogue, 3)

    async def test_room_that_its_own_ack_makes_is_known_before_the_store_tells_of_it(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Admission, "_hear", lambda *_: None)
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1)
            with pytest.raises(BackpressureError):
                await say(callosum, dialogue, 2)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 1)
                await say(callosum, dialogue, 2)

    async def test_how_many_were_refused_is_not_recorded_again_too_soon(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("application.admission._COUNT_AFTER", 0.01)
        monkeypatch.setattr("application.admission._COUNT_EVERY", 0.2)
        async with guarded(url, capacity=1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1)
            began = perf_counter()
            while len(recorded := await gate_events(callosum, Gate.AdmissionCounted)) < 3:
                with pytest.raises(BackpressureError):
                    await say(callosum, dialogue, 2)
            assert len(recorded) <= 1 + (perf_counter() - began) / 0.2

    async def test_what_is_recorded_gets_its_receipt_though_the_tract_is_full(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1, idempotency_key="one")
            with pytest.raises(BackpressureError):
                await say(callosum, dialogue, 2)
            await say(callosum, dialogue, 1, idempotency_key="one")

    async def test_as_long_as_it_is_known_nothing_is_asked_with_a_send(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await callosum.gates.configure(Tract.EXTERNAL, by="ann", why="it is small", capacity=1)
        await say(callosum, dialogue, 1)
        calls = Counter[str]()
        counting(LogRecorder, callosum._open.log.recorder, calls, monkeypatch)
        for _ in range(40):
            with pytest.raises(BackpressureError):
                await say(callosum, dialogue, 2)
            await asyncio.sleep(0.01)  # four sends between two looks, and eight looks
        assert calls["insert_events"] == 1

    async def test_how_many_were_refused_and_waited_is_recorded(self, url: str) -> None:
        async with guarded(url, capacity=2) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 1, 2)
            for _ in range(5):
                with pytest.raises(BackpressureError):
                    await say(callosum, dialogue, 3)
            with pytest.raises(BackpressureError):
                await put(callosum, dialogue, 3, patience=0.3)
            await until(lambda: _counted(callosum, 7))
            metrics = (await callosum.gates.metrics()).external
            assert (metrics.refused_by_capacity, metrics.waited, metrics.refused_by_circuit) == (6, 1, 0)
            assert [minute.refused_by_capacity for minute in metrics.refusals] in ([6], [5, 1])
            assert len(await gate_events(callosum, Gate.AdmissionCounted)) <= 2

    async def test_backpressure_begins_at_the_high_watermark_and_ends_at_the_low_one(self, url: str) -> None:
        async with guarded(url, capacity=10, high_watermark=0.8, low_watermark=0.3) as callosum:
            dialogue = await callosum.open_dialogue("pressed")
            await say(callosum, dialogue, *range(7))
            assert not (await callosum.gates.metrics()).external.backpressure
            await say(callosum, dialogue, 8)
            assert (await callosum.gates.metrics()).external.backpressure
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 4)
                assert (await callosum.gates.metrics()).external.backpressure
                await ack(subscription, 1)
                assert not (await callosum.gates.metrics()).external.backpressure
            pressed = (Gate.BackpressureEngaged, Gate.BackpressureRelieved)
            await until(lambda: _as_many(callosum, 2, *pressed))
            told = [recorded.event for recorded in await gate_events(callosum, *pressed)]
            assert isinstance(told[0], Gate.BackpressureEngaged)
            assert isinstance(told[1], Gate.BackpressureRelieved)
            assert (told[0].backlog, told[1].backlog, told[1].capacity) == (8, 3, 10)


async def _counted(callosum: CorpusCallosum, count: int) -> bool:
    metrics = (await callosum.gates.metrics()).external
    return metrics.refused_by_capacity + metrics.waited == count


async def _as_many(callosum: CorpusCallosum, count: int, *kinds: type) -> bool:
    return len(await gate_events(callosum, *kinds)) == count


class TestWaiting:
    async def test_who_waits_is_let_in_when_the_backlog_is_down_to_the_low_watermark(self, url: str) -> None:
        async with guarded(url, capacity=10, low_watermark=0.5) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(10))
            sender = asyncio.create_task(put(callosum, dialogue, 10))
            await waiting(callosum, 1)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 4)
                assert not sender.done()
                await ack(subscription, 1)
                await asyncio.wait_for(sender, 5)
            assert (await callosum.inbox())[1].backlog == 6

    async def test_the_first_to_come_is_the_first_to_be_let_in(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            senders = []
            for number in range(1, 6):
                senders.append(asyncio.create_task(put(callosum, dialogue, number)))
                await waiting(callosum, number)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                assert await ack(subscription, 6) == [0, 1, 2, 3, 4, 5]
            await asyncio.gather(*senders)

    async def test_one_that_is_cancelled_or_out_of_time_leaves_the_line_to_the_others(self, url: str) -> None:
        async with bounded(url, 1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            gone = asyncio.create_task(put(callosum, dialogue, "gone"))
            await waiting(callosum, 1)
            late = asyncio.create_task(put(callosum, dialogue, "late", patience=0.5))
            await waiting(callosum, 2)
            last = asyncio.create_task(put(callosum, dialogue, "last"))
            await waiting(callosum, 3)
            gone.cancel()
            with pytest.raises(BackpressureError) as refused:
                await late
            assert (refused.value.backlog, refused.value.capacity) == (1, 1)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                assert await ack(subscription, 2) == [0, "last"]
            await last

    async def test_who_comes_after_those_who_waited_is_let_in_where_there_is_room(self, url: str) -> None:
        async with guarded(url, capacity=10) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(10))
            waits = asyncio.create_task(put(callosum, dialogue, 10))
            await waiting(callosum, 1)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 3)
            await waits
            assert callosum._open.admission._rooms[Tract.EXTERNAL].in_use
            await put(callosum, dialogue, 11, patience=1)

    async def test_when_there_is_room_again_nobody_has_to_take_a_turn_any_more(self, url: str) -> None:
        async with guarded(url, capacity=10) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(10))
            waits = asyncio.create_task(put(callosum, dialogue, 10))
            await waiting(callosum, 1)

            async def done(_: Message) -> None:
                return None

            async with callosum.attach(ScriptedAgent(done), Tract.EXTERNAL, "tool"), asyncio.timeout(10):
                await waits
                while callosum._open.admission._rooms[Tract.EXTERNAL].in_use:
                    await put(callosum, dialogue, "more")

    async def test_an_error_on_the_way_to_look_leaves_nobody_standing(
        self, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with guarded(url, capacity=1) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            room = callosum._open.admission._rooms[Tract.EXTERNAL]
            settings, asked = room._settings, Counter[str]()

            async def unreadable() -> GateSettings:
                asked["settings"] += 1
                if asked["settings"] == 1:
                    raise UnknownTopicError(StoredEvent(gate_id(Tract.EXTERNAL), 3, "gate.later.v9", b""))
                return await settings()

            monkeypatch.setattr(room, "_settings", unreadable)
            waits = asyncio.create_task(put(callosum, dialogue, 1))
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await ack(subscription, 1)
                await waits
        assert "gate.later.v9" in caplog.text

    async def test_as_long_as_there_is_no_room_the_store_is_not_asked_whose_turn_it_is(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with guarded(url, capacity=10, low_watermark=0.5) as callosum:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, *range(10))
            inbox, asked = callosum._open.log.recorder.inbox, Counter[str]()
            monkeypatch.setattr(inbox, "level", noted(asked, "level", inbox.level))
            monkeypatch.setattr(inbox, "let_in", noted(asked, "let_in", inbox.let_in))
            began = perf_counter()
            sender = asyncio.create_task(put(callosum, dialogue, 10))
            await waiting(callosum, 1)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                for _ in range(4):
                    looks = asked["level"]
                    await ack(subscription, 1)
                    async with asyncio.timeout(15):
                        while asked["level"] == looks:  # noqa: ASYNC110  # nothing tells
                            await asyncio.sleep(0.001)
                kept = (perf_counter() - began) / (ROOM_LEASE / 2000)
                assert asked["let_in"] <= 1 + kept
                await ack(subscription, 2)
                await sender

    async def test_what_can_never_have_room_is_refused_at_once(self, url: str) -> None:
        async with bounded(url, 2) as callosum:
            dialogue = await callosum.open_dialogue("large")
            with pytest.raises(BackpressureError):
                await put(callosum, dialogue, 1, 2, 3)

    async def test_a_large_batch_is_not_starved_by_small_ones(self, url: str) -> None:
        async with bounded(url, 10) as callosum:
            dialogue = await callosum.open_dialogue("large")
            await say(callosum, dialogue, *range(10))
            large = asyncio.create_task(put(callosum, dialogue, *["large"] * 8))
            await waiting(callosum, 1)
            small = [asyncio.create_task(put(callosum, dialogue, f"small {number}")) for number in range(5)]
            await waiting(callosum, 6)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                said = await ack(subscription, 23)
            await asyncio.gather(large, *small)
            assert said[10:18] == ["large"] * 8

    async def test_many_senders_get_the_same_share(self, url: str) -> None:
        admitted = Counter[int]()

        async def send(callosum: CorpusCallosum, dialogue: UUID, number: int) -> None:
            while True:
                await put(callosum, dialogue, number)
                admitted[number] += 1

        async with guarded(url, capacity=10) as callosum:
            dialogue = await callosum.open_dialogue("crowded")
            senders = [asyncio.create_task(send(callosum, dialogue, number)) for number in range(20)]
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=5) as subscription:
                async for delivery in subscription:
                    await delivery.ack()
                    if admitted.total() >= 200:
                        break
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
        assert min(admitted.values()) / max(admitted.values()) >= 0.8

    def test_a_timeout_is_above_nothing(self) -> None:
        with pytest.raises(InvalidCommandError):
            Wait(0)


class TestAdmitted:
    @pytest.mark.parametrize("when_full", [Fail(), Wait(5)], ids=["fail", "wait"])
    async def test_one_append_is_all_that_the_store_is_asked_for(
        self, callosum: CorpusCallosum, dialogue: UUID, when_full: WhenFull, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder = callosum._open.log.recorder
        calls = Counter[str]()
        counting(LogRecorder, recorder, calls, monkeypatch)
        counting(Inbox, recorder.inbox, calls, monkeypatch)
        for number in range(20):
            await callosum.send_many(dialogue, [message(number)], when_full=when_full)
        assert calls == {"insert_events": 20}


class TestAcrossProcesses:
    async def test_room_that_another_service_makes_is_heard_of(self, lasting_url: str) -> None:
        async with bounded(lasting_url, 1) as callosum, CorpusCallosum.open(lasting_url) as other:
            dialogue = await callosum.open_dialogue("full")
            await say(callosum, dialogue, 0)
            sender = asyncio.create_task(put(callosum, dialogue, 1))
            await waiting(callosum, 1)
            async with other.subscribe(Tract.EXTERNAL, "tool") as subscription:
                assert await ack(subscription, 2) == [0, 1]
            await sender
