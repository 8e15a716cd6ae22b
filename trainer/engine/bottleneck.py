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
from trainer.spec.rules import filled
from trainer.timing.phase_totals import BETWEEN_STEPS, Times

GPU_BATCH_ROWS = 256
"""Smaller batches leave a GPU waiting for its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProfile:
    """Measured times of a run, and its environment."""

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
    """Bottleneck of a run, and the sentence that names it."""

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
    """`Making the views takes`: the share follows."""
    advice: Callable[[RunProfile], str]
    applies: Callable[[RunProfile], bool] = lambda _profile: True


def diagnose(profile: RunProfile) -> Diagnosis:
    """Return the phase furthest above its limit by seconds; if none is above, the network."""
    exceeded = [
        rule
        for rule in RULES
        if profile.times.share(*rule.phases) > rule.above and rule.applies(profile)
    ]
    if not exceeded:
        return Diagnosis(NETWORK.name, _sentence(NETWORK, profile))
    largest = max(exceeded, key=lambda rule: _seconds(profile, rule))
    return Diagnosis(largest.name, _sentence(largest, profile))


def _sentence(rule: Rule, profile: RunProfile) -> str:
    of = "the time" if BETWEEN_STEPS.issuperset(rule.phases) else "each step"
    share = _percent(profile.times.share(*rule.phases))
    parts = f" ({_parts(rule, profile)})" if len(rule.phases) > 1 else ""
    return f"{rule.what} {share} of {of}{parts}: {rule.advice(profile)}."


def _parts(rule: Rule, profile: RunProfile) -> str:
    return ", ".join(f"{name} {_percent(profile.times.share(name))}" for name in rule.phases)


def _seconds(profile: RunProfile, rule: Rule) -> float:
    return sum(profile.times.phases_s.get(name, 0.0) for name in rule.phases)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _evaluation(profile: RunProfile) -> str:
    """Advise on the evaluator that is asked most often."""
    evaluators = profile.spec.named_evaluators()
    field, evaluator = min(evaluators, key=lambda pair: filled(pair[1].every_epochs))
    every_epochs = filled(evaluator.every_epochs)
    if every_epochs < profile.spec.epochs:
        return f"evaluate less often, with `{field}.every_epochs` above {every_epochs}"
    advice: str = registry.part_of(evaluator.name, "spec").ADVICE
    return advice.format(field=field)


def _checkpoint(profile: RunProfile) -> str:
    steps = profile.spec.checkpoint_every_steps
    if steps is not None:
        return f"save less often, with `checkpoint_every_steps` above {steps}"
    every_s = profile.spec.checkpoint_every_s
    return f"save less often, with `checkpoint_every_s` above {every_s:g}"


def _signals(profile: RunProfile) -> str:
    every_steps = profile.spec.signals_every_steps
    return f"read them less often, with `signals_every_steps` above {every_steps}"


def _advice(profile: RunProfile) -> ModuleType:
    """Return the module of the modality that knows what makes its rows faster."""
    return part_of_modality(profile.spec.views.modality, "advice")


def _gather(profile: RunProfile) -> str:
    advice = _advice(profile)
    if faster := advice.faster_reading(profile.facts):
        return str(faster)
    disk = "put the data folder (`MOCO_DATA_DIR`) on a faster disk"
    return _either(disk, advice.smaller_rows(profile.spec, profile.facts))


def _copy(profile: RunProfile) -> str:
    advice = _advice(profile)
    ways = advice.rows_on_device(profile.facts), advice.smaller_rows(profile.spec, profile.facts)
    return _either(*ways) or "use a device with enough memory for the dataset"


def _views(profile: RunProfile) -> str:
    advice = _advice(profile)
    cheaper = advice.cheaper_views(profile.spec)
    if profile.device == "cuda":
        return _either(cheaper, advice.smaller_views(profile.spec))
    if profile.threads < profile.cores:
        more_cores = f"give the worker more threads (`MOCO_THREADS` above {profile.threads})"
    else:
        more_cores = f"use a machine with more than {profile.cores} cores"
    return _either(more_cores, cheaper, "train on a GPU")


def _loss(profile: RunProfile) -> str:
    method = profile.spec.method
    advice: str = part_of(method.name, "spec").ADVICE["loss"]
    return advice.format(**method.model_dump())


def _larger_batch(profile: RunProfile) -> str:
    rows = profile.spec.batch_rows
    if rows < profile.facts.rows:
        return f"do it less often, with `batch_rows` above {rows}"
    return "the dataset already fits in one batch, so only a smaller `encoder.name` would help"


def _network(profile: RunProfile) -> str:
    """Return advice, the most effective first."""
    rows = profile.spec.batch_rows
    fp32 = profile.spec.precision == "fp32"
    faster = "omit `precision`, so that bfloat16 is used where it is fast" if fp32 else ""
    if profile.device == "cuda":
        larger_batch = ""
        if rows < min(GPU_BATCH_ROWS, profile.facts.rows):
            larger_batch = f"use the GPU better, with `batch_rows` above {rows}"
        return _either(faster, larger_batch) or _either(
            _advice(profile).smaller_views(profile.spec), _smaller_encoder(profile)
        )
    return _either(
        faster,
        "train on a GPU",
        _advice(profile).smaller_views(profile.spec),
        _smaller_encoder(profile),
    )


def _smaller_encoder(profile: RunProfile) -> str:
    name = profile.spec.encoder.name
    return "" if profile.spec.encoder.is_quick else f"use a smaller `encoder.name` than {name}"


def _either(*ways: str) -> str:
    return ", or ".join(way for way in ways if way)


RULES: tuple[Rule, ...] = (
    Rule(
        name="evaluation",
        phases=("evaluation",),
        above=0.20,
        what="Evaluation takes",
        advice=_evaluation,
        applies=lambda profile: bool(profile.spec.evaluators),
    ),
    Rule(
        name="checkpoint",
        phases=("checkpoint",),
        above=0.05,
        what="Saving checkpoints takes",
        advice=_checkpoint,
        # The one at the end cannot be left out.
        applies=lambda profile: profile.times.counts.get("checkpoint", 0) > 1,
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
        what="Making the views takes",
        advice=_views,
    ),
    Rule(
        name="loss",
        phases=("loss",),
        above=0.15,
        what="Comparing with the negatives takes",
        advice=_loss,
        # Its gradient is part of `backward`, as is the encoder's: both grow as they do forward.
        applies=lambda profile: profile.times.share("loss") >= profile.times.share("query"),
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
