"""TLS before a server that may have been built without."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock

from tests.proxy import CHUNK, Proxy

__all__ = ["tls_front"]


@contextmanager
def tls_front(port: int, certificates: Path) -> Iterator[str]:
    """Stand before the server at `port` on loopback, for as long as the block lasts.

    Args:
        port: Where the server listens.
        certificates: A directory with server.crt and server.key; clients need none.

    Yields:
        The URL of the front; the server's password is not in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with Proxy("127.0.0.1", port, wrap=partial(DecryptedStream, context)) as proxy:
        yield f"rediss://localhost:{proxy.port}"


class DecryptedStream:
    """The server's end of TLS on a client's socket; the handshake is part of the first `recv`.

    One thread may receive while another sends. On an `ssl.SSLSocket` this is a data race that can crash
    (https://github.com/python/cpython/issues/143756), and a lock around its `recv` would be held for as long as
    the client is silent.
    """

    def __init__(self, context: ssl.SSLContext, client: socket.socket) -> None:
        self._client = client
        self._lock = Lock()
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=True)
        self._greeted = False

    def recv(self, size: int, /) -> bytes:
        if not self._greeted:
            self._shake_hands()
        while True:
            with self._lock, suppress(ssl.SSLWantReadError):
                return self._tls.read(size)
            self._receive()

    def sendall(self, text: bytes, /) -> None:
        with self._lock:
            while text:
                text = text[self._tls.write(text) :]
            encrypted = self._to_send.read()
        self._client.sendall(encrypted)

    def _shake_hands(self) -> None:
        """Send all that belongs to it; later only `sendall` sends, or encrypted records would change places."""
        while not self._greeted:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                self._greeted = True
            self._client.sendall(self._to_send.read())
            if not self._greeted:
                self._receive()

    def _receive(self) -> None:
        encrypted = self._client.recv(CHUNK)
        with self._lock:
            if encrypted:
                self._received.write(encrypted)
            else:
                self._received.write_eof()  # an error for whoever reads on
