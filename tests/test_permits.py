"""Permits under random takes, settlements, ended leases, replaced consumers and changes of the gate.

At any time those that are left and those of deliveries in flight are as many as were granted and not used up.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent

from application.inbox import Inbox, Offer, Settlement, Take, Taken, Then
from application.passage import GateChange, Passage
from application.recorder import AppendRefusedError, LogRecorder
from tests.contract import Store, opened_log
from tests.contract.inbox_case import LONG, OUT, run, until
from tests.contract.log_recorder import events
from tests.redis_stores import STORES
from tests.test_sqlite_store import FILE, MEMORY

STEPS = 400
NAMES = ("one", "other")


@dataclass
class Lease:
    """What the model knows of one: who took it, in which generation of the circuit, what it holds."""

    consumer: str
    generation: int
    held: dict[int, int]


@dataclass
class Model:
    passage: Passage = Passage.FREE
    generation: int = 0
    granted: int = 0
    used: int = 0
    backlog: int = 0
    leases: dict[str, Lease] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Deliveries under permits of this generation."""
        if self.passage is not Passage.PROBING:
            return 0
        return sum(len(lease.held) for lease in self.leases.values() if lease.generation == self.generation)

    @property
    def left(self) -> int:
        return self.granted - self.used - self.in_flight

    @property
    def held(self) -> int:
        return sum(len(lease.held) for lease in self.leases.values())

    def lets_out(self, demand: int) -> int:
        waiting = min(demand, self.backlog - self.held)
        if self.passage is Passage.SHUT:
            return 0
        return min(waiting, self.left) if self.passage is Passage.PROBING else waiting


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
@pytest.mark.parametrize("store", [FILE, MEMORY, *STORES], ids=lambda store: store.name)
def test_no_permit_is_lost_or_granted_twice(store: Store, tmp_path: Path, seed: int) -> None:
    with opened_log(store.new(tmp_path)) as log:
        walk = Walk(log, log.inbox, random.Random(seed))
        for _ in range(STEPS):
            walk.step()
            walk.check()
        assert walk.probed > 30, "a walk that tells something"


