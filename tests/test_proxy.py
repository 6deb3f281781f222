"""What stands between clients and servers in tests does what it is told, and nothing else."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import monotonic

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infrastructure.redis_streams.private_server import PrivateServer
from tests.proxy import Proxy
from tests.servers import PrivateServerFactory, connected, get, put

BIG = b"x" * 3_000_000  # more than sockets buffer on the way


def assert_echoed(client: redis.Redis) -> None:
    """Requests that are sent to the end before a reply is read, more than sockets hold back of these."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(12):
        pipeline.echo(BIG)

    assert pipeline.execute() == [BIG] * 12


class TestProxy:
    @pytest.fixture
    def proxy(self, redis_server: PrivateServer) -> Iterator[Proxy]:
        with connected(redis_server.url) as client:
            client.flushall()
        with Proxy("127.0.0.1", redis_server.port) as proxy:
            yield proxy

    @pytest.fixture
    def client(self, proxy: Proxy) -> Iterator[redis.Redis]:
        with connected(f"redis://127.0.0.1:{proxy.port}") as client:
            client.ping()  # the greetings of a new connection are requests too
            yield client

    def test_a_cut_loses_one_reply_after_its_command(
        self, proxy: Proxy, client: redis.Redis, redis_server: PrivateServer
    ) -> None:
        proxy.cut_after_next_request()
        with pytest.raises(redis.ConnectionError):
            client.incr("counter")

        assert proxy.cuts == 1
        assert get(redis_server.url, "counter") == b"1"
        assert client.incr("counter") == 2
        assert proxy.cuts == 1

    def test_a_cut_spares_other_connections(self, proxy: Proxy, client: redis.Redis) -> None:
        with connected(f"redis://127.0.0.1:{proxy.port}") as other:
            other.ping()
            proxy.cut_after_next_request()
            with pytest.raises(redis.ConnectionError):
                client.ping()

            assert other.ping()

    def test_a_request_of_many_segments_is_passed_on_whole(
        self, proxy: Proxy, client: redis.Redis, redis_server: PrivateServer
    ) -> None:
        proxy.cut_after_next_request()
        with pytest.raises(redis.ConnectionError):
            client.set("big", BIG)

        assert get(redis_server.url, "big") == BIG

    def test_large_replies_and_requests_pass_unchanged(self, client: redis.Redis) -> None:
        assert_echoed(client)

    def test_refusing_stops_new_connections_only(self, proxy: Proxy, client: redis.Redis) -> None:
        url = f"redis://127.0.0.1:{proxy.port}"

        proxy.refuse()
        assert client.ping()
        with pytest.raises(redis.ConnectionError, match="refused"):
            get(url, "key")
        proxy.accept()

        assert get(url, "key") is None

    def test_a_delay_holds_replies_back(self, proxy: Proxy, client: redis.Redis) -> None:
        proxy.delay(0.05)
        begun = monotonic()
        client.ping()

        assert monotonic() - begun >= 0.05

    def test_the_end_of_the_proxy_is_the_end_of_its_connections(self, redis_server: PrivateServer) -> None:
        failures: list[redis.ConnectionError] = []

        def wait_for_ever(client: redis.Redis) -> None:
            try:
                client.blpop(["never pushed"], timeout=8)
            except redis.ConnectionError as error:
                failures.append(error)

        with Proxy("127.0.0.1", redis_server.port) as proxy:
            client = redis.Redis.from_url(f"redis://127.0.0.1:{proxy.port}", retry=Retry(NoBackoff(), 0))
            client.ping()
            waiting = Thread(target=wait_for_ever, args=(client,))
            waiting.start()
        waiting.join()
        client.close()

        assert len(failures) == 1

    def test_a_server_that_is_down_closes_the_connection(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        server.kill()

        with Proxy("127.0.0.1", server.port) as proxy, pytest.raises(redis.ConnectionError):
            get(f"redis://127.0.0.1:{proxy.port}", "key")


class TestTLSFront:
    @pytest.fixture
    def trusting(self, tls_server: str, certificates: Path) -> Iterator[redis.Redis]:
        with connected(tls_server, ssl_ca_certs=str(certificates / "ca.crt")) as client:
            yield client

    def test_it_serves_a_client_that_trusts_its_authority(
        self, trusting: redis.Redis, redis_server: PrivateServer
    ) -> None:
        put(redis_server.url, "kept behind the front", "kept")

        assert trusting.get("kept behind the front") == b"kept"

    def test_a_client_that_does_not_trust_it_refuses(self, tls_server: str) -> None:
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            get(tls_server, "key")

    def test_a_client_without_tls_is_refused(self, tls_server: str) -> None:
        with pytest.raises(redis.ConnectionError):
            get(tls_server.replace("rediss", "redis"), "key")

    def test_large_replies_and_requests_pass_unchanged(self, trusting: redis.Redis) -> None:
        assert_echoed(trusting)

    def test_a_client_that_never_greets_keeps_nobody_waiting(self, tls_server: str, certificates: Path) -> None:
        port = int(tls_server.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            assert get(tls_server, "never set", ssl_ca_certs=str(certificates / "ca.crt")) is None
