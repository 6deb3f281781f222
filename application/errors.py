"""What the service refuses, beyond what the domain does.

::

    CallosumError (domain)
    ├── CallosumClosedError         the service was closed, or not yet opened
    ├── InvalidCommandError (domain)
    │   └── NotReachedError         the log ends before the position to follow from
    ├── InvalidURLError             the store's address cannot be used
    ├── StoreSettingsError          the store's settings cannot
    ├── ExtraMissingError           a library is needed that comes with an extra
    └── LogError                    an entry of the log cannot be trusted
        ├── UnknownTopicError       its topic is registered nowhere
        └── UnreadableEventError    its state does not decode

The read side's errors are in `projections.errors`. Errors of the store itself
stay the eventsourcing library's PEP 249 tree (`eventsourcing.persistence`):
`OperationalError` for a full disk or a locked file, and so on.
"""

from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent

from domain.errors import CallosumError, InvalidCommandError

__all__ = [
    "CallosumClosedError",
    "ExtraMissingError",
    "InvalidURLError",
    "LogError",
    "NotReachedError",
    "StoreSettingsError",
    "UnknownTopicError",
    "UnreadableEventError",
]


class CallosumClosedError(CallosumError):
    def __init__(self) -> None:
        super().__init__("This Corpus Callosum is not open; use it within `async with`.")


class NotReachedError(InvalidCommandError):
    """To follow from there would pass over what will be appended until then.

    Attributes:
        after: the position to follow from.
        head: where the log ends.
    """

    def __init__(self, after: int, head: int) -> None:
        super().__init__(
            "position to follow from", f"is {after}, which the log has not reached; it ends at {head}"
        )
        self.after = after
        self.head = head


def _without_password(url: str) -> str:
    """As much of a URL as may be shown, however malformed it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if url.isalnum() else "…"
    user, at, place = rest.rpartition("@")
    place, query, _ = place.partition("?")
    return f"{scheme}://{'…' if user else ''}{at}{place}{'?…' if query else ''}"


class InvalidURLError(CallosumError):
    def __init__(self, url: str, reason: str) -> None:
        self.url = _without_password(url)
        super().__init__(f"The URL {self.url!r} {reason}.")
        self.reason = reason


class StoreSettingsError(CallosumError):
    """COMPRESSOR_TOPIC, CIPHER_KEY or another setting of the eventsourcing library's cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The store's settings cannot be used: {reason}.")
        self.reason = reason


class ExtraMissingError(CallosumError):
    """What was asked for needs a library that is not installed."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install '.[{extra}]'.")
        self.library = library
        self.extra = extra


class LogError(CallosumError):
    """An entry of the log cannot be trusted.

    Attributes:
        position: its place in the log, or None where it was read by aggregate; then `originator_id` and
            `originator_version` say which it is.
    """

    def __init__(self, stored: StoredEvent, reason: str) -> None:
        self.position = stored.id if isinstance(stored, Notification) else None
        self.originator_id: UUID | str = stored.originator_id
        self.originator_version = stored.originator_version
        self.topic = stored.topic
        self.reason = reason
        place = f"position {self.position}" if self.position is not None else "a stored event"
        super().__init__(f"At {place} (version {self.originator_version} of {self.originator_id}): {reason}.")


class UnknownTopicError(LogError):
    def __init__(self, stored: StoredEvent) -> None:
        super().__init__(stored, f"the topic {stored.topic!r} is not known")


class UnreadableEventError(LogError):
    def __init__(self, stored: StoredEvent, reason: str) -> None:
        super().__init__(stored, f"the state of a {stored.topic!r} cannot be read: {reason}")
