"""Promises are on the disk before they are sent, as seen in the system calls.

One API, one worker with its training process, and one Redis are followed by one strace while a
job runs from its submission to its artifacts. A kill never shows a missing fsync, since the
kernel keeps what a dead process wrote; only this, or a power cut, does.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.service.api import KEY, client_of, ready_dataset
from tests.support.system.processes import children_of, wait_until
from tests.support.system.required_tools import needs
from tests.support.system.strace import Call, CannotTrace, followed, parse
from tests.support.worker.stack import ROOT, Stack, running_stack

pytestmark = needs("strace")
SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "pwrite64")
SENDS = ("sendto", "sendmsg", "write", "writev")
SPEC = {
    "dataset": "traced",
    "encoder": {"name": "small"},
    "epochs": 4,
    "batch_rows": 16,
    "evaluation": None,
    "checkpoint_every_steps": 8,
}


@dataclass(frozen=True)
class Traced:
    """One job, from its submission to its end."""

    job_id: str
    redis_pid: int
    calls: list[Call]
    status: str

    def the_first(self, what: str, where: Callable[[Call], bool], *, after: int = -1) -> Call:
        """The first call that began after a line."""
        for call in self.calls:
            if call.began > after and where(call):
                return call
        raise AssertionError(f"{what} was not seen after line {after}")

    def sync_of(self, path: str, *, after: int) -> Call:
        """The first sync of a file or folder that began after a line, and its success."""

        def is_it(call: Call) -> bool:
            return call.name in SYNCS and call.path == path

        call = self.the_first(f"a sync of {path}", is_it, after=after)
        assert call.result == 0
        return call

    def asked_redis(self, *words: str, after: int = -1) -> Call:
        """The first time that a client sent these words to Redis."""

        def is_it(call: Call) -> bool:
            is_client = call.pid != self.redis_pid and call.is_to_socket
            return is_client and call.name in SENDS and call.says("FCALL", *words)

        return self.the_first(f"FCALL {words}", is_it, after=after)

    def renames(self, part: str) -> list[Call]:
        """Folders that took their final name, whose path has this part."""
        return [
            call
            for call in self.calls
            if call.name == "rename" and part in call.texts[1] and call.texts[0].endswith(".tmp")
        ]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    log = tmp_path_factory.mktemp("strace") / "log"
    with running_stack(tmp_path_factory.mktemp("stack")) as stack, running_service(stack) as api:
        stack.need_workers(1)
        record = ready_dataset(stack.store, "traced", rows=80)
        images, labels = blobs(80, side_px=8, classes=4)
        assert record.pack
        write_pack(stack.data_dir / record.pack, images, labels, classes=("a", "b", "c", "d"))
        worker = stack.workers[0].pid
        pids = (stack.redis.pid, api.pid, worker, *children_of(worker))
        try:
            with followed(pids, log):
                with client_of(api.url) as client:
                    made = client.post("/v1/jobs", json=SPEC)
                assert made.status_code == 201, made.text
                job_id = str(made.json()["id"])
                done = stack.wait_for(job_id, "succeeded", "failed")
        except CannotTrace as error:
            pytest.skip(f"no process may be followed here: {error}")
        assert done.status == "succeeded", done.message
        calls = parse(log.read_text("utf-8", "replace").splitlines())
        yield Traced(job_id, stack.redis.pid, calls, done.status)


@dataclass(frozen=True)
class Service:
    """A running `python -m service`."""

    pid: int
    url: str


@contextmanager
def running_service(stack: Stack) -> Iterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={
            **os.environ,
            "MOCO_DATA_DIR": str(stack.data_dir),
            "MOCO_REDIS_URL": stack.redis.url,
            "MOCO_API_KEY": KEY,
            "MOCO_PORT": str(port),
            **stack.environment,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, 60.0, "the API")
        yield Service(process.pid, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(20.0)


def assert_whole_before_its_name(traced: Traced, rename: Call) -> Call:
    """Every file of a folder, the folder, its name, the folder above; the last of these syncs."""
    temporary, final = rename.texts
    written = [
        call
        for call in traced.calls
        if call.name in WRITES
        and call.path.startswith(temporary + "/")
        and call.ended < rename.began
    ]
    assert written
    late = [c for c in traced.calls if c.name in WRITES and c.path.startswith(final + "/")]
    assert not late, "a file is written after its folder has its name"
    for path in {call.path for call in written}:
        last = max(call.ended for call in written if call.path == path)
        assert traced.sync_of(path, after=last).ended < rename.began, path
    last = max(call.ended for call in written)
    assert traced.sync_of(temporary, after=last).ended < rename.began
    return traced.sync_of(str(Path(final).parent), after=rename.ended)


def test_a_checkpoint_is_on_the_disk_before_it_is_told(traced: Traced) -> None:
    renames = traced.renames("/checkpoints/")
    assert len(renames) >= 2
    told = 0
    for rename in renames:
        whole = assert_whole_before_its_name(traced, rename)
        temporary, final = rename.texts
        files = [c.path for c in traced.calls if c.path.startswith(temporary + "/")]
        assert Path(files[-1]).name == "manifest.json", "it is written last"
        event = traced.the_first(
            "the event",
            lambda call, name=Path(final).name: (  # type: ignore[misc]  # bound at once
                call.path.startswith("pipe:") and call.says("checkpointed", f"checkpoints/{name}")
            ),
        )
        assert whole.ended < event.began
        path = "/".join(Path(final).parts[-2:])
        asked = [c for c in traced.calls if c.is_to_socket and c.says("moco_checkpoint", path)]
        assert all(whole.ended < call.began for call in asked)
        told += bool(asked)
    assert told >= 1


def test_artifacts_are_on_the_disk_before_the_job_succeeds(traced: Traced) -> None:
    (rename,) = [call for call in traced.renames("/artifacts") if call.result == 0]
    whole = assert_whole_before_its_name(traced, rename)
    complete = traced.asked_redis("moco_complete", traced.job_id)
    assert whole.ended < complete.began


def test_redis_syncs_its_log_before_it_answers(traced: Traced) -> None:
    """Every write to the append-only file, not only those of one call."""
    own = [call for call in traced.calls if call.pid == traced.redis_pid]
    behind: Call | None = None
    writes = replies = 0
    for call in own:
        if call.name in WRITES and call.path.endswith(".aof"):
            behind = call
            writes += 1
        elif call.name in SYNCS and call.path.endswith(".aof") and call.result == 0:
            behind = None
        elif call.name in SENDS and call.is_to_socket:
            assert behind is None, f"answered before line {call.began} was synced"
            replies += 1
    assert writes >= 10
    assert replies >= writes


def test_a_submitted_job_is_on_two_disks_before_the_caller_knows(traced: Traced) -> None:
    """Ledger, its folder, the folder above, Redis, the log of Redis, the reply, the answer."""
    ledger = traced.the_first(
        "the ledger",
        lambda call: call.name in WRITES and call.path.endswith(f"{traced.job_id}/ledger.jsonl"),
    )
    synced = traced.sync_of(ledger.path, after=ledger.ended)
    folder = traced.sync_of(str(Path(ledger.path).parent), after=ledger.ended)
    above = traced.sync_of(str(Path(ledger.path).parents[1]), after=ledger.ended)
    asked = traced.asked_redis("moco_submit", traced.job_id)
    assert max(synced.ended, folder.ended, above.ended) < asked.began
    logged = traced.the_first(
        "Redis's log",
        lambda call: (
            call.pid == traced.redis_pid and call.path.endswith(".aof") and call.says(traced.job_id)
        ),
        after=asked.began,
    )
    kept = traced.sync_of(logged.path, after=logged.ended)
    reply = traced.the_first(
        "the reply of Redis",
        lambda call: (
            call.pid == traced.redis_pid and call.is_to_socket and call.says(traced.job_id)
        ),
        after=asked.began,
    )
    assert kept.ended < reply.began
    answer = traced.the_first(
        "the answer of the API",
        lambda call: call.is_to_socket and call.says("HTTP/1.1 201"),
    )
    assert reply.ended < answer.began
