"""Curves that are read a little further at each look, held against a reading of the whole file."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from service.curves.cache import POINTS_KEPT, CurveCache, Curves
from service.curves.reader import curves, downsample


def write(path: Path, count: int, *, start: int = 0, mode: str = "w") -> None:
    """Readings of three signals; `knn_top1` is rare."""
    numbers = random.Random(start)
    with path.open(mode) as file:
        for place in range(start, start + count):
            reading: dict[str, Any] = {"step": 5 * (place + 1), "epoch": 0.1 * place}
            reading |= {"loss": numbers.gauss(5.0, 1.0), "lr": 0.5 / (1 + place)}
            if place % 25 == 0:
                reading["knn_top1"] = numbers.random()
            file.write(json.dumps(reading) + "\n")


def look(cache: CurveCache, path: Path, points_max: int = 500) -> Curves:
    with path.open("rb") as file:
        return cache.read("job/1", file, names=None, points_max=points_max)


def whole(path: Path) -> dict[str, list[tuple[int, float]]]:
    with path.open("rb") as file:
        return curves(file, None)


@pytest.mark.parametrize("count", [0, 1, 2, 499, 500, 501, POINTS_KEPT])
def test_a_short_history_is_that_of_the_file(count: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, count)
    found = look(CurveCache(look_s=60.0), path)
    assert found.is_whole
    assert found.series == {name: downsample(points, 500) for name, points in whole(path).items()}


@pytest.mark.parametrize("looks", [1, 7])
@pytest.mark.parametrize("count", [POINTS_KEPT + 1, 20_000, 70_000])
def test_a_long_history_keeps_its_ends_its_peaks_and_its_shape(
    count: int, looks: int, tmp_path: Path
) -> None:
    path, cache = tmp_path / "metrics.jsonl", CurveCache(look_s=60.0)
    path.touch()
    for part in range(looks):
        write(path, count // looks, start=part * (count // looks), mode="a")
        found = look(cache, path)
    for name, points in whole(path).items():
        kept = found.series[name]
        assert len(kept) <= 500
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert set(kept) <= set(points), "no point is made up"
        assert [step for step, _ in kept] == sorted({step for step, _ in kept})
        for extreme in (min, max):
            assert extreme(value for _, value in kept) == extreme(value for _, value in points)
        # Equally dense everywhere: no tenth of the steps has lost its share of the points.
        tenth = (points[-1][0] - points[0][0]) / 10
        for number in range(10):
            start = points[0][0] + number * tenth
            inside = [step for step, _ in kept if start <= step <= start + tenth]
            assert len(inside) >= min(len(points), len(kept)) / 10 / 2, (name, number)


def test_what_is_half_written_waits_and_what_is_broken_is_passed_over(tmp_path: Path) -> None:
    path, cache = tmp_path / "metrics.jsonl", CurveCache()
    path.write_text('{"step":1,"loss":2.0}\n{"step":2,"lo')
    assert look(cache, path).series == {"loss": [(1, 2.0)]}
    with path.open("a") as file:
        file.write('ss":3.0}\nnonsense\n[1]\n{"step":3,"loss":NaN,"lr":"x"}\n{"loss":1}\n')
        file.write('{"step":4,"loss":1.0}\n')
    assert look(cache, path).series == {"loss": [(1, 2.0), (2, 3.0), (4, 1.0)]}


def test_another_file_in_its_place_is_read_from_its_start(tmp_path: Path) -> None:
    path, cache = tmp_path / "metrics.jsonl", CurveCache()
    write(path, 300)
    look(cache, path)
    other = tmp_path / "other"
    other.write_text('{"step":9,"loss":7.0}\n')
    other.replace(path)
    assert look(cache, path).series == {"loss": [(9, 7.0)]}


def test_a_look_out_of_time_takes_samples_and_later_ones_read_on(tmp_path: Path) -> None:
    path, cache = tmp_path / "metrics.jsonl", CurveCache(look_s=0.0)
    write(path, 60_000)
    points = whole(path)["loss"]
    first = look(cache, path)
    assert not first.is_whole
    assert set(first.series["loss"]) <= set(points)
    assert first.series["loss"][-1] == points[-1], "the newest reading is always there"
    assert 200 <= len(first.series["loss"]) <= 250, "half of the 500 that were asked for"
    for _ in range(100):
        found = look(cache, path)
        if found.is_whole:
            break
    assert found.is_whole
    with path.open("rb") as file:
        read_at_once = CurveCache(look_s=60.0).read("x", file, names=None, points_max=500)
    assert found.series == read_at_once.series


def test_only_the_wanted_signals_are_answered(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, 50)
    with path.open("rb") as file:
        found = CurveCache().read("x", file, names=frozenset({"lr"}), points_max=10)
    assert set(found.series) == {"lr"}
