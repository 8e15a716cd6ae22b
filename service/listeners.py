"""A socket that the parent process has bound, so that nobody else can take its port."""

import socket


def handed_over(handle: int) -> socket.socket:
    """Return the socket with this descriptor; no child of ours inherits it."""
    listener = socket.socket(fileno=handle)
    listener.set_inheritable(False)
    return listener
