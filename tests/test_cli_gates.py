"""The commands about gates, and the back-test."""

import asyncio

import pytest

from corpus_callosum import CircuitState, CorpusCallosum, DeliverySettings, Message, Tract
from interface.lines import event_lines
from tests.deliveries import say
from tests.gates import ScriptedAgent, guarded, until_state
from tests.terminal import asked, asked_on_a_terminal

BY = ("--by", "ann", "--why", "the tool is replaced")


async def fail(_message: Message) -> object:
    raise ConnectionError("the tool is away")


async def trip(url: str) -> None:
    """The external circuit opens; it is tried again in an hour."""
    async with guarded(url, wait_in_open=3600, capacity=500) as callosum:
        dialogue = await callosum.open_dialogue("failing")
        await say(callosum, dialogue, *range(12))
        delivery = DeliverySettings(max_deliver=100, backoff=0.001, most_backoff=0.001)
        async with callosum.attach(ScriptedAgent(fail), Tract.EXTERNAL, "tool", delivery=delivery):
            await until_state(callosum, CircuitState.OPEN)


@pytest.fixture
def url(lasting_url: str) -> str:
    asyncio.run(trip(lasting_url))
    return lasting_url


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


class TestShow:
    def test_state_cause_and_backlog_are_shown_for_both_tracts(self, url: str) -> None:
        shown = asked("gate", "show", "--url", url)
        assert (shown.status, shown.err) == (0, "")
        told = rows(shown.out)
        assert ["circuit", "closed", "open"] in told
        assert "failure rate (100 % failed, 0 % slow of 10)" in shown.out
        assert "12 of 500" in shown.out

    def test_json_has_the_published_names(self, url: str) -> None:
        told = asked("gate", "show", "--json", "--url", url).json()
        assert [*told] == ["position", "internal", "external"]
        external = told["external"]
        assert (external["state"], external["reason"], external["backlog"]) == ("open", "failure_rate", 12)
        assert external["transitions"][0]["failure_rate"] == 100.0
        assert external["settings"]["capacity"] == 500
        assert told["internal"]["state"] == "closed"

    def test_it_can_be_as_of_before_it_opened(self, url: str) -> None:
        cause = asked("gate", "show", "--json", "--url", url).json()["external"]["transitions"][0]["cause"]
        before = asked("gate", "show", "--json", "--as-of", str(cause - 1), "--url", url).json()
        assert before["external"]["state"] == "closed"
        assert before["external"]["transitions"] == []

    def test_it_fits_a_narrow_terminal(self, url: str) -> None:
        lines = asked_on_a_terminal("gate", "show", "--url", url, columns=80)
        assert any("12 of 500" in line for line in lines)
        assert max(map(len, lines)) <= 80

    def test_the_inbox_says_that_nothing_is_handed_out(self, url: str) -> None:
        shown = asked("inbox", "--url", url)
        assert "external: 12 on their way of 500; its circuit is open" in shown.out
        assert asked("inbox", "--json", "--url", url).json()["tracts"][1]["gate"] == "shut"


class TestByHand:
    def test_it_is_opened_disabled_and_closed_with_who_and_why(self, url: str) -> None:
        for word, state in (("open", "forced_open"), ("disable", "disabled"), ("close", "closed")):
            assert asked("gate", word, "internal", *BY, "--url", url).status == 0
            told = asked("gate", "show", "--json", "--url", url).json()["internal"]
            assert (told["state"], told["by"], told["why"]) == (state, "ann", "the tool is replaced")
        assert "ann: the tool is replaced" in asked("gate", "show", "--url", url).out

    def test_why_must_be_said(self, url: str) -> None:
        refused = asked("gate", "open", "internal", "--url", url)
        assert refused.status == 2
        assert "--why" in refused.err


class TestConfigure:
    def test_settings_are_changed_and_shown(self, url: str) -> None:
        words = ("external", "capacity=7", "ignored_errors=KeyError,ValueError", *BY)
        told = asked("gate", "configure", *words, "--json", "--url", url).json()
        assert (told["capacity"], told["circuit"]["ignored_errors"]) == (7, ["KeyError", "ValueError"])
        assert told["circuit"]["wait_in_open"] == 3600  # as it was
        shown = asked("gate", "configure", "external", "capacity=8", *BY, "--url", url)
        assert ["capacity", "8"] in rows(shown.out)

    @pytest.mark.parametrize("setting", ["capcity=7", "capacity=many", "failure_rate_threshold=0"])
    def test_a_slip_is_told_and_changes_nothing(self, url: str, setting: str) -> None:
        refused = asked("gate", "configure", "external", setting, *BY, "--url", url)
        assert (refused.status, refused.out) == (2, "")
        assert refused.err
        assert asked("gate", "show", "--json", "--url", url).json()["external"]["settings"]["capacity"] == 500


class TestBacktest:
    def test_with_what_was_in_force_it_is_exact(self, url: str) -> None:
        shown = asked("backtest", "--url", url)
        assert (shown.status, shown.err) == (0, "")
        assert "external: exact: the circuit comes to the transitions that are recorded." in shown.out
        assert ["the", "circuit", "opened", "once", "once"] in rows(shown.out)

    def test_other_settings_are_an_estimate_beside_what_happened(self, url: str) -> None:
        told = asked("backtest", "--capacity", "5", "--failure-rate", "100", "--json", "--url", url).json()
        external = told["external"]
        assert external["settings"]["capacity"] == 5
        assert external["simulated"]["refused_by_capacity"] == 12
        assert external["happened"]["refused_by_capacity"] == 0
        shown = asked("backtest", "--set", "external.minimum_number_of_calls=4", "--url", url)
        assert "an estimate from position" in shown.out

    def test_a_range_is_by_position_or_time(self, url: str) -> None:
        told = asked("backtest", "--from", "3", "--to", "2100-01-01T00:00:00Z", "--json", "--url", url).json()
        assert told["start"] == 3

    def test_a_slip_is_told(self, url: str) -> None:
        refused = asked("backtest", "--set", "failure=3", "--url", url)
        assert refused.status == 2
        assert "does not exist" in refused.err


class TestFollow:
    async def test_what_a_gate_did_is_a_line(self, lasting_url: str) -> None:
        await trip(lasting_url)
        async with CorpusCallosum.open(lasting_url) as callosum:
            await callosum.gates.force(Tract.INTERNAL, CircuitState.DISABLED, by="ann", why="an experiment")
            lines = "\n".join([event_lines(event, full=False).plain async for event in callosum.replay()])
        assert "gate configured by a service's settings" in lines
        assert "circuit open: failure rate" in lines
        assert "circuit disabled by ann: an experiment" in lines
