"""Meeting of a gang's agents: the nodes and the address are known beforehand.

torchrun's own c10d rendezvous lets nodes come and go: it unpickles what it reads from a store that
listens on every address of the machine. Here the first node listens on the one address that the
others are told, and nothing is unpickled.
"""

from datetime import timedelta

from torch.distributed import (  # type: ignore[attr-defined]  # torch exports them untyped
    PrefixStore,
    TCPStore,
)
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

from trainer.distributed.rank_store import listening_store

BACKEND = "seats"
"""Name of this rendezvous in torchrun's registry."""


class SeatRendezvous(RendezvousHandler):
    """Agent of one node among a fixed number; `endpoint` is `host:port` of the first.

    Port 0 takes a free one, for a gang on one node.
    """

    def __init__(self, endpoint: str, *, node_rank: int, nodes: int, run_id: str) -> None:
        """`run_id` names the attempt: agents of another attempt find nothing in its store."""
        host, _, port = endpoint.rpartition(":")
        self._host, self._port = host, int(port)
        self._node_rank, self._nodes, self._run_id = node_rank, nodes, run_id
        self._store: TCPStore | None = None
        self._timeout = timedelta(minutes=2)

    @property
    def use_agent_store(self) -> bool:
        """True: the ranks use the store that the first agent holds."""
        return True

    def get_backend(self) -> str:
        """Return the name of this rendezvous."""
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        """Return the store of all agents. Waits for the first one; raises DistNetworkError."""
        if self._store is None:
            self._store = self._hosted() if self._node_rank == 0 else self._reached()
        return RendezvousInfo(
            PrefixStore(self._run_id, self._store),
            self._node_rank,
            self._nodes,
            RendezvousStoreInfo(self._host, self._store.port),
        )

    def _hosted(self) -> TCPStore:
        return listening_store(self._host, self._port, timeout=self._timeout)

    def _reached(self) -> TCPStore:
        return TCPStore(self._host, self._port, is_master=False, timeout=self._timeout)

    def is_closed(self) -> bool:
        """Return False: it ends with the process."""
        return False

    def set_closed(self) -> None:
        """Do nothing."""

    def num_nodes_waiting(self) -> int:
        """Return 0: no node joins later."""
        return 0

    def get_run_id(self) -> str:
        """Return the name of the attempt."""
        return self._run_id

    def shutdown(self) -> bool:
        """Return True: the store ends with the process."""
        return True


def _create(parameters: RendezvousParameters) -> RendezvousHandler:
    return SeatRendezvous(
        parameters.endpoint,
        node_rank=parameters.config["node_rank"],
        nodes=parameters.max_nodes,
        run_id=parameters.run_id,
    )


rendezvous_handler_registry.register(BACKEND, _create)
