"""Replay of a ledger, rule by rule, on lines written by hand."""

import itertools

import pytest

from service.ledger.entries import (
    JOB_LINE,
    AttemptEnded,
    AttemptLine,
    CheckpointSaved,
    Claimed,
    Controlled,
    Deleted,
    JobLine,
    JobSubmitted,
    Refused,
    Verb,
    encode,
)
from service.ledger.ledger_reader import parse
from service.ledger.replay import JobLedger, old_job, superseded
from service.store.rebuild import OldJob
from service.store.records import Status
from tests.support.service.api import Loose

DAY_S = 24 * 3600.0


def submitted(**changes: Loose) -> JobSubmitted:
    fields: dict[str, Loose] = {
        "job_id": "job_1",
        "kind": "train",
        "pool": "train",
        "name": "n",
        "spec_json": "{}",
        "resolved_json": "{}",
        "reasons_json": "{}",
        "inputs": {},
        "folder": "jobs/job_1",
        "dataset_id": None,
        "max_failures": 0,
        "idem_key": "k",
        "fingerprint": "f",
        "created_at_s": 1000.0,
    }
    return JobSubmitted(**(fields | changes))


def asked(verb: Verb, attempt: int, op: str = "") -> Controlled:
    return Controlled(verb=verb, job_id="job_1", attempt=attempt, op=op or verb, at_s=5.0)


def claimed(attempt: int) -> Claimed:
    return Claimed(job_id="job_1", attempt=attempt, at_s=2.0)


def told(step: int, attempt: int = 1) -> CheckpointSaved:
    path = f"jobs/job_1/attempts/{attempt}/checkpoints/{step:09d}"
    return CheckpointSaved(step=step, path=path, manifest_sha256="0", size_bytes=1, at_s=3.0)


def ended(verb: Loose, status: Status) -> AttemptEnded:
    return AttemptEnded(verb=verb, status=status, code="c", message="m", hint="h", at_s=4.0)


def folded(*lines: JobLine, now_s: float = 1000.0, **attempts: tuple[AttemptLine, ...]) -> OldJob:
    """Attempts are named `a1`, `a2` ..."""
    numbered = {int(name[1:]): rows for name, rows in attempts.items()}
    first = submitted()
    life = JobLedger(first, (first, *lines), numbered)
    return old_job(life, checkpoint_exists=lambda one: one.step != 13, now_s=now_s)


RESTS: tuple[Status, ...] = ("queued", "paused", "cancelled", "failed", "succeeded")
ALLOWED: dict[tuple[Status, Verb], Status] = {
    ("queued", "cancel"): "cancelled",
    ("queued", "pause"): "paused",
    ("paused", "cancel"): "cancelled",
    ("paused", "resume"): "queued",
    ("cancelled", "resume"): "queued",
    ("failed", "resume"): "queued",
}
VERBS: tuple[Verb, ...] = ("cancel", "pause", "resume")


@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("first", VERBS)
@pytest.mark.parametrize("second", VERBS)
def test_every_two_controls_after_every_end(rest: Status, first: Verb, second: Verb) -> None:
    wanted = rest
    for verb in (first, second):
        wanted = ALLOWED.get((wanted, verb), wanted)
    lines = (asked(first, 1, "one"), asked(second, 1, "two"))
    assert folded(*lines, a1=(claimed(1), ended("release", rest))).status == wanted


@pytest.mark.parametrize(("first", "second"), [*itertools.product(VERBS, VERBS)])
def test_what_ran_is_queued_unless_asked_otherwise(first: Verb, second: Verb) -> None:
    wanted: Status = "queued"
    for verb in (first, second):
        wanted = ALLOWED.get((wanted, verb), wanted)
    lines = (asked(first, 2, "one"), asked(second, 2, "two"))
    job = folded(*lines, a1=(claimed(1), ended("release", "queued")), a2=(claimed(2),))
    assert (job.status, job.attempt) == (wanted, 2)


def test_a_control_of_an_earlier_attempt_is_over() -> None:
    job = folded(asked("pause", 1), a1=(claimed(1), ended("release", "paused")), a2=(claimed(2),))
    assert job.status == "queued"


def test_a_refused_control_changes_nothing() -> None:
    lines = (asked("cancel", 0, "x"), Refused(op="x"))
    assert folded(*lines).status == "queued"


@pytest.mark.parametrize(
    ("attempts", "controls", "highest"),
    [({}, (), 0), ({"a3": ()}, (), 3), ({"a1": (claimed(1),)}, (asked("pause", 4),), 4)],
)
def test_the_attempt_is_the_highest_number_seen(
    attempts: Loose, controls: Loose, highest: int
) -> None:
    assert folded(*controls, **attempts).attempt == highest


