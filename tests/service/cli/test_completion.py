"""Completions that TAB offers from a real server; none if that fails."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.service.api import KEY, RunningApi, finished_job, queued_job, ready_dataset


def offered(line: str, cwd: Path, **env: str) -> list[str]:
    """The words that bash gets for the last word of `line`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'moco'; import service.cli.main as m; m.main()",
        ],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            "HOME": str(cwd),
            "_MOCO_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            **env,
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def shell(api: RunningApi) -> dict[str, str]:
    return {"MOCO_URL": api.url, "MOCO_API_KEY": KEY}


def test_names_from_the_server(api: RunningApi, shell: dict[str, str], tmp_path: Path) -> None:
    job = queued_job(api.store, name="leaves in spring")
    ready_dataset(api.store, "leaves")
    ready_dataset(api.store, "flowers")
    assert offered(f"moco show {job[:8]}", tmp_path, **shell) == [job]
    assert offered("moco cancel leaves", tmp_path, **shell) == []
    assert offered("moco dataset wait ds_", tmp_path, **shell) != []
    assert offered("moco dataset show le", tmp_path, **shell) == ["leaves"]
    assert set(offered("moco submit -d ", tmp_path, **shell)) == {"leaves", "flowers"}
    assert job in offered("moco compare x job_", tmp_path, **shell)
    done = finished_job(api, {"encoder.pth": b"x", "README.md": b"x"})
    assert offered(f"moco download {done} --only enc", tmp_path, **shell) == ["encoder.pth"]


def test_words_that_need_no_server(tmp_path: Path) -> None:
    assert offered("moco jobs --status pa", tmp_path) == ["paused"]
    assert "resnet18" in offered("moco submit --encoder res", tmp_path)
    assert offered("moco submit --method sim", tmp_path) == ["simclr"]
    assert offered("moco submit --preset moco-v", tmp_path) == ["moco-v1", "moco-v2"]
    assert "compare" in offered("moco com", tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", ""])
def test_without_a_server_nothing_is_offered_and_nothing_said(url: str, tmp_path: Path) -> None:
    assert offered("moco show job_", tmp_path, MOCO_URL=url, MOCO_API_KEY="k") == []
    (tmp_path / "moco.toml").write_text("this is no TOML")
    assert offered("moco show job_", tmp_path) == []


def test_a_wrong_key_offers_nothing(shell: dict[str, str], tmp_path: Path) -> None:
    assert offered("moco show job_", tmp_path, **{**shell, "MOCO_API_KEY": "wrong"}) == []


def test_a_server_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    """No single wait for it is long; all together would be."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.2):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        before_s = time.monotonic()
        try:
            assert offered("moco show job_", tmp_path, MOCO_URL=url, MOCO_API_KEY="k") == []
            # A process on a loaded machine takes seconds to start; the drip would take 200.
            assert time.monotonic() - before_s < 30.0
        finally:
            stop.set()
            thread.join()
