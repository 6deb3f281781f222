"""The read models of a log: which generations of each projection there are, and which of them serves.

A generation is a read model in a database of its own, so that one is built while another one serves. Which one
serves is said for each version of a projection: a program of another version, or with other settings, builds its
own beside it, and neither disturbs the other.

::

    (new) --claim, as the first--> serving --another takes its place--> previous --rollback--> serving
      |---claim--> building --caught up--^                                  '--one more--> deleted
      '---rebuild--> rebuilding --swap---'
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from os import PathLike, fspath
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from projections.database import Database, Prepared, definitions
from projections.errors import NoEarlierGenerationError, RebuildUnderWayError
from projections.fold import Projection
from projections.model import Model

__all__ = ["Generation", "Orders", "ReadModels", "State"]

_APPLICATION: Final = 0x43435657
_LAYOUT: Final = 2

_metadata = MetaData()
_generations = Table(
    "generations",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("projection", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("state", Text, nullable=False),
    sqlite_autoincrement=True,
)
_orders = Table(
    "orders",
    _metadata,
    Column("projection", Text, primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("resumed", Integer, nullable=False),
)


_LIST: Final = Prepared(select(_generations).order_by(_generations.c.id.desc()))
_ORDERS: Final = Prepared(
    select(_orders.c.paused, _orders.c.resumed).where(_orders.c.projection == bindparam("name"))
)


class State(StrEnum):
    """BUILDING: by the runner, because its version has none. REBUILDING: beside the one that serves."""

    BUILDING = "building"
    SERVING = "serving"
    PREVIOUS = "previous"
    REBUILDING = "rebuilding"


class Generation(msgspec.Struct, frozen=True):
    """A generation of a projection's read model; higher ids are younger."""

    id: int
    projection: str
    version: str
    state: State


class Orders(msgspec.Struct, frozen=True):
    """What an operator has told the runners of a projection.

    Attributes:
        resumed: how often it was told to go on.
    """

    paused: bool = False
    resumed: int = 0


