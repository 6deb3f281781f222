"""One read model: the rows that a projection has folded, up to a checkpoint, in a database of its own.

It also keeps what earlier moments need. Now and then a checkpoint is made a *boundary*. A row that is written
again after a boundary leaves its former self in a table of earlier rows, so that the read model as of any boundary
is there without a copy of it all: the rows as they are that were last written before it, and of the others the
earlier ones that held at it.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from os import PathLike
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from projections.database import Database, Prepared, definitions, plain
from projections.tables import SINCE, Row, Rows, keys, rows_with, values

__all__ = [
    "EARLIER",
    "Checkpoint",
    "CheckpointMovedError",
    "Difference",
    "Model",
    "Parked",
    "Stored",
    "Trouble",
    "digest",
    "discard",
    "first_difference",
    "last_boundary",
    "read_checkpoint",
    "read_parked",
    "read_trouble",
    "set_active",
]

EARLIER: Final = "_earlier"
"""The end of the name of a table's earlier rows: its columns, and the boundary `until` which a row held."""

BOUNDARY_EVERY: Final = 3_000
"""Messages and other events from one boundary to the next at most, unless one batch is more."""

_APPLICATION: Final = 0x4343524D
_LAYOUT: Final = 2
_AT_ONCE: Final = 500

_metadata = MetaData()

