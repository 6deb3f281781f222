"""What stands at one position of a log."""

from dataclasses import dataclass

from eventsourcing.persistence import Notification

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry(Notification):
    """A stored event with its place in the log (`id`), the log's time in milliseconds, and its chain."""

    at: int
    chain: bytes
