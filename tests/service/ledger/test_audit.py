"""Each kind of damage is done once, and found."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.datasets.ingest_jobs import prepare
from service.ids import new_id
from service.ledger.audit import audit
from service.ledger.entries import LEDGER
from service.store.keys import KEYS
from service.store.records import NewDataset
from service.store.store import Store
from tests.support.service.api import Loose
from tests.support.service.job_lives import World


@dataclass
class Scene:
    """One job of each kind, all in order."""

    world: World
    queued: str
    running: str
    done: str
    dataset: str

    @property
    def folder(self) -> Path:
        return self.world.data_dir / "jobs"

    def redis(self, name: str, *arguments: Loose) -> object:
        return self.world.store.client.run(lambda client: _command(client)(name, *arguments))


@pytest.fixture
def scene(redis_store: Store, tmp_path: Path) -> Scene:
    world = World(redis_store, tmp_path)
    dataset = new_id("ds")
    made = world.journal.create_dataset_once(
        NewDataset(
            dataset_id=dataset, name="d", format="auto", size_bytes=3, sha256=None, source=None
        )
    ).record
    prepare(world.journal, made, source="x")
    ingest = world.claim("ingest")
    assert ingest is not None
    world.complete(ingest.job_id)
    pack = tmp_path / f"datasets/{dataset}/attempts/1/pack"
    row = {"size_bytes": 7, "sha256": json.loads(_sums(pack))}
    (pack / "pack.json").write_text(json.dumps({"files": {"a.bin": row}}))
    done, running = world.submit(), world.submit()
    for job_id in (done, running):
        lease = world.claim()
        assert lease is not None
        world.checkpoint(job_id, 10)
    world.complete(done)
    queued = world.submit(key="k")
    assert audit(redis_store, tmp_path, deep=True).findings == ()
    return Scene(world, queued, running, done, dataset)


def _command(client: Loose) -> Loose:
    return client.execute_command


def _sums(pack: Path) -> str:
    return json.dumps((pack / "SHA256SUMS").read_text().split()[0])


def missing(scene: Scene) -> None:
    scene.redis("DEL", KEYS["job"] + scene.queued)
    scene.redis("ZREM", KEYS["jobs"] + "train:all", scene.queued)
    scene.redis("ZREM", KEYS["jobs"] + "train:queued", scene.queued)
    scene.redis("ZREM", KEYS["ready"] + "train", scene.queued)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def twice(scene: Scene) -> None:
    first = scene.folder / scene.done / "attempts/1"
    shutil.copytree(first, first.with_name("2"))
    text = (first / LEDGER).read_text().replace('"attempt":1', '"attempt":2')
    (first.with_name("2") / LEDGER).write_text(text)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[str, Callable[[Scene], object]]] = {
    "a record is lost": ("missing_job", missing),
    "a record without its sets": ("stray", lambda s: s.redis("DEL", KEYS["job"] + s.queued)),
    "a folder is lost": ("no_ledger", lambda s: shutil.rmtree(s.folder / s.queued)),
    "a line is broken": (
        "damaged_line",
        lambda s: append(s.folder / s.queued / LEDGER, "x\n"),
    ),
    "two indexes": (
        "two_states",
        lambda s: s.redis("ZADD", KEYS["jobs"] + "train:failed", 0, s.queued),
    ),
    "no index": (
        "two_states",
        lambda s: s.redis("ZREM", KEYS["jobs"] + "train:all", s.queued),
    ),
    "queued, not in line": (
        "wrong_line",
        lambda s: s.redis("ZREM", KEYS["ready"] + "train", s.queued),
    ),
    "running and in line": (
        "wrong_line",
        lambda s: s.redis("ZADD", KEYS["ready"] + "train", 1, s.running),
    ),
    "running without a lease": (
        "wrong_lease",
        lambda s: s.redis("ZREM", KEYS["leases"], s.running),
    ),
    "done with a lease": ("wrong_lease", lambda s: s.redis("ZADD", KEYS["leases"], 99, s.done)),
    "two completions": ("two_completions", twice),
    "a checkpoint is gone": (
        "no_checkpoint",
        lambda s: shutil.rmtree(s.folder / s.running / "attempts/1/checkpoints"),
    ),
    "a manifest is changed": (
        "bad_checkpoint",
        lambda s: flip(s.folder / s.running / "attempts/1/checkpoints/000000010/manifest.json"),
    ),
    "an artifact is changed": (
        "bad_artifact",
        lambda s: flip(s.folder / s.done / "attempts/1/artifacts/a.bin"),
    ),
    "an artifact is cut": (
        "bad_artifact",
        lambda s: (s.folder / s.done / "attempts/1/artifacts/a.bin").write_bytes(b""),
    ),
    "the artifacts are gone": (
        "bad_artifact",
        lambda s: shutil.rmtree(s.folder / s.done / "attempts/1/artifacts"),
    ),
    "a draft is left": (
        "orphan",
        lambda s: (s.folder / s.done / "attempts/1/artifacts.tmp").mkdir(),
    ),
    "a pack is changed": (
        "bad_pack",
        lambda s: flip(s.world.data_dir / f"datasets/{s.dataset}/attempts/1/pack/a.bin"),
    ),
    "a pack is gone": (
        "bad_pack",
        lambda s: shutil.rmtree(s.world.data_dir / f"datasets/{s.dataset}/attempts/1/pack"),
    ),
    "a dataset is lost": (
        "missing_dataset",
        lambda s: (
            s.redis("DEL", KEYS["ds"] + s.dataset),
            s.redis("ZREM", KEYS["datasets"], s.dataset),
        ),
    ),
    "Redis lost a completion": (
        "lost_completion",
        lambda s: s.redis("HSET", KEYS["job"] + s.done, "status", "failed"),
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(scene: Scene, name: str) -> None:
    wanted, harm = DAMAGE[name]
    harm(scene)
    found = audit(scene.world.store, scene.world.data_dir, deep=True).findings
    assert wanted in {one.what for one in found}, found
    assert all(one.where and one.detail and one.next for one in found)


def test_a_draft_of_the_newest_attempt_is_its_own(scene: Scene) -> None:
    (scene.folder / scene.running / "attempts/1/checkpoints/000000020.tmp").mkdir()
    assert audit(scene.world.store, scene.world.data_dir).findings == ()


def test_a_submit_that_was_replaced_is_no_loss(scene: Scene) -> None:
    missing(scene)
    scene.redis("DEL", KEYS["idem"] + "k")
    assert scene.world.submit(key="k") != scene.queued
    assert audit(scene.world.store, scene.world.data_dir).findings == ()
