"""Address that the store of ranks listens on."""

import socket
from datetime import timedelta

import pytest

from trainer.distributed.rank_store import listening_store


def test_it_listens_on_the_one_address() -> None:
    """A listener on every address of the machine would answer at 127.0.0.2 as well."""
    store = listening_store("127.0.0.1", 0, timeout=timedelta(seconds=10))
    socket.create_connection(("127.0.0.1", store.port), timeout=10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", store.port), timeout=10)
