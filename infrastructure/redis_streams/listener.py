"""One thread that hears of every append, whoever made it, and wakes those who wait for the log to grow."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Final
from uuid import uuid4

import redis
from redis.exceptions import RedisError

from infrastructure.growth import Growth

__all__ = ["Listener"]

_QUIET: Final = 5.0
"""Seconds of silence after which the server is asked whether it is there."""

_DELAYS: Final = (0.05, 0.1, 0.2, 0.5)
"""Seconds before each attempt to come back; the last one for all further ones."""

_UNKNOWN: Final = -1

_logger = logging.getLogger("callosum.redis")


class Listener:
    """Subscribes to the log's channel, and to the bells of its inbox, when somebody waits for the first time.

    Messages that are published while it is away are lost, but not what they told: when it is back, everyone who
    waits looks at the log itself, every bell rings, and who waits for room is told that it may be there.

    The log's channel carries the last position of each append and, behind it, tracts with their backlogs: those
    where something was settled, or whose gate has changed.

    Args:
        connect: makes a connection of the listener's own.
        channel: the log's.
        bells: channels of the inbox, and whose bell each is.
        growth: whom to tell.

    Attributes:
        name: says whose an append is. Who appends rings at once, and not again when the bell is heard.
    """

    def __init__(self, connect: Callable[[], Any], channel: str, bells: Mapping[str, str], growth: Growth) -> None:
        self._connect = connect
        self._channels = [channel, *bells]
        self._bells = {bell.encode(): tract for bell, tract in bells.items()}
        self._growth = growth
        self.name = uuid4().hex
        self._rings: list[Callable[[str], None]] = []
        self._rooms: list[Callable[[str, int], None]] = []
        self._lock = Lock()
        self._thread: Thread | None = None
        self._connection: Any = None
        self._stopping = Event()

    def start(self) -> None:
        """Begin, unless it has begun. The growth is told when the server is heard."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = Thread(target=self._run, name="callosum-listener", daemon=True)
                self._thread.start()

    def add_ring(self, ring: Callable[[str], None]) -> None:
        """Have this called, in any thread, with the tract whose bell rings."""
        self._rings.append(ring)

    def ring(self, tract: str) -> None:
        for ring in self._rings:
            ring(tract)

    def add_room(self, told: Callable[[str, int], None]) -> None:
        """Have this called, in any thread, with a tract and its backlog, or -1 when some may have been missed.

        Also with what this process appends: only so are the backlogs told in their order.
        """
        self._rooms.append(told)

    def _tell_room(self, tract: str, backlog: int) -> None:
        for told in self._rooms:
            told(tract, backlog)

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            connection, thread = self._connection, self._thread
        if connection is not None:
            connection.disconnect()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._subscribe()
                failures = 0
                self._growth.restart()
                for tract in self._bells.values():
                    self.ring(tract)
                    self._tell_room(tract, _UNKNOWN)
                while not self._stopping.is_set():
                    self._hear()
            except (RedisError, OSError, ValueError, AttributeError) as error:
                # The last one is redis-py's own, when `stop` disconnects a connection that is being made.
                self._growth.pause()
                if failures == 0 and not self._stopping.is_set():
                    _logger.warning("Redis cannot be heard; trying until it can: %s", error)
            finally:
                self._hang_up()
            self._stopping.wait(_DELAYS[min(failures, len(_DELAYS) - 1)])
            failures += 1

    def _subscribe(self) -> None:
        connection = self._connect()
        with self._lock:
            self._connection = connection
        subscriptions = [("SUBSCRIBE", channel) for channel in self._channels]
        for command in (("PING",), *subscriptions):  # a server that loads refuses only the first
            connection.send_command(*command)
            connection.read_response()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._connection.disconnect()

    def _hear(self) -> None:
        try:
            reply = self._connection.read_response(timeout=_QUIET, disconnect_on_error=False)
        except redis.TimeoutError:
            self._connection.send_command("PING")
            reply = self._connection.read_response()
        if reply[0] != b"message":
            return
        if (tract := self._bells.get(reply[1])) is not None:
            if reply[2] != self.name.encode():
                self.ring(tract)
        else:
            position, *levels = reply[2].decode().split()
            self._growth.reached(int(position))
            for tract, backlog in zip(levels[::2], levels[1::2], strict=True):
                self._tell_room(tract, int(backlog))
