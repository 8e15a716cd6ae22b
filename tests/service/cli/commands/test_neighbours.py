"""`moco neighbours`, with a worker that is played."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.api.schemas.neighbours import RESULT
from service.jobs.neighbour_jobs import each_probe
from tests.support.client.moco_command import Moco, answer
from tests.support.data.images import png
from tests.support.service.api import RunningApi
from tests.support.service.neighbour_jobs import answered, trained
from tests.support.system.processes import wait_until


@pytest.fixture(scope="module")
def job(api: RunningApi) -> str:
    return trained(api)


@contextmanager
def working(api: RunningApi, *, code: str = "") -> Iterator[None]:
    """The next probe is answered, or fails with `code`."""

    def work() -> None:
        wait_until(lambda: api.store.jobs.depth("ingest").jobs > 0, 20.0)
        if not code:
            answered(api)
            return
        lease = api.store.queue.claim(pools=("ingest",), worker_id="w", nonce=code)
        assert lease is not None
        api.store.queue.fail(
            lease, code=code, message="The file is damaged.", hint="Send another.", retry=False
        )

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_an_image_is_asked_about_and_the_sheet_is_saved(
    api: RunningApi, job: str, moco: Moco, tmp_path: Path
) -> None:
    (tmp_path / "mine.png").write_bytes(png(1))
    out = tmp_path / "sheet.png"
    with working(api):
        result = moco("neighbours", job, str(tmp_path / "mine.png"), "-k", "3", "-o", str(out))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "row 12: cats/0012.png (cats)"
    assert "0.9132" in result.stdout
    assert "cats/0342.png" in result.stdout
    assert RESULT["note"] in result.stderr
    assert out.read_bytes() == png(1)
    assert next(each_probe(api.store)).spec_json.count('"is_image":true') == 1


def test_rows_are_asked_about_and_json_is_the_probe(api: RunningApi, job: str, moco: Moco) -> None:
    with working(api):
        result = moco("neighbours", job, "--row", "7", "--row", "8", "--json")
    told = answer(result)
    assert (told["rows"], told["result"]["note"]) == ([7, 8], RESULT["note"])


def test_a_search_that_fails_says_why_and_what_to_do(
    api: RunningApi, job: str, moco: Moco, tmp_path: Path
) -> None:
    (tmp_path / "mine.jpg").write_bytes(png(2))
    with working(api, code="bad_image"):
        result = moco("neighbours", job, str(tmp_path / "mine.jpg"))
    assert result.exit_code == 1
    assert "The file is damaged." in result.stderr
    assert "next: Send another." in result.stderr


def test_what_cannot_be_asked_is_told_at_once(job: str, moco: Moco, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    for arguments, code in (
        ((job, str(tmp_path / "none.png")), 2),
        ((job, str(tmp_path / "words.png"), "--row", "1"), 2),
        ((job, str(tmp_path / "words.png")), 1),
        ((job, "--row", "1000"), 2),
        ((job, "--checkpoint", "5"), 2),
        ((job, "-k", "51"), 2),
        (("job_x",), 102),
    ):
        result = moco("neighbours", *arguments)
        assert result.exit_code == code, (arguments, result.output)
        assert result.stdout == ""


def test_a_wrong_key_is_3_and_no_server_is_4(
    job: str, moco: Moco, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocoserve.http.backoff_s", lambda *_a, **_k: 0.0)
    assert moco("neighbours", job, MOCO_API_KEY="wrong-key-wrong-key").exit_code == 3
    assert moco("neighbours", job, MOCO_URL="http://127.0.0.1:9").exit_code == 4
