"""DELETE, PATCH and new versions of datasets by HTTP: `du` is the oracle of what is free."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.datasets.uploads import staged_path
from tests.support.service.api import KEY, RunningApi, claim, facts, queued_job
from tests.support.system.disk_usage import du

MIB = 2**20


def create(api: RunningApi, name: str, **told: object) -> str:
    answer = api.client.post("/v1/datasets", json={"name": name, **told})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def upload(api: RunningApi, id: str, content: bytes) -> None:
    answer = api.client.put(f"/v1/datasets/{id}/content", content=content)
    assert answer.status_code == 200, answer.text


def ready(api: RunningApi, name: str, *, content: bytes = b"x" * MIB, **told: object) -> str:
    """A dataset with its upload and a pack of 1 MiB, as a worker would have made it."""
    id = create(api, name, **told)
    upload(api, id, content)
    lease = claim(api.store, "ingest")
    pack = api.data_dir / lease.folder / "attempts/1/pack"
    pack.mkdir(parents=True)
    (pack / "pixels.u8").write_bytes(os.urandom(MIB))
    api.store.queue.complete(
        lease,
        artifacts=(),
        artifacts_folder=f"{lease.folder}/attempts/1/pack",
        facts_json=facts().model_dump_json(),
    )
    return id


def failed(api: RunningApi, name: str) -> str:
    id = create(api, name)
    upload(api, id, b"y" * MIB)
    lease = claim(api.store, "ingest")
    api.store.queue.fail(lease, code="bad_dataset", message="No image.", hint="Look.", retry=False)
    return id


def test_a_deleted_dataset_frees_its_bytes_and_its_name(api: RunningApi) -> None:
    before = du(api.data_dir)
    id = ready(api, "freed")
    shown = api.client.get("/v1/datasets/freed").json()
    assert shown["stored_bytes"] == du(api.data_dir / "datasets" / id) >= 2 * MIB
    assert du(api.data_dir) - before >= 2 * MIB
    answer = api.client.delete("/v1/datasets/freed")
    assert (answer.status_code, answer.content) == (204, b"")
    assert abs(du(api.data_dir) - before) <= 64 * 1024
    assert not (api.data_dir / "datasets" / id).exists()
    assert api.client.delete(f"/v1/datasets/{id}").status_code == 204, "asked again, the same"
    assert api.client.delete("/v1/datasets/freed").status_code == 404
    assert api.client.get(f"/v1/datasets/{id}").status_code == 404
    create(api, "freed")


@pytest.mark.parametrize("role", ["dataset", "test_dataset"])
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_job_that_needs_it_stands_in_the_way(api: RunningApi, role: str, by: str) -> None:
    name = f"needed-{role}-{by}"
    id, other = ready(api, name), ready(api, f"other-{name}")
    ref = id if by == "id" else name
    asked = {"dataset": other, role: ref}
    job = api.client.post("/v1/jobs", json=asked).json()["id"]
    answer = api.client.delete(f"/v1/datasets/{ref}")
    body = answer.json()
    assert (answer.status_code, body["code"], body["jobs"]) == (409, "dataset_in_use", [job])
    assert job in body["detail"]
    assert api.client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    assert api.client.delete(f"/v1/datasets/{ref}").status_code == 204
    answer = api.client.post(f"/v1/jobs/{job}/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert "deleted" in answer.json()["detail"]


def test_files_that_are_read_in_place_stay(api: RunningApi) -> None:
    folder = api.settings.allowed_roots[0] / "mine"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    id = create(api, "in-place", path=str(folder))
    job = api.client.get(f"/v1/datasets/{id}").json()["job_id"]
    refused = api.client.delete(f"/v1/datasets/{id}")
    assert (refused.status_code, refused.json()["jobs"]) == (409, [job])
    assert api.client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    assert api.client.delete(f"/v1/datasets/{id}").status_code == 204
    assert (folder / "a.png").read_bytes() == b"x"


@contextmanager
def sender(path: Path) -> Iterator[None]:
    """Hold the lock of an upload in progress, as the API does."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_an_upload_that_goes_on_is_told_and_not_deleted(api: RunningApi) -> None:
    id = create(api, "sending", size_bytes=100)
    partial = api.client.put(f"/v1/datasets/{id}/content", content=b"x" * 40)
    assert partial.status_code == 202
    look = f"/v1/datasets/{id}"
    with sender(api.data_dir / staged_path(id)):
        assert api.client.get(look).json()["is_uploading"] is True
        answer = api.client.delete(look)
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_busy")
    found = api.client.get(look).json()
    assert (found["is_uploading"], found["received_bytes"]) == (False, 40)
    assert api.client.delete(look).status_code == 204


