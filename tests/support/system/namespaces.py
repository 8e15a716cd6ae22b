"""Two machines in the eyes of the network: two network namespaces with a link between them."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.system.processes import wait_until

ADDRESSES = ("10.209.0.1", "10.209.0.2")
LINKS = ("link0", "link1")


@dataclass(frozen=True)
class Machines:
    """Two namespaces, each kept by a process that sleeps."""

    pids: tuple[int, int]

    def inside(self, machine: int) -> list[str]:
        """Return the command before another one that runs it on a machine."""
        return ["nsenter", "-t", str(self.pids[machine]), "-U", "-n", "--preserve-credentials"]

    def ip(self, machine: int, words: str) -> None:
        """Run `ip` on a machine."""
        subprocess.run([*self.inside(machine), "ip", *words.split()], check=True)

    def set_link(self, state: str) -> None:
        """Cut the link (`down`) or join it again (`up`)."""
        self.ip(0, f"link set {LINKS[0]} {state}")


def can_make_namespaces() -> bool:
    """Return whether this user may make network namespaces."""
    try:
        command = ["unshare", "-rn", "ip", "link", "add", "a0", "type", "veth"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def two_machines() -> Iterator[Machines]:
    """Make two namespaces that reach each other at ADDRESSES; they are gone afterwards."""
    with ExitStack() as stack:
        first = _keeper(stack, ["unshare", "-rn", "sleep", "infinity"])
        enter = ["nsenter", "-t", str(first), "-U", "-n", "--preserve-credentials"]
        second = _keeper(stack, [*enter, "unshare", "-n", "sleep", "infinity"])
        machines = Machines((first, second))
        machines.ip(0, f"link add {LINKS[0]} type veth peer name {LINKS[1]}")
        machines.ip(0, f"link set {LINKS[1]} netns {second}")
        for machine in (0, 1):
            machines.ip(machine, "link set lo up")
            machines.ip(machine, f"addr add {ADDRESSES[machine]}/24 dev {LINKS[machine]}")
            machines.ip(machine, f"link set {LINKS[machine]} up")
        yield machines


def _keeper(stack: ExitStack, command: list[str]) -> int:
    """Start a process that keeps a namespace, and return its id once it sleeps in there."""
    process = subprocess.Popen(command)
    stack.callback(process.wait)
    stack.callback(process.kill)

    def sleeps() -> bool:
        with open(f"/proc/{process.pid}/comm") as file:
            return file.read().strip() == "sleep"

    wait_until(sleeps, 10.0, "the namespace is there")
    return process.pid
