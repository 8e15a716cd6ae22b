"""Changes are on the disk before Redis is called, and are retracted if Redis rejects them."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.ledger import ledger_writer
from service.ledger.entries import JOB_LINE, LEDGER, Deleted, Refused
from service.ledger.journaled_store import JournaledStore
from service.ledger.ledger_reader import parse
from service.store.records import Submission, Submitted
from service.store.store import Store
from service.store.store_errors import IdempotencyConflict, StoreUnavailable, WrongState
from tests.support.service.redis import new_job

JOB = "job_1"


class Seen:
    """The order of syncs and of calls to Redis, which answers as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
        self.order: list[str] = []
        self._answer = answer
        sync = os.fsync

        def noted(handle: int) -> None:
            self.order.append(Path(f"/proc/self/fd/{handle}").resolve().name)
            sync(handle)

        monkeypatch.setattr(os, "fsync", noted)

    def redis(self, *_: object, **__: object) -> Any:  # noqa: ANN401  # as each call answers
        self.order.append("redis")
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def redis_all(self, batch: Sequence[Submission]) -> list[Any]:
        """One call for all of them; an error is the answer to each."""
        self.order.append("redis")
        if isinstance(self._answer, dict):
            return [self._answer[one.job_id] for one in batch]
        return [self._answer] * len(batch)

    def journal(self, data_dir: Path) -> JournaledStore:
        """On a store that only this test knows."""
        record = SimpleNamespace(id=JOB, folder=f"jobs/{JOB}", attempt=3, status="cancelled")
        jobs = SimpleNamespace(
            submit_all=self.redis_all,
            cancel=self.redis,
            delete=self.redis,
            get=lambda _id: record,
        )
        return JournaledStore(cast(Store, SimpleNamespace(jobs=jobs)), data_dir)


def submit(journal: JournaledStore) -> Submitted:
    return journal.submit(new_job(folder=f"jobs/{JOB}"), job_id=JOB)


def asked(job_id: str) -> Submission:
    return Submission(new=new_job(folder=f"jobs/{job_id}"), job_id=job_id)


def made(job_id: str) -> Submitted:
    return Submitted(job_id=job_id, replayed=False)


def test_a_submit_is_on_the_disk_with_every_name_before_redis_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    seen = Seen(monkeypatch, made(JOB))
    submit(seen.journal(tmp_path))
    assert seen.order == [LEDGER, JOB, "jobs", "redis"]


@pytest.mark.parametrize("answer", [IdempotencyConflict("k"), WrongState("ready", "ingest", "")])
def test_what_redis_refuses_is_taken_back(
    answer: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(answer)):
        submit(Seen(monkeypatch, answer).journal(tmp_path))
    assert list((tmp_path / "jobs").iterdir()) == []


def test_what_an_earlier_request_made_leaves_no_second_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert submit(Seen(monkeypatch, made("job_0")).journal(tmp_path)).job_id == "job_0"
    assert list((tmp_path / "jobs").iterdir()) == []


def test_what_redis_may_have_taken_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable):
        submit(Seen(monkeypatch, StoreUnavailable("no answer")).journal(tmp_path))
    assert (tmp_path / "jobs" / JOB / LEDGER).stat().st_size > 0


def test_many_submits_wait_once_for_the_disk_and_once_for_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of all are synced in one go, after the last folder and before Redis knows."""
    (tmp_path / "jobs").mkdir()
    names = ["job_1", "job_2", "job_3"]
    seen = Seen(monkeypatch, {name: made(name) for name in names})
    with ThreadPoolExecutor(3) as pool:
        done = seen.journal(tmp_path).submit_all([asked(name) for name in names], each=pool.map)
    assert done == [made(name) for name in names]
    assert sorted(seen.order[:6]) == sorted([*names, *[LEDGER] * 3])
    assert seen.order[6:] == ["jobs", "redis"]


def test_who_fails_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by the disk before Redis is asked, one refused, one unknown, one replayed, one made."""
    answers = {
        "job_refused": IdempotencyConflict("k"),
        "job_unknown": StoreUnavailable("no answer"),
        "job_replayed": made("job_0"),
        "job_made": made("job_made"),
    }
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job_broken").write_text("no folder")
    journal = Seen(monkeypatch, answers).journal(tmp_path)
    broken, *others = journal.submit_all([asked(name) for name in ("job_broken", *answers)])
    assert isinstance(broken, NotADirectoryError)
    assert others == list(answers.values())
    left = {path.name for path in (tmp_path / "jobs").iterdir()}
    assert left == {"job_broken", "job_unknown", "job_made"}


def test_a_folder_above_that_cannot_be_synced_fails_all_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    seen = Seen(monkeypatch, {})
    noted = os.fsync

    def broken(handle: int) -> None:
        noted(handle)
        if seen.order[-1] == "jobs":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    done = seen.journal(tmp_path).submit_all([asked("job_1"), asked("job_2")])
    assert [type(one) for one in done] == [OSError, OSError]
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_control_is_on_the_disk_before_redis_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs" / JOB
    folder.mkdir(parents=True)
    seen = Seen(monkeypatch, SimpleNamespace(attempt=3))
    seen.journal(tmp_path).control(JOB, "cancel")
    assert seen.order == [LEDGER, "redis"]
    assert b'"cancel"' in (folder / LEDGER).read_bytes()


def test_a_deletion_is_on_the_disk_before_redis_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs" / JOB
    folder.mkdir(parents=True)
    seen = Seen(monkeypatch, WrongState("queued", "delete", "It was resumed."))
    with pytest.raises(WrongState):
        seen.journal(tmp_path).delete(JOB)
    assert seen.order == [LEDGER, "redis", LEDGER]
    deleted, refused = parse((folder / LEDGER).read_bytes(), JOB_LINE)[0]
    assert isinstance(deleted, Deleted)
    assert deleted.attempt == 3
    assert refused == Refused(op=deleted.op)


def test_a_request_waits_until_the_one_before_has_its_answer(tmp_path: Path) -> None:
    """Lines stand in the order in which they took effect."""
    started = threading.Event()

    def second() -> None:
        started.set()
        ledger_writer.append(tmp_path, Refused(op="second"))

    thread = threading.Thread(target=second)
    with ledger_writer.opened(tmp_path) as ledger:
        thread.start()
        assert started.wait(10)
        thread.join(0.2)
        ledger.append(Refused(op="first"))
    thread.join(10)
    lines, _ = parse((tmp_path / LEDGER).read_bytes(), JOB_LINE)
    assert [line.op for line in lines if isinstance(line, Refused)] == ["first", "second"]


def test_a_line_that_the_disk_refuses_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger_writer.append(tmp_path, Refused(op="first"))
    whole = (tmp_path / LEDGER).read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        ledger_writer.append(tmp_path, Refused(op="second"))
    assert (tmp_path / LEDGER).read_bytes() == whole
