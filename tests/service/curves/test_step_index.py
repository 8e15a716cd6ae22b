"""Ranges of steps in long histories, against a plain reading of the whole file."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.curves.cache import POINTS_KEPT, CurveCache, Curves
from service.curves.reader import curves, downsample
from service.curves.step_index import Steps, blocks_of, span_of
from tests.support.service.api import RunningApi, running_job


def write(path: Path, count: int, *, every: int = 5, mode: str = "w", start: int = 0) -> None:
    """Readings of two signals; at each fiftieth step there is a second one, of an evaluation."""
    numbers = random.Random(start)
    with path.open(mode) as file:
        for place in range(start, start + count):
            step = every * (place + 1)
            file.write(json.dumps({"step": step, "epoch": 0.1, "loss": numbers.gauss(5, 1)}) + "\n")
            if place % 50 == 0:
                file.write(json.dumps({"step": step, "epoch": 0.1, "knn_top1": 0.5}) + "\n")


def look(cache: CurveCache, path: Path, steps: Steps, points_max: int = 500) -> Curves:
    with path.open("rb") as file:
        return cache.read("job/1", file, names=None, points_max=points_max, steps=steps)


def expected(path: Path, steps: Steps) -> dict[str, list[tuple[int, float]]]:
    with path.open("rb") as file:
        whole = curves(file, None)
    found = {name: steps.within(points) for name, points in whole.items()}
    return {name: points for name, points in found.items() if points}


LINES = st.one_of(
    st.integers(0, 6).map(lambda grown: ("reading", grown)),
    st.sampled_from(["", "{half", "[1]", '{"loss": 1.0}', "x" * 20_000]).map(lambda s: ("bad", s)),
)


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(LINES, max_size=60), first=st.integers(0, 150), last=st.integers(0, 150))
def test_a_span_holds_the_blocks_of_its_steps(
    lines: list[tuple[str, Any]], first: int, last: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "span.jsonl"
    step, written, steps_of = 0, [], {}
    for kind, value in lines:
        step += value if kind == "reading" else 0
        line = json.dumps({"step": step, "loss": 0.0}) if kind == "reading" else value
        written.append(line + "\n")
        if kind == "reading":
            steps_of[len(written) - 1] = step
    path.write_text("".join(written) + '{"step": 9')
    steps = Steps(first, last)
    with path.open("rb") as file:
        found = curves(blocks_of(file, span_of(file, steps)), None).get("loss", [])
    assert [one for one, _ in found] == [s for s in steps_of.values() if first <= s <= last]


@pytest.mark.parametrize(
    "steps",
    [
        Steps(1000, 2000),
        Steps(None, 40),
        Steps(349_000, None),
        Steps(1003, 1004),
        Steps(1005, 1005),
        Steps(9_999_999, None),
        Steps(0, 9_999_999),
    ],
)
def test_a_range_is_that_of_the_file(steps: Steps, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, 70_000)
    found = look(CurveCache(look_s=60.0), path, steps)
    inside = expected(path, steps)
    assert found.is_whole
    assert found.series.keys() == inside.keys()
    for name, points in inside.items():
        kept = found.series[name]
        assert len(kept) <= 500
        assert set(kept) <= set(points)
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        for extreme in (min, max):
            assert extreme(value for _, value in kept) == extreme(value for _, value in points)
        if len(points) <= min(500, POINTS_KEPT):
            assert kept == points, "nothing is thinned where all of it fits"


def test_a_range_ahead_of_a_run_fills_as_it_arrives(tmp_path: Path) -> None:
    path, cache, steps = tmp_path / "metrics.jsonl", CurveCache(), Steps(1000, 1500)
    path.touch()
    for part in range(12):
        with path.open("a") as file:
            file.write('{"step": ')  # a line that is being written
        assert look(cache, path, steps).series == expected(path, steps)
        with path.open("a") as file:
            file.write(f'{250 * part + 2}, "loss": 7.0}}\n')
        write(path, 50, mode="a", start=50 * part)
        assert look(cache, path, steps).series == expected(path, steps)
    assert len(look(cache, path, steps).series["loss"]) > 90


def test_a_wide_range_out_of_time_takes_samples_and_later_looks_read_on(tmp_path: Path) -> None:
    path, cache, steps = tmp_path / "metrics.jsonl", CurveCache(look_s=0.0), Steps(10_000, 290_000)
    write(path, 60_000)
    inside = expected(path, steps)["loss"]
    first = look(cache, path, steps)
    assert not first.is_whole
    assert set(first.series["loss"]) <= set(inside)
    assert len(first.series["loss"]) >= 300
    looks = 1
    while not (found := look(cache, path, steps)).is_whole:
        looks += 1
        assert looks < 100
    assert found.series == look(CurveCache(look_s=60.0), path, steps).series
    assert (found.series["loss"][0], found.series["loss"][-1]) == (inside[0], inside[-1])


def test_a_range_of_a_long_history_is_found_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, 400_000)
    began_s = time.process_time()
    found = look(CurveCache(look_s=60.0), path, Steps(1_000_000, 1_005_000))
    assert time.process_time() - began_s < 0.2, "the whole file takes over a second"
    assert len(found.series["loss"]) == 500


def test_over_http(api: RunningApi) -> None:
    lease = running_job(api.store)
    folder = api.data_dir / lease.folder / "attempts" / "1"
    folder.mkdir(parents=True)
    write(folder / "metrics.jsonl", 20_000, every=1)
    at = f"/v1/jobs/{lease.job_id}/metrics"

    def steps_of(**params: int | str) -> list[int]:
        answer = api.client.get(at, params={"names": "loss", **params})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["series"].get("loss", {"step": []})["step"])

    coarse = [step for step in steps_of(max_points=500) if 5000 <= step <= 5400]
    fine = steps_of(max_points=500, from_step=5000, to_step=5400)
    assert len(coarse) < 30
    assert fine == list(range(5000, 5401))
    assert steps_of(max_points=10_000, from_step=5000, to_step=5400) == fine, "read from the file"
    assert steps_of(from_step=19_990) == list(range(19_990, 20_001))
    assert steps_of(to_step=3) == [1, 2, 3]
    assert steps_of(from_step=30_000) == []
    both_none = api.client.get(at, params={"from_step": 7, "to_step": 6})
    assert (both_none.status_code, both_none.json()["code"]) == (422, "invalid")
    assert both_none.json()["errors"][0]["pointer"] == "query/to_step"


def test_a_range_that_is_thinned_keeps_its_peaks(tmp_path: Path) -> None:
    path, steps = tmp_path / "metrics.jsonl", Steps(5_000, 24_000)
    write(path, 6_000)
    inside = expected(path, steps)
    found = look(CurveCache(look_s=60.0), path, steps)
    assert found.series == {name: downsample(points, 500) for name, points in inside.items()}
