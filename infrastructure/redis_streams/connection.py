"""Connections to the server, and its errors as the library's PEP 249 tree.

No command is ever sent twice here. redis-py would by default, up to ten times; a reply that was lost would become
a second event or a conflict with oneself. Who can tell what a repetition means, repeats it.

::

    OperationalError (PEP 249)    refused, LOADING, READONLY, OOM, MISCONF, wrong password: it may pass
    └── ConnectionLostError       the command was sent, and no reply came: it may have been carried out, or not
    ProgrammingError (PEP 249)    NOPERM, WRONGTYPE and the like: it will not pass by itself
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha1
from importlib.resources import files
from threading import Lock, Semaphore
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import redis
from eventsourcing.persistence import OperationalError, PersistenceError, ProgrammingError
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

__all__ = ["Connection", "ConnectionLostError", "Connections", "Script", "Word"]

Word = str | bytes | int | float

_MOST_CONNECTIONS: Final = 64
_PASSING: Final = {
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
}
"""Codes of refusals that may pass by themselves."""

_TLS_OPTIONS: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_OPTIONS: Final = {"db", "namespace", "durability", "password", "username"} | _TLS_OPTIONS


class ConnectionLostError(OperationalError):
    """The command was sent and no reply came: whether it was carried out is not known."""


class Script:
    """Lua scripts beside this file, one after the other, as one."""

    def __init__(self, *names: str) -> None:
        folder = files("infrastructure.redis_streams").joinpath("scripts")
        self.text = "".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """One connection, on loan."""

    def __init__(self, connection: Any, address: str) -> None:
        self._connection = connection
        self._address = address

    def call(self, *words: Word) -> Any:
        """Send one command; its reply."""
        with _sent(self._address):
            self._connection.send_command(*words)
            return self._connection.read_response()

    def together(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send several commands at once; their replies. Raises the first error when all replies are in."""
        if not commands:
            return []
        with _sent(self._address):
            self._connection.send_packed_command(self._connection.pack_commands(commands))
            replies = [self._reply() for _ in commands]
            for reply in replies:
                if isinstance(reply, ResponseError):
                    raise reply
        return replies

    def _reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def run(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """Run a script, which the server is given when it does not know it."""
        with _sent(self._address):
            self._connection.send_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            try:
                return self._connection.read_response()
            except NoScriptError:
                self._connection.send_command("EVAL", script.text, len(keys), *keys, *arguments)
                return self._connection.read_response()


class Pool:
    """Connections of redis-py that wait for their next user. Its own pool takes longer than a command does.

    Args:
        make: makes one.
        most: at work at once.
        timeout: seconds to wait for one then.
    """

    def __init__(self, make: Callable[[], Any], most: int, timeout: float) -> None:
        self._make = make
        self._places = Semaphore(most)
        self._timeout = timeout
        self._changing = Lock()
        self._idle: list[Any] = []
        self._made: list[Any] = []

    def get(self) -> Any:
        if not self._places.acquire(timeout=self._timeout):
            raise redis.ConnectionError(f"all connections are at work for {self._timeout} s")
        connection = None
        try:
            connection = self._next()
            _make_ready(connection)
        except BaseException:  # whatever it is, others must get their turn
            self.put(connection)
            raise
        return connection

    def put(self, connection: Any) -> None:
        if connection is not None:
            self._idle.append(connection)
        self._places.release()

    def _next(self) -> Any:
        with self._changing:
            if not self._idle:
                self._idle.append(self._make())
                self._made.append(self._idle[-1])
            return self._idle.pop()

    def close(self) -> None:
        for connection in self._made:
            connection.disconnect()


def _make_ready(connection: Any) -> None:
    """Connect, unless it is; anew when something came unasked, as a rule that the server has closed it."""
    connection.connect()
    with suppress(redis.ConnectionError, OSError):
        if not connection.can_read():
            return
    connection.disconnect()
    connection.connect()


class Connections:
    """A pool of connections, for any number of threads.

    Args:
        url: ``redis://``, ``rediss://`` (TLS, with verification) or ``unix://``, with user, password and database.
        timeout: seconds to wait for a connection, and for a reply.

    Attributes:
        address: the server, for people; without the password.
        options: what the URL asks for beyond the server: ``namespace``, ``durability``.
    """

    def __init__(self, url: str, timeout: float) -> None:
        settings, self.options, self.address = _parsed(url)
        self._class = settings.pop("connection_class", redis.Connection)
        self._settings = {
            **settings,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "client_name": "callosum",
        }
        self._pool = Pool(self.dedicated, _MOST_CONNECTIONS, timeout)

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        with _refused(self.address):
            connection = self._pool.get()
        try:
            yield Connection(connection, self.address)
        finally:
            self._pool.put(connection)

    def call(self, *words: Word) -> Any:
        with self.borrowed() as connection:
            return connection.call(*words)

    def together(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        with self.borrowed() as connection:
            return connection.together(commands)

    def run(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        with self.borrowed() as connection:
            return connection.run(script, keys, arguments)

    def dedicated(self) -> Any:
        """A connection of redis-py that belongs to the caller, who handles its errors and closes it."""
        return self._class(**self._settings)

    def close(self) -> None:
        self._pool.close()


def _parsed(url: str) -> tuple[dict[str, Any], dict[str, str], str]:
    parts = _split(url)
    asked = _asked(parts)
    settings = parse_url(url)
    options = {name: str(settings.pop(name)) for name in asked if name in {"namespace", "durability"}}
    place = parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
    number = settings.get("db", 0)
    return settings, options, f"{parts.scheme}://{place}" + (f" (database {number})" if number else "")


def _split(url: str) -> SplitResult:
    """The URL's parts. The error repeats none of them: a password that is not quoted ends up in any."""
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme == "unix":
            misplaced = bool(parts.netloc.rpartition("@")[2])
        else:
            misplaced = "@" in parts.path + parts.query
        if not (misplaced or parts.fragment or parts.port == 0):
            return parts
    raise ValueError(
        "the URL is malformed; in a user or password, write what is no letter or digit as in %2F for a slash"
    )


def _asked(parts: SplitResult) -> dict[str, str]:
    """What the URL asks for in its query."""
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = _OPTIONS if parts.scheme == "rediss" else _OPTIONS - _TLS_OPTIONS
    unknown = sorted(asked.keys() - known)
    if unknown:
        raise ValueError(f"unknown in the URL's query: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if empty := sorted(name for name, value in asked.items() if not value):
        raise ValueError(f"empty in the URL's query: {', '.join(empty)}")
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdigit():
        raise ValueError("the URL's path is no number of a database, as in redis://localhost/0")
    return asked


@contextmanager
def _refused(address: str) -> Iterator[None]:
    """Errors before anything was sent."""
    try:
        yield
    except RedisError as error:
        raise _translated(error, address, lost=OperationalError) from error


@contextmanager
def _sent(address: str) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise _translated(error, address, lost=ConnectionLostError) from error


def _translated(error: RedisError, address: str, lost: type[PersistenceError]) -> PersistenceError:
    message = f"Redis at {address}: {_with_code(error)}"
    if isinstance(error, AuthenticationError | BusyLoadingError):
        return OperationalError(message)
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return lost(message)
    code = _with_code(error).partition(" ")[0]
    return OperationalError(message) if code in _PASSING else ProgrammingError(message)


def _with_code(error: RedisError) -> str:
    """The server's whole sentence: redis-py takes the code off where it has a class for it."""
    code = getattr(error, "status_code", None)
    text = str(error)
    return text if not code or code == "ERR" or text.startswith(code) else f"{code} {text}"
