"""Named choices that events and specs share. Loads no tensors."""

from typing import Literal

StoredAs = Literal["pixels", "jpeg"]
Alpha = Literal["white", "drop"]
ShrinkFilter = Literal["lanczos", "bilinear"]
Precision = Literal["auto", "fp32", "bf16"]
BatchNormKind = Literal["split", "plain", "sync"]
MomentumSchedule = Literal["constant", "cosine"]
SourceFormat = Literal["auto", "folder", "zip", "tar", "idx", "npy", "parquet"]
