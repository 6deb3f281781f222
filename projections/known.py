"""What a fold needs again of the rows that it has written, kept in memory."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar
from uuid import UUID

from sqlalchemy import Table

from projections.fold import Recorded
from projections.model import Stored
from projections.tables import Row, keys

__all__ = ["Known"]

_MOST: Final = 20_000
"""Rows kept from one batch to the next; beyond that they are read again."""

_V = TypeVar("_V")


class Known(Generic[_V]):
    """The rows of a table that has an id as its key: what they say, by id.

    Args:
        table: their table.
        decode: what a row says.
    """

    def __init__(self, table: Table, decode: Callable[[Row], _V]) -> None:
        self._table = table
        [self._key] = keys(table)
        self._decode = decode
        self._values: dict[int, _V] = {}  # by the ids as numbers: hashing a UUID takes four times as long

    def load(self, events: Sequence[Recorded], kinds: type | tuple[type, ...], stored: Stored) -> None:
        """Make available what is stored of the aggregates of these kinds of events; at the beginning of a batch.

        Raises:
            CheckpointMovedError: what is stored is of a later checkpoint.
        """
        if len(self._values) > _MOST:
            self._values.clear()
        ids = {recorded.event.originator_id.int for recorded in events if isinstance(recorded.event, kinds)}
        missing = [str(UUID(int=each)) for each in ids if each not in self._values]
        if missing:
            for row in stored.rows(self._table, **{self._key: missing}):
                self[UUID(row[self._key])] = self._decode(row)

    def __getitem__(self, key: UUID) -> _V:
        """Raises KeyError for what was neither stored nor set since."""
        return self._values[key.int]

    def __setitem__(self, key: UUID, value: _V) -> None:
        """The row is for the caller to put."""
        self._values[key.int] = value

    def forget(self) -> None:
        self._values.clear()
