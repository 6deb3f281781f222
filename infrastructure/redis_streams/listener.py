"""One thread that hears of every append, whoever made it, and wakes those who wait for the log to grow."""

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Final

import redis
from eventsourcing.persistence import OperationalError
from redis.exceptions import RedisError

from infrastructure.growth import Growth

__all__ = ["Listener"]

_QUIET: Final = 5.0
"""Seconds of silence after which the server is asked whether it is there."""

_DELAYS: Final = (0.05, 0.1, 0.2, 0.5)
"""Seconds before each attempt to come back; the last one for all further ones."""

_logger = logging.getLogger("callosum.redis")


class Listener:
    """Subscribes to the log's channel when somebody waits for the first time.

    Messages that are published while it is away are lost, but not what they told: when it is back, everyone who
    waits looks at the log itself.
    """

    def __init__(self, connect: Callable[[], Any], channel: str, growth: Growth, patience: float) -> None:
        self._connect = connect
        self._channel = channel
        self._growth = growth
        self._patience = patience
        self._lock = Lock()
        self._thread: Thread | None = None
        self._connection: Any = None
        self._listening = Event()
        self._stopping = Event()

    def ensure(self) -> None:
        """Return when it listens, so that no append that comes later is missed.

        Raises:
            OperationalError: the server cannot be reached.
        """
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = Thread(target=self._run, name="callosum-listener", daemon=True)
                self._thread.start()
        if not self._listening.wait(self._patience) and not self._stopping.is_set():
            raise OperationalError(f"Redis: the channel {self._channel} could not be subscribed to.")

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            self._listening.set()  # nobody shall wait for it any more
            connection, thread = self._connection, self._thread
        if connection is not None:
            connection.disconnect()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            try:
                self._listen()
            except (RedisError, OSError, ValueError) as error:
                if self._stopping.is_set():
                    return
                if self._listening.is_set():
                    attempt = 0
                    _logger.warning("The server's messages are no longer heard; trying to come back: %s", error)
                self._listening.clear()
            self._stopping.wait(_DELAYS[min(attempt, len(_DELAYS) - 1)])
            attempt += 1

    def _listen(self) -> None:
        connection = self._connect()
        with self._lock:
            if self._stopping.is_set():
                return
            self._connection = connection
        try:
            for command in (("PING",), ("SUBSCRIBE", self._channel)):  # a server that loads refuses only the first
                connection.send_command(*command)
                connection.read_response()
            self._listening.set()
            self._growth.restart()
            while not self._stopping.is_set():
                self._hear(connection)
        finally:
            with suppress(OSError):
                connection.disconnect()

    def _hear(self, connection: Any) -> None:
        try:
            reply = connection.read_response(timeout=_QUIET, disconnect_on_error=False)
        except redis.TimeoutError:
            connection.send_command("PING")
            reply = connection.read_response()
        if reply[0] == b"message":
            self._growth.reached(int(reply[2]))
