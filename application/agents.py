"""Running an agent: messages handed to it, its answers said, its failures retried."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from eventsourcing.persistence import PersistenceError

from application.delivery import Delivery
from application.reading import RecordedMessage
from application.round import Receipt
from application.subscription import Subscription
from domain.errors import CallosumError, InvalidCommandError, LeaseLostError
from domain.message import Message, Payload

__all__ = ["Agent", "Attachment"]

_logger = logging.getLogger("callosum.agents")


class Agent(Protocol):
    def handle(self, message: RecordedMessage) -> Awaitable[Payload]:
        """Handle a message; what it returns, unless None, is the answer. An exception: it was not handled."""
        ...


class Attachment:
    """An agent at work on a tract, until `stop`.

    What it returns is said to the sender's tract, in reply, in the same append that acks. What it raises, an
    answer that is refused, or a handler that takes longer than `timeout` seconds, is a `nak` with the error.
    """

    def __init__(
        self,
        agent: Agent,
        subscription: Subscription,
        *,
        concurrency: int,
        timeout: float | None,
        on_reply: Callable[[Message, Receipt], None],
    ) -> None:
        if concurrency < 1:
            raise InvalidCommandError("concurrency", f"is {concurrency}; it must be at least 1")
        self._agent = agent
        self._on_reply = on_reply
        self._subscription = subscription
        self._timeout = timeout
        self._workers = [asyncio.create_task(self._work()) for _ in range(concurrency)]

    async def stop(self, deadline: float = 10.0) -> None:
        """Take no more; let what is under way come to its end for `deadline` seconds, and give back the rest."""
        await self._subscription.drain()
        _, late = await asyncio.wait(self._workers, timeout=deadline)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._subscription.cancel()

    async def _work(self) -> None:
        try:
            async for delivery in self._subscription:
                await self._handle(delivery)
        except Exception:
            _logger.exception("An agent of the %s tract stands still.", self._subscription.tract)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            answer = await self._answer_to(delivery.message)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                await _settled(delivery, delivery.nak("it was interrupted", delay=0, counts=False))
                raise
            await self._failed(delivery, error)  # the handler's own
        except Exception as error:  # noqa: BLE001  # an agent raises what it likes; all of it is recorded
            await self._failed(delivery, error)
        else:
            await _settled(delivery, self._answered(delivery, answer))

    async def _answer_to(self, message: RecordedMessage) -> Payload:
        if self._timeout is None:
            return await self._agent.handle(message)
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._agent.handle(message)
        except TimeoutError:
            if limit.expired():
                raise TimeoutError(f"no answer within {self._timeout} s") from None
            raise

    async def _failed(self, delivery: Delivery, error: BaseException) -> None:
        await _settled(delivery, delivery.nak(f"{type(error).__name__}: {error}"))

    async def _answered(self, delivery: Delivery, answer: Payload) -> None:
        if answer is None:
            await delivery.ack()
            return
        reply = self._said(delivery, answer)
        try:
            receipt = await delivery.reply(reply)
        except LeaseLostError:
            raise
        except CallosumError as error:  # no payload, a closed dialogue
            await self._failed(delivery, error)
        else:
            self._tell(reply, receipt)

    def _tell(self, reply: Message, receipt: Receipt) -> None:
        try:
            self._on_reply(reply, receipt)
        except Exception:
            _logger.exception("An answer was said, and who was to be told of it failed.")

    def _said(self, delivery: Delivery, answer: Payload) -> Message:
        asked = delivery.message
        return Message(
            source=asked.target,
            target=asked.source,
            sender=self._subscription.name,
            payload=answer,
            priority=asked.priority,
            in_reply_to=asked.sequence,
            correlation_id=asked.correlation_id,
        )


async def _settled(delivery: Delivery, settling: Awaitable[None]) -> None:
    """When settling is refused or fails, the message goes to somebody, again, when its lease ends."""
    try:
        await settling
    except (CallosumError, PersistenceError) as error:
        _logger.warning("A delivery could not be settled: %s", error)
        delivery.abandon()
