"""Ranks of a job on this node: torchrun's agent, in the forked child.

The agent starts a process for each rank and ends all of them when one ends badly. It never starts
them again: the queue retries the job. SIGTERM for the agent ends the ranks; the kernel kills each
rank with its agent, however that ends.
"""

import errno
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

import psutil
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trainer.engine.outcome import run_and_record_outcome
from trainer.schema.errors import RankLost
from trainer.schema.events import Ended
from worker.process.child_request import RESULT_FILE, ChildRequest, Gang
from worker.process.event_pipe import Emitter
from worker.process.exit_status import LOST, describe_exit
from worker.process.rank import RankFailure, agent_environment
from worker.process.rendezvous import BACKEND

RANKS_FOLDER = "ranks.tmp"
"""Folder of the ranks' error files in that of the attempt; removed as a partial file."""
TERM_WAIT_S = 3
"""Time from SIGTERM to SIGKILL for ranks whose peer has failed: they wait in a collective."""


def run_ranks(
    request: ChildRequest, gang: Gang, *, events: int, control: int, command: Sequence[str]
) -> None:
    """Run `command` as each rank of this node and wait for all.

    The first rank of the job records its own success. A failure is recorded here, for it needs the
    errors of all ranks. Exits with 128 + SIGTERM on that signal.
    """
    os.environ.update(agent_environment(events=events, control=control))
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, interface_of(gang.address))
    program, *arguments = command
    try:
        elastic_launch(launch_config(request, gang), program)(*arguments)
    except ChildFailedError as error:
        ended = ended_of(error.failures)
    except DistError as error:
        ended = Ended(outcome="failed", code=LOST, message=f"The nodes did not meet: {error}.")
    except SignalException:
        sys.exit(128 + signal.SIGTERM)
    else:
        return
    if not (request.folder / RESULT_FILE).exists():
        run_and_record_outcome(lambda: ended, out=request.folder, emit=Emitter(events))


def interface_of(address: str) -> str:
    """Return the network interface that has an address. Raises OSError if none has."""
    number = socket.gethostbyname(address)
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == number for each in addresses):
            return name
    raise OSError(errno.EADDRNOTAVAIL, f"no network interface has the address {address}")


def launch_config(request: ChildRequest, gang: Gang) -> LaunchConfig:
    """Return torchrun's settings: a fixed number of nodes, and no restarts."""
    return LaunchConfig(
        min_nodes=gang.nodes,
        max_nodes=gang.nodes,
        nproc_per_node=gang.ranks,
        run_id=gang.run_id,
        rdzv_backend=BACKEND,
        rdzv_endpoint=gang.endpoint,
        rdzv_configs={"node_rank": gang.node_rank},
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(request.folder / RANKS_FOLDER)),
        shutdown_timeout=TERM_WAIT_S,
    )


def ended_of(failures: Mapping[int, ProcessFailure]) -> Ended:
    """Return the end of a run whose ranks failed: that of the rank which failed first.

    A rank that a signal killed has precedence over errors, which are then those of its peers; one
    that SIGTERM ended was ended by the agent. So has any error over `rank_lost`.
    """
    for rank, failure in sorted(failures.items()):
        if failure.exitcode < 0 and not _is_terminated(failure):
            return _lost(rank, failure)
    errors = {rank: error for rank, failure in failures.items() if (error := _error(failure))}
    if errors:
        first = min(errors, key=lambda rank: (_is_of_peer(errors[rank]), errors[rank].at_s, rank))
        ended = errors[first].ended
        if len({error.ended.message for error in errors.values()}) == 1:
            return ended
        return ended.model_copy(update={"message": f"Rank {first}: {ended.message}"})
    return _lost(*min(failures.items(), key=lambda item: (_is_terminated(item[1]), item[0])))


def _is_terminated(failure: ProcessFailure) -> bool:
    return failure.exitcode == -signal.SIGTERM


def _is_of_peer(error: RankFailure) -> bool:
    return error.ended.code == RankLost.code


def _lost(rank: int, failure: ProcessFailure) -> Ended:
    message = f"The process of rank {rank} {describe_exit(failure.exitcode)}"
    return Ended(outcome="failed", code=LOST, message=message)


def _error(failure: ProcessFailure) -> RankFailure | None:
    """Return the error that a rank reported, None if it reported none."""
    values = failure.error_file_data.get("failure")
    return RankFailure.model_validate(values) if values else None
