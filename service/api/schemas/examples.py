"""Examples in the OpenAPI document. A test parses each one by the model that shows it."""

from typing import Any

from fastapi.openapi.models import Example as OpenApiExample

Example = dict[str, Any]

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
JOB_ID = "job_01kapzv3e8m4q6r2t9w5x7y0ab"
DATASET_ID = "ds_01kapzs1c2d4f6g8h0j2k4m6np"
CREATED_S = 1_763_800_000.0

NEW_DATASET: Example = {
    "name": "cifar10",
    "format": "zip",
    "size_bytes": 160_000_000,
    "sha256": SHA256,
}

JOB_SPECS: dict[str, OpenApiExample] = {
    "smallest": {
        "summary": "Only a dataset; all other settings are recommended",
        "value": {"dataset": "cifar10"},
    },
    "cifar": {
        "summary": "CIFAR-10 with the authors' settings",
        "value": {
            "dataset": "cifar10",
            "test_dataset": "cifar10-test",
            "name": "cifar, 200 epochs",
            "epochs": 200,
            "batch_rows": 512,
            "encoder": {"name": "resnet18", "stem": "cifar"},
            "method": {
                "name": "moco",
                "queue_rows": 4096,
                "momentum": 0.99,
                "temperature": 0.1,
                "head": "linear",
            },
            "views": {"side_px": 32, "crop_scale": [0.08, 1.0], "blur_p": 0.0},
            "optim": {"name": "sgd", "lr": 0.06, "weight_decay": 0.0005},
            "schedule": {"name": "cosine"},
        },
    },
    "version2": {
        "summary": "MoCo v2 on large photos",
        "value": {
            "dataset": "photos",
            "epochs": 200,
            "batch_rows": 256,
            "encoder": {"name": "resnet50"},
            "method": {
                "name": "moco",
                "queue_rows": 65_536,
                "momentum": 0.999,
                "temperature": 0.2,
                "head": "mlp",
            },
            "views": {"side_px": 224, "crop_scale": [0.2, 1.0], "blur_p": 0.5},
            "optim": {"name": "sgd", "lr": 0.03, "weight_decay": 0.0001},
            "precision": "bf16",
        },
    },
}

