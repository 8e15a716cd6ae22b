"""Why a job waits, for every mix of workers and sizes."""

import pytest

from service.jobs.waiting import (
    count_reasons,
    fitting_shapes,
    idle_workers,
    queue_reasons,
    shape_reason,
)
from service.store.records import ShapeDepth, WorkerRecord, WorkerState
from tests.support.service.redis import worker


def of(slots: int, state: WorkerState = "idle", *, pool: str = "train") -> WorkerRecord:
    return worker(id=f"w-{slots}-{state}", slots=slots, state=state, pools=(pool,))


@pytest.mark.parametrize(
    ("workers", "shape", "code"),
    [
        ([], (1, 1), "no_worker"),
        ([of(8, "lost")], (1, 1), "no_worker"),
        ([of(8, pool="other")], (1, 1), "no_worker"),
        ([of(8, "draining")], (9, 1), "workers_draining"),
        ([of(8), of(4)], (8, 1), None),
        ([of(8, "busy"), of(4)], (8, 1), None),
        ([of(8), of(4)], (9, 1), "no_worker_fits"),
        ([of(16, "lost"), of(8)], (9, 1), "no_worker_fits"),
        ([of(16, "draining"), of(8)], (9, 1), "workers_draining"),
        ([of(8), of(4)], (8, 2), "no_worker_fits"),
        ([of(8), of(4)], (4, 2), None),
        ([of(8), of(9, "draining")], (8, 2), "workers_draining"),
        ([of(8)] * 3, (8, 4), "no_worker_fits"),
    ],
)
def test_code(workers: list[WorkerRecord], shape: tuple[int, int], code: str | None) -> None:
    reason = shape_reason("train", shape, workers)
    assert (reason.code if reason else None) == code


def test_the_sentence_names_what_it_needs_and_what_there_is() -> None:
    one = shape_reason("train", (9, 1), [of(8), of(4)])
    assert one is not None
    assert one.message == "It needs 9 slots on one worker; the largest of the train pool has 8."
    assert "at least 9 slots" in one.hint
    gang = shape_reason("train", (8, 3), [of(8), of(4)])
    assert gang is not None
    assert gang.message == (
        "It needs 3 workers with 8 slots each; the train pool has 1 of that size, "
        "and its largest worker has 8."
    )
    drained = shape_reason("train", (9, 1), [of(16, "draining"), of(8)])
    assert drained is not None
    assert "moco workers undrain w-16-draining" in drained.hint


def test_jobs_are_counted_by_reason() -> None:
    shapes = {(1, 1): ShapeDepth(5, 30.0), (8, 1): ShapeDepth(2, 20.0), (9, 1): ShapeDepth(3, 10.0)}
    workers = [of(8, "busy"), of(1)]
    assert count_reasons("train", shapes, workers) == {"waiting_for_slots": 7, "no_worker_fits": 3}
    assert fitting_shapes("train", shapes, workers).keys() == {(1, 1), (8, 1)}
    assert fitting_shapes("train", shapes, []).keys() == shapes.keys()
    assert [row.code for row in queue_reasons({"train": shapes}, workers)] == ["no_worker_fits"]


def test_a_worker_that_is_too_small_for_all_that_waits_is_not_idle() -> None:
    workers = [of(8), of(1), of(9, "busy")]
    assert len(idle_workers("train", [], workers)) == 2
    assert idle_workers("train", [(4, 1), (9, 1)], workers) == workers[:1]
    assert idle_workers("train", [(4, 2)], workers) == [], "it waits for others"
    assert idle_workers("train", [(4, 2), (1, 1)], workers) == workers[1:2]
