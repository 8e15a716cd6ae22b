"""`python -m trainer embed`: what `moco embed` starts, because it loads no tensors itself."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.accel.device import DeviceConfig
from trainer.data.readers.items import BadFile
from trainer.engine.outcome import known_error
from trainer.inference.embedder import Embedded, embed
from trainer.schema.errors import DeviceError, OutOfMemory, TrainerError

FAILED, INTERRUPTED = 1, 130
HINTS = {
    OutOfMemory.code: "Pass --device cpu, or free memory of the device and try again.",
    DeviceError.code: "Pass --device cpu, or run `moco doctor`, which checks the GPUs.",
}
"""Next steps in place of those for a job: the command has no settings to lower."""
Say = Callable[[str], None]


def run(words: Sequence[str], *, data: Say, talk: Say) -> int:
    """Run the command. `data` receives the result, `talk` all other output."""
    parser = argparse.ArgumentParser(
        "python -m trainer embed", description="Features of images from a downloaded encoder."
    )
    parser.add_argument("encoder", type=Path, help="folder of artifacts, or encoder.safetensors")
    parser.add_argument("images", type=Path, help="folder or archive of images")
    parser.add_argument("-o", "--out", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="threads of a CPU")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    args = parser.parse_args(words)
    device_config = DeviceConfig(device=args.device, threads=args.threads)
    try:
        done = embed(
            args.encoder, args.images, out=args.out, device_config=device_config, tell=talk
        )
    except Exception as error:
        known = known_error(error)
        if known is None:
            raise
        _tell_error(known, as_json=args.json, data=data, talk=talk)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    _conclude(done, as_json=args.json, data=data, talk=talk)
    return 0


def _tell_error(error: TrainerError, *, as_json: bool, data: Say, talk: Say) -> None:
    hint = HINTS.get(error.code, error.next_step)
    if as_json:
        problem = {"object": "error", "title": error.detail, "hint": hint, "code": error.code}
        data(json.dumps(problem, ensure_ascii=False))
    else:
        talk(f"error: {error.detail}\n  next: {hint}")


def _conclude(done: Embedded, *, as_json: bool, data: Say, talk: Say) -> None:
    if as_json:
        data(json.dumps(_as_dict(done), ensure_ascii=False))
        return
    for file in done.bad:
        talk(f"skipped {_words(file)}")
    data(
        f"{done.path}: {done.rows:,} rows of {done.feature_dim} features, {len(done.bad)} files "
        "skipped"
    )


def _words(file: BadFile) -> str:
    return f"{file.name} ({file.reason}: {file.detail})"


def _as_dict(done: Embedded) -> dict[str, Any]:
    bad = [
        {"name": bad_file.name, "reason": bad_file.reason, "detail": bad_file.detail}
        for bad_file in done.bad
    ]
    return {
        "object": "embedding",
        "path": str(done.path),
        "rows": done.rows,
        "feature_dim": done.feature_dim,
        "labels": list(done.labels),
        "bad_files": bad,
    }
