"""Logs with something of everything in them, to be exported; and what must be the same of two logs."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from corpus_callosum import (
    CircuitState,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    Message,
    Priority,
    Settings,
    Tract,
    Verdict,
)

__all__ = ["PAYLOADS", "digests", "everything", "lines", "live_history", "plain_settings"]

PAYLOADS: tuple[object, ...] = (
    b"\x00\xff\x1b[31m",
    {"$base64": "AA=="},
    {"$$base64": {"$base64": "not base64"}},
    {"$base64": b"inside"},
    {"$base64": "AA==", "and": "more"},
    [2**64 - 1, -(2**63), 1, 1.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e16],
    {"": None, "true": True, "nested": [{"deep": [b"", "", {}, []]}]},
    "\x00\x1b]0;title\x07 \u2028 \U0001f600 ￿",
    None,
    {"role": "assistant", "content": "hello", "tool_calls": []},
)


def plain_settings(url: str) -> Settings:
    """Read models on the side, so that no other log's stand in the way."""
    return Settings(url=url, views="sqlite://")


async def live_history(callosum: CorpusCallosum) -> UUID:
    """Deliveries of every outcome, replies, a dead letter, gates, closes; the dialogue, which stays open."""
    dialogue = await callosum.open_dialogue("everything", attributes={"$base64": "x", "team": "a"})
    said = [
        Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=payload)
        for payload in PAYLOADS
    ]
    await callosum.send_many(dialogue, said)
    await callosum.send(
        dialogue,
        source=Tract.EXTERNAL,
        target=Tract.INTERNAL,
        sender="tool",
        payload="keyed",
        priority=Priority.URGENT,
        in_reply_to=1,
        correlation_id="c",
        causation_id="d",
        headers={"$base64": "no bytes", "traceparent": "00"},
        idempotency_key="once",
    )
    await _deliver(callosum)
    await callosum.gates.configure(Tract.EXTERNAL, by="ops", why="less", capacity=77, failure_rate_threshold=40)
    await callosum.gates.force(Tract.INTERNAL, CircuitState.DISABLED, by="ops", why="night")
    assert await callosum.dead_letters.discard(reason="not needed") == 1
    other = await callosum.open_dialogue("closed")
    await callosum.send(other, source=Tract.EXTERNAL, target=Tract.EXTERNAL, sender="a", recipient="b", payload=1)
    await callosum.close_dialogue(other, "done")
    return dialogue


async def _deliver(callosum: CorpusCallosum) -> None:
    settings = DeliverySettings(max_deliver=2, backoff=0.001, most_backoff=0.001)
    async with asyncio.timeout(20), callosum.subscribe(Tract.EXTERNAL, "tool", delivery=settings) as taken:
        for end in range(6):
            await _settle(await anext(taken), end)


async def _settle(delivery: Delivery, end: int) -> None:
    if end == 1:
        await delivery.term("broken")
    elif end == 2:
        await delivery.nak("TimeoutError", delay=0.001)
    else:
        await delivery.ack()


async def lines(callosum: CorpusCallosum, **options: Any) -> list[str]:
    return [line async for line in callosum.export(**options)]


async def everything(callosum: CorpusCallosum) -> list[Any]:
    """Every event with its place, time and link of the chain."""
    return [
        (r.position, r.at, r.chain, r.topic, r.event.originator_id, r.event.originator_version, repr(r.event))
        async for r in callosum.replay()
    ]


async def digests(callosum: CorpusCallosum, names: Iterable[str] = ()) -> dict[str, tuple[int, str]]:
    """Of every read model, rebuilt; each must be as it is kept current."""
    rebuilt = await callosum.projections.verify(*names)
    assert {told.verdict for told in rebuilt} == {Verdict.IDENTICAL}
    return {told.projection: (told.position, told.digest) for told in rebuilt}
