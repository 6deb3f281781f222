"""The commands about how messages flow: deliveries, timeline."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from corpus_callosum import CorpusCallosum, Kind, Minute, MinuteList, Tract
from interface.activity import bars, timeline_chart
from tests.deliveries import following, say
from tests.terminal import asked, asked_on_a_terminal


async def deliver(url: str) -> None:
    """Of four messages one is acked, one acked after a retry, one given up; one waits."""
    async with CorpusCallosum.open(url) as callosum:
        dialogue = await callosum.open_dialogue("flow")
        await say(callosum, dialogue, "good", "flaky", "bad", "waits")
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=0) as subscription:
            subscription.request(3)
            good, flaky, bad = [await following(subscription) for _ in range(3)]
            await good.ack()
            await bad.term("no use")
            await flaky.nak("not now", delay=0)
            subscription.request(1)
            await (await following(subscription)).ack()


@pytest.fixture
def url(lasting_url: str) -> str:
    asyncio.run(deliver(lasting_url))
    return lasting_url


def rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


def minutes(*sent: int, total: int = 0) -> MinuteList:
    """One a minute, with so many messages."""
    listed = [Minute(f"2026-03-01T12:{n:02}:00Z", count, 0, 0, 0, 0, 0, 0, 0, 0) for n, count in enumerate(sent)]
    return MinuteList(1, Kind.LIVE, total or len(listed), listed)


def drawn(chart: RenderableType, width: int) -> list[str]:
    screen = StringIO()
    Console(file=screen, width=width).print(chart, crop=False)
    return [line.rstrip() for line in screen.getvalue().splitlines()]


class TestDeliveries:
    def test_they_are_counted_by_tract(self, url: str) -> None:
        shown = asked("deliveries", "--url", url)
        assert (shown.status, shown.err) == (0, "")
        told = rows(shown.out)
        for row in (["accepted", "0", "4"], ["acked", "0", "2"], ["dead-lettered", "0", "1"]):
            assert row in told
        assert ["on", "their", "way", "now", "0", "1"] in told
        assert ["on", "their", "way", "at", "most", "0", "4"] in told
        assert ["settlement,", "internal", "0", "–", "–", "–", "–"] in told
        assert [row[:3] for row in told if row[:2] == ["settlement,", "external"]] == [
            ["settlement,", "external", "3"]
        ]

    def test_json_has_the_published_names(self, url: str) -> None:
        told = asked("deliveries", "--json", "--url", url).json()
        assert [*told] == ["position", "internal", "external"]
        external = told["external"]
        assert (external["delivered"], external["retried"], external["backlog"], external["backlog_peak"]) == (
            4,
            1,
            1,
            4,
        )
        assert [*external["wait_ms"]] == ["count", "p50", "p95", "p99", "max", "unknown"]
        assert (external["wait_ms"]["count"], external["settle_ms"]["count"]) == (3, 3)


class TestTimeline:
    def test_it_is_a_chart_for_each_kind(self, url: str) -> None:
        shown = asked("timeline", "--url", url)
        assert (shown.status, shown.err) == (0, "")
        told = rows(shown.out)
        assert ["internal", "→", "external", "4", "4"] in [row[:5] for row in told]
        assert ["retried", "1", "1"] in [row[:3] for row in told]
        assert "recorded" not in shown.out

    def test_json_has_the_minutes(self, url: str) -> None:
        told = asked("timeline", "--json", "--url", url).json()
        assert [*told] == ["live"]
        assert sum(minute["acked"] for minute in told["live"]["minutes"]) == 2
        one = asked("timeline", "--json", "--kind", "recorded", "--url", url).json()
        assert (one["kind"], one["total"], one["minutes"]) == ("recorded", 0, [])

    def test_a_range_is_of_utc_unless_said_and_filled_on_request(self, url: str) -> None:
        words = (
            "timeline",
            "--json",
            "--start",
            "1999-12-31T23:59",
            "--stop",
            "2000-01-01T02:01+02:00",
            "--url",
            url,
        )
        assert asked(*words).json() == {}
        filled = asked(*words, "--filled").json()["live"]["minutes"]
        assert [minute["at"][11:16] for minute in filled] == ["23:59", "00:00", "00:01"]

    def test_nothing_is_a_sentence(self, url: str) -> None:
        assert asked("timeline", "--kind", "recorded", "--url", url).out == "Nothing happened in these minutes.\n"

    def test_it_fits_a_terminal(self, url: str) -> None:
        lines = asked_on_a_terminal("timeline", "--url", url, columns=80)
        assert any("internal → external" in line for line in lines)
        assert all(len(line.rstrip()) <= 80 for line in lines)


class TestBars:
    def test_nothing_is_blank_and_the_least_is_seen(self) -> None:
        assert bars([0, 1, 500, 1000], 1) == " ▁▄█"
        assert bars([0, 0], 1) == "  "

    def test_several_minutes_share_a_bar_and_the_last_one_is_whole(self) -> None:
        assert bars([1, 1, 1, 2, 2], 2) == "▂▄█"

    def test_minutes_share_a_bar_where_there_is_no_room(self) -> None:
        listed = minutes(*range(1, 41))
        [wide] = [line for line in drawn(timeline_chart([listed]), 120) if "→ external" in line]
        [narrow] = [line for line in drawn(timeline_chart([listed]), 70) if "→ external" in line]
        assert (len(wide.split()[-1]), len(narrow.split()[-1])) == (40, 20)
        assert wide.split()[3:5] == narrow.split()[3:5] == ["820", "40"]
        assert any("2 minutes a bar" in line for line in drawn(timeline_chart([listed]), 70))

    def test_what_is_left_out_is_said(self) -> None:
        assert any("2 of 9 minutes shown." in line for line in drawn(timeline_chart([minutes(1, 2, total=9)]), 80))
        assert not any("shown" in line for line in drawn(timeline_chart([minutes(1, 2)]), 80))
