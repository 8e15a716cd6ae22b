"""The matrix of jobs that run on the pretend GPU: all that the registries name, and variants."""

from collections.abc import Iterator
from typing import Any

from tests.support.pretend_gpu.packs import CLASSES
from tests.support.pretend_gpu.run import QUEUE_ROWS, Case
from tests.support.trainer.spec_members import AUGMENTATIONS, beside, smallest_encoders
from trainer.evaluators.registry import evaluator_names
from trainer.methods.registry import method_names
from trainer.modalities.registry import MODALITIES
from trainer.pretexts.registry import pretext_names

METHODS: dict[str, dict[str, Any]] = {
    name: {"queue_rows": QUEUE_ROWS} for name in ("moco", "moco_v3", "nnclr")
}
"""Settings that a method needs for so few rows."""
EVALUATORS: dict[str, dict[str, Any]] = {"anomaly": {"normal": [CLASSES[0]]}}
"""Settings that an evaluator needs."""
JOBS: dict[str, dict[str, Any]] = {"classifier": {"kind": "finetune", "method": {}}}
"""Settings of the job that an evaluator is for."""
VARIANTS: dict[str, dict[str, Any]] = {
    "symmetric, own keys masked": {
        "method": {"queue_rows": QUEUE_ROWS, "symmetric": True, "mask_own_keys": True}
    },
    "keys of the batch, learned temperature": {
        "method": {"queue_rows": QUEUE_ROWS, "in_batch": True, "temperature": {"learned": 0.07}}
    },
    "rising momentum": {"method": {"queue_rows": QUEUE_ROWS, "momentum_schedule": "cosine"}},
    "plain batch norm": {"method": {"queue_rows": QUEUE_ROWS, "bn": "plain"}},
    "adamw, partial batch kept": {"optim": {"name": "adamw"}, "partial_batch": "keep"},
    "lars, clipped, in parts": {"optim": {"name": "lars", "clip_norm": 1.0, "accumulate_steps": 2}},
    "adam without decay of vectors": {"optim": {"name": "adam", "decay": "matrices"}},
    "every augmentation": {"views": AUGMENTATIONS},
    "three views": {"method": {"name": "supcon"}, "views": {"count": 3}},
    "three views and a target": {
        "method": {"name": "byol"},
        "views": {"count": 3, "second": {"solarize_p": 0.2}},
    },
    "unlike views": {"views": {"blur_p": 1.0, "second": {"blur_p": 0.1, "solarize_p": 0.2}}},
    "fp32": {"precision": "fp32"},
    "classification, balanced, frozen encoder": {
        "kind": "finetune",
        "method": {"head": "mlp", "freeze": True, "class_weights": "balanced"},
    },
    "resnet18, 96 px, solarize": {
        "encoder": {"name": "resnet18"},
        "views": {"side_px": 96, "solarize_p": 0.2},
    },
}
PACKS = {"many sizes": "sizes", "two channels of 16 bits": "deep"}


def _jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the name, pack and settings of each job."""
    for name in method_names():
        method = {"method": {"name": name} | METHODS.get(name, {})}
        yield f"method {name}", "image", method | beside(name)
    for name in pretext_names():
        yield f"pretext {name}", "image", {"auxiliary": [{"name": name}]}
    for modality in MODALITIES:
        for name in smallest_encoders(modality):
            settings = {"encoder": {"name": name}, "views": {"name": modality}}
            yield f"encoder {name}", modality, _without_default(settings)
    for name in evaluator_names():
        settings = {"evaluation": {"name": name} | EVALUATORS.get(name, {})} | JOBS.get(name, {})
        yield f"evaluator {name}", "image", settings
    for name, settings in VARIANTS.items():
        yield name, "image", settings
    for name, pack in PACKS.items():
        yield name, pack, {}


def _without_default(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the name of the views of images, which have none."""
    return settings if settings["views"] != {"name": "image"} else {"encoder": settings["encoder"]}


CASES = (
    *(
        Case(name=name, pack=pack, settings=settings, graphs=graphs)
        for name, pack, settings in _jobs()
        for graphs in (True, False)
    ),
    *(Case(name="second GPU", graphs=graphs, device="cuda:1") for graphs in (True, False)),
    Case(name="profiled", settings={"profile": True}, graphs=False),
)
CELLS = tuple(
    case
    for case in CASES
    if str(case) in {str(CASES[0]), "second GPU, captured", "profiled, eager"}
)
"""Those of `make test`: the first steps of captured ones are eager, the others replay graphs."""