_checkpoint = Table(
    "checkpoint",
    _metadata,
    Column("version", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("at", Integer),
    Column("boundary", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)
_boundaries = Table("boundaries", _metadata, Column("position", Integer, primary_key=True))
_trouble = Table(
    "trouble",
    _metadata,
    Column("position", Integer, primary_key=True),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failed", Boolean, nullable=False),
)
_parked = Table(
    "parked",
    _metadata,
    Column("position", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("dialogue", Text),
    Column("error", Text, nullable=False),
    Column("behind", Integer),
    Column("discarded", Boolean, nullable=False),
)


_READ_CHECKPOINT: Final = Prepared(select(_checkpoint))
_BEGIN: Final = Prepared(insert(_checkpoint))
_MOVE_CHECKPOINT: Final = Prepared(
    update(_checkpoint)
    .where(
        _checkpoint.c.epoch == bindparam("old_epoch"),
        _checkpoint.c.position == bindparam("old_position"),
        _checkpoint.c.chain == bindparam("old_chain"),
        _checkpoint.c.active,
    )
    .values({column.name: bindparam(column.name) for column in _checkpoint.columns})
)
_FORGET_TROUBLE: Final = Prepared(delete(_trouble))
_READ_PARKED: Final = Prepared(
    select(_parked).where(_parked.c.position <= bindparam("up_to")).order_by(_parked.c.position)
)


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a projection has folded, in which log, by which definition.

    Attributes:
        chain: the log's chain at `position`.
        at: the log's time at `position`, milliseconds; None at 0.
        boundary: the position of the last boundary; 0 before the first.
        weight: messages and other events folded since then.
        active: False once another generation of the read model has taken this one's place.
    """

    version: str
    position: int
    chain: bytes
    epoch: str
    at: int | None = None
    boundary: int = 0
    weight: int = 0
    active: bool = True


class Trouble(msgspec.Struct, frozen=True):
    """The event that a projection stands before.

    Attributes:
        failed: it waits for somebody to resume it; else it is tried again by itself.
    """

    position: int
    error: str
    attempts: int
    failed: bool


class Parked(msgspec.Struct, frozen=True):
    """An event that was left out.

    Attributes:
        dialogue: the one it belongs to, whose later events are parked behind it.
        behind: the position of the one at fault, of an event that is parked because of it.
        discarded: somebody has decided to leave it out for good.
    """

    position: int
    topic: str
    dialogue: str | None
    error: str
    behind: int | None
    discarded: bool


class Difference(msgspec.Struct, frozen=True):
    """The first row, by table and key, that two read models do not have alike; None: one has no such row."""

    table: str
    key: dict[str, Any]
    column: str | None
    served: Any
    rebuilt: Any


class CheckpointMovedError(Exception):
    """Another process's runner was faster; what was folded or read for this checkpoint is void."""


class Model:
    """A generation of a projection's read model.

    Args:
        path: the file, made if missing; None: in memory.
        tables: the projection's.
    """

    def __init__(self, path: str | PathLike[str] | None, tables: Sequence[Table]) -> None:
        self.tables = tables
        self._database = Database(path, application=_APPLICATION, layout=_LAYOUT, create=_definitions(*tables))
        self.path = self._database.path
        self.reading = self._database.reading
        self.writing = self._database.writing
        self.close = self._database.close

    def checkpoint(self) -> Checkpoint | None:
        with self.reading() as connection:
            return read_checkpoint(connection)

    def stored(self, checkpoint: Checkpoint) -> "Stored":
        """Its rows, as long as they are as of that checkpoint."""

        @contextmanager
        def unmoved() -> Iterator[Connection]:
            with self.reading() as connection:
                now = read_checkpoint(connection)
                if now is None or (now.epoch, now.position, now.chain) != _place(checkpoint):
                    raise CheckpointMovedError
                yield connection

        return Stored(unmoved)

    def begin(self, connection: Connection, fresh: Checkpoint) -> None:
        """Empty it, if there is anything in it."""
        if read_checkpoint(connection) is not None:
            earlier = map(_earlier, self.tables)
            for table in (*self.tables, *earlier, _checkpoint, _boundaries, _trouble, _parked):
                connection.execute(delete(table))
        _BEGIN.run(connection, **msgspec.structs.asdict(fresh))

    def advance(
        self, old: Checkpoint, new: Checkpoint, weight: int, rows: Rows, parked: Sequence[Parked] = ()
    ) -> Checkpoint:
        """Write the rows that lead from the old checkpoint to the new one, in one transaction.

        Args:
            old: where it stands.
            new: where it is then.
            weight: messages and other events between the two.
            rows: what they change.
            parked: events among them that are left out.

        Raises:
            CheckpointMovedError: it was not at the old one.
        """
        due = old.weight > 0 and old.weight + weight > BOUNDARY_EVERY
        boundary = old.position if due else old.boundary
        weight += 0 if due else old.weight
        reached = msgspec.structs.replace(new, boundary=boundary, weight=weight)
        with self.writing() as connection:
            move_checkpoint(connection, old, reached)
            if due:
                connection.execute(insert(_boundaries).values(position=boundary))
            _FORGET_TROUBLE.run(connection)
            rows.write(connection, boundary)
            if parked:
                connection.execute(insert(_parked), [msgspec.structs.asdict(event) for event in parked])
        return reached

    def report_trouble(self, checkpoint: Checkpoint, trouble: Trouble) -> None:
        """Let others see it. When the checkpoint has moved meanwhile, it is over."""
        with self.writing() as connection:
            now = read_checkpoint(connection)
            if now is not None and now.position == checkpoint.position:
                _FORGET_TROUBLE.run(connection)
                connection.execute(insert(_trouble).values(**msgspec.structs.asdict(trouble)))


class Stored:
    """The rows of a read model as of one checkpoint, for a projection to go on from."""

    def __init__(self, reading: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._reading = reading

    def rows(self, table: Table, **wanted: Collection[Any]) -> list[Row]:
        """Those whose column has one of the values wanted, of each column that is named.

        Raises:
            CheckpointMovedError: they are of a later checkpoint by now.
        """
        [(first, of_first), *others] = wanted.items()
        found: list[Row] = []
        listed = list(of_first)
        with self._reading() as connection:
            for start in range(0, len(listed), _AT_ONCE):
                some = {first: listed[start : start + _AT_ONCE], **dict(others)}
                found += rows_with(connection, table, some)
        return found


def read_checkpoint(connection: Connection) -> Checkpoint | None:
    row = _READ_CHECKPOINT.run(connection).mappings().one_or_none()
    return None if row is None else msgspec.convert(plain(row), Checkpoint, strict=False)


def move_checkpoint(connection: Connection, old: Checkpoint, new: Checkpoint) -> None:
    """Raises CheckpointMovedError when it is not where it was."""
    before = dict(zip(("old_epoch", "old_position", "old_chain"), _place(old), strict=True))
    moved = _MOVE_CHECKPOINT.run(connection, **before, **msgspec.structs.asdict(new))
    if moved.rowcount != 1:
        raise CheckpointMovedError


def discard(connection: Connection, positions: Collection[int]) -> int:
    """Leave these parked events, and those behind them, out for good. Returns how many there are."""
    where = _parked.c.position.in_(positions) | _parked.c.behind.in_(positions)
    return connection.execute(update(_parked).where(where).values(discarded=True)).rowcount


def set_active(connection: Connection, *, active: bool) -> None:
    connection.execute(update(_checkpoint).values(active=active))


def read_trouble(connection: Connection) -> Trouble | None:
    row = connection.execute(select(_trouble)).one_or_none()
    return None if row is None else Trouble(*row)


def read_parked(connection: Connection, up_to: int = 2**62) -> list[Parked]:
    found = _READ_PARKED.run(connection, up_to=up_to).mappings()
    return [msgspec.convert(plain(row), Parked, strict=False) for row in found]


def last_boundary(connection: Connection, position: int) -> int:
    """At or before the position; 0 when there is none."""
    query = select(func.max(_boundaries.c.position)).where(_boundaries.c.position <= position)
    return connection.execute(query).scalar_one() or 0


def digest(connection: Connection, tables: Sequence[Table]) -> bytes:
    """Of what all rows say, in the order of tables and keys: SHA-256 over their MessagePack."""
    summed = hashlib.sha256()
    encode = msgspec.msgpack.Encoder(order="deterministic").encode
    for table in tables:
        summed.update(encode(str(table.name)))
        for row in _contents(connection, table):
            summed.update(encode(row))
    return summed.digest()


def first_difference(served: Connection, rebuilt: Connection, tables: Sequence[Table]) -> Difference | None:
    for table in tables:
        of_key = len(keys(table))
        left, right = _contents(served, table), _contents(rebuilt, table)
        while True:
            mine, theirs = next(left, None), next(right, None)
            if mine == theirs:
                if mine is None:
                    break
                continue
            return _difference(table, of_key, mine, theirs)
    return None


def _difference(table: Table, of_key: int, served: list[Any] | None, rebuilt: list[Any] | None) -> Difference:
    names = _key_first(table)
    if served is None or (rebuilt is not None and rebuilt[:of_key] < served[:of_key]):
        assert rebuilt is not None, "they differ"
        key = dict(zip(names, rebuilt[:of_key], strict=False))
        return Difference(str(table.name), key, None, None, rebuilt[of_key:])
    key = dict(zip(names, served[:of_key], strict=False))
    if rebuilt is None or served[:of_key] < rebuilt[:of_key]:
        return Difference(str(table.name), key, None, served[of_key:], None)
    place = next(place for place, (a, b) in enumerate(zip(served, rebuilt, strict=True)) if a != b)
    return Difference(str(table.name), key, names[place], served[place], rebuilt[place])


def _contents(connection: Connection, table: Table) -> Iterator[list[Any]]:
    columns = [table.c[name] for name in _key_first(table)]
    order = [table.c[name] for name in keys(table)]
    query = select(*columns).order_by(*order).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query):
        yield list(row)


def _key_first(table: Table) -> list[str]:
    of_key = keys(table)
    return of_key + [name for name in values(table) if name not in of_key]


def _place(checkpoint: Checkpoint) -> tuple[str, int, bytes]:
    return checkpoint.epoch, checkpoint.position, checkpoint.chain


@cache
def _definitions(*tables: Table) -> tuple[str, ...]:
    kept = [table for each in tables for table in (each, _earlier(each))]
    return (*definitions(*_metadata.sorted_tables, *kept), *map(_keep, tables))


@cache
def _earlier(table: Table) -> Table:
    names = [*keys(table), SINCE]
    columns = [Column(column.name, column.type, primary_key=column.name in names) for column in table.columns]
    until = Column("until", Integer, primary_key=True)
    # Rows of other moments are passed over in an index, by key or without one: they are many, and some are large.
    by_time = Index(f"{table.name}{EARLIER}_by_time", until, SINCE)
    return Table(table.name + EARLIER, MetaData(), *columns, until, by_time)


def _keep(table: Table) -> str:
    """A trigger, so that whoever writes a row need not think of its history."""
    names = [*values(table), SINCE]
    columns = ", ".join(f'"{name}"' for name in names)
    former = ", ".join(f'old."{name}"' for name in names)
    into = f'INSERT INTO "{table.name}{EARLIER}" ({columns}, "until") VALUES ({former}, new.{SINCE})'  # noqa: S608
    when = f'BEFORE UPDATE ON "{table.name}" WHEN old.{SINCE} < new.{SINCE}'
    return f'CREATE TRIGGER "{table.name}_keep" {when} BEGIN {into}; END'