class Walk:
    """Does the same to a store and to a model."""

    def __init__(self, log: LogRecorder, inbox: Inbox, chance: random.Random) -> None:
        self.log, self.inbox, self.chance = log, inbox, chance
        self.model = Model()
        self.generations = {name: inbox.join(OUT, name) for name in NAMES}
        self.leases = (f"lease-{number}" for number in count())
        self.aggregates = (UUID(int=number) for number in count(1))
        self.probed = 0
        self.steps: dict[Callable[[], None], int] = {
            self.arrive: 3,
            self.take: 6,
            self.take_by_an_append: 3,
            self.take_again: 1,
            self.settle: 6,
            self.settle_late: 1,
            self.change: 2,
            self.change_within_a_generation: 1,
            self.lapse: 2,
            self.join: 1,
            self.extend: 1,
        }

    def step(self) -> None:
        [step] = self.chance.choices(list(self.steps), list(self.steps.values()))
        step()

    def check(self) -> None:
        model, level = self.model, self.inbox.level(OUT)
        assert (level.passage, level.generation, level.backlog) == (model.passage, model.generation, model.backlog)
        if model.passage is Passage.PROBING:
            assert level.permits == model.left >= 0
            assert model.in_flight <= model.granted
            self.probed += model.in_flight > 0

    def arrive(self) -> None:
        many = self.chance.randint(1, 4)
        if self.model.passage is Passage.SHUT:
            with pytest.raises(AppendRefusedError):
                self.log.insert_events(self.event(), arrivals=[run(0, many)])
        else:
            self.log.insert_events(self.event(), arrivals=[run(0, many)])
            self.model.backlog += many

    def take(self, ack_wait: int = LONG) -> None:
        take = self.asked(ack_wait)
        self.took(take, self.inbox.take(take))

    def asked(self, ack_wait: int = LONG) -> Take:
        name = self.chance.choice(NAMES)
        return Take(OUT, name, self.generations[name], next(self.leases), self.chance.randint(0, 5), ack_wait)

    def took(self, take: Take, taken: Taken) -> None:
        assert len(taken.handed) == self.model.lets_out(take.demand)
        assert taken.generation == self.model.generation
        if taken.handed:
            held = {handed.slot: handed.attempt for handed in taken.handed}
            self.model.leases[take.lease] = Lease(take.consumer, taken.generation, held)
        assert taken.left == (self.model.backlog > self.model.held)

    def take_by_an_append(self) -> None:
        offer = Offer(self.asked())
        self.log.insert_events(self.event(), offers=[offer])
        if offer.taken is not None:
            self.took(offer.take, offer.taken)
        else:
            assert self.model.lets_out(offer.take.demand) == 0

    def take_again(self) -> None:
        if self.model.leases:
            lease, known = self.chance.choice(list(self.model.leases.items()))
            again = self.inbox.take(Take(OUT, known.consumer, self.generations[known.consumer], lease, 9, LONG))
            assert {handed.slot: handed.attempt for handed in again.handed} == known.held
            assert again.generation == known.generation

    def settle(self) -> None:
        if not self.model.leases:
            return
        lease, known = self.chance.choice(list(self.model.leases.items()))
        some = self.chance.sample(list(known.held.items()), self.chance.randint(1, len(known.held)))
        ends = [
            Settlement(
                OUT, lease, slot, attempt, self.chance.choice(list(Then)), uncounted=self.chance.random() < 0.3
            )
            for slot, attempt in some
        ]
        self.log.insert_events(self.event(), settlements=ends)
        probes = self.model.passage is Passage.PROBING and known.generation == self.model.generation
        for end in ends:
            del known.held[end.slot]
            self.model.backlog -= end.then in {Then.DONE, Then.DEAD, Then.SHED}
            self.model.used += probes and end.is_call
        if not known.held:
            del self.model.leases[lease]

    def settle_late(self) -> None:
        """What was never held, or is no more."""
        with pytest.raises(AppendRefusedError):
            self.log.insert_events(self.event(), settlements=[Settlement(OUT, "lease-0", 1, 1, Then.BACK)])

    def change(self) -> None:
        model = self.model
        [model.passage] = self.chance.choices(list(Passage), [1, 3, 1])
        model.generation += 1
        model.granted, model.used = self.chance.randint(0, 4), 0
        self.gate(GateChange(OUT, model.passage, model.generation, model.granted))

    def change_within_a_generation(self) -> None:
        self.gate(
            GateChange(OUT, self.model.passage, self.model.generation, 9, retry_at=self.chance.randint(1, 9))
        )

    def gate(self, change: GateChange) -> None:
        self.log.insert_events(self.event(), gates=[change])

    def lapse(self) -> None:
        """A lease ends by itself, sometimes one that was given under an earlier generation."""
        self.take(ack_wait=1)
        if self.model.leases:
            self.inbox.extend(OUT, self.chance.choice(list(self.model.leases)), 1)
        until(self.look, lambda taken: taken.next_due is None or taken.next_due > LONG / 2)
        for lease, known in list(self.model.leases.items()):
            if self.inbox.holding(OUT, next(iter(known.held))) is None:
                del self.model.leases[lease]
        assert sum(held.count for held in self.inbox.state(OUT).in_flight) == self.model.held

    def look(self) -> Taken:
        return self.inbox.take(Take(OUT, "one", self.generations["one"], "nothing", 0, LONG))

    def join(self) -> None:
        name = self.chance.choice(NAMES)
        self.generations[name] = self.inbox.join(OUT, name)
        for lease, known in list(self.model.leases.items()):
            if known.consumer == name:
                del self.model.leases[lease]

    def extend(self) -> None:
        if self.model.leases:
            assert self.inbox.extend(OUT, self.chance.choice(list(self.model.leases)), LONG)

    def event(self) -> list[StoredEvent]:
        return events(next(self.aggregates), 1)
