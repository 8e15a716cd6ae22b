"""Errors that a user can cause or meet: stderr says what happened and what to do next."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import Result

from mocoserve.client import Client
from mocoserve.errors import Unreachable, api_error
from service.cli.exit_codes import Exit
from service.cli.render import problem_text
from service.cli.render.error_report import explain
from service.server.problems import KINDS
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import KEY, RunningApi, claim, finished_job, queued_job
from tests.support.system.processes import interruptible, wait_until

FOR_PROGRAMS = frozenset(
    {"bad_json", "bad_header", "bad_request", "cross_site", "method_not_allowed", "not_acceptable"}
    | {"length_required", "unsupported_media_type", "bad_range", "wrong_offset", "size_mismatch"}
    | {"idempotency_conflict"}
)
"""Kinds that no command can cause, short of a mistake of ours."""


def is_told(result: Result, code: int, *words: str) -> None:
    """A failure on stderr, in the form of them all, and nothing on stdout."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: "), result.stderr
    assert "\n  next: " in result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - FOR_PROGRAMS))
@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/job_1/pause", "/v1/datasets/x", "/v1/weights", "/odd"]
)
def test_the_next_step_is_one_of_the_command_line(kind: str, path: str) -> None:
    status, title, hint = KINDS[kind]
    errors = [{"pointer": "#/optim/lr", "detail": "d"}]
    body = {"title": title, "detail": "d", "hint": hint, "code": kind, "instance": path}
    failure = explain(api_error(status, {**body, "errors": errors}))
    assert failure.title
    assert failure.hint
    for word in ("Authorization", "Bearer", "GET ", "POST", "?dry_run", "/docs", "header"):
        assert word not in failure.title + failure.detail + failure.hint


@pytest.mark.parametrize(
    ("status", "code"), [(404, Exit.UNREACHABLE), (501, Exit.UNREACHABLE), (401, Exit.AUTH)]
)
def test_something_else_answers(status: int, code: Exit) -> None:
    failure = explain(api_error(status, None))
    assert (failure.code, "--url" in failure.hint) == (code, True)


def test_the_field_that_was_meant() -> None:
    def hint(*pointers: str, path: str = "/v1/jobs") -> str:
        errors = [{"pointer": pointer, "detail": "Unknown field."} for pointer in pointers]
        body = {"title": "t", "code": "invalid", "instance": path, "errors": errors}
        return problem_text.hint_of(api_error(422, body).problem)

    assert "Did you mean queue_rows?" in hint("#/method/queue_row")
    assert "Did you mean" not in hint("#/optim/lr")
    assert "Did you mean" not in hint("#/xyzzy")
    assert "moco dataset add --help" in hint("#/name", path="/v1/datasets")
    assert hint("query/status") == "Fix it."


def test_keys(moco: Moco, api: RunningApi) -> None:
    is_told(moco("jobs", MOCO_API_KEY="wrong-key-wrong-key"), 3, "rejected the key", "MOCO_API_KEY")
    look = (api.data_dir / "read.key").read_text().strip()
    assert moco("jobs", MOCO_API_KEY=look).exit_code == 0
    is_told(moco("cancel", "job_x", MOCO_API_KEY=look), 3, "read-only", "api.key")


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://"])
def test_an_address_that_is_none(moco: Moco, url: str) -> None:
    is_told(moco("jobs", "--url", url), 2, "--url", "http://host:8080")
    is_told(moco("jobs", MOCO_URL=url), 2, "http://host:8080")


def test_a_web_page_is_no_mocoserve() -> None:
    page = httpx.Response(200, headers={"content-type": "text/html"}, text="<h1>It works!</h1>")
    with (
        Client("http://x", KEY, transport=httpx.MockTransport(lambda _r: page)) as client,
        pytest.raises(Unreachable, match="No mocoserve server at") as caught,
    ):
        client.jobs.list()
    assert "web page" in caught.value.detail


