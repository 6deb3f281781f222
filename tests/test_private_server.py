"""The servers that tests and the durability measure start are real, lasting, and gone when they should be."""

import os
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import redis

from infrastructure.redis_streams.binaries import Binary, BinaryError, find_binaries
from infrastructure.redis_streams.private_server import PrivateServer, StartError
from tests.processes import start
from tests.servers import BINARIES, PrivateServerFactory, connected, get, put


class TestBinaries:
    def test_each_has_its_own_name_and_its_own_file(self) -> None:
        assert len({binary.name for binary in BINARIES}) == len(BINARIES)
        assert len({binary.path.resolve() for binary in BINARIES}) == len(BINARIES)

    def test_a_name_tells_what_runs(self, redis_binary: Binary, redis_server: PrivateServer) -> None:
        with connected(redis_server.url) as client:
            answered = client.info("server")

        kind, version = redis_binary.name.split()
        assert answered.get(f"{kind}_version") == version

    def test_the_one_named_by_the_environment_comes_first(
        self, monkeypatch: pytest.MonkeyPatch, redis_binary: Binary
    ) -> None:
        monkeypatch.setenv("REDIS_SERVER_BIN", str(redis_binary.path))

        found = find_binaries()

        assert found[0] == redis_binary
        assert sorted(found, key=str) == sorted(BINARIES, key=str)

    def test_a_second_one_of_the_same_name_is_left_out(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_binary: Binary
    ) -> None:
        copy = program(tmp_path, f"exec {shlex.quote(str(redis_binary.path))} $*")
        monkeypatch.setenv("REDIS_SERVER_BIN", str(copy))

        found = find_binaries()

        assert found[0] == Binary(copy, redis_binary.name)
        assert {binary.name for binary in found} == {binary.name for binary in BINARIES}
        assert len(found) == len(BINARIES)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [(None, "No such file"), ("exit 3", "exit status 3"), ("echo hello", "does not tell of a server")],
    )
    def test_a_wrong_one_in_the_environment_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, reason: str
    ) -> None:
        path = tmp_path / "server" if text is None else program(tmp_path, text)
        monkeypatch.setenv("REDIS_SERVER_BIN", str(path))

        with pytest.raises(BinaryError, match=reason) as raised:
            find_binaries()

        assert raised.value.path == path


def program(directory: Path, text: str) -> Path:
    path = directory / "server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestRunning:
    def test_both_addresses_lead_to_one_server(self, redis_server: PrivateServer) -> None:
        put(redis_server.url, "both addresses", "seen")

        assert get(redis_server.tcp_url, "both addresses") == b"seen"

    def test_a_directory_with_a_long_and_awkward_path_will_do(
        self, private_server: PrivateServerFactory, tmp_path: Path
    ) -> None:
        directory = tmp_path / ('a "quoted" \\ name' + "-" * 100)

        server = private_server(directory)
        put(server.url, "key", "kept")
        server.kill()
        server.start()

        assert get(server.url, "key") == b"kept"
        assert (directory / "appendonlydir").is_dir()

    def test_a_password_is_asked_for(self, private_server: PrivateServerFactory) -> None:
        server = private_server(password='pa ss/"@:word')
        put(server.url, "key", "kept")

        assert get(server.tcp_url, "key") == b"kept"
        with pytest.raises(redis.AuthenticationError):
            get(f"unix://{server.socket}", "key")

    @pytest.mark.parametrize("fsync", ["always", "everysec", "no"])
    def test_it_keeps_a_file_and_syncs_it_as_told(
        self, private_server: PrivateServerFactory, fsync: Literal["always", "everysec", "no"]
    ) -> None:
        server = private_server(fsync=fsync)

        with connected(server.url) as client:
            found = client.config_get("appendonly", "appendfsync", "save")

        assert found == {"appendonly": "yes", "appendfsync": fsync, "save": ""}

    def test_options_win_and_may_be_of_several_words(self, private_server: PrivateServerFactory) -> None:
        server = private_server(appendfsync="everysec", save="3600 1 300 100")

        with connected(server.url) as client:
            found = client.config_get("appendfsync", "save")

        assert found == {"appendfsync": "everysec", "save": "3600 1 300 100"}

    def test_a_bad_option_is_told_with_the_end_of_the_log(self, redis_binary: Binary, tmp_path: Path) -> None:
        server = PrivateServer(redis_binary, tmp_path, options={"no-such-option": "1"})

        with pytest.raises(StartError, match="Bad directive") as raised, server:
            pass

        assert raised.value.name == redis_binary.name
        assert "no-such-option" in raised.value.log

    def test_it_dies_with_the_process_that_started_it(self, redis_binary: Binary, tmp_path: Path) -> None:
        owner = start("-c", OWNER, str(redis_binary.path), redis_binary.name, str(tmp_path))
        with owner:
            assert owner.stdout is not None
            url = owner.stdout.readline().strip()
            with connected(url) as client:
                owner.kill()
                with pytest.raises(redis.ConnectionError):  # the server's end is the reply
                    client.blpop(["never pushed"], timeout=8)


