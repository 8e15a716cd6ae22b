"""The client against a scripted transport for what a real server does rarely, and a real API."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from mocoserve.client import Client
from mocoserve.errors import (
    ApiError,
    Conflict,
    Damaged,
    Invalid,
    NotAuthorised,
    NotFound,
    Unavailable,
    Unreachable,
    api_error,
)
from mocoserve.events import parse_sse
from mocoserve.models import Artifact
from mocoserve.sources import FileSource, sha256_of, source_of
from tests.support.api import KEY, RunningApi, finished_job, queued_job, ready_dataset

Handler = Callable[[httpx.Request], httpx.Response]


def scripted(handler: Handler) -> Client:
    client = Client("http://server", KEY, transport=httpx.MockTransport(handler))
    client._http.pause = lambda _s: None
    return client


def job_json(**changes: object) -> dict[str, object]:
    return {"id": "job_1", "object": "job", "status": "queued", **changes}


@pytest.fixture
def real(api: RunningApi) -> Iterator[Client]:
    with Client(api.url, KEY) as client:
        yield client


# errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, NotAuthorised),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (503, Unavailable),
        (500, ApiError),
    ],
)
def test_a_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    body = {"title": "No", "detail": "d", "hint": "h", "errors": [{"pointer": "/a", "detail": "x"}]}
    error = api_error(status, body)
    assert type(error) is kind
    assert (error.title, error.detail, error.hint) == ("No", "d", "h")
    assert error.problem.errors[0].pointer == "/a"


@pytest.mark.parametrize("body", [None, "text", [], {"title": 3}, {"errors": "x"}, {}])
def test_a_body_that_is_no_problem_still_gives_an_error(body: object) -> None:
    assert api_error(502, body).problem.status == 502


# retries


def test_reading_is_tried_again_and_writing_is_not() -> None:
    seen: list[str] = []

    def fails(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        raise httpx.ReadError("cut", request=request)

    client = scripted(fails)
    with pytest.raises(Unreachable, match="No mocoserve server at"):
        client.jobs.get("job_1")
    with pytest.raises(Unreachable):
        client.jobs.cancel("job_1")
    with pytest.raises(Unreachable):
        client.jobs.delete("job_1")
    assert seen == ["GET"] * 4 + ["POST", "DELETE"]


def test_what_never_reached_the_server_is_always_tried_again() -> None:
    seen: list[str] = []

    def refuses(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unreachable):
        scripted(refuses).jobs.cancel("job_1")
    assert len(seen) == 4


def test_submit_is_repeated_under_one_idempotency_key() -> None:
    keys: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            raise httpx.ReadTimeout("slow", request=request)
        return httpx.Response(201, json=job_json())

    assert scripted(flaky).jobs.create({"dataset": "x"}).id == "job_1"
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_an_answer_that_refuses_is_not_repeated() -> None:
    seen: list[str] = []

    def refuses(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(409, json={"title": "Wrong state"})

    with pytest.raises(Conflict):
        scripted(refuses).jobs.cancel("job_1")
    assert len(seen) == 1


def test_the_key_is_sent_and_never_shown() -> None:
    def check(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unreachable) as caught:
        scripted(check).ready()
    assert KEY not in f"{caught.value!r} {caught.value.as_dict()}"


# events


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["id: 1-0", "event: x", "data: {}", ""], [("1-0", "{}")]),
        ([": heartbeat", "", "id: 2-0", "data: a", "data: b", ""], [("2-0", "a\nb")]),
        (["data:no space", ""], [("", "no space")]),
        (["id: 3-0", "data: cut off"], []),
        (["id: 1-0", "data: a", "", "data: b", ""], [("1-0", "a"), ("1-0", "b")]),
    ],
)
def test_sse_lines(lines: list[str], found: list[tuple[str, str]]) -> None:
    assert list(parse_sse(lines)) == found


def sse(*numbers: int, last: str | None = None) -> bytes:
    events = [(f"{n}-0", {"type": "stepped", "step": n}) for n in numbers]
    if last:
        events.append(("99-0", {"type": "status", "status": last}))
    return b"".join(f"id: {i}\ndata: {json.dumps(e)}\n\n".encode() for i, e in events)


class Broken(httpx.SyncByteStream):
    """Some bytes, then the connection is cut."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.ReadError("cut")


def test_events_go_on_after_a_break_without_loss_or_repeat() -> None:
    asked: list[str | None] = []

    def server(request: httpx.Request) -> httpx.Response:
        assert request.url.path.endswith("/events")
        after = request.headers.get("Last-Event-ID")
        asked.append(after)
        kind = {"content-type": "text/event-stream; charset=utf-8"}
        if after is None:
            return httpx.Response(200, headers=kind, stream=Broken(sse(1, 2)))
        return httpx.Response(200, headers=kind, content=sse(3, last="succeeded"))

    ids = [event.id for event in scripted(server).jobs.events("job_1")]
    assert ids == ["1-0", "2-0", "3-0", "99-0"]
    assert asked == [None, "2-0"]