def test_paths(moco: Moco, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.zip").touch()
    for name, words in (
        ("none", "not found"),
        ("empty", "no files"),
        ("empty.zip", "empt"),
    ):
        is_told(moco("dataset", "add", str(tmp_path / name)), 2, words)
    is_told(moco("embed", str(tmp_path / "none"), str(tmp_path), "-o", "x.parquet"), 2, "none")


def test_names_and_formats_of_datasets(moco: Moco, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"x")
    add = ("dataset", "add", str(tmp_path / "x.zip"))
    is_told(moco(*add, "--name", "a b"), 2, "#/name", "moco dataset add --help")
    is_told(moco(*add, "--format", "rar"), 2, "#/format", "'zip'")
    is_told(moco("dataset", "show", "nobody"), 102, "Dataset not found", "moco dataset ls")


# jobs that end otherwise than one wished


def later(work: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.3, work)
    timer.start()
    return timer


@pytest.mark.parametrize("command", ["watch", "wait"])
def test_a_job_is_cancelled_while_one_waits_for_it(
    moco: Moco, api: RunningApi, command: str
) -> None:
    job = queued_job(api.store)
    timer = later(lambda: api.store.jobs.cancel(job))
    result = moco(command, job)
    timer.join()
    assert result.exit_code == 103
    assert f"error: {job} cancelled\n  Cancelled on request.\n" in result.stderr
    assert f"  next: `moco resume {job}`" in result.stderr


def test_a_job_fails_while_one_waits_for_it(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    lease = claim(api.store, api.store.jobs.get(job).pool)
    timer = later(
        lambda: api.store.queue.fail(lease, code="oom", message="Too big.", hint="", retry=False)
    )
    result = moco("wait", job)
    timer.join()
    is_told(result, 100, f"{job} failed after ", "Too big.", f"moco logs {job}")


def test_a_download_of_what_did_not_succeed(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    is_told(moco("download", job), 101, "queued", f"moco watch {job}")
    api.store.jobs.cancel(job)
    is_told(moco("download", job), 103, "cancelled", f"moco show {job}")
    is_told(moco("pause", job), 1, f"moco show {job}")


# breaks


SLOW = """
import sys, time
from mocoserve import sources
from service.cli.main import main
sources.CHUNK_BYTES = 1 << 16
whole = sources.FileSource.read
def slowly(self, offset, read=[]):
    read.append(offset)
    for chunk in whole(self, offset):
        time.sleep(0.02 if len(read) > 1 else 0.0)  # the first reading is for the sha256
        yield chunk
sources.FileSource.read = slowly
main()
"""


def environment(api: RunningApi) -> dict[str, str]:
    return {**os.environ, "MOCO_URL": api.url, "MOCO_API_KEY": KEY, "MOCO_NO_CONFIG": "1"}


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_an_upload_is_broken_off_and_goes_on(
    api: RunningApi, moco: Moco, tmp_path: Path, by: signal.Signals
) -> None:
    path, name = tmp_path / "x.npy", f"broken-{by.name.lower()}"
    path.write_bytes(os.urandom(3 << 20))
    arguments = ("dataset", "add", str(path), "--name", name)

    def held_bytes() -> int:
        answered = api.client.head(f"/v1/datasets/{name}/content")
        return int(answered.headers.get("Upload-Offset", "0"))

    with interruptible([sys.executable, "-c", SLOW, *arguments], environment(api)) as sender:
        wait_until(lambda: held_bytes() > 0, 30, "some bytes are there")
        sender.send_signal(by)
        _, told = sender.communicate(timeout=20)
    assert "Traceback" not in told
    if by == signal.SIGINT:
        assert sender.returncode == 130
        assert "To continue the upload, run the same command again." in told
    assert 0 < held_bytes() < path.stat().st_size
    result = moco(*arguments, "--no-wait", "--json")
    assert (result.exit_code, answer(result)["status"]) == (0, "preparing")
    assert f"Continuing {name}" in result.stderr


def test_a_server_that_stays_away_in_an_upload(
    moco: Moco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_more: object) -> None:
        raise Unreachable("http://server", reason="refused")

    (tmp_path / "x.zip").write_bytes(b"x" * 100)
    monkeypatch.setattr("mocoserve.resumable_upload.Upload._put", away)
    monkeypatch.setattr("mocoserve.resumable_upload.backoff_s", lambda *_a, **_k: 0.0)
    result = moco("dataset", "add", str(tmp_path / "x.zip"), "--name", "gone")
    assert (result.exit_code, result.stdout) == (4, "")
    first, title, *_ = result.stderr.splitlines()
    assert first == "Connection lost; retrying for up to a minute."
    assert title == "error: Upload interrupted"
    assert "run the same command again" in result.stderr


def test_a_download_that_does_not_fit_goes_on_later(
    api: RunningApi, moco: Moco, tmp_path: Path
) -> None:
    content = os.urandom(3 << 20)
    job = finished_job(api, {"encoder.pth": content})
    arguments = ("download", job, "-o", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={**environment(api), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: Not enough disk space\n")
    assert "next: Free some space" in done.stderr
    assert not (tmp_path / "out" / "encoder.pth").exists()
    assert moco(*arguments).exit_code == 0
    assert (tmp_path / "out" / "encoder.pth").read_bytes() == content


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Stopped. To continue the download"),
        (Unreachable("http://x", reason="gone"), 4, "error: Download interrupted"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: Permission denied"),
    ],
)
def test_a_download_that_breaks_off(
    api: RunningApi,
    moco: Moco,
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*_args: object, **_more: object) -> None:
        raise error

    monkeypatch.setattr("service.cli.commands.download.fetch", breaks)
    result = moco("download", finished_job(api, {"encoder.pth": b"x"}))
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


@pytest.mark.parametrize(
    ("options", "env", "told"),
    [
        (("--redis", "nonsense"), {}, (2, "redis://host:6379/0")),
        ((), {"MOCO_API_KEY": "short"}, (2, "too weak")),
        ((), {"MOCO_READ_KEY": "short"}, (2, "MOCO_READ_KEY")),
        ((), {"MOCO_SCRAPE_KEY": "short"}, (2, "MOCO_SCRAPE_KEY")),
        ((), {"MOCO_TICK_S": "soon"}, (2, "MOCO_TICK_S has an invalid value")),
        (("--port", "PORT"), {}, (1, "is taken")),
        (("--data-dir", "FILE"), {}, (2, "cannot be used")),
    ],
)
def test_up_cannot_begin(
    api: RunningApi,
    moco: Moco,
    tmp_path: Path,
    options: tuple[str, ...],
    env: dict[str, str],
    told: tuple[int, str],
) -> None:
    (tmp_path / "file").touch()
    known = {"PORT": api.url.rpartition(":")[2], "FILE": str(tmp_path / "file")}
    given = [known.get(option, option) for option in options]
    folder = {} if "--data-dir" in options else {"MOCO_DATA_DIR": str(tmp_path / "data")}
    result = moco("up", "--no-worker", "--json", *given, **{"MOCO_API_KEY": "", **folder, **env})
    assert (result.exit_code, result.stdout) == (told[0], "")
    failure = json.loads(result.stderr)
    assert told[1] in failure["title"] + failure["detail"]
    assert failure["hint"]
