"""The log's own time: milliseconds since 1970, in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["EPOCH", "in_milliseconds", "log_time"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def log_time(milliseconds: int) -> str:
    """As RFC 3339 in UTC: ``2026-03-01T12:00:00.000Z``."""
    return (EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_milliseconds(moment: datetime) -> int:
    """Of a time with a zone, rounded down."""
    return (moment - EPOCH) // timedelta(milliseconds=1)
