"""The library's shipped test cases, unmodified, over a store."""

import os
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final
from unittest import TestCase
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.tests.application import ExampleApplicationTestCase
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    RecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.tests.projection import (
    AggregateEventCountersProjectionTestCase,
    EventCountersView,
    EventCountersViewTestCase,
    EventSourcedProjectionTestCase,
)
from eventsourcing.utils import Environment, get_topic

from tests.contract import Settings, Store, opened

__all__ = ["library_cases"]


class StoreCase(TestCase):
    store: ClassVar[Store]
    id_type: ClassVar[str] = "uuid"

    def new_settings(self) -> Settings:
        directory = Path(self.enterContext(TemporaryDirectory()))
        return self.store.new(directory, ORIGINATOR_ID_TYPE=self.id_type)

    def new_factory(self) -> InfrastructureFactory[Any]:
        return self.enterContext(opened(self.new_settings()))

    def new_originator_id(self) -> UUID | str:
        return f"dialogue-{uuid4()}" if self.id_type == "text" else uuid4()


class AggregateRecorderCase(StoreCase, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.new_factory().aggregate_recorder()


class ApplicationRecorderCase(StoreCase, ApplicationRecorderTestCase[ApplicationRecorder]):
    def create_recorder(self) -> ApplicationRecorder:
        return self.new_factory().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class ProcessRecorderCase(StoreCase, ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.new_factory().process_recorder()


class ProcessAsApplicationRecorderCase(StoreCase, ApplicationRecorderTestCase[ProcessRecorder]):
    def create_recorder(self) -> ProcessRecorder:
        return self.new_factory().process_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class NonInterleavingNotificationIDsCase(StoreCase, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.new_factory().application_recorder()


class TrackingRecorderCase(StoreCase, TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        tracking: TrackingRecorder = self.new_factory().tracking_recorder()
        return tracking


class InfrastructureFactoryCase(StoreCase, InfrastructureFactoryTestCase[InfrastructureFactory[Any]]):
    def setUp(self) -> None:
        self.env = Environment(env=self.new_settings())
        super().setUp()

    def expected_factory_class(self) -> type[InfrastructureFactory[Any]]:
        return type(self.new_factory())

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return type(self.new_factory().aggregate_recorder())

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return type(self.new_factory().application_recorder())

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        tracking: TrackingRecorder = self.new_factory().tracking_recorder()
        return type(tracking)

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return type(self.new_factory().process_recorder())

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return self.store.view


class ExampleApplicationCase(StoreCase, ExampleApplicationTestCase):
    def setUp(self) -> None:
        settings = self.new_settings()
        with opened(settings) as factory:
            self.expected_factory_topic = get_topic(type(factory))
        for name, value in settings.items():
            self.addCleanup(os.environ.pop, name)
            os.environ[name] = value


class EventCountersViewCase(StoreCase, EventCountersViewTestCase):
    def construct_event_counters_view(self) -> EventCountersView:
        view = self.new_factory().tracking_recorder(self.store.view)
        assert isinstance(view, EventCountersView)
        return view


class AggregateEventCountersProjectionCase(StoreCase, AggregateEventCountersProjectionTestCase):
    def setUp(self) -> None:
        type(self).view_class = self.store.view
        type(self).env = self.new_settings()


class EventSourcedProjectionCase(StoreCase, EventSourcedProjectionTestCase):
    """Upstream and projection each in a database of its own: the projection's events are not its own input."""

    def setUp(self) -> None:
        type(self).env = {
            f"{name}_{key}": value
            for name in ("APPLICATION", "COUNTERS")
            for key, value in self.new_settings().items()
        }


_OVER_RECORDERS: tuple[type[StoreCase], ...] = (
    AggregateRecorderCase,
    ApplicationRecorderCase,
    ProcessRecorderCase,
    ProcessAsApplicationRecorderCase,
    NonInterleavingNotificationIDsCase,
)
_OVER_THE_STORE: tuple[type[StoreCase], ...] = (
    TrackingRecorderCase,
    InfrastructureFactoryCase,
    ExampleApplicationCase,
    EventCountersViewCase,
    AggregateEventCountersProjectionCase,
    EventSourcedProjectionCase,
)


_ALWAYS: Final = (("uuid", 1), ("text", 0))
"""The kinds of ids and first versions that are tested each time; the others in the long run."""


def library_cases(store: Store) -> dict[str, type[TestCase]]:
    """Test case classes by name, to be put among a test module's globals: with every kind of id and version."""
    cases: list[tuple[str, type[StoreCase], dict[str, object]]] = [
        (
            f"{case.__name__}_{store.name}_{id_type}_from_{version}",
            case,
            {
                "id_type": id_type,
                "INITIAL_VERSION": version,
                "pytestmark": [] if (id_type, version) in _ALWAYS else [pytest.mark.stress],
            },
        )
        for case, id_type, version in product(_OVER_RECORDERS, ("uuid", "text"), (1, 0))
        if issubclass(case, RecorderTestCase)
    ]
    cases += [(f"{case.__name__}_{store.name}", case, {}) for case in _OVER_THE_STORE]
    return {name: type(name, (case,), {"store": store, **attributes}) for name, case, attributes in cases}
