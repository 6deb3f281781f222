"""Forms in which events were stored before, and how they are read today; every one that was released stays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.domain import CanMutateAggregate

__all__ = ["UPCASTS", "Upcast"]


@dataclass(frozen=True)
class Upcast:
    """How events of an old topic are read today.

    Attributes:
        topic: the old one.
        state: an array-like Struct with the fields as they were stored then.
        event_class: today's class.
        convert: the fields of today's class, by name, from an instance of `state`.
    """

    topic: str
    state: type[msgspec.Struct]
    event_class: type[CanMutateAggregate[UUID]]
    convert: Callable[[Any], dict[str, Any]]


UPCASTS: Final[tuple[Upcast, ...]] = ()
