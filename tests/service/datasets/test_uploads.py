"""Uploads: in one piece, in several, broken off at any byte; the sha256 is the oracle."""

import fcntl
import hashlib
import json
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.datasets import uploads
from service.datasets.ingest_jobs import resolved_options
from service.datasets.uploads import staged_path
from service.errors import ServiceError
from service.settings import ApiSettings
from tests.support.service.api import KEY, Loose, RunningApi, claim, ready_dataset
from tests.support.system.processes import wait_until
from trainer.data.spec import IngestOptions, IngestSpec

RANDOM = random.Random(7)
CONTENT = RANDOM.randbytes(3 * 2**20 + 12_345)


def made(api: RunningApi, name: str, **told: Loose) -> str:
    answer = api.client.post("/v1/datasets", json={"name": name, **told})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/datasets/{answer.json()['id']}"
    assert answer.json()["status"] == "received"
    return str(answer.json()["id"])


def put(
    api: RunningApi, dataset: str, content: bytes, *, offset: int | None = None
) -> httpx.Response:
    headers = {} if offset is None else {"Upload-Offset": str(offset)}
    return api.client.put(f"/v1/datasets/{dataset}/content", content=content, headers=headers)


def held(api: RunningApi, dataset: str) -> int:
    return int(api.client.head(f"/v1/datasets/{dataset}/content").headers["upload-offset"])


def on_disk(api: RunningApi, dataset: str) -> bytes:
    return (api.data_dir / staged_path(dataset)).read_bytes()


def assert_preparing(api: RunningApi, answer: httpx.Response, content: bytes) -> None:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "preparing"
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert body["size_bytes"] == body["received_bytes"] == len(content)
    assert on_disk(api, body["id"]) == content
    job = api.store.jobs.get(body["job_id"])
    assert (job.kind, job.pool, job.dataset_id) == ("ingest", "ingest", body["id"])
    assert job.inputs == {"source": f"datasets/{body['id']}/upload.part"}
    assert job.folder == f"datasets/{body['id']}"


def test_in_one_piece_by_name_and_without_a_size(api: RunningApi) -> None:
    made(api, "one-piece")
    assert_preparing(api, put(api, "one-piece", CONTENT), CONTENT)


