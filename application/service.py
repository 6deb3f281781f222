"""Opening and closing the service."""

import asyncio
from typing import Self

from application.errors import CallosumClosedError
from application.parts import Parts
from application.settings import Settings
from domain.errors import InvalidCommandError

__all__ = ["Service"]


class Service:
    """What was opened on a store, until it is closed. The rest is in `CorpusCallosum`, which derives from it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts: Parts | None = None
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, url: str | None = None, *, settings: Settings | None = None) -> Self:
        """Name the store: a URL, or full settings; without either the environment's (`Settings`)."""
        if settings is None:
            settings = Settings() if url is None else Settings(url=url, views=None)
        return cls(settings)

    async def __aenter__(self) -> Self:
        if self._parts is not None or self._closing is not None:
            raise InvalidCommandError("service", "was opened before; open another one")
        self._parts = await Parts.open(self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Answer the commands that were taken, end every `follow`, and close the store.

        Every call returns when all is closed, however many there are. Cancelling one stops only its waiting.
        """
        if self._parts is not None:
            parts, self._parts = self._parts, None
            self._closing = asyncio.ensure_future(parts.close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise CallosumClosedError
        return self._parts
