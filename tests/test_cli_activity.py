"""The commands about how messages flow: deliveries."""

import asyncio

import pytest

from corpus_callosum import CorpusCallosum, Tract
from tests.deliveries import following, say
from tests.terminal import asked


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
