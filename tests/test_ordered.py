"""An ordered tract: a dialogue's messages one after the other, whatever their priority."""

import asyncio
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Message, Priority, Settings, StoreSettingsError, Tract
from tests.deliveries import following, message, nothing_comes, say, settled

BOTH = frozenset(Tract)


def ordered(url: str) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, ordered=frozenset({Tract.EXTERNAL})))


class TestAnOrderedTract:
    async def test_hands_out_by_position_whatever_the_priority(self, url: str) -> None:
        async with ordered(url) as callosum:
            dialogue = await callosum.open_dialogue("in order")
            priorities = [Priority.LOW, Priority.CRITICAL, Priority.NORMAL]
            await callosum.send_many(dialogue, [message(str(p), priority=p) for p in priorities])
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=3) as subscription:
                for priority in priorities:
                    delivery = await following(subscription)
                    assert delivery.message.payload == str(priority)
                    assert await nothing_comes(subscription)
                    await delivery.ack()

    async def test_to_competing_consumers_too(self, url: str) -> None:
        """Four agents; in each dialogue no message is begun before the one before it has ended."""
        under_way: set[UUID] = set()
        seen: dict[UUID, list[object]] = {}

        class Tool:
            async def handle(self, message: Message) -> object:
                dialogue = message.dialogue  # type: ignore[attr-defined]  # a recorded one is handed over
                assert dialogue not in under_way
                under_way.add(dialogue)
                await asyncio.sleep(0)
                seen.setdefault(dialogue, []).append(message.payload)
                under_way.remove(dialogue)
                return None

        async with ordered(url) as callosum:
            dialogues = [await callosum.open_dialogue(f"number {number}") for number in range(5)]
            async with (
                callosum.attach(Tool(), Tract.EXTERNAL, "a", concurrency=3),
                callosum.attach(Tool(), Tract.EXTERNAL, "b", concurrency=3),
            ):
                for number in range(20):
                    for dialogue in dialogues:
                        await say(callosum, dialogue, number, priority=Priority(1 + number % 5))
                ended = await settled(callosum, 100)
        assert {outcome.error for outcome in ended} == {None}
        assert seen == {dialogue: list(range(20)) for dialogue in dialogues}

    async def test_dialogues_compete_by_the_priority_of_their_heads(self, url: str) -> None:
        async with ordered(url) as callosum:
            first, second = await callosum.open_dialogue("first"), await callosum.open_dialogue("second")
            await say(callosum, first, "low", priority=Priority.LOW)
            await say(callosum, first, "critical", priority=Priority.CRITICAL)
            await say(callosum, second, "high", priority=Priority.HIGH)
            order = []
            async with callosum.subscribe(Tract.EXTERNAL, "tool") as subscription:
                for _ in range(3):
                    delivery = await following(subscription)
                    order.append(delivery.message.payload)
                    await delivery.ack()
        assert order == ["high", "low", "critical"]

    @pytest.mark.parametrize("back", [True, False], ids=["redriven", "discarded"])
    async def test_behind_a_dead_letter_a_dialogue_waits_and_others_go_on(self, url: str, back: bool) -> None:
        async with ordered(url) as callosum:
            stuck, other = await callosum.open_dialogue("stuck"), await callosum.open_dialogue("other")
            await say(callosum, stuck, "bad", "after")
            await say(callosum, other, "good", "better")
            async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=4) as subscription:
                handled = []
                for _ in range(3):
                    delivery = await following(subscription)
                    handled.append(delivery.message.payload)
                    await (delivery.term("never") if delivery.message.payload == "bad" else delivery.ack())
                assert sorted(map(str, handled)) == ["bad", "better", "good"]
                assert await nothing_comes(subscription)
                if back:
                    await callosum.dead_letters.redrive()
                    await (await following(subscription)).ack()
                else:
                    await callosum.dead_letters.discard(reason="obsolete")
                assert (await following(subscription)).message.payload == "after"

    async def test_others_find_it_ordered(self, lasting_url: str) -> None:
        async with ordered(lasting_url):
            pass
        async with CorpusCallosum.open(lasting_url) as callosum:
            internal, external = await callosum.inbox()
        assert (internal.ordered, external.ordered) == (False, True)

    async def test_it_becomes_so_only_while_it_is_empty(self, lasting_url: str) -> None:
        async with CorpusCallosum.open(lasting_url) as callosum:
            await say(callosum, await callosum.open_dialogue("waiting"), "a")
        with pytest.raises(StoreSettingsError, match="the external tract holds messages"):
            async with ordered(lasting_url):
                pass
        async with (
            CorpusCallosum.open(lasting_url) as callosum,
            callosum.subscribe(Tract.EXTERNAL, "tool") as subscription,
        ):
            await (await following(subscription)).ack()
        async with ordered(lasting_url) as callosum:
            assert (await callosum.inbox())[1].ordered
        async with CorpusCallosum.open(settings=Settings(url=lasting_url, ordered=frozenset())) as callosum:
            assert not (await callosum.inbox())[1].ordered


@pytest.mark.parametrize(
    ("told", "tracts"),
    [
        ("external", {Tract.EXTERNAL}),
        ("internal, external", set(Tract)),
        ("none", set()),
    ],
)
def test_the_environment_names_the_tracts(told: str, tracts: set[Tract], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLOSUM_ORDERED", told)
    assert Settings().ordered == frozenset(tracts)


def test_a_name_of_no_tract_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLOSUM_ORDERED", "extern")
    with pytest.raises(ValueError, match="'internal' or 'external'"):
        Settings()