def test_events_are_polled_where_streams_do_not_pass() -> None:
    pages = {
        "": ([1, 2], True),
        "2-0": ([3], False),
        "3-0": ([], False),
    }
    states = iter(["running", "succeeded"])

    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs/job_1":
            return httpx.Response(200, json=job_json(status=next(states)))
        if "after" not in request.url.params and "limit" not in request.url.params:
            return httpx.Response(200, json={"data": []})  # JSON, though a stream was asked for
        numbers, more = pages[request.url.params.get("after", "")]
        data = [{"id": f"{n}-0", "event": {"type": "stepped"}} for n in numbers]
        return httpx.Response(200, json={"object": "list", "data": data, "has_more": more})

    ids = [event.id for event in scripted(server).jobs.events("job_1")]
    assert ids == ["1-0", "2-0", "3-0"]


def test_events_of_an_unknown_job_are_an_error() -> None:
    client = scripted(lambda _r: httpx.Response(404, json={"title": "No such job"}))
    with pytest.raises(NotFound):
        list(client.jobs.events("job_9"))


def test_real_events_end_with_the_job(api: RunningApi, real: Client) -> None:
    job = finished_job(api, {"a.txt": b"a"}, step=1)
    types = [event.type for event in real.jobs.events(job)]
    assert types[-1] == "status"
    assert "logged" in types


# uploads


