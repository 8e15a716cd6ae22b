"""Listening sockets, bound before anything else starts, here or in the parent process."""

import socket
from typing import Final

BACKLOG: Final = 2048


class PortTaken(Exception):
    """Another program listens there already."""


def bound(host: str, port: int, *, variable: str) -> socket.socket:
    """Return a socket that listens on `host` and `port`; 0 takes a free one.

    Raises PortTaken, which names the environment `variable` of the port.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"Cannot listen on {host} port {port}: {error.strerror}. Set {variable} to "
            "another port; 0 picks a free one."
        ) from error
    return listener


def handed_over(handle: int) -> socket.socket:
    """Return the socket with this descriptor; no child of ours inherits it."""
    listener = socket.socket(fileno=handle)
    listener.set_inheritable(False)
    return listener