def test_an_upload_that_begins_while_it_is_deleted_leaves_nothing(api: RunningApi) -> None:
    """Twenty of each, side by side: every folder is gone, and nobody is told of a failed disk."""
    for n in range(20):
        id, answers = create(api, f"race-{n}"), list[int]()

        def put(id: str = id, answers: list[int] = answers) -> None:
            answer = api.client.put(f"/v1/datasets/{id}/content", content=b"z" * 1000)
            answers.append(answer.status_code)

        thread = threading.Thread(target=put)
        thread.start()
        deleted = api.client.delete(f"/v1/datasets/{id}").status_code
        thread.join()
        assert deleted in (204, 409)
        assert answers[0] in (200, 404)
        if deleted == 409:
            assert answers == [200]
            job = api.client.get(f"/v1/datasets/{id}").json()["job_id"]
            api.client.post(f"/v1/jobs/{job}/cancel")
            assert api.client.delete(f"/v1/datasets/{id}").status_code == 204
        assert not (api.data_dir / "datasets" / id).exists()


def test_a_failed_name_is_free_and_its_bytes_go(api: RunningApi) -> None:
    before = du(api.data_dir)
    first = failed(api, "twice")
    second = failed(api, "twice")
    assert api.client.get(f"/v1/datasets/{first}").status_code == 404
    assert du(api.data_dir) - before < 2 * MIB
    third = ready(api, "twice")
    assert api.client.get("/v1/datasets/twice").json()["id"] == third
    assert not (api.data_dir / "datasets" / second).exists()


def test_a_new_version_takes_the_name_once_it_is_ready(api: RunningApi) -> None:
    old = ready(api, "versions")
    taken = api.client.post("/v1/datasets", json={"name": "versions"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    job = queued_job(api.store, dataset_id=old)
    new = ready(api, "versions", content=b"other" * 1000, replace=True)
    assert api.client.get("/v1/datasets/versions").json()["id"] == new
    told = {one: api.client.get(f"/v1/datasets/{one}").json() for one in (old, new)}
    assert [told[one]["is_current"] for one in (old, new)] == [False, True]
    assert api.client.delete(f"/v1/datasets/{old}").json()["jobs"] == [job]
    assert api.client.delete(f"/v1/datasets/{new}").status_code == 204
    assert api.client.get("/v1/datasets/versions").json()["id"] == old


def test_a_failed_version_never_takes_the_name(api: RunningApi) -> None:
    old, new = ready(api, "kept"), create(api, "kept", replace=True)
    upload(api, new, b"no image")
    assert api.client.get("/v1/datasets/kept").json()["id"] == old
    lease = claim(api.store, "ingest")
    api.store.queue.fail(lease, code="bad_dataset", message="m", hint="h", retry=False)
    assert api.client.get("/v1/datasets/kept").json()["id"] == old


def test_a_renamed_dataset_frees_its_name(api: RunningApi) -> None:
    id, other = create(api, "before"), create(api, "taken")
    answer = api.client.patch("/v1/datasets/before", json={"name": "after"})
    assert (answer.status_code, answer.json()["name"]) == (200, "after")
    assert api.client.get("/v1/datasets/after").json()["id"] == id
    assert api.client.get("/v1/datasets/before").status_code == 404
    taken = api.client.patch(f"/v1/datasets/{other}", json={"name": "after"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    for name in ("ds_x", "", "a b", "-x"):
        assert api.client.patch(f"/v1/datasets/{id}", json={"name": name}).status_code == 422


def test_a_key_that_may_only_look_deletes_nothing(api: RunningApi) -> None:
    id = create(api, "read-only")
    key = (api.data_dir / "read.key").read_text().strip()
    assert key != KEY
    for method, body in (("DELETE", None), ("PATCH", {"name": "x"})):
        headers = {"Authorization": f"Bearer {key}"}
        answer = api.client.request(method, f"/v1/datasets/{id}", json=body, headers=headers)
        assert answer.status_code == 403
    assert api.client.get(f"/v1/datasets/{id}").json()["name"] == "read-only"
