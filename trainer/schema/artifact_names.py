"""Names of files shared between parts of the program. Imports nothing of ours."""

import re

WEIGHTS, CONFIG, PREPROCESS = "encoder.safetensors", "config.json", "preprocess.json"
CLASSIFIER = "classifier.safetensors"
"""File of a finetune job with its encoder and its head."""
MODEL, PROCESSOR = "model.safetensors", "preprocessor_config.json"
"""Files that timm and Hugging Face load, where timm has the network."""
NETWORK = "network"
"""Folder of an attempt with CONFIG and PREPROCESS, for the encoders of its checkpoints."""
TABLE = "embeddings.parquet"
PROFILE = "profile.json"
EVALUATION = "evaluation.json"
"""Results of the evaluators: beside the weights, and in the folder of a run that goes on."""
ONNX, TORCHVISION, STATE = "encoder.onnx", "torchvision.pth", "training_state.safetensors"
"""Files that a job publishes if its `exports` name them."""
HUB = "hf"
"""Folder that timm and transformers load, published if `exports` name it."""
BEST = "best"
"""Folder with the encoder of the best checkpoint, published if the job has `best_by`."""
ANSWER, TILES, SHEET = "neighbours.json", "tiles.png", "sheet.png"
"""Files of a nearest-neighbor search."""
UPLOAD = "upload.part"
"""The bytes of a dataset as they arrive, in the dataset's folder."""

NAME = r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""Pattern of a file to download, with at most one folder: `hf/config.json`."""
_NAME = re.compile(NAME)


def is_artifact_name(name: str) -> bool:
    """Return whether a file to download may have this name."""
    return _NAME.fullmatch(name) is not None