FACTS: Example = {
    "rows": 50_000,
    "bad_files": 2,
    "duplicates": 1,
    "labels": ["airplane", "automobile", "bird"],
    "side_px_min": 32,
    "side_px_median": 32,
    "side_px_max": 32,
    "same_size": True,
    "mean": [0.491, 0.482, 0.447],
    "std": [0.247, 0.243, 0.262],
    "size_bytes": 154_800_000,
    "sha256": SHA256,
    "sides_sent": {"edges_px": [32, 48], "rows": [50_000]},
}
REASON: Example = {
    "code": "nonfinite_loss",
    "message": "The loss is nan at step 120.",
    "hint": "Run again with a tenth of `optim.lr`. The last good checkpoint is kept.",
}
DATASET: Example = {
    "id": DATASET_ID,
    "object": "dataset",
    "name": "cifar10",
    "format": "zip",
    "store_as": "pixels",
    "options": {"range": "auto", "channels": "auto", "side_px_max": 256},
    "status": "ready",
    "status_reason": None,
    "size_bytes": 160_000_000,
    "received_bytes": 160_000_000,
    "is_uploading": False,
    "is_current": True,
    "stored_bytes": 346_112_000,
    "sha256": SHA256,
    "created_at": CREATED_S,
    "facts": FACTS,
    "job_id": JOB_ID,
}
BAD_FILE: Example = {
    "name": "cats/0017.jpg",
    "reason": "truncated",
    "detail": "the image ends after 1024 of 20480 bytes",
}
REPORT: Example = {
    "object": "report",
    "counts": {"truncated": 1, "duplicate": 1},
    "data": [BAD_FILE],
    "has_more": True,
}
PROFILE: Example = {
    "type": "profiled",
    "step": 1200,
    "steps_measured": 1195,
    "step_mean_s": 0.0502,
    "step_median_s": 0.0498,
    "rows_per_s": 5100.0,
    "phases": [
        {"name": "views", "mean_s": 0.0306, "share": 0.61},
        {"name": "backward", "mean_s": 0.0196, "share": 0.39},
    ],
    "bottleneck": "views",
    "sentence": "Making the views takes 61 % of each step: give the worker more threads "
    "(`MOCO_THREADS` above 2), or train on a GPU.",
}
VERDICT: Example = {
    "type": "judged",
    "step": 1200,
    "code": "healthy",
    "kind": "ok",
    "word": "Healthy",
    "evidence": "Loss 6.310 (chance 8.318); spread 0.93; kNN top-1 61.4% "
    "(raw input 34.6%, untrained encoder 29.8%, majority class 10.0%).",
    "advice": "Nothing to do.",
}
PROGRESS: Example = {
    "step": 1200,
    "steps": 19_500,
    "epoch": 12.3,
    "epochs": 200.0,
    "signals": {"loss": 6.31, "top1": 0.42, "lr": 0.0598},
    "rows_per_s": 5100.0,
    "eta_s": 1840.0,
    "exact": True,
    "differs": [],
    "profile": PROFILE,
    "verdict": VERDICT,
}
FIGURE: Example = {
    "name": "knn_top1",
    "value": 0.614,
    "n": 5000,
    "low": 0.6004,
    "high": 0.6274,
    "interval": "wilson",
    "features": "trained encoder",
}
EVALUATION: Example = {
    "object": "evaluation",
    "job_id": JOB_ID,
    "evaluators": [
        {
            "name": "knn",
            "result": {
                "step": 1200,
                "epoch": 12.0,
                "figures": [FIGURE],
                "tables": {},
                "notes": [],
            },
            "baselines": {
                "step": 0,
                "epoch": 0.0,
                "figures": [
                    {
                        **FIGURE,
                        "value": 0.346,
                        "low": 0.333,
                        "high": 0.3593,
                        "features": "raw input",
                    }
                ],
                "tables": {},
                "notes": [],
            },
        }
    ],
    "not_measured": [],
    "figures": {
        "knn_top1": {
            "unit": "ratio",
            "meaning": "kNN accuracy on held-out labeled images",
            "better": "up",
        }
    },
    "tables": {"knn": {}},
}
JOB: Example = {
    "id": JOB_ID,
    "object": "job",
    "name": "cifar, 200 epochs",
    "status": "running",
    "status_reason": None,
    "waiting_reason": None,
    "created_at": CREATED_S,
    "started_at": CREATED_S + 0.2,
    "finished_at": None,
    "attempt": 1,
    "worker_id": "gpu-a-0",
    "queue_position": None,
    "stored_bytes": 93_011_968,
    "dataset_id": DATASET_ID,
    "spec": {"dataset": "cifar10"},
    "resolved": {"dataset": "cifar10", "epochs": 200, "batch_rows": 256},
    "reasons": {"epochs": "~10 M samples in total (20 to 400 epochs)"},
    "progress": PROGRESS,
    "checkpoint_step": 900,
    "version": 41,
}
PREVIEW: Example = {
    "object": "job.preview",
    "resolved": {"dataset": "cifar10", "epochs": 200, "batch_rows": 256},
    "reasons": {"epochs": "~10 M samples in total (20 to 400 epochs)"},
    "steps": 39_000,
    "eta_s": 1960.0,
    "eta_basis": f"the speed of {JOB_ID}: 5094 rows/s with resnet18 at 32 px",
    "memory_bytes": 2_100_000_000,
    "scaling": {
        "gpus": 8,
        "rows_per_gpu": 32,
        "sent_bytes": 164_000_000,
        "communication_share": 0.04,
        "gpus_limit": 8,
        "assumptions": "H200s at 4,000 rows/s of ResNet-50 at 224 px",
    },
}
EVENT: Example = {
    "id": "1763800000000-0",
    "event": {"type": "stepped", "step": 50, "epoch": 0.26, "signals": {"loss": 6.9}},
}
SERIES: Example = {"step": [50, 100], "value": [6.9, 7.0]}
METRICS: Example = {
    "object": "metrics",
    "job_id": JOB_ID,
    "series": {"loss": SERIES},
    "sampled": False,
}
LOGS: Example = {"object": "logs", "attempt": 1, "lines": ["epoch 12 of 200, loss 6.31"]}
ATTEMPT: Example = {
    "attempt": 1,
    "worker_id": "gpu-a-0",
    "started_at": CREATED_S,
    "ended_at": None,
    "outcome": None,
    "code": "",
    "message": "",
}
NEW_WEIGHTS: Example = {"name": "resnet18-photos", "size_bytes": 44_700_000, "sha256": SHA256}
WEIGHTS: Example = {
    "id": "wgt_01jz0000000000000000000000",
    "object": "weights",
    "name": "resnet18-photos",
    "status": "ready",
    "status_reason": None,
    "created_at": CREATED_S,
    "size_bytes": 44_700_000,
    "received_bytes": 44_700_000,
    "sha256": SHA256,
    "tensors": 120,
    "parameters": 11_186_132,
    "encoder": {
        "name": "resnet18",
        "channels": 3,
        "stem": "imagenet",
        "patch_px": None,
        "side_px": None,
    },
}
CHECKPOINT: Example = {
    "step": 900,
    "attempt": 1,
    "created_at": CREATED_S,
    "size_bytes": 90_000_000,
    "manifest_sha256": SHA256,
    "available": True,
    "is_best": False,
}
ARTIFACT: Example = {
    "name": "encoder.safetensors",
    "size_bytes": 44_700_000,
    "sha256": SHA256,
    "url": f"/v1/jobs/{JOB_ID}/artifacts/encoder.safetensors",
}
WORKER: Example = {
    "id": "gpu-a-0",
    "object": "worker",
    "state": "busy",
    "pools": ["train"],
    "device": "cuda:0-3",
    "host": "gpu-a",
    "pid": 4021,
    "job_id": JOB_ID,
    "slots": 4,
    "slots_busy": 1,
    "jobs": [JOB_ID],
    "seen_at": CREATED_S,
    "started_at": CREATED_S,
    "info": {"torch": "2.15.0"},
}
POOL: Example = {"pool": "train", "depth": 2, "oldest_wait_s": 12.5}
JOB_QUEUE: Example = {
    "object": "queue",
    "pools": [POOL],
    "counts": {"queued": 2, "running": 1, "succeeded": 7},
}
ALIVE: Example = {"status": "ok"}
READY: Example = {"status": "ready", "disk_free_bytes": 80_000_000_000, "warnings": []}
STORAGE: Example = {
    "object": "storage",
    "total_bytes": 1_396_796_640,
    "free_bytes": 80_000_000_000,
    "uses": {
        "uploads": 160_000_000,
        "packs": 346_112_000,
        "weights": 44_748_000,
        "checkpoints": 746_000_000,
        "artifacts": 93_011_968,
        "jobs": 4_194_304,
        "logs": 1_048_576,
        "store": 1_622_016,
        "other": 59_776,
    },
}
VERSION: Example = {"name": "mocoserve", "version": "0.1.0", "api": "v1", "python": "3.11.7"}
FIELD_PROBLEM: Example = {
    "pointer": "#/batch_rows",
    "detail": "Input should be greater than or equal to 2",
}
PROBLEM: Example = {
    "type": "urn:mocoserve:problem:invalid",
    "title": "Invalid request",
    "status": 422,
    "detail": "#/batch_rows: Input should be greater than or equal to 2",
    "instance": "/v1/jobs",
    "code": "invalid",
    "hint": "Fix the named fields; see /docs.",
    "request_id": "req_4f2a9c1b7d3e5f60a1b2c3d4",
    "errors": [FIELD_PROBLEM],
}


def listing(item: Example, name: str) -> Example:
    """A list with this one item."""
    return {
        "object": "list",
        "data": [item],
        "has_more": False,
        "first_id": name,
        "last_id": name,
    }