OWNER = """
import sys
from pathlib import Path
from infrastructure.redis_streams.binaries import Binary
from infrastructure.redis_streams.private_server import PrivateServer
server = PrivateServer(Binary(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[3]))
server.start()
print(server.url, flush=True)
sys.stdin.read()
"""


class TestRestarts:
    @pytest.mark.parametrize("end", [PrivateServer.kill, PrivateServer.stop])
    def test_it_listens_where_it_did_and_has_what_it_had(
        self, private_server: PrivateServerFactory, end: Callable[[PrivateServer], None]
    ) -> None:
        server = private_server()
        addresses, pid = (server.url, server.tcp_url), server.pid
        put(server.url, "key", "kept")

        end(server)
        for url in addresses:
            with pytest.raises(redis.ConnectionError):
                get(url, "key")
        server.start()

        assert [get(url, "key") for url in addresses] == [b"kept", b"kept"]
        assert server.pid != pid

    def test_its_port_is_nobody_elses_while_it_is_down(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        server.kill()

        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))

    def test_a_start_waits_until_the_file_is_loaded(self, private_server: PrivateServerFactory) -> None:
        server = private_server(key_load_delay="5000")  # microseconds a key, hence half a second
        with connected(server.url) as client:
            client.mset({f"key {number}": number for number in range(100)})
        server.kill()

        server.start(wait=False)
        server.start()

        assert get(server.url, "key 99") == b"99"

    def test_one_that_died_of_itself_is_started_again(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

        server.start()

        assert get(server.url, "key") is None

    def test_a_start_of_a_running_one_leaves_it_running(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        pid = server.pid

        server.start()

        assert server.pid == pid

    def test_a_paused_one_is_silent_and_keeps_its_connections(self, private_server: PrivateServerFactory) -> None:
        server = private_server()
        with connected(server.url) as client:
            server.pause()
            with pytest.raises(redis.TimeoutError), connected(f"{server.tcp_url}?socket_timeout=0.1") as other:
                other.ping()
            server.resume()

            assert client.ping()

    @pytest.mark.parametrize("end", [PrivateServer.kill, PrivateServer.stop])
    def test_a_paused_one_can_be_ended(
        self, private_server: PrivateServerFactory, end: Callable[[PrivateServer], None]
    ) -> None:
        server = private_server()
        server.pause()

        end(server)

        with pytest.raises(ProcessLookupError):
            os.kill(server.pid, 0)

    def test_nothing_is_left_after_the_block(self, redis_binary: Binary, tmp_path: Path) -> None:
        with PrivateServer(redis_binary, tmp_path / ("long" * 30)) as server:
            pass

        with pytest.raises(ProcessLookupError):
            os.kill(server.pid, 0)
        assert not server.socket.parent.exists()
