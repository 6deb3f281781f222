"""What every store must do, written once.

A store's own test module describes it as a `Store` and hands it to each part: `library_cases` (the eventsourcing
library's shipped test cases), `DifferentialContract` (the library's in-memory recorder as the reference), and
the contracts of our own `LogRecorder`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.tests.projection import EventCountersView

from application.recorder import LogRecorder

__all__ = ["Settings", "Store", "opened", "opened_log"]

Settings = dict[str, str]


@dataclass(frozen=True)
class Store:
    """A persistence module and where its databases are.

    Attributes:
        name: of the store, in the names of its tests.
        module: value of PERSISTENCE_MODULE.
        settings: given a directory for what it keeps in files, the settings of a database that is new.
        view: a read model in that store, for the library's projections.
    """

    name: str
    module: str
    settings: Callable[[Path], Settings]
    view: type[EventCountersView]

    def new(self, directory: Path, **more: str) -> Settings:
        return {"PERSISTENCE_MODULE": self.module, **self.settings(directory), **more}


@contextmanager
def opened(settings: Settings) -> Iterator[InfrastructureFactory[Any]]:
    factory: InfrastructureFactory[Any] = InfrastructureFactory.construct(settings)
    try:
        yield factory
    finally:
        factory.close()


@contextmanager
def opened_log(settings: Settings) -> Iterator[LogRecorder]:
    with opened(settings) as factory:
        recorder = factory.application_recorder()
        assert isinstance(recorder, LogRecorder)
        yield recorder
