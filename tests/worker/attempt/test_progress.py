import json
from pathlib import Path

from service.api.schemas.examples import PROFILE
from service.store.records import Lease
from trainer.schema.events import (
    BestReading,
    Ended,
    Evaluated,
    Event,
    Ingesting,
    Judged,
    Logged,
    Profiled,
    Started,
    Stepped,
)
from trainer.spec.job import JobSpec
from worker.attempt.progress import EventFold, Progress, folded
from worker.attempt.workspace import workspace_of

STARTED = Started(
    step=20, steps_planned=95, steps_per_epoch=10, rows=320, device="cpu x", precision="bf16"
)


def fold(*events: Event) -> Progress:
    progress: Progress = {}
    for event in events:
        progress = folded(progress, event, batch_rows=32)
    return progress


def test_a_start_says_where_it_goes_on() -> None:
    assert fold(STARTED) == {
        "step": 20,
        "steps": 95,
        "epoch": 2.0,
        "epochs": 10,
        "signals": {},
        "rows_per_s": None,
        "eta_s": None,
        "exact": True,
        "differs": [],
        "device": "cpu x",
        "precision": "bf16",
    }


def test_the_best_evaluation_and_an_early_end_are_kept() -> None:
    best = BestReading(signal="knn_top1", value=0.75, step=20, epoch=2.0)
    resumed = STARTED.model_copy(update={"best": best})
    step = Stepped(step=45, epoch=4.5, signals={"loss": 2.0})
    assert fold(resumed, step)["best"] == best.model_dump()
    last = Evaluated(step=50, epoch=5.0, signals={}, best=best, ends_early="It is enough.")
    assert fold(STARTED, step, last)["ends_early"] == "It is enough."
    assert "best" not in fold(STARTED, step)


def test_the_time_left_is_rows_left_over_speed() -> None:
    step = Stepped(step=45, epoch=4.5, signals={"loss": 2.0, "rows_per_s": 160.0})
    progress = fold(STARTED, step)
    assert progress["eta_s"] == (95 - 45) * 32 / 160.0
    assert (progress["step"], progress["epoch"], progress["rows_per_s"]) == (45, 4.5, 160.0)


def test_signals_of_steps_and_evaluations_stand_side_by_side() -> None:
    progress = fold(
        STARTED,
        Stepped(step=30, epoch=3.0, signals={"loss": 2.0}),
        Evaluated(step=30, epoch=3.0, signals={"knn_top1": 0.5}),
        Stepped(step=31, epoch=3.1, signals={"loss": 1.5}),
    )
    assert progress["signals"] == {"loss": 1.5, "knn_top1": 0.5}
    assert progress["eta_s"] is None


def test_an_ingest_counts_rows_and_bytes() -> None:
    progress = fold(Ingesting(rows_ok=5, rows_bad=1, bytes_done=10, bytes_total=20))
    assert progress == {"rows_ok": 5, "rows_bad": 1, "bytes_done": 10, "bytes_total": 20}


def test_the_newest_profile_stays_until_the_next_attempt() -> None:
    first = Profiled.model_validate(PROFILE)
    second = first.model_copy(update={"step": 1300, "bottleneck": "network"})
    later = Stepped(step=1301, epoch=1.0, signals={"loss": 2.0})
    progress = fold(STARTED, first, second, later)
    assert progress["profile"] == second.model_dump(mode="json")
    assert progress["step"] == 1301
    assert "profile" not in fold(STARTED)


def test_a_sentence_changes_nothing() -> None:
    progress = fold(STARTED)
    assert folded(progress, Logged(message="x"), batch_rows=32) is progress


def test_the_first_step_and_what_changes_the_job_go_out_at_once() -> None:
    heard = EventFold(batch_rows=32)

    def urgent(event: Event) -> bool:
        return heard.take(event, "")[1]

    first, second = (Stepped(step=n, epoch=0.0, signals={}) for n in (21, 22))
    assert [urgent(event) for event in (STARTED, first, second)] == [True, True, False]
    assert urgent(Ended(outcome="succeeded"))
    assert not urgent(Logged(message="x"))
    assert heard.ended == Ended(outcome="succeeded")


def test_a_lease_of_an_older_version_keeps_its_rules(tmp_path: Path) -> None:
    """Its resolved spec lacks what this version adds; a spec that says it is left alone."""

    def taken(**words: object) -> JobSpec:
        lease = Lease(
            **{"job_id": "job_1", "kind": "train", "pool": "train", "attempt": 1, "token": "1:a"},  # type: ignore[arg-type]
            spec_json=json.dumps({"dataset": "x", **words}),
            inputs={},
            folder="jobs/job_1",
            checkpoints=(),
            dataset_id=None,
        )
        spec = workspace_of(lease, tmp_path).spec
        assert isinstance(spec, JobSpec)
        return spec

    old, new = taken(), taken(order=2, schedule={"warmup_from": 1})
    assert (old.order, old.schedule.warmup_from) == (1, 0)
    assert [getattr(knn, "baselines", None) for knn in old.evaluators] == [False]
    assert (new.order, new.schedule.warmup_from) == (2, 1)


def test_a_verdict_is_part_of_the_progress_until_the_next_one() -> None:
    told = Judged(step=3, code="healthy", kind="ok", word="Healthy", evidence="1.", advice="2.")
    progress = folded({"step": 3}, told, batch_rows=1)
    assert progress["verdict"] == told.model_dump(mode="json")
    later = told.model_copy(update={"code": "collapsed"})
    assert folded(progress, later, batch_rows=1)["verdict"]["code"] == "collapsed"
