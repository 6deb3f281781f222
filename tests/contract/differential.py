"""The library's in-memory recorder is the reference: any sequence of calls has the same results and errors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final
from uuid import UUID

import pytest
from eventsourcing import persistence
from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.popo import POPOApplicationRecorder

from tests.contract import Store, opened_log

__all__ = ["DifferentialContract"]

TOPICS: Final = ("opened", "conveyed", "closed")

Call = Callable[[ApplicationRecorder], Any]


class DifferentialContract:
    store: ClassVar[Store]

    @pytest.mark.parametrize("id_type", ["uuid", "text"])
    @pytest.mark.parametrize("steps", [1000, pytest.param(10_000, marks=pytest.mark.stress)])
    def test_random_calls_have_the_results_of_the_reference(
        self, tmp_path: Path, id_type: str, steps: int
    ) -> None:
        script = Script(Random(f"{self.store.name} {id_type}"), id_type)
        reference = POPOApplicationRecorder()
        with opened_log(self.store.new(tmp_path, ORIGINATOR_ID_TYPE=id_type)) as recorder:
            for step in range(steps):
                description, call = script.next_call()
                expected = outcome(call, reference)
                assert outcome(call, recorder) == expected, f"step {step}: {description}"
        assert script.arguments == {"select_events": 2**4, "select_notifications": 2**4}


def outcome(call: Call, recorder: ApplicationRecorder) -> object:
    """What a call returned, or which of the library's errors it raised; ours may be subclasses."""
    try:
        result = call(recorder)
    except EventSourcingError as error:
        return next(kind for kind in type(error).__mro__ if kind.__module__ == persistence.__name__)
    return list(result) if isinstance(result, Sequence) else result


class Script:
    """Random calls. Versions of an aggregate ascend: the reference keeps the order of insertion instead."""

    def __init__(self, random: Random, id_type: str) -> None:
        self.random = random
        uuids = [UUID(int=random.getrandbits(128), version=4) for _ in range(12)]
        self.aggregates: list[UUID | str] = [str(uuid) if id_type == "text" else uuid for uuid in uuids]
        self.versions: dict[UUID | str, list[int]] = {aggregate: [] for aggregate in self.aggregates}
        self.length = 0
        self._seen: dict[str, set[tuple[bool, ...]]] = {"select_events": set(), "select_notifications": set()}

    @property
    def arguments(self) -> dict[str, int]:
        """How many combinations of given and omitted arguments have been tried."""
        return {name: len(seen) for name, seen in self._seen.items()}

    def next_call(self) -> tuple[str, Call]:
        kinds = (self.append, self.conflict, self.select_events, self.select_notifications, self.head)
        return self.random.choices(kinds, weights=(25, 8, 30, 35, 2))[0]()

    def append(self) -> tuple[str, Call]:
        stored_events = self._ascending()
        for stored in stored_events:
            self.versions[stored.originator_id].append(stored.originator_version)
        self.length += len(stored_events)
        return f"append {stored_events}", lambda recorder: recorder.insert_events(stored_events)

    def conflict(self) -> tuple[str, Call]:
        """One version of the append is taken: by a stored event, or by another of the same append."""
        stored_events = self._ascending()
        taken = [(a, version) for a, versions in self.versions.items() for version in versions]
        taken += [(stored.originator_id, stored.originator_version) for stored in stored_events]
        place = self.random.randint(0, len(stored_events))
        stored_events.insert(place, self._stored(*self.random.choice(taken)))
        return f"conflict {stored_events}", lambda recorder: recorder.insert_events(stored_events)

    def select_events(self) -> tuple[str, Call]:
        aggregate = self.random.choice(self.aggregates)
        highest = max(self.versions[aggregate], default=0) + 2
        arguments: dict[str, Any] = {
            "gt": self._perhaps(lambda: self.random.randint(-1, highest)),
            "lte": self._perhaps(lambda: self.random.randint(-1, highest)),
            "desc": self.random.random() < 0.5,
            "limit": self._perhaps(lambda: self.random.randint(1, 8)),
        }
        self._seen["select_events"].add(tuple(bool(v) if k == "desc" else v is None for k, v in arguments.items()))
        return f"select {aggregate} {arguments}", lambda recorder: recorder.select_events(aggregate, **arguments)

    def select_notifications(self) -> tuple[str, Call]:
        arguments: dict[str, Any] = {
            "start": self._perhaps(lambda: self.random.randint(-1, self.length + 3)),
            "stop": self._perhaps(lambda: self.random.randint(-1, self.length + 3)),
            "topics": self.random.sample((*TOPICS, "unknown"), self.random.choice((0, 0, 1, 2, 4))),
            "inclusive_of_start": self.random.random() < 0.5,
        }
        self._seen["select_notifications"].add(
            tuple(v is None if k in {"start", "stop"} else bool(v) for k, v in arguments.items())
        )
        limit = self.random.choice((1, 2, 3, 10, self.length + 1))
        return (
            f"notifications {arguments} {limit}",
            lambda recorder: recorder.select_notifications(limit=limit, **arguments),
        )

    def head(self) -> tuple[str, Call]:
        return "head", lambda recorder: recorder.max_notification_id()

    def _ascending(self) -> list[StoredEvent]:
        """For one to four aggregates, the next one to three versions of each, now and then leaving some out."""
        stored_events = []
        for aggregate in self.random.sample(self.aggregates, self.random.choice((1, 1, 2, 4))):
            version = max(self.versions[aggregate], default=self.random.choice((-1, 0)))
            for _ in range(self.random.choice((1, 1, 3))):
                version += self.random.choice((1, 1, 1, 3))
                stored_events.append(self._stored(aggregate, version))
        return stored_events

    def _stored(self, aggregate: UUID | str, version: int) -> StoredEvent:
        state = self.random.randbytes(self.random.choice((0, 1, 20)))
        return StoredEvent(aggregate, version, self.random.choice(TOPICS), state)

    def _perhaps(self, value: Callable[[], int]) -> int | None:
        return value() if self.random.random() < 0.5 else None
