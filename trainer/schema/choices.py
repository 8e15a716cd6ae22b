"""Named choices that events and specs share. Loads no tensors."""

from typing import Annotated, Literal

from pydantic import Field

StoredAs = Literal["pixels", "jpeg"]
Alpha = Literal["white", "drop"]
ShrinkFilter = Literal["lanczos", "bilinear"]
Precision = Literal["auto", "fp32", "bf16"]
BatchNormKind = Literal["split", "plain", "sync"]
GROUPS_MAX = 1024
MASK_CLASSES_MAX = 16
"""Most values of masks that are classes of their own."""
MASK_MIDDLE = 128
"""Least value of the second of two classes, where masks have more values than that."""
BatchNormGroups = Annotated[int, Field(ge=1, le=GROUPS_MAX)]
HeadBatchNorm = Literal["none", "hidden", "all"]
HeadWidth = Annotated[int, Field(ge=2, le=16_384)]
OwnWidth = HeadWidth | Literal["features"]
"""Width of a head's hidden layers; `features`: that of the encoder's output."""
MomentumSchedule = Literal["constant", "cosine"]
SourceFormat = Literal["auto", "folder", "zip", "tar", "idx", "npy", "parquet"]
