"""Job of the demo: settings that suit digits and train within a minute on two cores."""

from typing import Any

DATASET = "digits"
SPEC: dict[str, Any] = {
    "dataset": DATASET,
    "name": "handwritten digits",
    "encoder": {"name": "small"},
    "epochs": 20,
    "batch_rows": 128,
    "method": {"queue_rows": 512, "momentum": 0.99, "temperature": 0.2, "head": "mlp"},
    # A mirrored digit is another sign, and grey pixels have no colour to jitter.
    "views": {
        "side_px": 16,
        "crop_scale": [0.2, 1.0],
        "flip_p": 0.0,
        "jitter_p": 0.0,
        "grey_p": 0.0,
    },
    "optim": {"name": "sgd", "lr": 0.06},
    "evaluation": {"every_epochs": 4},
}
MARGIN_MIN = 0.03
"""Margin of accuracy by which the trained encoder must beat raw pixels."""
