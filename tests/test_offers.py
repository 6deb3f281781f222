"""What comes while a subscription waits is taken by the append that brings it, and nothing is lost by that."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from application.inbox import Inbox, Offer, Take, Taken
from application.recorder import OutcomeUnknownError
from corpus_callosum import (
    BackpressureError,
    CorpusCallosum,
    DeliverySettings,
    LeaseLostError,
    Settings,
    Tract,
)
from infrastructure.redis_streams.private_server import PrivateServer
from infrastructure.redis_streams.recorders import RedisLogRecorder
from tests.deliveries import bounded, filled, following, idle, nothing_comes, outcomes, say, settled
from tests.proxy import Proxy


@pytest.fixture
def inbox(callosum: CorpusCallosum, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    """Nobody looks now and then: who looks while a message comes is offered nothing."""
    inbox = callosum._open.log.recorder.inbox
    monkeypatch.setattr(inbox, "look_every", None)
    return inbox


@contextmanager
def no_takes(inbox: Inbox, patch: pytest.MonkeyPatch) -> Iterator[list[Take]]:
    """Those that are tried all the same; they find nothing."""
    tried: list[Take] = []

    def take(asked: Take) -> Taken:
        tried.append(asked)
        return Taken((), (), left=False, next_due=None)

    with patch.context() as patched:
        patched.setattr(inbox, "take", take)
        yield tried


async def heard(callosum: CorpusCallosum) -> None:
    """Its listener has subscribed, and says nothing more for some seconds."""
    recorder = callosum._open.log.recorder
    assert isinstance(recorder, RedisLogRecorder)
    async with asyncio.timeout(5):
        while not recorder.datastore.growth._told:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


class TestASubscriptionThatWaits:
    async def test_is_given_what_comes_without_a_take_of_its_own(
        self, callosum: CorpusCallosum, dialogue: UUID, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            await idle(subscription)
            with no_takes(inbox, monkeypatch):
                await say(callosum, dialogue, 1, 2, 3)
                first, second = await following(subscription), await following(subscription)
                assert (first.message.payload, second.message.payload) == (1, 2)
                assert await nothing_comes(subscription)

    async def test_is_given_the_next_by_the_settling_that_makes_room(
        self, callosum: CorpusCallosum, dialogue: UUID, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await say(callosum, dialogue, 1, 2, 3)
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            delivery = await following(subscription)
            with no_takes(inbox, monkeypatch):
                await delivery.ack()
                delivery = await following(subscription)
                await delivery.term("nobody can")
                assert (await following(subscription)).message.payload == 3
            [state] = [state for state in await callosum.inbox() if state.tract is Tract.EXTERNAL]
            assert sum(held.count for held in state.in_flight) == 1

    async def test_takes_turns_with_others_of_its_process(self, callosum: CorpusCallosum, dialogue: UUID) -> None:
        async with (
            callosum.subscribe(Tract.EXTERNAL, "a", demand=12) as a,
            callosum.subscribe(Tract.EXTERNAL, "b", demand=12) as b,
        ):
            for number in range(12):
                await idle(a)
                await idle(b)
                await say(callosum, dialogue, number)
            # Not exactly half each: on a server the bell of the last message may ring when the next one comes,
            # and whose turn it is looks for itself then.
            await filled(a, 3)
            await filled(b, 3)

    async def test_is_given_what_is_for_it_though_others_wait_longer(
        self, callosum: CorpusCallosum, dialogue: UUID, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with (
            callosum.subscribe(Tract.EXTERNAL, "first") as first,
            callosum.subscribe(Tract.EXTERNAL, "tester") as tester,
        ):
            await idle(first)
            await idle(tester)
            with no_takes(inbox, monkeypatch):
                await say(callosum, dialogue, "yours", recipient="tester")
                assert (await following(tester)).message.payload == "yours"

    async def test_hears_when_a_lease_ends_that_another_one_was_given(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        short = DeliverySettings(ack_wait=0.2)
        async with (
            callosum.subscribe(Tract.EXTERNAL, "hangs", delivery=short) as hangs,
            callosum.subscribe(Tract.EXTERNAL, "waits") as waits,
        ):
            await idle(hangs)
            await idle(waits)
            await say(callosum, dialogue, "x")
            await filled(hangs, 1)
            assert (await following(waits)).attempt == 2

    async def test_settles_what_is_beyond_its_deadline_and_goes_on(
        self, callosum: CorpusCallosum, dialogue: UUID
    ) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await idle(subscription)
            await say(callosum, dialogue, "stale", deadline=datetime.now(UTC) - timedelta(seconds=1))
            await say(callosum, dialogue, "fresh")
            assert (await following(subscription)).message.payload == "fresh"
            assert await nothing_comes(subscription)
        assert [outcome.result for outcome in await outcomes(callosum)][:1] == ["expired"]

    async def test_still_is_given_what_comes_after_a_refusal(self, url: str) -> None:
        async with bounded(url, 2) as callosum:
            dialogue = await callosum.open_dialogue("full")
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
                await idle(subscription)
                with pytest.raises(BackpressureError):
                    await say(callosum, dialogue, 1, 2, 3)
                await say(callosum, dialogue, 4)
                assert (await following(subscription)).message.payload == 4


class Halting:
    """Appends, and keeps the answer back."""

    def __init__(self, callosum: CorpusCallosum, patch: pytest.MonkeyPatch) -> None:
        recorder = callosum._open.log.recorder
        self.appended, self.go_on = asyncio.Event(), Event()
        self.offers: list[Offer] = []
        loop, insert = asyncio.get_running_loop(), recorder.insert_events

        def inserting(events: Sequence[Any], *, offers: Sequence[Offer] = (), **more: Any) -> object:
            positions = insert(events, offers=offers, **more)
            if offers and not self.offers:
                self.offers += offers
                loop.call_soon_threadsafe(self.appended.set)
                assert self.go_on.wait(10)
            return positions

        patch.setattr(recorder, "insert_events", inserting)


@pytest.fixture
async def halting(callosum: CorpusCallosum, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Halting]:
    halting = Halting(callosum, monkeypatch)
    yield halting
    halting.go_on.set()


class TestWhileAnAppendTakesForIt:
    async def test_cancelling_waits_and_gives_it_back(
        self, callosum: CorpusCallosum, dialogue: UUID, halting: Halting
    ) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
            await idle(subscription)
            saying = asyncio.create_task(say(callosum, dialogue, "x"))
            await halting.appended.wait()
            cancelling = asyncio.create_task(subscription.cancel())
            done, _ = await asyncio.wait({cancelling}, timeout=0.1)
            assert not done
            halting.go_on.set()
            await asyncio.gather(cancelling, saying)
        async with callosum.subscribe(Tract.EXTERNAL, "other") as other:
            assert (await following(other)).attempt == 1

    async def test_a_newer_one_of_its_name_fences_it(
        self, callosum: CorpusCallosum, dialogue: UUID, halting: Halting
    ) -> None:
        async with callosum.subscribe(Tract.EXTERNAL, "tool") as old:
            await idle(old)
            saying = asyncio.create_task(say(callosum, dialogue, "x"))
            await halting.appended.wait()
            joined = await asyncio.to_thread(callosum._open.log.recorder.inbox.join, Tract.EXTERNAL, "tool")
            assert joined == 2
            halting.go_on.set()
            await saying
            delivery = await following(old)
            with pytest.raises(LeaseLostError):
                await delivery.ack()


async def test_what_another_process_says_while_an_append_takes_is_taken_afterwards(
    lasting_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with CorpusCallosum.open(lasting_url) as callosum, CorpusCallosum.open(lasting_url) as another:
        dialogue = await callosum.open_dialogue("two")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            await idle(subscription)
            halting = Halting(callosum, monkeypatch)
            saying = asyncio.create_task(say(callosum, dialogue, "x"))
            await halting.appended.wait()
            await say(another, dialogue, "y")
            assert await nothing_comes(subscription)  # its bell has rung meanwhile
            halting.go_on.set()
            await saying
            assert [(await following(subscription)).message.payload for _ in range(2)] == ["x", "y"]


@pytest.mark.parametrize("twice", [False, True], ids=["lost once", "lost twice"])
async def test_what_an_append_of_unknown_outcome_gave_is_taken_again(
    redis_server: PrivateServer, twice: bool
) -> None:
    """The reply is lost; sent again, if it can be, the append says that it stands, but not what it gave."""
    with Proxy("127.0.0.1", redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}?namespace=unknown-{twice}"
        async with CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://")) as callosum:
            dialogue = await callosum.open_dialogue("unknown")
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                await heard(callosum)
                await idle(subscription)
                lease = subscription._lease
                proxy.cut_after_next_request()
                if twice:
                    proxy.refuse()
                    with pytest.raises(OutcomeUnknownError):
                        await say(callosum, dialogue, "x")
                    proxy.accept()
                else:
                    await say(callosum, dialogue, "x")
                delivery = await following(subscription)
                assert (proxy.cuts, delivery.attempt, delivery._held.lease.name) == (1, 1, lease)
                await delivery.ack()
            assert len(await settled(callosum, 1)) == 1


async def test_one_that_asks_again_before_its_ack_is_answered_is_not_given_more(
    callosum: CorpusCallosum, dialogue: UUID
) -> None:
    """The append that acks gives the next one; but until the ack is answered, one is in the subscriber's hands."""
    await say(callosum, dialogue, *range(20))
    in_hand = most = 0
    async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:

        async def ack(act: Callable[[], Any]) -> None:
            nonlocal in_hand
            await act()
            in_hand -= 1

        async with asyncio.timeout(10), asyncio.TaskGroup() as acking:
            for _ in range(20):
                delivery = await anext(subscription)
                in_hand += 1
                most = max(most, in_hand)
                acking.create_task(ack(delivery.ack))
    assert most == 2