def test_an_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(bytes(range(256)) * 16)
    held = bytearray()
    offsets: list[int] = []

    def server(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Upload-Offset": str(len(held))})
        offset, body = int(request.headers["Upload-Offset"]), request.read()
        assert int(request.headers["Content-Length"]) == len(body)
        offsets.append(offset)
        assert offset == len(held)
        if not held:
            held.extend(body[:1000])
            raise httpx.WriteError("cut", request=request)
        held.extend(body)
        return httpx.Response(200, json={"id": "ds_1", "name": "x", "status": "preparing"})

    told: list[tuple[int, int]] = []
    source = FileSource(tmp_path / "x.zip")
    client = scripted(server)
    done = client.datasets.upload("ds_1", source, on_progress=lambda a, b: told.append((a, b)))
    assert done.status == "preparing"
    assert bytes(held) == (tmp_path / "x.zip").read_bytes()
    assert offsets == [0, 1000]
    assert told[-1] == (4096, 4096)


def test_an_upload_that_never_moves_ends(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"123")
    tries = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Upload-Offset": "0"})
        tries += 1
        raise httpx.WriteError("cut", request=request)

    with pytest.raises(Unreachable):
        scripted(server).datasets.upload("ds_1", FileSource(tmp_path / "x.zip"))
    assert tries <= 14


def test_a_real_upload_is_resumed(real: Client, api: RunningApi, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK" + bytes(100_000))
    source = source_of(tmp_path / "x.zip")
    digest = sha256_of(source)
    made = real.datasets.create("resumed", size_bytes=source.size_bytes, sha256=digest)
    part = next(source.read(0))[:30_000]
    answer = api.client.put(f"/v1/datasets/{made.id}/content", content=part)
    assert answer.status_code < 300
    assert real.datasets.held_bytes(made.id) == 30_000
    sent: list[int] = []
    done = real.datasets.upload("resumed", source, on_progress=lambda a, _b: sent.append(a))
    assert done.status == "preparing"
    assert (sent[0], sent[-1], done.sha256) == (30_000, source.size_bytes, digest)
    assert real.datasets.find("resumed") == real.datasets.get(made.id)
    assert real.datasets.find("unknown") is None
    with pytest.raises(Conflict):
        real.datasets.create("resumed")


# downloads


def served(content: bytes, *, breaks: int = 0, wrong: int = 0) -> tuple[Handler, list[str]]:
    """A server of one file: cuts the first `breaks` answers, garbles the first `wrong`."""
    ranges: list[str] = []

    def server(request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range", "")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body, status = content[start:], 206 if asked else 200
        if len(ranges) <= wrong:
            body = bytes(len(body))
        if len(ranges) <= breaks:
            return httpx.Response(status, stream=Broken(body[: len(body) // 2]))
        return httpx.Response(status, stream=httpx.ByteStream(body))

    return server, ranges


def artifact(content: bytes, name: str = "encoder.pth") -> Artifact:
    return Artifact(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_a_real_upload_whose_answer_was_lost_is_done(real: Client, tmp_path: Path) -> None:
    """Sent again when the dataset is being prepared; other bytes are refused at once."""
    path, other = tmp_path / "x.zip", tmp_path / "y.zip"
    path.write_bytes(b"some bytes")
    other.write_bytes(b"and others")
    source = FileSource(path)
    made = real.datasets.create("answer-lost", size_bytes=10, sha256=sha256_of(source))
    real.datasets.upload(made.id, source)
    assert real.datasets.get(made.id).status == "preparing"
    assert real.datasets.upload(made.id, source).id == made.id
    with pytest.raises(Conflict):
        real.datasets.upload(made.id, FileSource(other))


def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    server, ranges = served(content, breaks=2)
    path = scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert path.read_bytes() == content
    assert ranges == ["", "bytes=12800-", "bytes=19200-"]
    assert [file.name for file in tmp_path.iterdir()] == ["encoder.pth"]


def test_a_damaged_download_is_begun_anew_and_never_kept(tmp_path: Path) -> None:
    content = b"x" * 1000
    server, ranges = served(content, wrong=1)
    path = scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert path.read_bytes() == content
    assert ranges == ["", ""]
    path.unlink()
    server, _ = served(content, wrong=9)
    with pytest.raises(Damaged, match="twice"):
        scripted(server).artifacts.download("job_1", artifact(content), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "encoder.pth").write_bytes(b"abc")
    server, ranges = served(b"abc")
    scripted(server).artifacts.download("job_1", artifact(b"abc"), tmp_path)
    assert ranges == []
    with pytest.raises(Damaged):  # more bytes than were promised
        scripted(server).artifacts.download("job_1", artifact(b"", "empty.txt"), tmp_path)
    server, _ = served(b"")
    scripted(server).artifacts.download("job_1", artifact(b"", "empty.txt"), tmp_path)
    assert (tmp_path / "empty.txt").read_bytes() == b""


def test_bytes_that_another_file_has_are_copied_not_fetched(tmp_path: Path) -> None:
    """Two files, not two names: whoever writes to one must not change the other."""
    (tmp_path / "encoder.safetensors").write_bytes(b"abc")
    (tmp_path / "other").write_bytes(b"abd")
    server, ranges = served(b"abc")
    path = scripted(server).artifacts.download(
        "job_1", artifact(b"abc", "model.safetensors"), tmp_path
    )
    assert (path.read_bytes(), ranges) == (b"abc", [])
    assert not path.samefile(tmp_path / "encoder.safetensors")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".", "..", "a\\b"])
def test_a_server_cannot_name_a_place_outside_the_folder(name: str, tmp_path: Path) -> None:
    server, ranges = served(b"abc")
    with pytest.raises(Damaged):
        scripted(server).artifacts.download("job_1", artifact(b"abc", name), tmp_path / "in")
    assert ranges == []


def test_a_real_download_resumes(api: RunningApi, real: Client, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    job = finished_job(api, {"encoder.pth": content, "README.md": b"# card"})
    files = {file.name: file for file in real.artifacts.list(job)}
    (tmp_path / "encoder.pth.part").write_bytes(content[:500_000])
    told: list[int] = []
    for file in files.values():
        real.artifacts.download(job, file, tmp_path, on_progress=lambda _n, a, _b: told.append(a))
    assert (tmp_path / "encoder.pth").read_bytes() == content
    assert min(told[:-1]) > 500_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "encoder.pth"]


# the rest of the API


def test_jobs_of_a_real_api(api: RunningApi, real: Client) -> None:
    ready_dataset(api.store, "known")
    preview = real.jobs.preview({"dataset": "known"})
    assert preview.resolved["batch_rows"] > 0
    assert "batch_rows" in preview.reasons
    job = real.jobs.create({"dataset": "known", "epochs": 2}, idempotency_key="k1")
    assert real.jobs.create({"dataset": "known", "epochs": 2}, idempotency_key="k1").id == job.id
    with pytest.raises(Invalid):
        real.jobs.create({"dataset": "known", "epochs": 3}, idempotency_key="k1")
    assert job.id in [found.id for found in real.jobs.list(status="queued")[0]]
    assert real.jobs.pause(job.id).status == "paused"
    assert real.jobs.wait(job.id).status == "paused"
    assert real.jobs.resume(job.id).status == "queued"
    with pytest.raises(TimeoutError):
        real.jobs.wait(job.id, timeout_s=0.0)
    assert real.jobs.cancel(job.id).status == "cancelled"
    assert real.jobs.wait(job.id).over
    assert real.jobs.attempts(job.id) == real.jobs.checkpoints(job.id) == []
    real.jobs.delete(job.id)
    with pytest.raises(NotFound):
        real.jobs.get(job.id)


def test_pages_end(api: RunningApi, real: Client) -> None:
    made = {ready_dataset(api.store, f"page-{i}").id for i in range(3)}
    first, more = real.datasets.list(limit=2)
    assert len(first) == 2
    assert more
    assert made <= {dataset.id for dataset in real.datasets.each()}


def test_reading_a_job(api: RunningApi, real: Client) -> None:
    job = queued_job(api.store)
    assert real.jobs.get(job).raw()["object"] == "job"
    assert real.jobs.metrics(job, names=("loss",)).job_id == job
    assert real.jobs.logs(job).lines == ()
    assert real.workers() == []
    assert real.version()["version"]
    assert real.queue()["object"]
    real.ready()


def test_a_wrong_key(api: RunningApi) -> None:
    with Client(api.url, "wrong") as client, pytest.raises(NotAuthorised):
        client.ready()


def test_a_spec_object_is_sent_as_the_user_wrote_it(api: RunningApi, real: Client) -> None:
    from trainer.spec.job import JobSpec

    ready_dataset(api.store, "typed")
    job = real.jobs.create(JobSpec(dataset="typed", epochs=4))
    assert job.spec == {"dataset": "typed", "epochs": 4}
