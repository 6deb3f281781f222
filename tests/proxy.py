"""A TCP proxy that loses replies, delays them, and refuses connections.

It relies on Linux: there, `shutdown` ends a waiting `accept`, and a port can be held while nobody listens.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final, Protocol, Self

__all__ = ["Proxy"]

CHUNK: Final = 65536


class Stream(Protocol):
    """What a client says and hears; one thread receives while another sends."""

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, text: bytes, /) -> None: ...


def unchanged(client: socket.socket) -> Stream:
    return client


class Proxy:
    """Stands at `port` on loopback before a server, for as long as the block lasts.

    Attributes:
        port: Where clients connect.
        cuts: Replies that were lost on purpose so far.
    """

    def __init__(
        self, upstream_host: str, upstream_port: int, wrap: Callable[[socket.socket], Stream] = unchanged
    ) -> None:
        """Reserve the port.

        Args:
            upstream_host: The server's.
            upstream_port: The server's.
            wrap: Makes of a client's socket what is passed on between it and the server.
        """
        self.cuts = 0
        self._upstream = (upstream_host, upstream_port)
        self._wrap = wrap
        self._lock = Lock()
        self._cutting = False
        self._delay = 0.0
        self._closed = Event()
        self._threads: list[Thread] = []
        self._connections: list[Connection] = []
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]

    def cut_after_next_request(self) -> None:
        """Let the next request through, and close its connection in place of the reply.

        The next bytes of any client begin that request, so no other reply may be outstanding on its connection;
        it lasts until the server replies, however many segments it takes.
        """
        with self._lock:
            self._cutting = True

    def delay(self, seconds: float) -> None:
        """Hold every piece of a reply back for so long; 0 ends it."""
        self._delay = seconds

    def refuse(self) -> None:
        """Refuse new connections; those there are stay."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def accept(self) -> None:
        """Accept connections, again after `refuse`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepting = Thread(target=self._accept_all, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *raised: object) -> None:
        self._closed.set()
        with suppress(OSError):  # it refuses already
            self.refuse()
        self._holder.close()
        for connection in self._connections:
            connection.shut()
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def _accept_all(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        connection = Connection(client, server, self._wrap(client))
        self._connections.append(connection)
        for pump in (self._pass_requests, self._pass_replies):
            self._threads.append(Thread(target=pump, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _pass_requests(self, connection: "Connection") -> None:
        with suppress(OSError):
            while request := connection.client.recv(CHUNK):
                with self._lock:
                    connection.cutting |= self._cutting
                    self._cutting = False
                connection.server.sendall(request)
        connection.shut()

    def _pass_replies(self, connection: "Connection") -> None:
        with suppress(OSError):
            while reply := connection.server.recv(CHUNK):
                if connection.cutting:
                    self.cuts += 1
                    break
                self._closed.wait(self._delay)
                connection.client.sendall(reply)
        connection.shut()


class Connection:
    """A client's socket with what is passed on of it, and the socket to the server behind it."""

    def __init__(self, client: socket.socket, server: socket.socket, stream: Stream) -> None:
        self.client = stream
        self.server = server
        self.cutting = False
        self._ends = (client, server)
        for end in self._ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shut(self) -> None:
        """End both directions of both, which wakes whoever waits for them."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._ends:
            end.close()
