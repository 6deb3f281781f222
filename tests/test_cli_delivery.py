"""The commands about messages on their way: inbox, explain, dead."""

import asyncio
from uuid import UUID

import pytest

from corpus_callosum import CorpusCallosum, Priority, Settings, ShedLowest, Tract
from tests.deliveries import following, message
from tests.terminal import Ended, asked


async def deliver(url: str) -> UUID:
    """Five messages: one acked after a retry, two given up, one in a consumer's hands, one that waits."""
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=50)) as callosum:
        dialogue = await callosum.open_dialogue("deliveries")
        said = [
            message("good"),
            message("bad\x1b[2J"),
            message("worse"),
            message("held"),
            message("later", priority=Priority.LOW),
        ]
        await callosum.send_many(dialogue, said)
        subscription = callosum.subscribe(Tract.EXTERNAL, "tool", demand=0)
        await subscription.__aenter__()  # never left: what it holds stays in its hands
        subscription.request(4)
        good, bad, worse, _ = [await following(subscription) for _ in range(4)]
        await bad.term("no use\x1b[2J")
        await worse.term("no use either")
        await good.nak("not now", delay=0)
        subscription.request(1)
        await (await following(subscription)).ack()
        return dialogue


@pytest.fixture
def dialogue(lasting_url: str) -> UUID:
    return asyncio.run(deliver(lasting_url))


class TestInbox:
    def test_it_shows_what_is_on_its_way(self, lasting_url: str, dialogue: UUID) -> None:
        shown = asked("inbox", "--url", lasting_url)
        assert (shown.status, shown.err) == (0, "")
        rows = [line.split()[:5] for line in shown.out.splitlines()]
        assert ["external", "pending", "1", "low", "any"] in rows
        assert ["external", "dead", "letters", "2", "–"] in rows
        assert "external: 2 on their way of 50." in shown.out
        assert "internal: 0 on their way of 50." in shown.out

    def test_json_holds_the_same(self, lasting_url: str, dialogue: UUID) -> None:
        internal, external = asked("inbox", "--json", "--url", lasting_url).json()["tracts"]
        assert internal["tract"] == "internal"
        assert (external["backlog"], external["capacity"], external["dead_letters"]) == (2, 50, 2)
        assert [(p["priority"], p["count"]) for p in external["pending"]][-1] == ("low", 1)
        assert external["pending"][-1]["oldest"] >= 0


async def give_up(url: str, dialogue: UUID) -> None:
    """The one that waits, for another one."""
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=2)) as callosum:
        await callosum.send_many(dialogue, [message("now", priority=Priority.HIGH)], when_full=ShedLowest())


class TestExplain:
    def test_it_says_that_a_message_was_shed_and_when(self, lasting_url: str, dialogue: UUID) -> None:
        asyncio.run(give_up(lasting_url, dialogue))
        shown = asked("explain", str(dialogue), "5", "--url", lasting_url)
        assert "It was given up for something more urgent." in shown.out
        told = asked("explain", str(dialogue), "5", "--json", "--url", lasting_url).json()
        assert (told["state"], [step["happening"] for step in told["steps"]]) == ("shed", ["accepted", "shed"])
        assert told["steps"][1]["at"].endswith("Z")

    def test_it_tells_a_messages_life(self, lasting_url: str, dialogue: UUID) -> None:
        shown = asked("explain", str(dialogue)[:8], "1", "--url", lasting_url)
        assert (shown.status, shown.err) == (0, "")
        assert "good" in shown.out
        happened = [line.split()[2:5] for line in shown.out.splitlines() if line.strip()[:1].isdigit()]
        assert [words[0] for words in happened] == ["accepted", "retried", "acked"]
        assert "not now" in shown.out
        assert "It is acked." in shown.out

    def test_json_holds_every_field(self, lasting_url: str, dialogue: UUID) -> None:
        told = asked("explain", str(dialogue), "1", "--json", "--url", lasting_url).json()
        assert (told["state"], told["message"]["payload"], told["message"]["sequence"]) == ("acked", "good", 1)
        accepted, retried, acked = told["steps"]
        assert (accepted["happening"], accepted["who"], accepted["attempt"]) == ("accepted", "planner", None)
        assert (retried["happening"], retried["error"], retried["delay"]) == ("retried", "not now", 0)
        assert (acked["attempt"], acked["who"]) == (2, "tool")
        assert acked["at"].endswith("Z")
        assert acked["waited"] >= 0

    def test_what_is_not_there_is_one_sentence(self, lasting_url: str, dialogue: UUID) -> None:
        shown = asked("explain", str(dialogue), "9", "--url", lasting_url)
        assert (shown.status, shown.out) == (2, "")
        assert "has no message 9." in shown.err


class TestDeadLetters:
    def test_they_are_listed(self, lasting_url: str, dialogue: UUID) -> None:
        shown = asked("dead", "list", "--url", lasting_url)
        assert (shown.status, shown.err) == (0, "")
        assert "\\x1b[2J" in shown.out
        assert "\x1b[2J" not in shown.out
        assert "2 dead letters shown." in shown.out

    def test_json_holds_message_and_reason(self, lasting_url: str, dialogue: UUID) -> None:
        first, second = asked("dead", "list", "--json", "--url", lasting_url).json()["dead_letters"]
        assert (first["message"]["sequence"], first["error"]) == (2, "no use\x1b[2J")
        assert (second["message"]["payload"], second["error"], second["attempts"], second["consumer"]) == (
            "worse",
            "no use either",
            1,
            "tool",
        )

    def test_one_is_shown_with_its_attempts(self, lasting_url: str, dialogue: UUID) -> None:
        shown = asked("dead", "show", str(dialogue), "3", "--url", lasting_url)
        assert shown.status == 0
        assert "no use either" in shown.out
        refused = asked("dead", "show", str(dialogue), "1", "--url", lasting_url)
        assert (refused.status, refused.out) == (2, "")
        assert "Message 1 of that dialogue is no dead letter: It is acked." in refused.err

    def test_one_is_redriven_and_the_others_discarded(self, lasting_url: str, dialogue: UUID) -> None:
        def dead(*words: str) -> Ended:
            return asked("dead", *words, "--url", lasting_url)

        assert dead("redrive", str(dialogue), "3").out == "1 dead letter redriven.\n"
        assert dead("discard", "--all", "--reason", "obsolete", "--json").json() == {"discarded": 1}
        again = dead("redrive", "--all")
        assert (again.out, again.status) == ("0 dead letters redriven.\n", 1)
        assert dead("list").out == "No dead letters.\n"
        told = asked("explain", str(dialogue), "2", "--json", "--url", lasting_url).json()
        assert (told["state"], told["steps"][-1]["error"]) == ("discarded", "obsolete")

    def test_what_has_no_room_stays(self, lasting_url: str, dialogue: UUID) -> None:
        async def fill() -> None:
            async with CorpusCallosum.open(settings=Settings(url=lasting_url, capacity=2)):
                pass

        asyncio.run(fill())
        shown = asked("dead", "redrive", "--all", "--url", lasting_url)
        assert (shown.status, shown.out) == (1, "0 dead letters redriven.\n")
        assert "room for 2" in shown.err
        assert "The others stay dead letters." in shown.err
