"""A data folder as the versions before stamps wrote it, line by line and byte by byte.

Nothing here is taken from the code under test but the tensors of a checkpoint, which no test could
make up: they are saved by a run of three steps, and described in the old words.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.data.tiny_pack import blobs
from tests.support.worker.stack import ROOT

DATASET, INGEST = "ds_01m8n6sr8kshpan66ta1pfkw34", "job_01m8n6sraqk6s4rtd9wehtz9mt"
DONE, RUNNING = "job_01m8n6svampc621wv5kwt7ejwt", "job_01m8n6v4ys84eyqq6ge14wefvf"
PACK = f"datasets/{DATASET}/attempts/1/pack"
ROWS, SAVED_STEP, STEPS = 80, 3, 10
ARTIFACT = b"the encoder of a job that had succeeded"
AT_S = 1796008108.25
RESOLVED = (
    '{"dataset":"made-up","test_dataset":null,"name":null,"epochs":2,"batch_rows":16,'
    '"partial_batch":"drop","seed":0,"precision":"auto","encoder":{"name":"small","stem":"auto"},'
    '"method":{"name":"moco","queue_rows":16,"momentum":0.99,"temperature":0.1,"dim":128,'
    '"head":"linear","symmetric":false,"bn":"split","bn_splits":8,"mask_own_keys":true,'
    '"negatives_start":"random"},"views":{"side_px":8,"crop_scale":[0.2,1.0],'
    '"crop_ratio":[0.75,1.3333333333333333],"flip_p":0.5,"jitter_p":0.8,"brightness":0.4,'
    '"contrast":0.4,"saturation":0.4,"hue":0.1,"grey_p":0.2,"grey_first":false,"blur_p":0.0,'
    '"blur_sigma_px":[0.1,2.0],"solarize_p":0.0},"optim":{"name":"sgd","lr":0.0075,'
    '"momentum":0.9,"weight_decay":0.0005,"nesterov":false},"schedule":{"name":"cosine",'
    '"per":"epoch","warmup_epochs":0.0},"evaluation":null,"signals_every_steps":1,'
    '"checkpoint_every_s":30.0,"checkpoint_every_steps":3,"keep_checkpoints":2,"profile":false,'
    '"pool":"train","retry":{"max_failures":0},"metadata":{}}'
)
OPERATIONAL = (
    *("name", "dataset", "test_dataset", "checkpoint_every_s", "checkpoint_every_steps"),
    *("keep_checkpoints", "profile", "pool", "retry", "metadata"),
)
ASKED = (
    '{"dataset":"made-up","epochs":2,"batch_rows":16,"encoder":{"name":"small"},'
    '"evaluation":null,"signals_every_steps":1,"checkpoint_every_steps":3}'
)


def write_old_folder(data_dir: Path) -> None:
    """A dataset that is ready, a job that has succeeded, and one that was killed after a save."""
    facts = _pack(data_dir / PACK)
    _dataset(data_dir / "datasets" / DATASET, facts)
    _done(data_dir)
    _running(data_dir)


def _pack(folder: Path) -> dict[str, Any]:
    """A pack of version 1, and its facts."""
    folder.mkdir(parents=True)
    images, labels = blobs(ROWS, side_px=8, classes=4)
    names = [f"{label}/{row:03d}.png\n" for row, label in enumerate(labels)]
    fields = [("offset", "<u8"), ("height", "<u2"), ("width", "<u2"), ("label", "<i4")]
    index = np.zeros(ROWS, np.dtype([*fields, ("name", "<u8")]))
    index["offset"], index["label"] = np.arange(ROWS) * images[0].nbytes, labels
    index["height"] = index["width"] = 8
    index["name"] = np.arange(ROWS) * len(names[0])
    files = {"pixels.u8": images.tobytes(), "index.bin": index.tobytes()}
    files["names.txt"] = "".join(names).encode()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    classes = ["0", "1", "2", "3"]
    manifest = {"version": 1, "files": sums, "labels": classes}
    flat = images.reshape(-1, 3) / 255
    sha256 = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    facts: dict[str, Any] = {
        **{"rows": ROWS, "bad_files": 0, "duplicates": 0, "labels": classes},
        **{"side_px_min": 8, "side_px_median": 8, "side_px_max": 8, "same_size": True},
        **{"mean": flat.mean(0).tolist(), "std": flat.std(0).tolist()},
        **{"size_bytes": sum(map(len, files.values())), "stored_as": "pixels", "sha256": sha256},
        "sides_sent": {"edges_px": [8, 12], "rows": [ROWS]},
    }
    files["report.jsonl"] = b""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    files_json = {name: _record(data) for name, data in files.items()}
    meta = {"facts": facts, "files": files_json, "version": 1}
    (folder / "pack.json").write_text(json.dumps(meta, indent=1, sort_keys=True))
    return facts


def _dataset(folder: Path, facts: dict[str, Any]) -> None:
    spec = {
        **{"dataset_id": DATASET, "source": f"datasets/{DATASET}/upload.part", "format": "auto"},
        **{"side_px_max": 256, "store_as": "pixels", "seed": 0},
    }
    content = {"size_bytes": 29379, "sha256": "9" * 64}
    submitted = _submitted(INGEST, "ingest", json.dumps(spec), json.dumps(spec))
    submitted |= {"inputs": {"source": spec["source"]}, "folder": f"datasets/{DATASET}"}
    created: dict[str, Any] = {
        "type": "created",
        "dataset_id": DATASET,
        "name": "made-up",
        "format": "auto",
    }
    created |= {"store_as": "pixels", **content, "source": None, "created_at_s": AT_S}
    _write(folder, created, {"type": "uploaded", **content, "at_s": AT_S}, submitted)
    pack = folder / "attempts" / "1" / "pack"
    ended = _ended(pack, f"{PACK}", facts_json=json.dumps(facts))
    _write(folder / "attempts" / "1", _claimed(INGEST), ended)


def _done(data_dir: Path) -> None:
    folder = data_dir / "jobs" / DONE
    artifacts = folder / "attempts" / "1" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "encoder.pth").write_bytes(ARTIFACT)
    sha256 = hashlib.sha256(ARTIFACT).hexdigest()
    (artifacts / "SHA256SUMS").write_text(f"{sha256}  encoder.pth\n")
    _write(folder, _submitted(DONE, "train", ASKED, RESOLVED))
    path = str(artifacts.relative_to(data_dir))
    _write(artifacts.parent, _claimed(DONE), _ended(artifacts, path, facts_json=None))


def _running(data_dir: Path) -> None:
    attempt = data_dir / "jobs" / RUNNING / "attempts" / "1"
    attempt.mkdir(parents=True)
    (attempt / "spec.json").write_text(RESOLVED)
    checkpoint = attempt / "checkpoints" / f"{SAVED_STEP:09d}"
    _train_three_steps(data_dir, checkpoint)
    event = {"step": SAVED_STEP, "path": str(checkpoint.relative_to(data_dir)), "at_s": AT_S}
    event["manifest_sha256"] = _record((checkpoint / "manifest.json").read_bytes())["sha256"]
    event["size_bytes"] = sum(path.stat().st_size for path in checkpoint.iterdir())
    _write(data_dir / "jobs" / RUNNING, _submitted(RUNNING, "train", ASKED, RESOLVED))
    _write(attempt, _claimed(RUNNING), {"type": "checkpoint", **event})


def _train_three_steps(data_dir: Path, checkpoint: Path) -> None:
    """The tensors by a run that is killed, its words as the old version wrote them."""
    out = data_dir / "run"
    out.mkdir()
    spec = json.loads(RESOLVED) | {"dataset": str(data_dir / PACK)}
    (out / "spec.json").write_text(json.dumps(spec))
    # Once the checkpoint is there: it is written while the run goes on.
    killed = {"OMP_NUM_THREADS": "1", "MOCO_FAILPOINTS": "checkpoint.post_rename=SIGKILL@1"}
    command = [sys.executable, "-m", "trainer", str(out / "spec.json"), "--out", str(out / "x")]
    subprocess.run(command, cwd=ROOT, env=os.environ | killed, capture_output=True, check=False)
    (saved,) = out.rglob(f"{SAVED_STEP:09d}")
    fingerprint = json.loads((saved / "meta.json").read_bytes())["fingerprint"]
    fingerprint |= {"code": "a" * 64, "spec": _spec_sha256()}
    meta = {"differs": [], "fingerprint": fingerprint, "step": SAVED_STEP}
    checkpoint.mkdir(parents=True)
    shutil.copy(saved / "state.safetensors", checkpoint)
    (checkpoint / "meta.json").write_bytes(_json(meta | {"version": 1}))
    names = ("state.safetensors", "meta.json")
    files = [{"name": name, **_record((checkpoint / name).read_bytes())} for name in names]
    manifest = {"files": files, "sha256": "", "version": 2}
    seal = hashlib.sha256(_json(manifest)).hexdigest()
    (checkpoint / "manifest.json").write_bytes(_json(manifest | {"sha256": seal}))
    shutil.rmtree(out)


def _spec_sha256() -> str:
    """The hash of what the job computes, as the old version knew its fields."""
    spec = {name: v for name, v in json.loads(RESOLVED).items() if name not in OPERATIONAL}
    return hashlib.sha256(json.dumps(spec, separators=(",", ":")).encode()).hexdigest()


def _submitted(job_id: str, kind: str, spec: str, resolved: str) -> dict[str, Any]:
    return {
        **{"type": "submitted", "job_id": job_id, "kind": kind, "pool": kind, "name": "old"},
        **{"spec_json": spec, "resolved_json": resolved, "reasons_json": "{}"},
        **{"inputs": {"dataset": PACK}, "folder": f"jobs/{job_id}", "dataset_id": DATASET},
        **{"max_failures": 0, "idem_key": f"user:{job_id}", "fingerprint": "f" * 64},
        "created_at_s": AT_S,
    }


def _claimed(job_id: str) -> dict[str, Any]:
    return {"type": "claimed", "job_id": job_id, "attempt": 1, "at_s": AT_S}


def _ended(folder: Path, path: str, *, facts_json: str | None) -> dict[str, Any]:
    files = [{"name": one.name, **_record(one.read_bytes())} for one in sorted(folder.iterdir())]
    return {
        **{"type": "ended", "verb": "complete", "status": "succeeded", "code": "", "message": ""},
        **{"hint": "", "artifacts": files, "artifacts_folder": path, "facts_json": facts_json},
        **{"progress": {"step": STEPS}, "at_s": AT_S},
    }


def _record(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def _write(folder: Path, *lines: dict[str, Any]) -> None:
    rows = [json.dumps(line, separators=(",", ":")) + "\n" for line in lines]
    (folder / "ledger.jsonl").write_text("".join(rows))


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
