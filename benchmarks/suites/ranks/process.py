"""One process of the benchmark `ranks`: a rank of a job on two, or a job alone.

    python -m benchmarks.suites.ranks.process SPEC PACK

Each line of its input is a number of steps to run; it answers each with a line when they are done.
"""

import sys
import tempfile
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from trainer.accel.device import DeviceConfig
from trainer.accel.malloc import keep_freed_memory
from trainer.distributed.launched_world import joined
from trainer.engine.build import RunPaths, build_run
from trainer.spec.job import JobSpec


def main() -> None:
    """Open the run and do the steps that are asked for."""
    spec, pack = JobSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    keep_freed_memory()
    torch.set_num_threads(1)
    device_config = DeviceConfig(device="cpu", threads=1)
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as out,
        joined("cpu") as world,
        build_run(spec, RunPaths(Path(out), pack), device_config=device_config, world=world) as run,
    ):
        for line in sys.stdin:
            for _ in range(int(line)):
                run.advance()
            sys.stdout.write(f"{run.step}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
