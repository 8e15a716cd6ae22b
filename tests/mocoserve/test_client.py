"""The client's errors and retries against a scripted server, its calls against a real API."""

import httpx
import pytest

from mocoserve.client import Client
from mocoserve.errors import (
    ApiError,
    Conflict,
    Invalid,
    NotAuthorised,
    NotFound,
    Unavailable,
    Unreachable,
    api_error,
)
from tests.support.client.scripted_client import job_json, scripted
from tests.support.service.api import KEY, RunningApi, queued_job, ready_dataset


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
