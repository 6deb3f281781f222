"""Making room in a full tract for what is more urgent: what waits there and matters least is given up.

The least urgent are held first, by a take that hands them to nobody. Then one append settles them for good, names
them, and stores what takes their room; or nothing of that happens, and they are put back. Who dies in between has
held them for a few seconds.
"""

import asyncio
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from eventsourcing.persistence import PersistenceError

from application.commands import Command, Convey
from application.commit import Writer, retry_after
from application.errors import CallosumClosedError
from application.inbox import Settlement, Then
from application.log import DialogueLog
from application.reading import Reader, messages_at
from application.recorder import Duplicate
from application.round import Places, Receipt, Round
from domain.errors import BackpressureError
from domain.gate import ShedMessage, gate_id
from domain.tract import Tract

__all__ = ["Shed", "Shedding"]

_HELD_FOR: Final = 5_000
"""Milliseconds until what is held comes back by itself."""

_TRIES: Final = 8
"""How often room is made that others take, before the sender is refused."""

_SIZE: Final = 120
"""Roughly the bytes that one more message that is given up adds to an append."""

_logger = logging.getLogger("callosum.shedding")
_Sheddable = tuple[Settlement, ShedMessage]


class _Hold:
    """Messages of one tract that may be given up for one sender.

    Attributes:
        refusal: why they are held.
        needed: how many have to be given up.
        lease: under which they are held.
        taking: what takes them; in the order in which they are given up. Nothing, if there are fewer.
        given_up: how many of them were.
    """

    def __init__(
        self, refusal: BackpressureError, needed: int, lease: str, taking: asyncio.Future[Sequence[_Sheddable]]
    ) -> None:
        self.refusal = refusal
        self.needed = needed
        self.lease = lease
        self.taking = taking
        self.given_up = 0

    @property
    def tract(self) -> Tract:
        return self.refusal.tract

    @property
    def has_left(self) -> bool:
        """When taking them has ended: whether some may be held that were not given up."""
        return self.taking.exception() is not None or self.given_up < len(self.taking.result())


class Shed(Command[list[Receipt]]):
    """Say messages in the room of others, which are given up: both, or neither.

    Of what is held, no more is given up than what is said needs: some of it may turn out to be known.
    """

    def __init__(self, convey: Convey, holds: Sequence[_Hold]) -> None:
        held = {hold.tract: hold.taking.result() for hold in holds}
        self.aggregates = (*convey.aggregates, *map(gate_id, held))
        self.size = convey.size + _SIZE * sum(map(len, held.values()))
        self._convey = convey
        self._holds = holds
        self._held = held
        self._given_up: dict[Tract, int] = {}

    def decide(self, round_: Round, now: datetime) -> None:
        for tract in self._held:
            round_.gate(tract, now)  # or, when it cannot be read, the messages would be in the draft
        self._convey.decide(round_, now)
        arriving = self._convey.arriving()
        for hold in self._holds:
            needed = _needed(hold.refusal, arriving.get(hold.tract, 0))
            shed = self._held[hold.tract][:needed]
            self._given_up[hold.tract] = len(shed)
            round_.shed(hold.tract, [settlement for settlement, _ in shed], [message for _, message in shed])

    def arriving(self) -> Mapping[str, int]:
        return {
            tract: count - self._given_up.get(Tract(tract), 0) for tract, count in self._convey.arriving().items()
        }

    def lost(self, settlements: Container[Settlement]) -> BackpressureError | None:
        """It took so long that they are to be had again."""
        for hold in self._holds:
            if any(settlement in settlements for settlement, _ in self._held[hold.tract]):
                refusal = hold.refusal
                return BackpressureError(refusal.tract, refusal.backlog, refusal.capacity, retry_after())
        return None

    def unknown_keys(self) -> Sequence[str]:
        return self._convey.unknown_keys()

    def repeated(self, duplicate: Duplicate) -> None:
        self._convey.repeated(duplicate)

    def outcome(self, places: Mapping[UUID, Places]) -> list[Receipt]:
        for hold in self._holds:
            hold.given_up = self._given_up[hold.tract]
        return self._convey.outcome(places)


class Shedding:
    """Of one service; belongs to its event loop."""

    def __init__(self, log: DialogueLog, writer: Writer, reader: Reader) -> None:
        self._log = log
        self._writer = writer
        self._reader = reader

    async def send(self, convey: Convey, refusal: BackpressureError) -> list[Receipt]:
        """Say what was refused, in the room of what is less urgent. Cancelling leaves that as it was, or settled.

        Raises:
            BackpressureError: there is not enough of it, or others were faster again and again.
        And all that saying it raises. In all cases nothing is given up.
        """
        holds: dict[Tract, _Hold] = {}
        try:
            for _ in range(_TRIES):
                if refusal.tract in holds:
                    await self._put_back([holds.pop(refusal.tract)])
                hold = holds[refusal.tract] = self._hold(convey, refusal)
                taken = await asyncio.shield(hold.taking)  # if this is cancelled, what it took is put back
                if len(taken) < hold.needed:
                    raise refusal
                try:
                    return await self._writer.submit(Shed(convey, list(holds.values())))
                except BackpressureError as again:
                    refusal = again
            raise refusal
        finally:
            await self._put_back(holds.values())

    def _hold(self, convey: Convey, refusal: BackpressureError) -> _Hold:
        """Begin to take as many as have to be given up."""
        urgencies = [message.priority for message in convey.bound_for(refusal.tract)]
        if len(urgencies) > refusal.capacity:
            raise refusal
        lease = f"shed:{uuid4().hex}"
        needed, below = _needed(refusal, len(urgencies)), min(urgencies, default=0)
        taking = asyncio.ensure_future(self._reader.call(self._take, refusal.tract, lease, needed, below))
        return _Hold(refusal, needed, lease, taking)

    def _take(self, tract: Tract, lease: str, count: int, below: int) -> Sequence[_Sheddable]:
        """In one of the reader's threads."""
        if count == 0:  # what it was refused for has gone by
            return []
        handed = self._log.recorder.inbox.take_lowest(tract, lease, count=count, below=below, ack_wait=_HELD_FOR)
        messages = messages_at(self._log, [one.slot for one in handed])
        return [
            (
                Settlement(tract, lease, one.slot, one.attempt, Then.SHED, line=messages[one.slot].dialogue.hex),
                ShedMessage(messages[one.slot].dialogue, messages[one.slot].sequence),
            )
            for one in handed
        ]

    async def _put_back(self, holds: Iterable[_Hold]) -> None:
        """What is left of them, even if who waits for it is cancelled."""
        await asyncio.shield(asyncio.gather(*(self._put_one_back(hold) for hold in holds)))

    async def _put_one_back(self, hold: _Hold) -> None:
        await asyncio.gather(hold.taking, return_exceptions=True)
        if not hold.has_left:
            return
        try:
            await self._reader.call(self._log.recorder.inbox.put_back, hold.tract, hold.lease)
        except (CallosumClosedError, PersistenceError) as error:
            _logger.warning("What was held in the %s tract comes back when its lease ends: %s", hold.tract, error)


def _needed(refusal: BackpressureError, count: int) -> int:
    """How many have to be given up for so many; never more, though a tract may be beyond its capacity."""
    return min(count, max(0, refusal.backlog + count - refusal.capacity))