class ReadModels:
    """All of them.

    Args:
        path: the file that says which there are; the read models are files beside it. None: all in memory.

    Raises:
        ViewsFileError: a file is no database, or not one of these.
    """

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path = None if path is None else fspath(path)
        self._database = Database(
            path,
            application=_APPLICATION,
            layout=_LAYOUT,
            create=definitions(*_metadata.sorted_tables),
        )
        self._models: dict[int, Model] = {}
        self._opening = Lock()
        self._rebuilding: dict[str, Lock] = {}

    def model(self, generation: Generation, projection: Projection) -> Model:
        """Open it, or the one that is open; it stays so until `close`."""
        with self._opening:
            model = self._models.get(generation.id)
            if model is None:
                path = self._file(generation.projection, f"{generation.id}.db")
                model = self._models[generation.id] = Model(path, projection.TABLES)
            return model

    def generations(self, projection: str | None = None) -> list[Generation]:
        """The youngest first."""
        with self._database.reading() as connection:
            return _listed(connection, projection)

    def serving(self, projection: str, version: str) -> Generation | None:
        """The one to answer from: of this version or, while that is built, of another one for the same question.

        That has the same settings and tables, and an earlier or later way to fold.
        """
        serving = [generation for generation in self.generations(projection) if generation.state is State.SERVING]
        own = [generation for generation in serving if generation.version == version]
        alike = [generation for generation in serving if _question(generation.version) == _question(version)]
        return next(iter(own or alike), None) or self.current(projection, version)

    def current(self, projection: str, version: str) -> Generation | None:
        """The one that the runners of this version keep current."""
        generations = self.generations(projection)
        return _current(generations, version)

    def claim(self, projection: str, version: str) -> Generation:
        """The same, made if there is none. It is built beside the one of another version, if one serves."""
        with self._database.writing() as connection:
            generations = _listed(connection, projection)
            current = _current(generations, version)
            if current is not None:
                return current
            others = any(generation.state is State.SERVING for generation in generations)
            return _new(connection, projection, version, State.BUILDING if others else State.SERVING)

    def claim_rebuild(self, projection: str, version: str) -> Generation:
        """One to rebuild: the one that was begun and not ended, or a new one."""
        with self._database.writing() as connection:
            for generation in _listed(connection, projection):
                if generation.state is State.REBUILDING:
                    if generation.version == version:
                        return generation
                    self._delete(connection, generation)
            return _new(connection, projection, version, State.REBUILDING)

    def serve(self, generation: Generation) -> Generation:
        """Answer from this one from now on.

        The one before it is kept, and of the other versions the one that serves the youngest of them: an earlier
        program may still run. What is older is deleted.
        """
        with self._database.writing() as connection:
            others = [each for each in _listed(connection, generation.projection) if each.id != generation.id]
            former = [each for each in others if (each.version, each.state) == (generation.version, State.SERVING)]
            foreign = [each for each in others if each.version != generation.version]
            kept = {each.id for each in (*former, *[each for each in foreign if each.state is State.SERVING][:1])}
            for other in others:
                if other.state in {State.SERVING, State.PREVIOUS} and other.id not in kept:
                    self._delete(connection, other)
            for other in former:
                _set_state(connection, other, State.PREVIOUS)
            return _set_state(connection, generation, State.SERVING)

    def drop(self, generation: Generation) -> None:
        with self._database.writing() as connection:
            self._delete(connection, generation)

    def previous(self, projection: str, version: str) -> Generation:
        """Raises NoEarlierGenerationError."""
        for generation in self.generations(projection):
            if (generation.version, generation.state) == (version, State.PREVIOUS):
                return generation
        raise NoEarlierGenerationError(projection)

    def orders(self, projection: str) -> Orders:
        with self._database.reading() as connection:
            row = _ORDERS.run(connection, name=projection).one_or_none()
            return Orders() if row is None else Orders(bool(row.paused), row.resumed)

    def order(self, projection: str, *, paused: bool) -> None:
        """Let the runners of all processes pause, or go on; also with an event at which they have stopped."""
        values = {"paused": paused, "resumed": _orders.c.resumed + (not paused)}
        with self._database.writing() as connection:
            connection.execute(
                upsert(_orders)
                .values(projection=projection, paused=paused, resumed=int(not paused))
                .on_conflict_do_update(index_elements=["projection"], set_=values)
            )

    @contextmanager
    def rebuilding(self, projection: str) -> Iterator[None]:
        """Held by who rebuilds a projection; given back when its process ends, however it ends.

        Raises:
            RebuildUnderWayError: somebody holds it.
        """
        path = self._file(projection, "lock")
        if path is None:
            lock = self._rebuilding.setdefault(projection, Lock())
            if not lock.acquire(blocking=False):
                raise RebuildUnderWayError(projection)
            try:
                yield
            finally:
                lock.release()
            return
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise RebuildUnderWayError(projection) from error
            yield
        finally:
            connection.close()

    def close(self) -> None:
        for model in self._models.values():
            model.close()
        self._database.close()

    def _file(self, projection: str, end: str) -> str | None:
        return None if self.path is None else f"{self.path.removesuffix('.db')}.{projection}.{end}"

    def _delete(self, connection: Connection, generation: Generation) -> None:
        connection.execute(delete(_generations).where(_generations.c.id == generation.id))
        path = self._file(generation.projection, f"{generation.id}.db")
        if path is not None:
            for end in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(path + end).unlink()


def _listed(connection: Connection, projection: str | None) -> list[Generation]:
    rows = _LIST.run(connection).all()
    found = [Generation(number, name, version, State(state)) for number, name, version, state in rows]
    return [generation for generation in found if projection in {None, generation.projection}]


def _current(generations: Sequence[Generation], version: str) -> Generation | None:
    for state in (State.SERVING, State.BUILDING):
        for generation in generations:
            if (generation.version, generation.state) == (version, state):
                return generation
    return None


def _question(version: str) -> str:
    """Settings and tables."""
    return version.partition(" [")[2]


def _new(connection: Connection, projection: str, version: str, state: State) -> Generation:
    values = {"projection": projection, "version": version, "state": state.value}
    [number] = connection.execute(insert(_generations).values(**values)).inserted_primary_key or [0]
    return Generation(number, projection, version, state)


def _set_state(connection: Connection, generation: Generation, state: State) -> Generation:
    connection.execute(update(_generations).where(_generations.c.id == generation.id).values(state=state.value))
    return msgspec.structs.replace(generation, state=state)