def test_in_pieces_at_random_bytes(api: RunningApi) -> None:
    dataset = made(
        api,
        "pieces",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    cuts = sorted(RANDOM.sample(range(1, len(CONTENT)), 6))
    for start, end in zip([0, *cuts], cuts, strict=False):
        answer = put(api, dataset, CONTENT[start:end], offset=start)
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "received"
        assert answer.json()["received_bytes"] == end == held(api, dataset)
    assert_preparing(api, put(api, dataset, CONTENT[cuts[-1] :], offset=cuts[-1]), CONTENT)


@pytest.mark.parametrize("turn", range(4))
def test_broken_off_anywhere_and_taken_up(turn: int, api: RunningApi) -> None:
    """A socket that closes in the middle; then the rest from where the service says it is."""
    name = f"broken-{turn}"
    dataset = made(api, name, sha256=hashlib.sha256(CONTENT).hexdigest())
    cut = RANDOM.randrange(1, len(CONTENT))
    host, _, port = api.url.removeprefix("http://").partition(":")
    head = (
        f"PUT /v1/datasets/{dataset}/content HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(head.encode() + CONTENT[:cut])
        wait_until(lambda: held(api, dataset) >= cut - 2**21, 10, "bytes on the disk")
    wait_until(lambda: held(api, dataset) == cut, 10, "the last bytes on the disk")
    assert on_disk(api, dataset) == CONTENT[:cut]
    answer = put(api, dataset, CONTENT[cut:], offset=cut)
    assert_preparing(api, answer, CONTENT)


def test_a_wrong_offset_tells_the_right_one(api: RunningApi) -> None:
    dataset = made(api, "offset", size_bytes=100)
    assert put(api, dataset, b"x" * 40).status_code == 202
    for wrong in (70, 30, 1):  # behind the end, or once more what is held
        answer = put(api, dataset, b"y" * 30, offset=wrong)
        assert answer.status_code == 409
        assert answer.headers["upload-offset"] == "40"
        assert on_disk(api, dataset) == b"x" * 40
    assert put(api, dataset, b"y" * 100).status_code == 200, "offset 0 starts anew"
    assert on_disk(api, dataset) == b"y" * 100


def test_wrong_bytes_are_dropped(api: RunningApi) -> None:
    sha256 = hashlib.sha256(b"right").hexdigest()
    dataset = made(api, "dropped", size_bytes=5, sha256=sha256)
    assert put(api, dataset, b"wrong").json()["code"] == "sha256_mismatch"
    assert held(api, dataset) == 0
    assert_preparing(api, put(api, dataset, b"right"), b"right")


def test_content_cannot_be_replaced(api: RunningApi) -> None:
    dataset = made(api, "replaced")
    assert put(api, dataset, b"first").status_code == 200
    assert put(api, dataset, b"other").status_code == 409
    assert on_disk(api, dataset) == b"first"


def test_a_lost_answer_is_asked_for_again(api: RunningApi) -> None:
    """All bytes are here but the store was away: nothing more to send but the question."""
    dataset = made(api, "finish", size_bytes=5)
    path = api.data_dir / staged_path(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"whole")
    assert held(api, dataset) == 5
    assert_preparing(api, put(api, dataset, b"", offset=5), b"whole")


def test_one_sender_at_a_time(api: RunningApi) -> None:
    dataset = made(api, "busy", size_bytes=10)
    path = api.data_dir / staged_path(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        answer = put(api, dataset, b"x" * 10)
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_busy")
    assert put(api, dataset, b"x" * 10).status_code == 200


def test_without_any_size_there_is_no_upload(api: RunningApi) -> None:
    dataset = made(api, "endless")
    answer = api.client.put(f"/v1/datasets/{dataset}/content", content=iter([b"a", b"b"]))
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_chunked_with_a_told_size(api: RunningApi) -> None:
    dataset = made(api, "chunked", size_bytes=6)
    path = f"/v1/datasets/{dataset}/content"
    assert api.client.put(path, content=iter([b"abc", b"def"])).status_code == 200
    over = made(api, "chunked-over", size_bytes=6)
    answer = api.client.put(f"/v1/datasets/{over}/content", content=iter([b"abcd", b"efgh"]))
    assert answer.json()["code"] == "size_mismatch"


def test_a_full_disk_is_507(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: object, _block: bytes) -> None:
        raise OSError(28, "No space left on device")

    dataset = made(api, "full")
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_write_all", full)
        answer = put(api, dataset, b"x" * 10)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert put(api, dataset, b"x" * 10).status_code == 200


def test_in_place_nothing_is_copied(api: RunningApi) -> None:
    folder = api.settings.allowed_roots[0] / "camera"
    folder.mkdir()
    answer = api.client.post("/v1/datasets", json={"name": "camera", "path": str(folder)})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["status"], body["received_bytes"]) == ("preparing", 0)
    assert api.store.jobs.get(body["job_id"]).inputs == {"source": str(folder)}
    names = [path.name for path in (api.data_dir / "datasets" / body["id"]).iterdir()]
    assert names == ["ledger.jsonl"]


@pytest.mark.parametrize(("told", "expected"), [({}, "pixels"), ({"store_as": "jpeg"}, "jpeg")])
def test_rows_are_to_be_kept_as_told(
    api: RunningApi, told: dict[str, Loose], expected: str
) -> None:
    dataset = made(api, f"kept as {expected}".replace(" ", "-"), **told)
    body = put(api, dataset, CONTENT[:100]).json()
    assert (body["status"], body["store_as"]) == ("preparing", expected)
    job = api.store.jobs.get(body["job_id"])
    assert IngestSpec.model_validate_json(job.spec_json).store_as == expected


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_path_must_be_a_file_or_a_folder(
    api: RunningApi, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = api.settings.allowed_roots[0]
    if kind == "pipe":
        os.mkfifo(root / kind)
    else:
        monkeypatch.chdir(root)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(kind)
    answer = api.client.post("/v1/datasets", json={"name": kind, "path": str(root / kind)})
    assert answer.status_code == 422
    assert "use a file or a folder" in answer.json()["detail"]


def test_the_report_of_a_failed_ingest_is_kept(api: RunningApi) -> None:
    dataset = made(api, "failed")
    put(api, dataset, CONTENT[:100])
    leases = iter(lambda: claim(api.store, "ingest"), None)
    lease = next(lease for lease in leases if lease.dataset_id == dataset)
    folder = api.data_dir / "datasets" / dataset / "attempts" / str(lease.attempt)
    folder.mkdir(parents=True)
    line = {"name": "a.gif", "reason": "wrong_type", "detail": "the content is text"}
    (folder / "report.jsonl").write_text(json.dumps(line) + "\n")
    api.store.queue.fail(lease, code="bad_dataset", message="no image", hint="", retry=False)
    assert api.client.get("/v1/datasets/failed").json()["status"] == "failed"
    report = api.client.get("/v1/datasets/failed/report").json()
    assert report["counts"] == {"wrong_type": 1}
    assert report["data"][0]["detail"] == "the content is text"
    assert "a.gif,wrong_type" in api.client.get("/v1/datasets/failed/report.csv").text


def test_defaults_and_ceilings_of_options_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOCO_INGEST_DEFAULTS", '{"side_px_max": 512, "range": "full"}')
    monkeypatch.setenv("MOCO_INGEST_PIXELS_MAX", "1000")
    settings = ApiSettings(data_dir=tmp_path)
    found = resolved_options(IngestOptions(side_px_max=64), settings)
    assert (found.side_px_max, found.range, found.pixels_max) == (64, "full", 1000)
    assert resolved_options(IngestOptions(), settings).side_px_max == 512
    with pytest.raises(ServiceError, match="MOCO_INGEST_PIXELS_MAX, which is 1000") as refused:
        resolved_options(IngestOptions(pixels_max=1001), settings)
    assert refused.value.code == "invalid"


def test_options_reach_the_ingest_and_the_answer(api: RunningApi) -> None:
    asked = {"range": "860:1260", "channels": 4, "side_px_max": 1024, "keep_truncated": False}
    dataset = made(api, "with-options", options=asked)
    body = put(api, dataset, CONTENT[:100]).json()
    spec = IngestSpec.model_validate_json(api.store.jobs.get(body["job_id"]).spec_json)
    assert {name: getattr(spec, name) for name in asked} == asked
    assert body["options"] == IngestOptions.model_validate(asked).model_dump()


def test_the_same_key_makes_one_dataset(api: RunningApi) -> None:
    """Twenty at once."""
    gate = threading.Barrier(20)

    def post(_: int) -> httpx.Response:
        gate.wait()
        return api.client.post(
            "/v1/datasets", json={"name": "twenty"}, headers={"Idempotency-Key": "twenty"}
        )

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    other = api.client.post(
        "/v1/datasets", json={"name": "other"}, headers={"Idempotency-Key": "twenty"}
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_datasets_are_listed_newest_first(api: RunningApi) -> None:
    names = [f"listed-{n}" for n in range(5)]
    for name in names:
        made(api, name)
    seen: list[str] = []
    after: str | None = None
    while len(seen) < 5:
        page = api.client.get(
            "/v1/datasets", params={"limit": 2} | ({"after": after} if after else {})
        )
        body = page.json()
        seen += [item["name"] for item in body["data"]]
        assert body["first_id"] == body["data"][0]["id"]
        assert body["has_more"] is True
        after = body["last_id"]
    assert seen[:5] == names[::-1]


def test_report_and_preview(api: RunningApi) -> None:
    record = ready_dataset(api.store, "reported")
    pack = api.data_dir / f"datasets/{record.id}/attempts/1/pack"
    pack.mkdir(parents=True)
    rows = [f'{{"name": "{n}.jpg", "reason": "{r}", "detail": ""}}' for n, r in enumerate("aabab")]
    (pack / "report.jsonl").write_text("\n".join(rows) + '\n{"half')
    (pack / "preview.png").write_bytes(b"\x89PNG")
    first = api.client.get("/v1/datasets/reported/report", params={"limit": 3}).json()
    assert first["counts"] == {"a": 3, "b": 2}
    assert [bad["name"] for bad in first["data"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert first["has_more"] is True
    rest = api.client.get("/v1/datasets/reported/report", params={"after": "3"}).json()
    assert [bad["name"] for bad in rest["data"]] == ["3.jpg", "4.jpg"]
    assert rest["has_more"] is False
    picture = api.client.get("/v1/datasets/reported/preview.png")
    assert (picture.content, picture.headers["content-type"]) == (b"\x89PNG", "image/png")
    path = "/v1/datasets/reported/preview.png?unlike=true"
    assert api.client.get(path).status_code == 410, "a dataset of an earlier version"
    (pack / "preview-unlike.png").write_bytes(b"unlike")
    assert api.client.get(path).content == b"unlike"
