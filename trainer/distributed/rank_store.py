"""The store by which ranks find one another."""

import socket
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it untyped


def listening_store(host: str, port: int, *, timeout: timedelta) -> TCPStore:
    """Return a store that listens on one address; port 0 takes a free one.

    By itself torch listens on every address of the machine.
    """
    listener = socket.create_server((host, port))
    return TCPStore(
        host,
        listener.getsockname()[1],
        is_master=True,
        timeout=timeout,
        wait_for_workers=False,
        multi_tenant=True,
        master_listen_fd=listener.detach(),
    )


def variables_of_ranks(store: TCPStore, *, ranks: int) -> list[dict[str, str]]:
    """Return the variables of each rank, all on this machine, that uses the store of this process.

    They are those of torchrun.
    """
    shared = {
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": store.host,
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
