"""Examining a store without opening the log: what it can lose, what it has room for, why it would be refused."""

import asyncio
import os
from contextlib import closing
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from eventsourcing.persistence import InfrastructureFactory, InfrastructureFactoryError
from eventsourcing.utils import Environment, TopicError
from msgspec import Struct

from application.errors import StoreSettingsError
from application.log import DialogueLog
from application.settings import store_environment

__all__ = ["Examinable", "Examination", "Fact", "Finding", "Severity", "examine", "size"]

Fact = str | int | float | bool | None
"""None: unknown."""


class Severity(StrEnum):
    """How bad it is: the service does not open a store of which something is refused."""

    OK = "ok"
    WARNING = "warning"
    REFUSED = "refused"


class Finding(Struct, frozen=True):
    """What was found about a subject; the text is a clause without a full stop."""

    severity: Severity
    subject: str
    text: str


class Examination(Struct, frozen=True):
    """A store, named for people, with what was found.

    Attributes:
        facts: by name; the unit is the name's last word, such as ``bytes`` or ``ms``.
    """

    store: str
    facts: dict[str, Fact]
    findings: list[Finding]

    @property
    def refused(self) -> bool:
        return any(finding.severity is Severity.REFUSED for finding in self.findings)


@runtime_checkable
class Examinable(Protocol):
    """What a persistence module's factory can do beyond the library's."""

    def examine(self) -> Examination:
        """Look at the store, and change nothing; one that the service refuses can be examined too.

        Raises:
            OperationalError: the store cannot be reached.
        """


async def examine(url: str) -> Examination:
    """Examine the store that a URL names.

    Raises:
        InvalidURLError, StoreSettingsError: it cannot be named so.
        OperationalError: it cannot be reached.
    """
    return await asyncio.to_thread(_examined, url)


def _examined(url: str) -> Examination:
    environment = Environment(DialogueLog.name, {**os.environ, **store_environment(url)})
    try:
        factory: InfrastructureFactory[Any] = InfrastructureFactory.construct(environment)
    except (TopicError, InfrastructureFactoryError, ValueError) as error:
        raise StoreSettingsError(str(error)) from error
    with closing(factory):
        if not isinstance(factory, Examinable):
            raise TypeError(f"{type(factory).__module__} is no persistence module of this project.")
        return factory.examine()


def size(number: float) -> str:
    """Bytes as a person reads them, three digits of them: ``1.27 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} TiB"
