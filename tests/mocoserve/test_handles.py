"""The Python client as its page shows it: found by itself, waited for, with progress."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocoserve import Client
from mocoserve.errors import Unusable
from mocoserve.jobs import SubmittedJob
from mocoserve.models import Job
from mocoserve.progress_line import ProgressLine, sentence
from mocoserve.server_address import NoServer
from tests.support.service.api import KEY, RunningApi, claim, finished_job, ready_dataset


@pytest.fixture
def client(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Found by the environment."""
    monkeypatch.setenv("MOCO_URL", api.url)
    monkeypatch.setenv("MOCO_API_KEY", KEY)
    with Client() as found:
        yield found


def test_create_and_wait_with_progress(
    client: Client, api: RunningApi, capsys: pytest.CaptureFixture[str]
) -> None:
    ready_dataset(api.store, "waited")
    pool = "pool-waited"
    job = client.jobs.create({"dataset": "waited", "pool": pool})
    assert isinstance(job, SubmittedJob)
    assert job.status == "queued"

    def work() -> None:
        lease = claim(api.store, pool)
        progress = {"step": 5, "steps": 10, "signals": {"loss": 2.5}}
        api.store.queue.append(lease, [json.dumps({"type": "logged", "message": "x"})], progress)
        api.store.queue.complete(lease, artifacts=(), artifacts_folder="none")

    timer = threading.Timer(0.3, work)
    timer.start()
    ended = job.wait(timeout_s=30.0, progress=True)
    timer.join()
    assert ended.status == job.refresh().status == "succeeded"
    told = capsys.readouterr().err
    assert told.splitlines()[0].startswith("queued")
    assert "succeeded 50%  loss 2.500" in told
    assert "_jobs" not in job.raw()


def test_a_wait_that_is_too_long(client: Client, api: RunningApi) -> None:
    ready_dataset(api.store, "slow")
    job = client.jobs.create({"dataset": "slow", "pool": "nobody"})
    with pytest.raises(TimeoutError):
        job.wait(timeout_s=0.1)
    assert client.jobs.cancel(job.id).status == "cancelled"


def test_files_and_curves(client: Client, api: RunningApi, tmp_path: Path) -> None:
    job = finished_job(api, {"encoder.pth": b"weights", "README.md": b"# card"})
    paths = client.artifacts.download_all(job, tmp_path / "out")
    assert {path.name for path in paths} == {"encoder.pth", "README.md"}
    assert client.artifacts.download_metrics(job, tmp_path / "out").read_bytes() == b""
    events = client.artifacts.download_events(job, tmp_path / "out")
    assert b"brain.Event:2" in events.read_bytes()
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_folder_without_images_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        client.datasets.add(tmp_path / "nowhere", name="nothing")


def test_without_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOCO_URL", "MOCO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOCO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(NoServer):
        Client()


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line() -> None:
    screen = Screen()
    line = ProgressLine(screen)
    queued = Job(id="j", status="queued", queue_position=2)
    line.show(queued)
    line.show(queued)
    progress = {"step": 30, "steps": 40, "eta_s": 83.0, "signals": {"top1": 0.25, "knn_top1": 0.5}}
    running = Job.model_validate({"id": "j", "status": "running", "progress": progress})
    line.show(running)
    line.close()
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().count("queued (#2 in queue)") == 1
    assert sentence(running) == "running 75%  top-1 25%  kNN 50.0%  1:23 left"
    verdict = {"code": "collapsed", "kind": "bad", "word": "Collapsed"}
    sick = Job.model_validate(
        {"id": "j", "status": "succeeded", "progress": {**progress, "verdict": verdict}}
    )
    assert sentence(sick) == "succeeded 75%  top-1 25%  kNN 50.0%  collapsed"


def test_the_types_are_told_to_type_checkers(tmp_path: Path) -> None:
    """A user's program, checked as strictly as ours; one of its lines is wrong."""
    (tmp_path / "program.py").write_text(
        "from mocoserve import Client\n\n"
        "with Client('http://x', 'k') as client:\n"
        "    job = client.jobs.create({'dataset': 'x'})\n"
        "    status: str = job.wait(progress=True).status\n"
        "    wrong: int = job.wait().status\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(__file__).resolve().parents[3]), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "program.py:6: error: Incompatible types" in found.stdout, found.stdout + found.stderr
    assert "Found 1 error" in found.stdout