def test_the_newest_checkpoint_that_is_there_is_the_pointer() -> None:
    job = folded(a1=(claimed(1), told(5), told(9)), a2=(claimed(2), told(9, 2), told(13, 2)))
    assert [one.step for one in job.checkpoints] == [5, 9]
    assert job.checkpoints[-1].attempt == 2, "a step that was saved again replaces the older"


def test_failures_count_since_the_last_resume() -> None:
    fails: Loose = {f"a{n}": (claimed(n), ended("fail", "queued")) for n in (1, 2, 3)}
    assert folded(**fails).failures == 3
    assert folded(asked("resume", 2), **fails).failures == 1


def test_a_reason_belongs_to_its_status() -> None:
    failed = folded(a1=(claimed(1), ended("fail", "failed")))
    assert (failed.code, failed.message, failed.hint) == ("c", "m", "h")
    resumed = folded(asked("resume", 1), a1=(claimed(1), ended("fail", "failed")))
    assert (resumed.code, resumed.finished_at_s) == ("", None)


def test_a_key_answers_for_what_is_left_of_the_day() -> None:
    assert folded(now_s=1000.0).idem_s == DAY_S
    assert folded(now_s=1000.0 + DAY_S - 60).idem_s == 60
    assert folded(now_s=1000.0 + DAY_S + 60).idem_s == 0


def test_a_deletion_stands_unless_refused_or_the_job_was_used_since() -> None:
    gone = Deleted(job_id="job_1", op="d", attempt=0, at_s=1.0)
    first = submitted()
    assert JobLedger(first, (first, gone), {}).deleted == gone
    assert JobLedger(first, (first, gone, Refused(op="d")), {}).deleted is None
    assert JobLedger(first, (first, gone, asked("resume", 0)), {}).deleted is None
    refused = (asked("resume", 0), Refused(op="resume"))
    assert JobLedger(first, (first, gone, *refused), {}).deleted == gone


@pytest.mark.parametrize("attempt", [1, None])
def test_a_deletion_is_void_once_the_job_was_claimed_again(attempt: int | None) -> None:
    """Older lines tell no attempt: for them the times of claims and ends are compared."""
    gone = Deleted(job_id="job_1", op="d", attempt=attempt, at_s=10.0)
    first = submitted()
    over = (claimed(1), ended("complete", "succeeded"))
    assert JobLedger(first, (first, gone), {1: over}).deleted == gone
    again = claimed(2).model_copy(update={"at_s": 11.0})
    assert JobLedger(first, (first, gone), {1: over, 2: (again,)}).deleted is None


def test_an_end_after_an_older_deletion_voids_it() -> None:
    """It was asked of a job that ran: Redis must have refused it."""
    gone = Deleted(job_id="job_1", op="d", at_s=3.0)
    first = submitted()
    assert (
        JobLedger(first, (first, gone), {1: (claimed(1), ended("complete", "succeeded"))}).deleted
        is None
    )
    assert JobLedger(first, (first, gone), {1: (claimed(1),)}).deleted is None, "it still runs"
    assert JobLedger(first, (first, gone), {}).deleted is None, "it still waits"


def test_a_submit_that_was_withdrawn_is_deleted_whatever_its_state() -> None:
    gone = Deleted(job_id="job_1", op="job_1", at_s=1.0)
    first = submitted()
    assert JobLedger(first, (first, gone), {}).deleted == gone


def life(job_id: str, at_s: float, *, attempted: bool = False, mark: str = "f") -> JobLedger:
    line = submitted(job_id=job_id, created_at_s=at_s, fingerprint=mark)
    claim = Claimed(job_id=job_id, attempt=1, at_s=at_s)
    return JobLedger(line, (line,), {1: (claim,)} if attempted else {})


def test_of_submits_with_one_key_the_attempted_or_last_one_is_meant() -> None:
    assert superseded([life("a", 1.0), life("b", 2.0)]) == {"a"}
    assert superseded([life("a", 1.0, attempted=True), life("b", 2.0)]) == {"b"}
    attempted = [life(name, 1.0, attempted=True) for name in "ab"]
    assert superseded(attempted) == set(), "both were accepted"
    assert superseded([life("a", 1.0), life("b", 2.0 + DAY_S)]) == set()
    assert superseded([life("a", 1.0), life("b", 2.0, mark="g")]) == set()


def test_every_cut_of_a_ledger_is_read() -> None:
    lines = (submitted(), asked("pause", 0), Refused(op="pause"))
    data = b"".join(map(encode, lines))
    for cut in range(len(data) + 1):
        read, damaged = parse(data[:cut], JOB_LINE)
        assert read == lines[: data[:cut].count(b"\n")]
        assert damaged == ()


def test_a_broken_line_in_the_middle_is_told() -> None:
    data = encode(submitted()) + b'{"type":"contr\n' + encode(asked("pause", 0))
    read, damaged = parse(data, JOB_LINE)
    assert (len(read), damaged) == (2, (2,))
