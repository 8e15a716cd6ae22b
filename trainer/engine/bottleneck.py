"""Bottleneck of a run in one sentence, with a way to reduce it.

Pure: from measured times to words. Only advice that a spec, a setting or a dataset can follow.
Loads no tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from trainer.evaluators import registry
from trainer.methods.registry import part_of
from trainer.modalities.registry import part_of as part_of_modality
from trainer.schema.events import DatasetFacts, Phase
from trainer.spec.resolved import ResolvedSpec
from trainer.timing.phase_totals import BETWEEN_STEPS, Times

GPU_BATCH_ROWS = 256
"""Smaller batches leave a GPU waiting for its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Measurements and their environment."""

    times: Times
    spec: ResolvedSpec
    facts: DatasetFacts
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """Threads of one operation on a CPU."""
    cores: int
    """Cores that this process may use."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer."""

    bottleneck: str
    """Name of the bottleneck."""
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Share of time above which a phase is reported, and the advice for it."""

    name: str
    phases: tuple[Phase, ...]
    above: float
    """Share that is too much: of a step, or of the whole for what comes between steps."""
    what: str
    """`Making the two views takes`: the share follows."""
    advice: Callable[[Case], str]
    applies: Callable[[Case], bool] = lambda _case: True


def diagnose(case: Case) -> Diagnosis:
    """The largest of the shares that are too much; if none is, the network itself."""
    found = [
        rule for rule in RULES if case.times.share(*rule.phases) > rule.above and rule.applies(case)
    ]
    if not found:
        return Diagnosis(NETWORK.name, _sentence(NETWORK, case))
    worst = max(found, key=lambda rule: _seconds(case, rule))
    return Diagnosis(worst.name, _sentence(worst, case))


def _sentence(rule: Rule, case: Case) -> str:
    of = "the time" if BETWEEN_STEPS.issuperset(rule.phases) else "each step"
    share = _percent(case.times.share(*rule.phases))
    parts = f" ({_parts(rule, case)})" if len(rule.phases) > 1 else ""
    return f"{rule.what} {share} of {of}{parts}: {rule.advice(case)}."


def _parts(rule: Rule, case: Case) -> str:
    return ", ".join(f"{name} {_percent(case.times.share(name))}" for name in rule.phases)


def _seconds(case: Case, rule: Rule) -> float:
    return sum(case.times.phases_s.get(name, 0.0) for name in rule.phases)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _evaluation(case: Case) -> str:
    """Advise on the evaluator that is asked most often."""
    evaluators = case.spec.named_evaluators()
    field, evaluator = min(evaluators, key=lambda pair: pair[1].every_epochs)
    if evaluator.every_epochs < case.spec.epochs:
        return f"evaluate less often, with `{field}.every_epochs` above {evaluator.every_epochs}"
    advice: str = registry.part_of(evaluator.name, "spec").ADVICE
    return advice.format(field=field)


def _checkpoint(case: Case) -> str:
    steps = case.spec.checkpoint_every_steps
    if steps is not None:
        return f"save less often, with `checkpoint_every_steps` above {steps}"
    every_s = case.spec.checkpoint_every_s
    return f"save less often, with `checkpoint_every_s` above {every_s:g}"


def _signals(case: Case) -> str:
    every_steps = case.spec.signals_every_steps
    return f"read them less often, with `signals_every_steps` above {every_steps}"


def _advice(case: Case) -> ModuleType:
    """Return the module of the modality that knows what makes its rows faster."""
    return part_of_modality(case.spec.views.modality, "advice")


def _gather(case: Case) -> str:
    advice = _advice(case)
    if faster := advice.faster_reading(case.facts):
        return str(faster)
    disk = "put the data folder (`MOCO_DATA_DIR`) on a faster disk"
    return _either(disk, advice.smaller_rows(case.spec, case.facts))


def _copy(case: Case) -> str:
    advice = _advice(case)
    ways = advice.rows_on_device(case.facts), advice.smaller_rows(case.spec, case.facts)
    return _either(*ways) or "use a device with enough memory for the dataset"


def _views(case: Case) -> str:
    advice = _advice(case)
    cheaper = advice.cheaper_views(case.spec)
    if case.device == "cuda":
        return _either(cheaper, advice.smaller_views(case.spec))
    if case.threads < case.cores:
        hands = f"give the worker more threads (`MOCO_THREADS` above {case.threads})"
    else:
        hands = f"use a machine with more than {case.cores} cores"
    return _either(hands, cheaper, "train on a GPU")


def _loss(case: Case) -> str:
    method = case.spec.method
    advice: str = part_of(method.name, "spec").ADVICE["loss"]
    return advice.format(**method.model_dump())


def _larger_batch(case: Case) -> str:
    rows = case.spec.batch_rows
    if rows < case.facts.rows:
        return f"do it less often, with `batch_rows` above {rows}"
    return "the dataset already fits in one batch, so only a smaller `encoder.name` would help"


def _network(case: Case) -> str:
    """Return advice, the most effective first."""
    rows = case.spec.batch_rows
    fp32 = case.spec.precision == "fp32"
    faster = "omit `precision`, so that bfloat16 is used where it is fast" if fp32 else ""
    if case.device == "cuda":
        fuller = ""
        if rows < min(GPU_BATCH_ROWS, case.facts.rows):
            fuller = f"use the GPU better, with `batch_rows` above {rows}"
        return _either(faster, fuller) or _either(
            _advice(case).smaller_views(case.spec), _smaller_encoder(case)
        )
    return _either(
        faster, "train on a GPU", _advice(case).smaller_views(case.spec), _smaller_encoder(case)
    )


def _smaller_encoder(case: Case) -> str:
    name = case.spec.encoder.name
    return "" if case.spec.encoder.is_quick else f"use a smaller `encoder.name` than {name}"


def _either(*ways: str) -> str:
    return ", or ".join(way for way in ways if way)


RULES: tuple[Rule, ...] = (
    Rule(
        name="evaluation",
        phases=("evaluation",),
        above=0.20,
        what="Evaluation takes",
        advice=_evaluation,
        applies=lambda case: bool(case.spec.evaluators),
    ),
    Rule(
        name="checkpoint",
        phases=("checkpoint",),
        above=0.05,
        what="Saving checkpoints takes",
        advice=_checkpoint,
        # The one at the end cannot be left out.
        applies=lambda case: case.times.counts.get("checkpoint", 0) > 1,
    ),
    Rule(
        name="signals",
        phases=("signals",),
        above=0.10,
        what="Reading the signals takes",
        advice=_signals,
    ),
    Rule(
        name="gather",
        phases=("gather",),
        above=0.20,
        what="Data loading takes",
        advice=_gather,
    ),
    Rule(
        name="copy",
        phases=("copy",),
        above=0.15,
        what="Copying images to the device takes",
        advice=_copy,
    ),
    Rule(
        name="views",
        phases=("views",),
        above=0.30,
        what="Making the two views takes",
        advice=_views,
    ),
    Rule(
        name="loss",
        phases=("loss",),
        above=0.15,
        what="Comparing with the negatives takes",
        advice=_loss,
        # Its gradient is part of `backward`, as is the encoder's: both grow as they do forward.
        applies=lambda case: case.times.share("loss") >= case.times.share("query"),
    ),
    Rule(
        name="weights",
        phases=("optimizer", "momentum", "enqueue"),
        above=0.20,
        what="Updating the weights and the queue takes",
        advice=_larger_batch,
    ),
    Rule(
        name="other",
        phases=("other",),
        above=0.25,
        what="Unmeasured work between the phases takes",
        advice=_larger_batch,
    ),
)
"""Each is compared with its own threshold, then all that are above by their seconds."""

NETWORK = Rule(
    name="network",
    phases=("query", "key", "backward"),
    above=0.0,
    what="The network takes",
    advice=_network,
)
"""Rule for the rest: the network, where a run should spend its time."""
