"""Who follows the log and cannot go on from what was seen is told which positions are unknown."""

import asyncio
import json
from pathlib import Path

import pytest

from corpus_callosum import CorpusCallosum, LogLostError
from tests.conftest import STORES, url_of
from tests.servers import PrivateServerFactory
from tests.terminal import asked, started
from tests.test_lost_tail import Forgetful, _flush, say

NOT_REACHED = "The position to follow from is 99, which the log has not reached; it ends at 2."


@pytest.fixture(scope="module", params=STORES)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two events."""
    url = url_of(STORES[request.param], request.param, tmp_path_factory.mktemp("gap"))
    asyncio.run(_written(url))
    return url


async def _written(url: str) -> None:
    async with CorpusCallosum.open(url) as callosum:
        await say(callosum, await callosum.open_dialogue("short"), "a")


class TestFollowingFromBeyondTheEnd:
    def test_is_told_as_a_gap(self, url: str) -> None:
        ended = asked("follow", "--after", "99", "--url", url)
        assert ended.status == 2
        assert ended.out == (
            "   gap  What stands at positions 3 to 99 is not what was seen, and what follows is unknown."
            " The log ends at position 2.\n"
        )
        assert ended.err == f"callosum: {NOT_REACHED}\n"

    def test_is_told_as_json(self, url: str) -> None:
        ended = asked("follow", "--after", "99", "--json", "--url", url)
        assert ended.status == 2
        assert ended.json_lines() == [{"gap": {"first": 3, "last": 99, "head": 2, "why": NOT_REACHED}}]

    def test_is_told_for_any_number(self, url: str) -> None:
        ended = asked("follow", "--after", str(2**70), "--json", "--url", url)
        assert (ended.status, ended.json()["gap"]["last"]) == (2, 2**70)


class TestFollowingFromAKnownChain:
    @pytest.mark.slow
    def test_goes_on_where_it_still_stands(self, url: str, tmp_path: Path) -> None:
        with started("follow", "--json", "--url", url, directory=tmp_path) as process:
            assert process.stdout is not None
            first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        more = ("--after", "1", "--chain", first["chain"])
        with started("follow", *more, "--json", "--url", url, directory=tmp_path) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == second

    def test_is_told_that_another_event_stands_there(self, url: str) -> None:
        ended = asked("follow", "--after", "1", "--chain", "0" * 40, "--json", "--url", url)
        assert ended.status == 2
        [told] = ended.json_lines()
        assert {**told["gap"], "why": ""} == {"first": None, "last": 1, "head": 2, "why": ""}
        assert "another history" in ended.err

    def test_needs_a_chain(self) -> None:
        refused = asked("follow", "--chain", "abc")
        assert refused.status == 2
        assert "is no chain" in refused.err


class TestAFollowerWhoseServerLostWhatItHadSeen:
    @pytest.fixture
    def server(self, private_server: PrivateServerFactory, tmp_path: Path) -> Forgetful:
        server = Forgetful(private_server(), tmp_path / "backup")
        asyncio.run(_written(server.url))
        server.remember()
        return server

    @pytest.mark.parametrize("json_lines", [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_tells_the_lost_positions(self, server: Forgetful, tmp_path: Path, json_lines: bool) -> None:
        asyncio.run(_written(server.url))
        more = ["--json"] if json_lines else []
        with started("follow", *more, "--url", server.url, directory=tmp_path) as process:
            assert process.stdout is not None
            seen = [process.stdout.readline() for _ in range(4)]
            server.go_back()
            out, err = process.communicate(timeout=60)
        assert (len(seen), process.returncode) == (4, 2)
        if json_lines:
            [told] = [json.loads(line) for line in out.splitlines()]
            assert (told["gap"]["first"], told["gap"]["last"], told["gap"]["head"]) == (3, 4, 2)
        else:
            assert "positions 3 to 4" in out
        assert err.splitlines()[-1].startswith("callosum: The log ends at position 2;")

    @pytest.mark.slow
    def test_tells_of_a_log_that_was_emptied(self, server: Forgetful, tmp_path: Path) -> None:
        with started("follow", "--json", "--url", server.url, directory=tmp_path) as process:
            assert process.stdout is not None
            for _ in range(2):
                process.stdout.readline()
            _flush(server)
            out, err = process.communicate(timeout=60)
        [told] = [json.loads(line) for line in out.splitlines()]
        assert (told["gap"]["first"], told["gap"]["last"]) == (1, 2)
        assert process.returncode == 2
        assert "The log ends at position 0" in err

    async def test_tells_of_a_log_that_was_begun_anew(self, server: Forgetful) -> None:
        async with CorpusCallosum.open(server.url) as callosum:
            events = callosum.follow()
            assert [(await anext(events)).position for _ in range(2)] == [1, 2]
            await asyncio.to_thread(_flush, server)
            for _ in range(2):
                await _written(server.url)
            with pytest.raises(LogLostError, match="begun anew and holds another history") as lost:
                await anext(events)
            assert (lost.value.first, lost.value.seen, lost.value.head) == (1, 2, 4)
