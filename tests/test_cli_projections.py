"""The commands that look after the read models, and questions as of an earlier moment."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from corpus_callosum import CorpusCallosum, Settings, Tract
from tests.scenario import message
from tests.terminal import Ended, asked

MODEL = "consciousness"


async def _fill(url: str) -> None:
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("projected")
        for number in range(4):
            await callosum.send_many(dialogue, [message(number)] * 2)
        for name in callosum.projections.names:
            await callosum.read_model(name, lambda _connection, position: position)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """On SQLite; that the read models of every store are handled alike is seen through the service."""
    url = f"sqlite:///{tmp_path}/callosum.db"
    asyncio.run(_fill(url))
    return url


@pytest.fixture(scope="module")
def only_read(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, for tests that change nothing."""
    url = f"sqlite:///{tmp_path_factory.mktemp('projections')}/callosum.db"
    asyncio.run(_fill(url))
    return url


@pytest.fixture
def poisoned(tmp_path: Path) -> str:
    """An event that cannot be read, at position 3 of 4."""
    url = f"sqlite:///{tmp_path}/callosum.db"

    async def fill() -> None:
        async with CorpusCallosum.open(settings=Settings(url=url, project=False)) as callosum:
            dialogue = await callosum.open_dialogue("poisoned")
            for _ in range(3):
                await callosum.send(dialogue, source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner")

    asyncio.run(fill())
    with sqlite3.connect(tmp_path / "callosum.db") as connection:
        connection.execute("UPDATE stored_events SET state = x'c1' WHERE position = 3")
    connection.close()
    return url


def projections(*words: str, url: str) -> Ended:
    return asked("projections", *words, "--url", url)


def generation(url: str) -> int:
    [one] = projections("status", MODEL, "--json", url=url).json()
    number: int = one["generation"]
    return number


def test_status_shows_how_far_each_is(only_read: str) -> None:
    shown = projections("status", MODEL, url=only_read)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.splitlines()[-1].split()[:6] == [MODEL, "current", "5", "0", "0.0", "0"]
    [one] = projections("status", MODEL, "--json", url=only_read).json()
    assert (one["name"], one["state"], one["position"], one["lag_events"]) == (MODEL, "current", 5, 0)
    assert one["left_out"] == []


def test_list_shows_the_generations(only_read: str) -> None:
    assert MODEL in projections("list", url=only_read).out
    states = [
        one["state"] for one in projections("list", "--json", url=only_read).json() if one["projection"] == MODEL
    ]
    assert states == ["serving"]


def test_rebuild_says_that_it_is_identical_and_serves(url: str) -> None:
    first = generation(url)
    shown = projections("rebuild", MODEL, url=url)
    assert (shown.status, shown.err) == (0, "")
    assert "IDENTICAL at position 5" in shown.out
    states = {one["id"]: one["state"] for one in projections("list", "--json", url=url).json()}
    assert sorted(state for state in states.values() if state == "previous") == ["previous"]
    back = projections("rollback", MODEL, url=url)
    assert (back.status, back.out) == (0, f"{MODEL}: generation {first} serves again.\n")


def test_verify_names_the_first_row_that_differs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/callosum.db"
    asyncio.run(_fill(url))
    with sqlite3.connect(tmp_path / f"callosum.views.{MODEL}.{generation(url)}.db") as connection:
        connection.execute("UPDATE scopes SET total_messages = 7 WHERE scope = 'live'")
    connection.close()
    shown = projections("verify", MODEL, url=url)
    assert shown.status == 1
    assert "DIFFERENT at position 5: scopes scope=live, total_messages: served 7, rebuilt 8." in shown.out
    [one] = projections("verify", MODEL, "--json", url=url).json()
    assert one["difference"]["served"] == 7


def test_what_was_left_out_is_listed_and_can_be_discarded(poisoned: str) -> None:
    asked("metrics", "--url", poisoned)
    shown = projections("status", MODEL, url=poisoned)
    assert shown.status == 1
    assert f"{MODEL} has left out position 3 (dialogue.conveyed.v1)" in shown.out
    assert f"{MODEL} has left out position 4" in shown.out
    retried = projections("retry", MODEL, url=poisoned)
    assert (retried.status, "2 events left out" in retried.out) == (1, True)
    discarded = projections("discard", MODEL, "3", url=poisoned)
    assert (discarded.status, discarded.out) == (0, f"{MODEL}: 2 events left out for good.\n")
    assert projections("status", MODEL, url=poisoned).status == 0
    assert projections("retry", MODEL, url=poisoned).status == 0
    assert projections("discard", MODEL, "4", url=poisoned).status == 0
    assert projections("discard", MODEL, "1", url=poisoned).status == 2


def test_paused_projection_is_not_folded_on(url: str) -> None:
    assert projections("pause", MODEL, url=url).out == f"{MODEL} is paused.\n"
    [one] = projections("status", MODEL, "--json", url=url).json()
    assert one["state"] == "paused"
    assert "goes on" in projections("resume", MODEL, url=url).out
    [one] = projections("status", MODEL, "--json", url=url).json()
    assert one["state"] == "current"


def test_projection_that_is_not_there_is_refused_by_name(only_read: str) -> None:
    refused = projections("rebuild", "nope", url=only_read)
    assert refused.status == 2
    assert "There is no projection 'nope'; known are consciousness" in refused.err


@pytest.mark.parametrize(("moment", "messages"), [("1", 0), ("2", 2), ("4", 6), ("2100-01-01T00:00:00Z", 8)])
def test_questions_as_of_a_moment(only_read: str, moment: str, messages: int) -> None:
    found = asked("metrics", "--kind", "live", "--as-of", moment, "--json", "--url", only_read).json()
    assert found["total_messages"] == messages
    listed = asked("dialogues", "--as-of", moment, "--json", "--url", only_read).json()
    assert [one["total_messages"] for one in listed["dialogues"]] == [messages]
    found = asked("findings", "--as-of", moment, "--json", "--url", only_read).json()
    stalled = moment.startswith("2100")  # nobody will have answered by then
    assert found["total"] == messages // 2 + stalled
    counted = asked("deliveries", "--as-of", moment, "--json", "--url", only_read).json()
    assert counted["external"]["accepted"] == messages
    minutes = asked("timeline", "--kind", "live", "--as-of", moment, "--json", "--url", only_read).json()[
        "minutes"
    ]
    assert sum(one["internal_to_external"] for one in minutes) == messages


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("yesterday", "'yesterday' is no position"),
        ("2026-03-01T12:00:00", "no time with a zone"),
        ("-1", "'-1' is no position"),
        ("6", "is 6; the log ends at 5"),
    ],
)
def test_moment_that_cannot_be_is_refused(only_read: str, moment: str, says: str) -> None:
    refused = asked("metrics", "--as-of", moment, "--url", only_read)
    assert refused.status == 2
    assert says in " ".join(refused.err.replace("│", " ").split())
