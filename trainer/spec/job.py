"""A training job in words: the HTTP body, the Redis payload, and the file beside the weights.

What is left out (None) is filled in by `trainer.spec.defaults.resolve`, each value with its reason.
A new method is one folder under `trainer/methods/` and one member of its `specs.MethodSpec`.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainer.evaluators.knn.spec import KnnSpec
from trainer.methods.moco.spec import MoCoSpec
from trainer.methods.registry import MethodSpec
from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.optim.spec import CosineSpec, OptimSpec, ScheduleSpec, SgdSpec
from trainer.schema.base import Record
from trainer.schema.choices import Precision

# One member today; a second one turns it into a discriminated union.
EvaluatorSpec = KnnSpec

PresetName = Literal["moco-v1", "moco-v2", "moco-cifar10"]
Label = Annotated[str, Field(min_length=1, max_length=64)]


class RetrySpec(Record):
    """How often the user's own failures are tried again. Lost workers are never counted."""

    max_failures: Annotated[int, Field(ge=0, le=10)] = 0
    """Failures after which the job is tried once more from its last checkpoint."""


class JobSpec(Record):
    """Train one encoder on one dataset."""

    dataset: Annotated[str, Field(min_length=1, max_length=1024)]
    """Id or name of a dataset that is ready. For `python -m trainer`: a folder or an archive."""
    test_dataset: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Labelled images to classify. Left out: a tenth of the dataset, if that has labels."""
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """What people call the job."""
    preset: PresetName | None = None
    """A published recipe that fills in what you leave out; your own values take precedence."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Passes over the rows. Left out: from the rows."""
    batch_rows: Annotated[int, Field(ge=2, le=65_536)] | None = None
    """Rows of one optimizer step. Left out: from the rows."""
    partial_batch: Literal["drop", "keep"] = "drop"
    """What happens to the last rows of an epoch that do not fill a batch."""
    use_splits: bool = True
    """Train on rows of the split `train` alone and measure on those of `test`, where the dataset
    names splits. False: all rows are alike."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Everything random is a pure function of it."""
    order: Literal[1, 2] | None = None
    """Rule that draws the order of an epoch's rows from the seed. Left out: 2, the newest."""
    precision: Precision = "auto"
    """`bf16` is autocast in bfloat16; auto takes it where the device is fast at it."""
    encoder: EncoderSpec = EncoderSpec()
    """The network."""
    method: MethodSpec = MoCoSpec()
    """How it learns."""
    views: ViewsSpec = ViewsSpec()
    """What it sees."""
    optim: OptimSpec = SgdSpec()
    """How it steps."""
    schedule: ScheduleSpec = CosineSpec()
    """How the learning rate moves."""
    evaluation: EvaluatorSpec | None = KnnSpec()
    """How it is measured when there are labels. Null switches it off."""
    signals_every_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Read loss and other signals each so many steps. Left out: from the steps."""
    checkpoint_every_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 30.0
    """Longest work that a lost worker costs, in seconds of training."""
    checkpoint_every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also save at each multiple of so many steps."""
    keep_checkpoints: Annotated[int, Field(ge=2, le=100)] = 2
    """Newest checkpoints kept; two, so that a damaged one can be survived."""
    profile: bool = False
    """Measure where the time of each step goes. The result is the same, bit for bit."""
    pool: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,31}$")] = "train"
    """Which workers may take it."""
    retry: RetrySpec = RetrySpec()
    """What happens after a failure of the user's."""
    metadata: Annotated[
        dict[Label, Annotated[str, Field(max_length=512)]], Field(max_length=16)
    ] = Field(default_factory=dict)
    """Up to 16 words of your own, kept with the job."""
