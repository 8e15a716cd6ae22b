"""`moco dataset` against a real API. An ingest worker is played by calls to the store."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from service.cli import ingest_flags
from service.cli.commands.dataset import name_of
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import RunningApi, claim
from trainer.data.spec import IngestOptions


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.png", bytes(50_000))
    return path


@pytest.mark.usefixtures("ingests")
def test_add_a_file_and_again(moco: Moco, tmp_path: Path) -> None:
    path = str(archive(tmp_path / "x.zip"))
    result = moco("dataset", "add", path, "--name", "added")
    assert result.exit_code == 0, result.output
    assert "1,000" in result.stdout
    assert "next: moco submit -d added" in result.stderr
    again = moco("dataset", "add", path, "--name", "added", "--json")
    assert answer(again)["status"] == "ready"
    assert "Already exists" in again.stderr
    other = moco("dataset", "add", str(archive(tmp_path / "y.zip")), "--name", "added")
    assert other.exit_code in (0, 1)
    (tmp_path / "z.zip").write_bytes(b"PK other bytes")
    other = moco("dataset", "add", str(tmp_path / "z.zip"), "--name", "added")
    assert (other.exit_code, "Choose another --name" in other.stderr) == (1, True)
    assert [d["name"] for d in answer(moco("dataset", "ls", "--json"))["data"]] == ["added"]
    assert "added" in moco("dataset", "ls").stdout
    assert answer(moco("dataset", "show", "added", "--json"))["facts"]["rows"] == 1000
    assert "images" in moco("dataset", "show", "added").stdout
    assert moco("dataset", "wait", "added", "--timeout", "1").exit_code == 0


@pytest.mark.usefixtures("ingests")
def test_rows_are_kept_as_asked(moco: Moco, tmp_path: Path) -> None:
    """The same bytes kept in another way are another dataset."""
    path = str(archive(tmp_path / "x.zip"))
    made = moco("dataset", "add", path, "--name", "small", "--store-as", "jpeg", "--json")
    assert answer(made)["store_as"] == "jpeg"
    assert "jpeg, " in moco("dataset", "show", "small").stdout
    again = moco("dataset", "add", path, "--name", "small")
    assert again.exit_code == 1
    assert "stores the same content as jpeg" in again.stderr
    assert "--store-as jpeg, or choose another --name" in again.stderr
    assert moco("dataset", "add", path, "--name", "small", "--store-as", "jpeg").exit_code == 0
    wrong = moco("dataset", "add", path, "--name", "other", "--store-as", "webp")
    assert wrong.exit_code == 2
    assert "store_as" in wrong.stderr


def test_every_option_of_an_ingest_has_a_flag() -> None:
    assert set(ingest_flags.FLAGS) == set(IngestOptions.model_fields)


@pytest.mark.usefixtures("ingests")
def test_rows_are_read_with_the_options_asked(moco: Moco, tmp_path: Path) -> None:
    path = str(archive(tmp_path / "x.zip"))
    flags = ["--range", "860:1260", "--channels", "4", "--side-px-max", "512", "--refuse-truncated"]
    made = answer(moco("dataset", "add", path, "--name", "ct", *flags, "--json"))
    told = {name: made["options"][name] for name in ("range", "channels", "side_px_max")}
    assert told == {"range": "860:1260", "channels": 4, "side_px_max": 512}
    assert made["options"]["keep_truncated"] is False
    assert "range 860:1260" in moco("dataset", "show", "ct").stdout
    again = moco("dataset", "add", path, "--name", "ct", "--range", "full")
    assert again.exit_code == 1
    assert "read with range 860:1260" in again.stderr
    wrong = moco("dataset", "add", path, "--name", "other", "--range", "1260:860")
    assert wrong.exit_code == 2
    assert "such as 860:1260" in wrong.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos", "photos"),
        ("a/leaves 2026.tar.gz", "leaves-2026"),
        ("digits.ZIP", "digits"),
        ("v1.2", "v1.2"),
        ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
    ],
)
def test_a_dataset_is_called_as_its_path(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_a_path_that_tells_no_name(moco: Moco, tmp_path: Path) -> None:
    (tmp_path / "___").mkdir()
    result = moco("dataset", "add", str(tmp_path / "___"))
    assert (result.exit_code, "--name" in result.stderr) == (2, True)


@pytest.mark.usefixtures("ingests")
def test_add_goes_on_with_an_upload_that_was_broken_off(
    moco: Moco, api: RunningApi, tmp_path: Path
) -> None:
    content = archive(tmp_path / "x.zip").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    told = {"name": "broken-off", "size_bytes": len(content), "sha256": sha256}
    made = api.client.post("/v1/datasets", json=told).json()
    api.client.put(f"/v1/datasets/{made['id']}/content", content=content[:20_000])
    result = moco("dataset", "add", str(tmp_path / "x.zip"), "--name", "broken-off", "--json")
    assert result.exit_code == 0, result.output
    assert "Continuing broken-off" in result.stderr
    assert (answer(result)["id"], answer(result)["status"]) == (made["id"], "ready")


@pytest.mark.usefixtures("ingests")
def test_add_a_folder(moco: Moco, tmp_path: Path, api: RunningApi) -> None:
    (tmp_path / "imgs" / "cat").mkdir(parents=True)
    (tmp_path / "imgs" / "cat" / "1.png").write_bytes(b"x" * 1000)
    result = moco("dataset", "add", str(tmp_path / "imgs"), "--name", "folder", "--json")
    assert result.exit_code == 0, result.output
    assert answer(result)["format"] == "tar"
    place = api.data_dir.parent / "allowed" / "in-place"
    place.mkdir()
    (place / "1.png").write_bytes(b"x")
    result = moco("dataset", "add", str(place), "--name", "in-place", "--in-place", "--json")
    assert (result.exit_code, answer(result)["status"]) == (0, "ready")
    result = moco("dataset", "add", str(tmp_path), "--name", "outside", "--in-place")
    assert result.exit_code == 1


def test_a_dataset_that_fails_and_its_report(moco: Moco, tmp_path: Path, api: RunningApi) -> None:
    path = str(archive(tmp_path / "x.zip"))
    begun = moco("dataset", "add", path, "--name", "bad", "--no-wait", "--json")
    assert answer(begun)["status"] == "preparing"
    assert moco("dataset", "wait", "bad", "--timeout", "0").exit_code == 101
    lease = claim(api.store, "ingest")
    api.store.queue.fail(
        lease, code="bad_dataset", message="No image.", hint="Add images.", retry=False
    )
    result = moco("dataset", "wait", "bad")
    assert result.exit_code == 100
    assert "No image." in result.stderr
    assert "next: Add images." in result.stderr
