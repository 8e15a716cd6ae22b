"""The golden hashes: sha256 of what two seeded jobs publish, to hold a refactoring against.

    python -m tests.contract.golden [--cifar10 cifar10-test.zip] [--threads 2]

The same commit prints the same hashes on the same machine; another kind of CPU has others, so they
are compared between two commits and never stored.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data.image_sets import prepare_images
from trainer.__main__ import main as train_main

PUBLISHED = ("encoder.safetensors", "embeddings.parquet")
SMALL_JOB: dict[str, Any] = {"epochs": 3, "seed": 14, "encoder": {"name": "small"}}
"""Too few rows for compiled views; the second job has enough."""
JOBS: dict[str, dict[str, Any]] = {
    "suggested": SMALL_JOB,
    "compiled views": SMALL_JOB | {"epochs": 14, "batch_rows": 256},
    "symmetric, fp32": SMALL_JOB
    | {"precision": "fp32", "method": {"name": "moco", "symmetric": True, "bn": "plain"}},
    "resnet18": SMALL_JOB | {"epochs": 1, "batch_rows": 256, "encoder": {"name": "resnet18"}},
}


def main() -> None:
    """Run the jobs and print a line of hashes for each."""
    parser = argparse.ArgumentParser("python -m tests.contract.golden", description=__doc__)
    parser.add_argument("--cifar10", type=Path, help="zip of CIFAR-10 in folders by class")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for data in (None, args.cifar10) if args.cifar10 else (None,):
        with tempfile.TemporaryDirectory(prefix="moco-") as folder:
            images = prepare_images(
                data, Path(folder) / "images", rows=None if data is None else 2000
            )
            for name, job in JOBS.items():
                out = Path(folder) / name.replace(" ", "-")
                hashes = run(job | {"dataset": str(images.pack)}, out=out, threads=args.threads)
                sys.stdout.write(f"{images.name} {name} {json.dumps(hashes)}\n")
                sys.stdout.flush()


def run(job: dict[str, Any], *, out: Path, threads: int) -> dict[str, str]:
    """Train a job in this process. Return file name -> sha256 of what it published."""
    out.mkdir(parents=True)
    spec = out / "spec.json"
    spec.write_text(json.dumps(job))
    code = train_main([str(spec), "--out", str(out / "run"), "--threads", str(threads)])
    if code != 0:
        raise SystemExit(f"the job ended with exit code {code}")
    found = {path.name: path for path in (out / "run").rglob("*") if path.name in PUBLISHED}
    return {name: _sha256(found[name]) for name in PUBLISHED}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
