"""Messages reach consumers: as many as they ask for, in order, each to one of them."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.commands import Convey
from application.commit import commit
from application.inbox import Offer, Take, Taken
from application.passage import GateChange, Passage
from application.validation import stamped_few
from corpus_callosum import (
    Consumer,
    CorpusCallosum,
    DeliverySettings,
    InvalidCommandError,
    LeaseLostError,
    Message,
    Priority,
    ReplacedError,
    Tract,
)
from domain.dialogue import Dialogue
from tests.deliveries import filled, following, idle, message, nothing_comes, say


class TestASubscription:
    async def test_gets_the_most_urgent_first_then_the_earliest(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "a", "b")
        await say(callosum, dialogue, "c", priority=Priority.CRITICAL)
        await say(callosum, dialogue, "d", priority=Priority.LOW)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=4) as subscription:
            assert [(await following(subscription)).message.payload for _ in range(4)] == ["c", "a", "b", "d"]

    async def test_gets_what_is_said_later(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            waiting = asyncio.create_task(following(subscription))
            await say(callosum, dialogue, "late")
            delivery = await waiting
        assert (delivery.message.payload, delivery.attempt) == ("late", 1)
        assert (delivery.message.dialogue, delivery.sequence, delivery.position) == (dialogue, 1, 2 + 1)

    async def test_never_holds_more_than_it_asked_for(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(10))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            first, second = await following(subscription), await following(subscription)
            assert await nothing_comes(subscription)
            await second.ack()
            assert (await following(subscription)).message.payload == 2
            assert await nothing_comes(subscription)
            await first.ack()

    async def test_gets_only_what_is_requested_when_it_demands_nothing(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, *range(5))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
            assert await nothing_comes(subscription)
            subscription.request(1)
            subscription.request(1)
            for _ in range(2):
                await (await following(subscription)).ack()
            assert await nothing_comes(subscription)
            with pytest.raises(InvalidCommandError):
                subscription.request(0)

    async def test_competes_with_others_for_each_message(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(60))
        got: list[object] = []

        async def consume(name: str) -> None:
            async with callosum.subscribe(Tract.EXTERNAL, name, demand=3) as subscription:
                while len(got) < 60:
                    try:
                        delivery = await asyncio.wait_for(anext(subscription), 0.3)
                    except TimeoutError:
                        return
                    got.append(delivery.message.payload)
                    await delivery.ack()

        async with asyncio.timeout(10):
            await asyncio.gather(*(consume(f"tool {number}") for number in range(4)))
        assert sorted(got, key=str) == sorted(range(60), key=str)

    async def test_leaves_messages_for_one_recipient_to_that_one(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, "for the tester", recipient="tester")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as tool:
            assert await nothing_comes(tool)
            async with callosum.subscribe(Tract.EXTERNAL, "tester") as tester:
                assert (await following(tester)).message.payload == "for the tester"

    async def test_gets_what_is_its_own_of_a_mixed_batch(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        mixed = [
            message("a"),
            message("b", recipient="tester"),
            message("c", priority=Priority.HIGH),
            message("d"),
            Message(source=Tract.EXTERNAL, target=Tract.INTERNAL, sender="tool", payload="e"),
            message("f"),
        ]
        await callosum.send_many(dialogue, mixed)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=9) as tool:
            assert [(await following(tool)).message.payload for _ in range(4)] == ["c", "a", "d", "f"]
            async with callosum.subscribe(Tract.EXTERNAL, "tester") as tester:
                assert (await following(tester)).message.payload == "b"
        async with callosum.subscribe(Tract.INTERNAL, "planner") as planner:
            assert (await following(planner)).message.payload == "e"

    async def test_hears_of_what_comes_while_it_takes(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its bell rings twice before the loop has heard of the first; what the first began came too early."""
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=9) as subscription:
            assert await nothing_comes(subscription)
            take, taken = subscription._take, Event()

            def noted(offer: Offer) -> None:
                take(offer)
                taken.set()

            monkeypatch.setattr(subscription, "_take", noted)
            await idle(subscription)
            self._append(callosum, dialogue, "first")
            assert taken.wait(5)
            self._append(callosum, dialogue, "second")
            assert [(await following(subscription)).message.payload for _ in range(2)] == ["first", "second"]

    async def test_waits_for_the_bell_where_a_gate_holds_back_what_is_left(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, tried = callosum._open.log, list[Take]()
        self._change(callosum, GateChange(Tract.EXTERNAL, Passage.PROBING, 1, permits=1))
        await say(callosum, dialogue, "first", "second")
        take = log.recorder.inbox.take

        def counted(asked: Take) -> Taken:
            tried.append(asked)
            return take(asked)

        monkeypatch.setattr(log.recorder.inbox, "take", counted)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=9) as subscription:
            assert (await following(subscription)).message.payload == "first"
            assert await nothing_comes(subscription)
            assert len(tried) < 30  # SQLite is looked at for other processes, too
            self._change(callosum, GateChange(Tract.EXTERNAL, Passage.FREE, 2))
            assert (await following(subscription)).message.payload == "second"

    async def test_what_is_asked_for_while_it_looks_without_demand_is_looked_for_again(
        self, callosum: CorpusCallosum, dialogue: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox, looks, asked_for = callosum._open.log.recorder.inbox, Event(), Event()
        take = inbox.take

        def slow(asked: Take) -> Taken:
            if asked.demand == 0:
                looks.set()
                assert asked_for.wait(5)
            return take(asked)

        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
            await idle(subscription)
            monkeypatch.setattr(inbox, "take", slow)
            self._append(callosum, dialogue, "first")
            assert await asyncio.to_thread(looks.wait, 5)
            subscription.request(1)
            asked_for.set()
            assert (await following(subscription)).message.payload == "first"

    def _change(self, callosum: CorpusCallosum, change: GateChange) -> None:
        opened = Dialogue.open(uuid4(), "tells of it", {}, now=datetime.now(UTC))
        callosum._open.log.append(opened, gates=[change])

    def _append(self, callosum: CorpusCallosum, dialogue: UUID, payload: str) -> None:
        """At once: the loop does nothing meanwhile."""
        said = Convey(dialogue, *stamped_few([message(payload)]))
        [outcome] = commit(callosum._open.log, [said], datetime.now(UTC))
        assert isinstance(outcome, list)

    async def test_is_entered_once(self, callosum: CorpusCallosum) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            pass
        with pytest.raises(InvalidCommandError, match="was entered before"):
            await subscription.__aenter__()

    async def test_whose_generation_the_store_forgot_joins_as_the_next_one(self, tmp_path: Path) -> None:
        async with CorpusCallosum.open(f"sqlite:///{tmp_path}/callosum.db") as callosum:
            async with callosum.subscribe(Tract.EXTERNAL, "tool"):
                pass
            with closing(sqlite3.connect(tmp_path / "callosum.db")) as store, store:
                store.execute("DELETE FROM inbox_generations")
            async with asyncio.timeout(5):
                async with callosum.subscribe(Tract.EXTERNAL, "tool"):
                    pass
            joined = [event.event async for event in callosum.replay() if isinstance(event.event, Consumer.Joined)]
            assert [event.generation for event in joined] == [1, 2]

    async def test_is_ended_by_a_newer_one_of_its_name(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, "x")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as old:
            held = await following(old)
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as new:
                again = await following(new)
                assert (again.message.payload, again.attempt) == ("x", 2)
                with pytest.raises(LeaseLostError):
                    await held.ack()
                with pytest.raises(ReplacedError):
                    await following(old)
                await again.ack()

    async def test_gives_back_what_nobody_was_given_when_it_is_cancelled(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        await say(callosum, dialogue, *range(3))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
            await (await following(subscription)).ack()
            await subscription.cancel()
            await subscription.cancel()
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)
        async with callosum.subscribe(Tract.EXTERNAL, "other", demand=3) as other:
            assert [(await following(other)).message.payload for _ in range(2)] == [1, 2]

    async def test_delivers_no_imported_history(self, callosum: CorpusCallosum, tmp_path: Any) -> None:
        (tmp_path / "runs.jsonl").write_text(
            '[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]'
        )
        await callosum.import_transcripts(tmp_path / "runs.jsonl")
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            assert await nothing_comes(subscription)

    async def test_what_nobody_saw_costs_no_attempt(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, 1, 2)
        settings = DeliverySettings(max_deliver=1)
        for _ in range(3):
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2, delivery=settings) as subscription:
                await filled(subscription, 2)
        async with callosum.subscribe(Tract.EXTERNAL, "other", demand=2, delivery=settings) as subscription:
            assert [(await following(subscription)).attempt for _ in range(2)] == [1, 1]

    async def test_however_much_is_asked_for_only_so_much_is_in_the_memory(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        for start in range(0, 2000, 500):
            await say(callosum, dialogue, *range(start, start + 500))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=100_000) as subscription:
            most, said = 0, []
            for _ in range(2000):
                said.append((await following(subscription)).message.payload)
                most = max(most, len(subscription._ready))
            assert said == list(range(2000))
            assert most <= 512

    async def test_cancelling_twice_at_once_is_once(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        await say(callosum, dialogue, *range(20))
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=20) as subscription:
            await filled(subscription, 20)
            await asyncio.gather(subscription.cancel(), subscription.cancel())
        async with callosum.subscribe(Tract.EXTERNAL, "next", demand=20) as after:
            assert [(await following(after)).attempt for _ in range(20)] == [1] * 20

    async def test_iterating_ends_when_the_service_is_closed(self, url: str) -> None:
        callosum = await CorpusCallosum.open(url).__aenter__()
        subscription = await callosum.subscribe(Tract.EXTERNAL, "tool", demand=0).__aenter__()
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await callosum.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)
        await subscription.cancel()

    async def test_the_bodys_error_is_not_hidden_by_leaving(self, url: str) -> None:
        with pytest.raises(KeyError, match="the body's"):
            async with CorpusCallosum.open(url) as callosum:
                dialogue = await callosum.open_dialogue("closing")
                await say(callosum, dialogue, "x")
                async with callosum.subscribe(Tract.EXTERNAL, "tool"):
                    await callosum.aclose()
                    raise KeyError("the body's")
