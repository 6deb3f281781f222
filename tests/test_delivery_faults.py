"""Consumers whose server goes away."""

import asyncio

import pytest
from eventsourcing.persistence import OperationalError

from corpus_callosum import (
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    Message,
    Result,
    Settings,
    Subscription,
    Tract,
)
from infrastructure.redis_streams.private_server import PrivateServer
from tests.deliveries import filled, following, say, settled
from tests.servers import PrivateServerFactory


@pytest.fixture
def server(private_server: PrivateServerFactory) -> PrivateServer:
    return private_server()


def service(server: PrivateServer) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=server.url, project=False, views="sqlite://"))


async def held(subscription: Subscription) -> Delivery:
    """One message in hand, and one that nobody has asked for yet."""
    await filled(subscription, 2)
    return await following(subscription)


async def test_leaving_a_server_that_is_away_is_no_error(
    server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with service(server) as callosum:
        dialogue = await callosum.open_dialogue("away")
        await say(callosum, dialogue, 1, 2)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            await held(subscription)
            await asyncio.to_thread(server.kill)
    assert "Consumer tool leaves something behind" in caplog.text


async def test_what_could_not_be_settled_can_be_when_the_server_is_back(server: PrivateServer) -> None:
    async with service(server) as callosum:
        dialogue = await callosum.open_dialogue("away")
        await say(callosum, dialogue, 1, 2, 3)
        async with callosum.subscribe(Tract.EXTERNAL, "tool", demand=2) as subscription:
            delivery = await held(subscription)
            await asyncio.to_thread(server.kill)
            with pytest.raises(OperationalError):
                await delivery.ack()
            await asyncio.to_thread(server.start)
            await delivery.ack()
            assert [(await following(subscription)).message.payload for _ in range(2)] == [2, 3]


async def test_an_agent_goes_on_when_its_server_is_back(server: PrivateServer) -> None:
    away, handled = asyncio.Event(), asyncio.Event()

    class Slow:
        async def handle(self, message: Message) -> object:
            if message.payload == 1:
                handled.set()
                await away.wait()
            return None

    settings = DeliverySettings(ack_wait=0.5)
    async with service(server) as callosum:
        dialogue = await callosum.open_dialogue("away")
        async with callosum.attach(Slow(), Tract.EXTERNAL, "tool", delivery=settings):
            await say(callosum, dialogue, 1)
            await handled.wait()
            await asyncio.to_thread(server.kill)
            away.set()  # its ack finds no server; the message comes again when its lease ends
            await asyncio.to_thread(server.start)
            await say(callosum, dialogue, 2)
            outcomes = await settled(callosum, 2)
    assert {(outcome.sequence, outcome.result) for outcome in outcomes} == {(1, Result.ACKED), (2, Result.ACKED)}
