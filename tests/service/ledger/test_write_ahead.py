"""What the API asks of Redis is on the disk first, and is taken back when Redis refuses."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.ledger import write
from service.ledger.desk import Desk
from service.ledger.lines import LEDGER, Refused
from service.store.errors import IdempotencyConflict, StoreUnavailable, WrongState
from service.store.store import Store
from service.store.words import Submitted
from tests.support.redis import new_job

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

    def desk(self, data_dir: Path) -> Desk:
        """On a store that only this test knows."""
        record = SimpleNamespace(id=JOB, folder=f"jobs/{JOB}", attempt=3)
        jobs = SimpleNamespace(submit=self.redis, cancel=self.redis, get=lambda _id: record)
        return Desk(cast(Store, SimpleNamespace(jobs=jobs)), data_dir)


def submit(desk: Desk) -> Submitted:
    return desk.submit(new_job(folder=f"jobs/{JOB}"), job_id=JOB)


def made(job_id: str) -> Submitted:
    return Submitted(job_id=job_id, replayed=False)


def test_a_submit_is_on_the_disk_with_every_name_before_redis_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    seen = Seen(monkeypatch, made(JOB))
    submit(seen.desk(tmp_path))
    assert seen.order == [LEDGER, JOB, "jobs", "redis"]


@pytest.mark.parametrize("answer", [IdempotencyConflict("k"), WrongState("ready", "ingest", "")])
def test_what_redis_refuses_is_taken_back(
    answer: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(answer)):
        submit(Seen(monkeypatch, answer).desk(tmp_path))
    assert list((tmp_path / "jobs").iterdir()) == []


def test_what_an_earlier_request_made_leaves_no_second_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert submit(Seen(monkeypatch, made("job_0")).desk(tmp_path)).job_id == "job_0"
    assert list((tmp_path / "jobs").iterdir()) == []


def test_what_redis_may_have_taken_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailable):
        submit(Seen(monkeypatch, StoreUnavailable("no answer")).desk(tmp_path))
    assert (tmp_path / "jobs" / JOB / LEDGER).stat().st_size > 0


def test_a_control_is_on_the_disk_before_redis_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs" / JOB
    folder.mkdir(parents=True)
    seen = Seen(monkeypatch, SimpleNamespace(attempt=3))
    seen.desk(tmp_path).control(JOB, "cancel")
    assert seen.order == [LEDGER, "redis"]
    assert b'"cancel"' in (folder / LEDGER).read_bytes()


def test_a_line_that_the_disk_refuses_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.append(tmp_path, Refused(op="first"))
    whole = (tmp_path / LEDGER).read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write.append(tmp_path, Refused(op="second"))
    assert (tmp_path / LEDGER).read_bytes() == whole
