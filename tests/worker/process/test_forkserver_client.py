import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.system.processes import alive, children_of, wait_until
from tests.support.worker.fake_child import LATER
from trainer.accel.openmp import VARIABLES
from trainer.schema.events import Logged
from worker.process.child_main import LATER as LATER_OF_WORKERS
from worker.process.forkserver import IDLE_S
from worker.process.forkserver_client import Child, ForkserverClient, ForkserverDied


class Held:
    """A child and the test's ends of its pipes."""

    def __init__(self, forkserver: ForkserverClient, folder: Path, orders: dict[str, str]) -> None:
        self.forkserver, self.log = forkserver, Path(orders.get("log", folder / "log.txt"))
        self.events, events = os.pipe()
        control, self.control = os.pipe()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.child: Child = forkserver.fork(
            {"out": str(folder), **orders}, events=events, control=control, log=log
        )
        for fd in (events, control, log):
            os.close(fd)

    def status(self, timeout_s: float = 5.0) -> int:
        wait_until(lambda: self.child.exit_status is not None, timeout_s, "the child ends")
        assert self.child.exit_status is not None
        return self.child.exit_status

    def said(self) -> str:
        text = b""
        while data := os.read(self.events, 65_536):
            text += data
        return text.decode()


@contextmanager
def held(forkserver: ForkserverClient, folder: Path, **orders: str) -> Iterator[Held]:
    one = Held(forkserver, folder, orders)
    try:
        yield one
    finally:
        os.close(one.events)
        os.close(one.control)
        if one.child.exit_status is None and forkserver.pid:
            forkserver.signal(one.child, signal.SIGKILL)


def test_a_child_has_its_own_session_and_only_its_own_files(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    with held(forkserver, tmp_path, kind="tells") as one:
        assert one.status() == 0
        told = ast.literal_eval(Logged.model_validate_json(one.said()).message)
    # 0 stays the null device, 1 and 2 are the log, 3 and 4 the pipes.
    assert told == {"fds": [0, 1, 2, 3, 4], "leads": True, "parent": forkserver.pid, "threads": 1}


def test_the_forkserver_has_one_thread_and_a_session_of_its_own(
    forkserver: ForkserverClient,
) -> None:
    assert forkserver.pid
    assert len(os.listdir(f"/proc/{forkserver.pid}/task")) == 1
    assert os.getsid(forkserver.pid) == forkserver.pid


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_of_children_wait_as_the_trainers_do_or_as_somebody_has_said(
    said: dict[str, str],
) -> None:
    """In a process that loads nothing but the forkserver, as this one has loaded more."""
    look = (
        "from pathlib import Path; from worker.process.forkserver_client import ForkserverClient\n"
        "forkserver = ForkserverClient('tests.support.worker.fake_child:run')\n"
        "forkserver.ensure()\n"
        "environ = Path(f'/proc/{forkserver.pid}/environ')\n"
        "while not environ.read_text():  # empty until the kernel has started the program\n"
        "    pass\n"
        "print(environ.read_text(), end='')\n"
        "forkserver.close()\n"
    )
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES} | said
    words = [sys.executable, "-c", look]
    told = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = dict(word.partition("=")[::2] for word in told.split("\0"))
    assert {name: found[name] for name in VARIABLES if name in found} == (said or VARIABLES)


def test_what_can_wait_is_imported_while_nobody_works(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    def known() -> str:
        with held(forkserver, tmp_path, kind="knows") as one:
            message = Logged.model_validate_json(one.said()).message
            assert one.status() == 0
        return message

    with held(forkserver, tmp_path, kind="obeys"):
        at_first = known()  # how many depends on how fast this machine forked
        time.sleep(2.5 * IDLE_S)
        assert known() == at_first

    def knows_all() -> bool:
        message = known()
        time.sleep(3 * IDLE_S)
        return message == " ".join(LATER)

    wait_until(knows_all, 20.0, "both are imported")


def test_a_worker_is_ready_before_the_slow_imports() -> None:
    slow = ("torchvision", "sklearn", "scipy", "torch._dynamo", "numba")
    story = (
        "import sys, worker.process.child_main; worker.process.child_main.warm(); "
        f"print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", story], capture_output=True, check=True, timeout=60, text=True
    )
    assert done.stdout.strip() == "[]"
    assert {name.partition(".")[0] for name in LATER_OF_WORKERS} >= {"torch", "trainer", "sklearn"}


def test_the_reason_of_an_end_is_reported(forkserver: ForkserverClient, tmp_path: Path) -> None:
    with held(forkserver, tmp_path, kind="crashes") as one:
        assert one.status() == -signal.SIGSEGV
        assert "Fatal Python error: Segmentation fault" in one.log.read_text()


