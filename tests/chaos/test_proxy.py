"""The proxy does to bytes what its name of the moment says."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.chaos.proxy import Proxy, Toxic

TIMEOUT_S = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_answer, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def _answer(peer: socket.socket) -> None:
    with peer:
        while True:
            try:
                block = peer.recv(1024)
            except OSError:
                return
            if not block:
                return
            heard.append(block)
            peer.sendall(block)


heard: list[bytes] = []


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    heard.clear()
    proxy = Proxy(echo)
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_S)


def test_bytes_come_through(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"


def test_mute_lets_requests_through_and_throws_replies_away(proxy: Proxy) -> None:
    with connect(proxy) as client:
        with proxy.poisoned(Toxic.MUTE):
            client.sendall(b"done")
            with pytest.raises(TimeoutError):
                client.recv(10)
        assert heard == [b"done"]
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_blackhole_swallows_both_directions(proxy: Proxy) -> None:
    with connect(proxy) as client, proxy.poisoned(Toxic.BLACKHOLE):
        client.sendall(b"lost")
        with pytest.raises(TimeoutError):
            client.recv(10)
    assert heard == []


def test_a_reset_is_a_reset_and_new_connections_work(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        client.sendall(b"b")
        assert client.recv(1) == b"b"
