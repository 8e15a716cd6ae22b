"""Processes of `moco up`: sockets that are bound before they start, and logs that do not grow."""

import os
import socket
from pathlib import Path

import httpx
import pytest

from mocoserve.user_config import RETENTION
from service.cli.local.process import ManagedProcess, ProcessPlan
from service.cli.local.stack import is_free, loopback_listener, port_of
from service.settings import ApiSettings
from service.store.embedded.server import RunningRedis
from tests.support.service.api import KEY, client_of
from tests.support.system.processes import wait_until


def test_a_bound_port_is_nobody_elses() -> None:
    with loopback_listener() as listener:
        port = port_of(listener)
        assert not is_free(port)
        with socket.socket() as rival:
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                rival.bind(("127.0.0.1", port))
        with loopback_listener(port) as other:
            assert port_of(other) != port
    assert is_free(port)


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def test_children_serve_at_the_port_that_was_told_also_after_a_crash(
    api_redis: RunningRedis, tmp_path: Path
) -> None:
    env = {"MOCO_REDIS_URL": api_redis.url, "MOCO_API_KEY": KEY}
    env |= {"MOCO_DATA_DIR": str(tmp_path), "MOCO_EXPORTER_PORT": "1"}
    with loopback_listener() as listener:
        plan = ProcessPlan(
            name="exporter", arguments=("service", "exporter"), env=env, listener=listener
        )
        child = ManagedProcess(plan, tmp_path / "logs")
        child.start()
        try:
            with client_of(f"http://127.0.0.1:{port_of(listener)}") as client:
                wait_until(lambda: _answers(client, "/metrics"), 60, "the exporter")
                first = child.pid
                assert first
                os.kill(first, 9)
                wait_until(lambda: child.look() == -9, 20, "its end is seen")
                wait_until(
                    lambda: child.look() is None and child.pid is not None, 20, "it starts again"
                )
                wait_until(lambda: _answers(client, "/metrics"), 60, "the exporter again")
                assert child.pid != first
        finally:
            child.ask_to_stop()
            child.wait_stopped(hurry=lambda: False)


def test_a_log_that_is_too_large_is_begun_anew_while_the_child_writes(tmp_path: Path) -> None:
    """No line is lost: what the child writes before and after lies in the two files."""
    plan = ProcessPlan(name="talker", arguments=("service", "nothing-of-the-kind"))
    child = ManagedProcess(plan, tmp_path, log_bytes_max=1000)
    with child.log.open("ab") as log:
        log.write(b"a" * 1001)
        log.flush()
        child.done = True
        child.look()
        assert child.log.stat().st_size == 0
        assert child.log.with_suffix(".log.1").read_bytes() == b"a" * 1001
        log.write(b"b" * 10)
    assert child.log.read_bytes() == b"b" * 10


def test_the_settings_of_retention_have_one_default() -> None:
    """Those of `moco config` are those of the API, name for name."""
    settings = ApiSettings()
    for setting in RETENTION:
        assert getattr(settings, setting.name) == setting.default
        assert setting.env == f"MOCO_{setting.name.upper()}"
