"""Redis and Valkey servers of one's own: started in a directory, and killed at will."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Literal, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infrastructure.redis_streams.binaries import Binary

__all__ = ["PrivateServer", "StartError"]

PATIENCE: Final = 10.0
"""Seconds in which a server answers after its start, its append-only file loaded, and ends when told to."""

LONGEST_SOCKET_PATH: Final = 100
"""Bytes; the system's limit is 103 to 107, and Redis 7.0 cuts a longer path without a word."""

LOG_TAIL: Final = 20
"""Lines of the log that an error carries."""


class StartError(Exception):
    def __init__(self, name: str, reason: str, log: str) -> None:
        super().__init__(f"{name} did not start: it {reason}. Its log ends with:\n{log}")
        self.name = name
        self.reason = reason
        self.log = log


class PrivateServer:
    """One server with its own directory, on a unix socket and a loopback port; killed when the block is left.

    Address and directory stay the same over `kill`, `stop` and `start`, so that clients can reconnect. Should this
    process end without leaving the block, the server is killed too.
    """

    def __init__(
        self,
        binary: Binary,
        directory: Path,
        *,
        fsync: Literal["always", "everysec", "no"] = "always",
        options: Mapping[str, str] = {},
        password: str | None = None,
    ) -> None:
        """Reserve the addresses; nothing runs yet.

        Args:
            binary: What to run.
            directory: For the append-only file, `server.log` and, if its path is short enough, the socket.
            fsync: The server's `appendfsync`.
            options: Further lines of the configuration, values written as there; they win over the ones set here.
            password: What clients have to give; the URLs carry it.
        """
        self.binary = binary
        self.directory = directory.absolute()
        self.log = self.directory / "server.log"
        self._password = password
        self._held = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket = self._socket_path()
        self.port = _free_port(self._held)
        self._configuration = self._own_options(fsync) | dict(options)

    def _socket_path(self) -> Path:
        path = self.directory / "server.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        return Path(self._held.enter_context(tempfile.TemporaryDirectory())) / path.name

    def _own_options(self, fsync: str) -> dict[str, str]:
        return {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": _quoted(self.socket),
            "dir": _quoted(self.directory),
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes",
            "appendfsync": fsync,
            "enable-debug-command": "local",
            **({} if self._password is None else {"requirepass": _quoted(self._password)}),
        }

    @property
    def url(self) -> str:
        return f"unix://{self._credentials}{quote(str(self.socket))}"

    @property
    def tcp_url(self) -> str:
        return f"redis://{self._credentials}127.0.0.1:{self.port}"

    @property
    def _credentials(self) -> str:
        return "" if self._password is None else f":{quote(self._password, safe='')}@"

    @property
    def pid(self) -> int:
        """Of the server that runs, or ran last."""
        return self._started.pid

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "nothing was started yet"
        return self._process

    def start(self, *, wait: bool = True) -> None:
        """Start the server where it was, unless it runs, and wait until it answers.

        Raises:
            StartError: it ended or did not answer for ten seconds; it is dead then.
        """
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._launch()
        if wait:
            self._await_answer()

    def stop(self) -> None:
        """Ask the server to end, and wait; what it has not synced yet it syncs now."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a paused one does not hear before
            self._process.wait(PATIENCE)
        self._end()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()
        self._end()

    def pause(self) -> None:
        """Keep the server from doing anything, its connections open, until `resume`."""
        self._started.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._started.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and give its addresses back."""
        self.kill()
        self._held.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # whatever it is, nobody else will close it
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _launch(self) -> None:
        # A file, not arguments: values of several words need no splitting, and no process list shows a password.
        configuration = self.directory / "server.conf"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in self._configuration.items()))
        with self.log.open("ab") as log:  # complaints about the configuration never reach a `logfile`
            self._process = subprocess.Popen(  # noqa: S603 - the user's own server
                [self.binary.path, configuration], stdout=log, stderr=log, start_new_session=True
            )
        self._watcher = _kill_when_orphaned(self._process.pid)

    def _end(self) -> None:
        if self._process is not None:
            self._process.wait()
        if self._watcher is not None:
            with self._watcher:
                self._watcher.kill()
            self._watcher = None

    def _await_answer(self) -> None:
        deadline = monotonic() + PATIENCE
        while not self._answers():
            code = self._started.poll()
            if code is not None or monotonic() > deadline:
                self.kill()
                reason = f"did not answer within {PATIENCE:g} s" if code is None else f"ended with code {code}"
                raise StartError(self.binary.name, reason, self._log_tail())
            sleep(0.005)

    def _answers(self) -> bool:
        with redis.Redis(
            unix_socket_path=str(self.socket),
            password=self._password,
            socket_timeout=1,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):  # not there yet, or LOADING
                return False

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])


def _free_port(held: ExitStack) -> int:
    """A loopback port that the system gives to nobody else, be the server up or down, while it is held."""
    holder = held.enter_context(socket.socket())
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform != "linux":  # elsewhere the server could not bind it either
        holder.close()
    return port


def _kill_when_orphaned(pid: int) -> subprocess.Popen[bytes]:
    """A shell that reads from this process, and so sees its end however it ends.

    Linux' parent-death signal would do it too, but it fires already when the thread ends that started the server.
    """
    return subprocess.Popen(  # noqa: S603 - constant but for the number
        ["/bin/sh", "-c", 'read -r _; kill -KILL "$0"', str(pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _quoted(value: str | Path) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
