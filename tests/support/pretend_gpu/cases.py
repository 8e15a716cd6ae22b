"""The matrix of jobs that run on the pretend GPU."""

from typing import Any

from tests.support.pretend_gpu.run import Case

QUEUE_ROWS = 64
JOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "symmetric, own keys masked": {
        "method": {"queue_rows": QUEUE_ROWS, "symmetric": True, "mask_own_keys": True}
    },
    "simclr": {"method": {"name": "simclr"}},
    "plain batch norm": {"method": {"queue_rows": QUEUE_ROWS, "bn": "plain"}},
    "adamw, partial batch kept": {"optim": {"name": "adamw"}, "partial_batch": "keep"},
    "fp32": {"precision": "fp32"},
    "resnet18": {"encoder": {"name": "resnet18"}},
    "resnet18, 96 px, solarize": {
        "encoder": {"name": "resnet18"},
        "views": {"side_px": 96, "solarize_p": 0.2},
    },
    "resnet50": {"encoder": {"name": "resnet50"}},
}
PACKS = {"many sizes": "sizes", "two channels of 16 bits": "deep"}
CASES = (
    *(Case(name=name, settings=JOBS[name], graphs=on) for name in JOBS for on in (True, False)),
    *(Case(name=name, pack=PACKS[name], graphs=on) for name in PACKS for on in (True, False)),
    Case(name="profiled", settings={"profile": True}, graphs=False),
)
CELL = CASES[0]
"""The one of `make test`: its first steps are eager, the others replay graphs."""