def test_a_defect_leaves_its_trace_in_the_log_only(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    with held(forkserver, tmp_path, kind="raises") as one:
        assert one.status() == 1
        assert one.said() == ""
        words = one.log.read_text().splitlines()
    assert words[0] == "about to raise"
    assert words[-1] == "RuntimeError: a defect"


def test_a_log_on_a_full_disk_costs_words_and_no_work(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    with held(forkserver, tmp_path, kind="chatters", log="/dev/full") as one:
        assert one.status() == 0
        assert Logged.model_validate_json(one.said()).message == "still here"


def test_a_group_is_killed_whole(forkserver: ForkserverClient, tmp_path: Path) -> None:
    """Processes that a child leaves running are gone before its end is reported."""
    with held(forkserver, tmp_path, kind="parent") as one:
        assert one.status() == 0
        grandchild = int((tmp_path / "grandchild").read_text())
        wait_until(lambda: not alive(grandchild), 2.0, "the grandchild dies")


def test_a_child_whose_supervisor_is_gone_leaves(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    with held(forkserver, tmp_path, kind="obeys") as one:
        os.close(one.control)
        assert one.status() == 70
        one.control = os.open("/dev/null", os.O_RDONLY)


def test_children_die_with_a_killed_forkserver_and_the_next_one_works(tmp_path: Path) -> None:
    forkserver = ForkserverClient("tests.support.worker.fake_child:run")
    try:
        forkserver.ensure()
        with held(forkserver, tmp_path, kind="stubborn") as one:
            assert forkserver.pid
            assert children_of(forkserver.pid) == [one.child.pid]
            os.kill(forkserver.pid, signal.SIGKILL)
            wait_until(lambda: not alive(one.child.pid), 2.0, "the child dies")
            assert one.status() == -signal.SIGKILL
            with pytest.raises(ForkserverDied), held(forkserver, tmp_path, kind="tells"):
                pass
            forkserver.ensure()
            with held(forkserver, tmp_path, kind="tells") as other:
                assert other.status() == 0
    finally:
        forkserver.close()


def test_closing_ends_the_forkserver_and_its_children(tmp_path: Path) -> None:
    forkserver = ForkserverClient("tests.support.worker.fake_child:run")
    forkserver.ensure()
    with held(forkserver, tmp_path, kind="stubborn") as one:
        pid = forkserver.pid
        assert pid
        forkserver.close()
        assert not alive(pid)
        wait_until(lambda: not alive(one.child.pid), 2.0, "the child dies")


def test_one_that_cannot_import_says_so() -> None:
    forkserver = ForkserverClient("tests.support.worker.fake_child:run", preload=["no_such_module"])
    try:
        forkserver.ensure()
        with pytest.raises(ForkserverDied):
            forkserver.wait_ready(30.0)
    finally:
        forkserver.close()


def test_an_import_that_starts_cuda_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    """At the start or while it is idle: every child after that would fail."""
    starts_cuda = ["tests.support.worker.starts_cuda"]
    forkserver = ForkserverClient("tests.support.worker.fake_child:run", preload=starts_cuda)
    try:
        forkserver.ensure()
        with pytest.raises(ForkserverDied):
            forkserver.wait_ready(30.0)
    finally:
        forkserver.close()
    assert "an import has started CUDA, which does not survive a fork" in capfd.readouterr().err


def test_a_child_has_the_variables_of_its_request(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    words = {"kind": "variables", "environment": {"CUDA_VISIBLE_DEVICES": "GPU-a"}}
    with held(forkserver, tmp_path, **words) as one:  # type: ignore[arg-type]
        assert Logged.model_validate_json(one.said()).message == "GPU-a"
    with held(forkserver, tmp_path, kind="variables") as other:
        assert Logged.model_validate_json(other.said()).message == "None"


def test_children_of_several_threads_get_their_own_ends(
    forkserver: ForkserverClient, tmp_path: Path
) -> None:
    """Each thread forks, ends its child with a code of its own, and is told that code."""

    def run(code: int) -> int:
        folder = tmp_path / str(code)
        folder.mkdir()
        with held(forkserver, folder, kind="exits", code=str(code)) as one:
            return one.status(30.0)

    codes = list(range(10, 50))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(run, codes)) == codes


def test_children_number_gpus_as_the_driver_does(forkserver: ForkserverClient) -> None:
    variables = Path(f"/proc/{forkserver.pid}/environ").read_bytes().split(b"\0")
    assert b"CUDA_DEVICE_ORDER=PCI_BUS_ID" in variables
