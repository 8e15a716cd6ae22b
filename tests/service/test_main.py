"""The processes as they are started: settings, refusals, order at the end, the exporter."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.__main__ import main
from service.server.api_keys import KEY_FILE
from service.server.asgi_server import NotLoopback, check_host
from service.settings import ApiSettings
from service.state_exporter import State
from service.store.embedded.server import RunningRedis
from tests.support.service.api import KEY, Loose, RunningApi, client_of, finished_job, queued_job
from tests.support.service.redis import opened_store, running_redis, worker
from tests.support.system.processes import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(data_dir: Path, **settings: Loose) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOCO_")}
    named = {f"MOCO_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | {"MOCO_DATA_DIR": str(data_dir)} | named


@contextmanager
def process(*arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`python -m service`, ended if the test has not."""
    command = [sys.executable, "-m", "service", *arguments]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate(timeout=20)


@dataclass
class Refused:
    """Runs main where it refuses to start, with nothing but these settings."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    data_dir: Path

    def __call__(self, *arguments: str, **settings: str) -> tuple[int, str]:
        for name in [name for name in os.environ if name.startswith("MOCO_")]:
            self.monkeypatch.delenv(name)
        for name, value in ({"data_dir": str(self.data_dir)} | settings).items():
            self.monkeypatch.setenv(f"MOCO_{name.upper()}", value)
        return main(list(arguments)), self.capsys.readouterr().err


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Refused:
    return Refused(monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize("arguments", [(), ("exporter",)])
def test_a_port_that_is_taken_is_told_with_its_variable(
    api_redis: RunningRedis, refused: Refused, arguments: tuple[str, ...]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        settings = {"redis_url": api_redis.url, "api_key": KEY}
        code, told = refused(*arguments, port=port, exporter_port=port, **settings)
    assert code == os.EX_CONFIG
    variable = "MOCO_EXPORTER_PORT" if arguments else "MOCO_PORT"
    assert f"port {port}" in told
    assert f"Set {variable} to another port" in told


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_started_followed_and_ended_in_order(api_redis: RunningRedis, tmp_path: Path) -> None:
    """SIGTERM while a stream is open: the stream ends, the exit is clean, all logs are JSON."""
    port = free_port()
    env = environment(tmp_path, redis_url=api_redis.url, port=port)
    with process(env=env) as running:
        wait_until((tmp_path / KEY_FILE).exists, 30, "the key")
        key = (tmp_path / KEY_FILE).read_text().strip()
        with client_of(f"http://127.0.0.1:{port}", key) as client:
            wait_until(lambda: answers(client), 30, "the API")
            assert "server" not in client.get("/livez").headers
            with opened_store(api_redis.url) as store:
                job = queued_job(store)
            ended = threading.Event()

            def follow() -> None:
                headers = {"Accept": "text/event-stream"}
                with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
                    for _ in answer.iter_lines():
                        pass
                ended.set()

            thread = threading.Thread(target=follow)
            thread.start()
            client.get("/v1/nothing")
            running.send_signal(signal.SIGTERM)
            errors = running.communicate(timeout=20)[1]
            thread.join(10)
            assert ended.is_set()
    assert running.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert any(line["event"] == "request" and line["status"] == 404 for line in lines)
    assert key not in errors


@pytest.mark.parametrize("name", ["host", "exporter_host"])
def test_no_door_to_the_world_by_accident(name: str, refused: Refused) -> None:
    arguments = ["exporter"] if name == "exporter_host" else []
    status, words = refused(*arguments, **{name: "0.0.0.0"})
    assert status == os.EX_CONFIG
    assert "MOCO_ALLOW_REMOTE=true" in words


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_loopback(host: str) -> None:
    check_host(host, allow_remote=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_anything_else_is_not(host: str) -> None:
    with pytest.raises(NotLoopback):
        check_host(host, allow_remote=False)
    check_host(host, allow_remote=True)


def test_wrong_settings_are_named(refused: Refused) -> None:
    status, words = refused(port="99999", allowed_roots="x")
    assert status == os.EX_CONFIG
    assert "MOCO_PORT" in words
    assert "MOCO_ALLOWED_ROOTS" in words


def test_a_weak_key_does_not_start(api_redis: RunningRedis, refused: Refused) -> None:
    status, words = refused(redis_url=api_redis.url, api_key="changeme")
    assert status == os.EX_CONFIG
    assert "MOCO_API_KEY" in words
    assert "changeme" not in words


def test_no_store_no_service(refused: Refused) -> None:
    status, words = refused()
    assert status == os.EX_UNAVAILABLE
    assert "MOCO_REDIS_URL" in words


def test_other_words_are_refused(refused: Refused) -> None:
    assert refused("worker")[0] == os.EX_USAGE


def test_roots_are_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCO_ALLOWED_ROOTS", f"{tmp_path}/a:{tmp_path}/b")
    assert ApiSettings().allowed_roots == (tmp_path / "a", tmp_path / "b")
    monkeypatch.setenv("MOCO_ALLOWED_ROOTS", "")
    assert ApiSettings().allowed_roots == ()


def values(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples, read by the parser of Prometheus's own client."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_the_state_is_read_at_most_once_a_second(api: RunningApi) -> None:
    now_s = [100.0]
    api.store.client.run(lambda client: client.flushall())
    state = State(CollectorRegistry(), api.store, api.data_dir, now_s=lambda: now_s[0])
    assert values(state.render())["moco_jobs", (("status", "queued"),)] == 0
    queued_job(api.store, pool="night")
    finished_job(api, {})
    api.store.workers.beat(worker(id="w-9", state="idle"))
    idle = ("moco_queue_idle_workers", (("pool", worker(id="w-9").pools[0]),))
    now_s[0] += 0.9
    assert values(state.render())["moco_jobs", (("status", "queued"),)] == 0
    now_s[0] += 0.2
    found = values(state.render())
    assert found["moco_jobs", (("status", "queued"),)] == 1
    assert found["moco_jobs", (("status", "succeeded"),)] == 1
    assert found["moco_jobs_submitted_total", ()] == 2
    assert found["moco_jobs_finished_total", (("result", "succeeded"),)] == 1
    assert found["moco_queue_jobs", (("pool", "night"),)] == 1
    assert found["moco_queue_oldest_enqueued_timestamp_seconds", (("pool", "night"),)] > 1e9
    assert found["moco_workers", (("state", "idle"),)] == 1
    assert found["moco_worker_last_heartbeat_timestamp_seconds", (("worker", "w-9"),)] > 1e9
    free, total = (
        found[f"moco_storage_{n}_bytes", (("volume", "data"),)] for n in ("free", "total")
    )
    assert 0 < free < total
    assert found["moco_dataset_images_total", (("outcome", "ok"),)] == 0
    assert found[idle] == 1
    assert any(name == "moco_build_info" for name, _ in found)
    assert found["moco_redis_up", ()] == 1
    api.store.workers.leave("w-9")
    now_s[0] += 1.1
    later = values(state.render())
    assert ("moco_worker_last_heartbeat_timestamp_seconds", (("worker", "w-9"),)) not in later
    assert later[idle] == 0
    assert later["moco_jobs_submitted_total", ()] == 2, "a total is not added twice"
    assert not re.search(rb'job_id="', state.render())


def test_the_exporter_answers_also_without_a_store(tmp_path: Path) -> None:
    port = free_port()
    with running_redis(tmp_path / "redis") as server:
        env = environment(tmp_path / "data", redis_url=server.url, exporter_port=port, api_key=KEY)
        env |= {"MOCO_READ_KEY": "read_key_0123456789", "MOCO_SCRAPE_KEY": "scrape_0123456789"}
        with (
            process("exporter", env=env) as running,
            client_of(f"http://127.0.0.1:{port}") as client,
        ):
            wait_until(lambda: answers(client), 30, "the exporter")
            assert values(client.get("/metrics").content)["moco_redis_up", ()] == 1
            with client_of(f"http://127.0.0.1:{port}", key=None) as stranger:
                assert stranger.get("/metrics").status_code == 401
            for key in (env["MOCO_READ_KEY"], env["MOCO_SCRAPE_KEY"]):
                with client_of(f"http://127.0.0.1:{port}", key=key) as monitor:
                    assert monitor.get("/metrics").status_code == 200
            assert client.get("/v1/jobs").status_code == 404
            os.kill(server.pid, signal.SIGKILL)
            wait_until(
                lambda: values(client.get("/metrics").content)["moco_redis_up", ()] == 0,
                10,
                "the store is seen to be away",
            )
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=20)
