"""A training job in words: the HTTP body, the Redis payload, and the file beside the weights.

What is left out (None) is filled in by `trainer.spec.defaults.resolve`, each value with its reason.
A new method is one folder under `trainer/methods/` and one member of
`trainer.methods.registry.MethodSpec`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from trainer.evaluators.knn.spec import KnnSpec
from trainer.evaluators.registry import DEFAULTS as EVALUATORS
from trainer.evaluators.registry import EvaluatorSpec
from trainer.exports.spec import ExportName
from trainer.methods.moco.spec import MoCoSpec
from trainer.methods.registry import DEFAULTS as METHODS
from trainer.methods.registry import MethodSpec
from trainer.modalities.registry import EncoderSpec, ViewsSpec, default_encoder, default_views
from trainer.optim.spec import CosineSpec, OptimSpec, ScheduleSpec, SgdSpec
from trainer.positives.registry import PositivesSpec
from trainer.positives.self.spec import SelfSpec
from trainer.pretexts.registry import PretextSpec
from trainer.schema.base import Record
from trainer.schema.choices import Precision
from trainer.spec.batching import BalancedSpec
from trainer.spec.init_from import InitFromSpec
from trainer.spec.resources import Resources
from trainer.spec.watched import EarlyStopSpec, WatchedSignal


def _distinct(evaluation: object) -> object:
    """Return the evaluators of a job. Raises PydanticCustomError unless their names differ."""
    if not isinstance(evaluation, tuple):
        return evaluation
    if not evaluation:
        raise PydanticCustomError(
            "no_evaluator", "the list is empty; name an evaluator, or set evaluation to null"
        )
    _check_different(evaluation, code="repeated_evaluator", what="evaluator")
    return evaluation


def _different_pretexts(pretexts: tuple[PretextSpec, ...]) -> tuple[PretextSpec, ...]:
    """Return the pretexts. Raises PydanticCustomError unless their names differ."""
    _check_different(pretexts, code="repeated_pretext", what="pretext")
    return pretexts


def _check_different(
    parts: tuple[EvaluatorSpec | PretextSpec, ...], *, code: str, what: str
) -> None:
    """Raise PydanticCustomError if a name is listed more than once."""
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            detail = "{name} is listed more than once; keep one entry for each {what}"
            raise PydanticCustomError(code, detail, {"name": name, "what": what})


def _named(part: object, name: str) -> object:
    """Return a part of a spec with a name, unless it has one or is no single part."""
    return {"name": name} | part if isinstance(part, dict) else part


def _without_repeats(names: tuple[ExportName, ...]) -> tuple[ExportName, ...]:
    """Return each export once, in the order in which it was named first."""
    return tuple(dict.fromkeys(names))


EvaluationSpec = Annotated[
    Annotated[EvaluatorSpec, Tag("one")]
    | Annotated[tuple[EvaluatorSpec, ...], Field(strict=False), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
    AfterValidator(_distinct),
]
"""One evaluator, or several with different names."""

JobKind = Literal["pretrain", "finetune"]
PresetName = Literal["moco-v1", "moco-v2", "moco-cifar10"]
Label = Annotated[str, Field(min_length=1, max_length=64)]


class RetrySpec(Record):
    """Retries after failures. Lost workers do not count."""

    max_failures: Annotated[int, Field(ge=0, le=10)] = 0
    """Number of failures after which the job is retried from its last checkpoint."""


class JobSpec(Record):
    """Settings of a training job."""

    kind: JobKind = "pretrain"
    """`pretrain` trains an encoder to tell images apart. `finetune` trains an encoder and a head to
    classify labeled images: its method is `classification`, its evaluator `classifier`, and its
    download a classifier."""
    dataset: Annotated[str, Field(min_length=1, max_length=1024)]
    """Id or name of a ready dataset. For `python -m trainer`: a folder or an archive."""
    test_dataset: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Labeled dataset for evaluation. Default: hold out 10 % of the dataset, if it has labels."""
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Optional display name."""
    preset: PresetName | None = None
    """Published settings as defaults; your own values take precedence."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Number of passes over the dataset. Default: chosen from the dataset size."""
    batch_rows: Annotated[int, Field(ge=2, le=65_536)] | None = None
    """Batch size, in images. Default: chosen from the dataset size."""
    batching: BalancedSpec | None = None
    """Batches of several images of each label. Default: images are shuffled without regard to it.

    """
    partial_batch: Literal["drop", "keep"] = "drop"
    """Incomplete last batch of an epoch: `drop` or `keep` it."""
    use_splits: bool = True
    """Train on rows of the split `train` alone and measure on those of `test`, where the dataset
    names splits. False: all rows are alike."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed."""
    order: Literal[1, 2] | None = None
    """Version of the shuffling rule. Default: 2, the newest."""
    precision: Precision = "auto"
    """`bf16` is autocast in bfloat16; `auto` uses it where the device supports it efficiently."""
    encoder: EncoderSpec = default_encoder()
    """The network."""
    init_from: InitFromSpec | None = None
    """Weights that the encoder begins with. Default: random ones."""
    method: MethodSpec = MoCoSpec()
    """Method settings."""
    positives: PositivesSpec = SelfSpec()
    """Source of the second view of each image: the image itself, or another one like it."""
    auxiliary: Annotated[
        tuple[PretextSpec, ...], Field(strict=False), AfterValidator(_different_pretexts)
    ] = ()
    """Pretexts, such as `rotation`, beside the method or, with method `none`, alone."""
    views: ViewsSpec = default_views()
    """Augmentation settings."""
    optim: OptimSpec = SgdSpec()
    """Optimizer settings."""
    schedule: ScheduleSpec = CosineSpec()
    """Learning rate schedule."""
    evaluation: EvaluationSpec | None = KnnSpec()
    """Evaluation settings: an evaluator, or a list of different ones. Null disables evaluation.
    If omitted, a dataset without labels has `geometry`."""
    best_by: WatchedSignal | None = None
    """Signal of an evaluator, such as `knn_top1`: the checkpoint with its best value is kept and
    marked. Its encoder is in the folder `best` of the files to download, which are otherwise those
    of the last step.
    """
    early_stop: EarlyStopSpec | None = None
    """End the job when a signal no longer gets better. Default: it trains all its epochs."""
    signals_every_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Steps between readings of loss and other signals. Default: chosen from the number of steps.

    """
    checkpoint_every_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 30.0
    """Maximum training time between checkpoints, in seconds: the most a lost worker can cost."""
    checkpoint_every_steps: Annotated[int, Field(ge=1)] | None = None
    """Also save a checkpoint every n steps."""
    keep_checkpoints: Annotated[int, Field(ge=2, le=100)] = 2
    """Number of checkpoints to keep; at least two, in case one is damaged."""
    exports: Annotated[
        tuple[ExportName, ...], Field(strict=False), AfterValidator(_without_repeats)
    ] = ()
    """Forms of the encoder to publish beside the standard files: `timm` (also for transformers),
    `torchvision`, `onnx`, and `training_state`, the heads, key encoder and queue."""
    profile: bool = False
    """Profile the run. The result is bit-identical."""
    pool: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,31}$")] = "train"
    """Worker pool."""
    resources: Resources = Resources()
    """GPUs and machines that train the job together."""
    retry: RetrySpec = RetrySpec()
    """Retry settings."""
    metadata: Annotated[
        dict[Label, Annotated[str, Field(max_length=512)]], Field(max_length=16)
    ] = Field(default_factory=dict)
    """Up to 16 key-value pairs of your own, stored with the job."""

    @model_validator(mode="before")
    @classmethod
    def _with_parts_of_its_kind(cls, values: Any) -> Any:  # noqa: ANN401 - not validated yet
        """Name kind, method and evaluator of a finetune job where they are left out."""
        if not isinstance(values, dict):
            return values
        method = values.get("method", {})
        name = method.get("name") if isinstance(method, dict) else getattr(method, "name", None)
        implied = "finetune" if name == METHODS["finetune"] else "pretrain"
        if values.get("kind", implied) != "finetune":
            return values
        return values | {
            "kind": "finetune",
            "method": _named(method, METHODS["finetune"]),
            "evaluation": _named(values.get("evaluation", {}), EVALUATORS["finetune"]),
        }

    @property
    def learns_labels(self) -> bool:
        """True if the loss reads the label of each row: rows without one are not trained on."""
        return bool(getattr(self.method, "learns_labels", False))

    @property
    def uses_labels(self) -> bool:
        """True if training itself uses labels, and not its evaluation alone."""
        return self.positives.uses_labels or self.batching is not None or self.learns_labels

    @property
    def views_per_row(self) -> int:
        """Number of views of each row that a step reads."""
        return int(getattr(self.method, "views_per_row", self.views.count))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of what the encoder learns from: the method, if it has a loss, and pretexts."""
        method = (self.method.name,) if getattr(self.method, "has_loss", True) else ()
        return (*method, *(pretext.name for pretext in self.auxiliary))

    def named_evaluators(self) -> Iterator[tuple[str, EvaluatorSpec]]:
        """Yield each evaluator with its dotted name: `evaluation`, or `evaluation.0` in a list."""
        if isinstance(self.evaluation, tuple):
            for index, evaluator in enumerate(self.evaluation):
                yield f"evaluation.{index}", evaluator
        elif self.evaluation is not None:
            yield "evaluation", self.evaluation

    @property
    def evaluators(self) -> tuple[EvaluatorSpec, ...]:
        """The evaluators, in their order."""
        return tuple(evaluator for _, evaluator in self.named_evaluators())
