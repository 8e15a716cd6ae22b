"""Curves and logs of attempts, against plain reading of the whole file."""

import io
import json
import random

import pytest

from service.curves.reader import curves, downsample, tail
from tests.support.service.api import RunningApi, running_job

RANDOM = random.Random(3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100, 5000])
@pytest.mark.parametrize("points_max", [2, 3, 4, 10, 501, 10_000])
def test_thinned_curves_keep_ends_and_peaks(count: int, points_max: int) -> None:
    points = [(step, RANDOM.gauss(0.0, 1.0)) for step in range(count)]
    kept = downsample(points, points_max)
    assert len(kept) <= max(points_max, 0)
    assert kept == sorted(set(kept)), "a part of the curve, in its order"
    assert set(kept) <= set(points)
    if count <= points_max:
        assert kept == points
        return
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    if points_max >= 4:
        by_value = sorted(points[1:-1], key=lambda point: point[1])
        assert by_value[0] in kept
        assert by_value[-1] in kept


def test_a_half_written_line_is_passed_over() -> None:
    lines = [
        b'{"step": 1, "epoch": 0.1, "loss": 2.5, "top1": 0.1}\n',
        b"\n",
        b"[]\n",
        b'{"loss": 1.0}\n',
        b'{"step": 2, "loss": "high"}\n',
        b'{"step": 2, "loss": NaN, "top1": 1}\n',
        b'{"step": 3, "loss": 2.0}\n',
        b'{"step": 4, "lo',
    ]
    assert curves(lines, None) == {"loss": [(1, 2.5), (3, 2.0)], "top1": [(1, 0.1), (2, 1.0)]}
    assert curves(lines, frozenset({"top1"})) == {"top1": [(1, 0.1), (2, 1.0)]}


@pytest.mark.parametrize("lines_max", [1, 2, 10, 1000])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_tail_equals_the_end_of_all_lines(lines_max: int, ending: str) -> None:
    lines = ["x" * RANDOM.randrange(3000) + str(n) for n in range(200)]
    file = io.BytesIO(("\n".join(lines) + ending).encode())
    assert tail(file, lines_max) == lines[-lines_max:]


def test_the_tail_of_little() -> None:
    assert tail(io.BytesIO(b""), 5) == []
    assert tail(io.BytesIO(b"\n"), 5) == [""]
    assert tail(io.BytesIO(b"a\xff"), 5) == ["a\ufffd"]
    assert len(tail(io.BytesIO(b"x" * 20_000_000), 5)[0]) < 5_000_000


def test_over_http(api: RunningApi) -> None:
    """The newest attempt that has a file tells the whole history."""
    lease = running_job(api.store)
    job, folder = lease.job_id, api.data_dir / lease.folder / "attempts"
    assert api.client.get(f"/v1/jobs/{job}/metrics").json()["series"] == {}
    assert api.client.get(f"/v1/jobs/{job}/logs").json() == {
        "object": "logs",
        "attempt": 0,
        "lines": [],
    }
    for attempt, steps in ((2, 30), (10, 4000)):
        (folder / str(attempt)).mkdir(parents=True)
        rows = [
            json.dumps({"step": n, "epoch": n / 9, "loss": RANDOM.random(), "lr": 0.1})
            for n in range(steps)
        ]
        text = "\n".join(rows) + '\n{"step":'
        (folder / str(attempt) / "metrics.jsonl").write_text(text)
        (folder / str(attempt) / "log.txt").write_text(f"first\n\x1b[31mattempt {attempt}\n")
    (folder / "11").mkdir()
    body = api.client.get(f"/v1/jobs/{job}/metrics", params={"names": "loss", "max_points": 100})
    series = body.json()["series"]
    assert list(series) == ["loss"]
    assert len(series["loss"]["step"]) == len(series["loss"]["value"]) <= 100
    assert (series["loss"]["step"][0], series["loss"]["step"][-1]) == (0, 3999)
    logs = api.client.get(f"/v1/jobs/{job}/logs", params={"tail": 1}).json()
    assert logs == {"object": "logs", "attempt": 10, "lines": ["\x1b[31mattempt 10"]}


def test_attempts_and_checkpoints(api: RunningApi) -> None:
    lease = running_job(api.store)
    for step in (5, 10):
        path = f"{lease.folder}/attempts/1/checkpoints/{step:09}"
        api.store.queue.checkpoint(
            lease, step=step, path=path, manifest_sha256="a" * 64, size_bytes=3
        )
    (api.data_dir / path).mkdir(parents=True)
    api.store.queue.release(lease, code="preempted")
    found = api.client.get(f"/v1/jobs/{lease.job_id}/attempts").json()["data"]
    assert [(one["attempt"], one["outcome"], one["code"]) for one in found] == [
        (1, "released", "preempted")
    ]
    kept = api.client.get(f"/v1/jobs/{lease.job_id}/checkpoints").json()["data"]
    assert [(one["step"], one["available"]) for one in kept] == [(10, True), (5, False)]
    assert api.client.get(f"/v1/jobs/{lease.job_id}").json()["checkpoint_step"] == 10
