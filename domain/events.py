"""What the events of every aggregate have in common."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.domain import CanMutateAggregate

__all__ = ["AggregateEvent"]


class AggregateEvent(CanMutateAggregate[UUID], msgspec.Struct, frozen=True):
    """Something that happened to an aggregate; `timestamp` is the clock of the process that decided it."""

    originator_id: UUID
    originator_version: int
    timestamp: datetime

    def _as_dict(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.__struct_fields__}
