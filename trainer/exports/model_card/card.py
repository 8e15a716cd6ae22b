"""Model card: how to load the encoder, its data, result and recipe."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from trainer.evaluators.knn.spec import KnnSpec
from trainer.exports.atomic_folder import SUMS
from trainer.exports.base import Export
from trainer.exports.model_card.sparklines import Line, number, table
from trainer.methods.registry import part_of
from trainer.modalities.outputs import Outputs, outputs_of
from trainer.nn.towers import feature_dim
from trainer.pretexts.registry import part_of as pretext_part
from trainer.schema.evaluation import EvaluationReport, EvaluatorReport, Figure, Findings
from trainer.schema.events import DatasetFacts
from trainer.schema.verdicts import BASELINES, judge
from trainer.spec.defaults import rules_for, trained_on
from trainer.spec.job import JobSpec
from trainer.spec.signal_tables import FILLS, SIGNALS
from trainer.spec.watched import best_reading, end_reason

TITLE = """# {name}

{a} encoder ({arch}, embeddings of {dim} numbers), pretrained {labels} by
{method} with mocoserve.
"""

CLASSIFIER = """# {name}

{a} classifier ({arch}, {classes:,} classes), trained with labels by
mocoserve; its encoder began with {begun}.
"""

SUMS_FILE = {SUMS: "`sha256sum -c SHA256SUMS` checks the download"}

OF_ENCODER = """\
{of_encoder}
- {labels} kNN accuracy shows how well the classes separate, not how good a decision based on the
  encoder would be."""
OF_CLASSIFIER = """\
{of_classifier}
- Its probabilities are not calibrated. Choose a threshold on labeled {many} of your own, and test
  it on others.
- {labels}"""
LIMITS = """## Limits
{limits}
- What is over- or underrepresented in the dataset is over- or underrepresented in the embeddings.
- `embeddings.parquet` and `atlas.png` are made from the {many}. Share them only where you may share
  the {many}."""


LABELS_UNUSED = "Labels were used for evaluation only, never for training."
LABELS_LEARNED = (
    "Labels were used for training. Those of the {many} that it was tested with were not."
)
LABELS_USED = (
    "Labels were used for training: {many} of one label are pulled together. Those of the {many} "
    "that the evaluation tests were not."
)


def card(export: Export, *, files: Mapping[str, str], chosen: Sequence[str] = ()) -> str:
    """Return `README.md`, a pure function of the run: no times, speeds or places.

    `files` are those of all exporters, each with its meaning; `chosen` are the texts of those that
    the job asks for.
    """
    spec, facts, history = export.spec, export.facts, export.history
    outputs = outputs_of(spec)
    name = spec.name or f"{spec.encoder.name} on {PurePath(spec.dataset).name}"
    parts = [
        _title(export, name, outputs=outputs),
        "## Load it\n" + "\n\n".join((*outputs.loading(export), *chosen)),
        *_elsewhere(outputs.elsewhere(export)),
        "## Data\n" + _data(spec, facts, outputs),
        "## Result\n" + _result(export),
        "## Curves\n" + "\n".join(table(history)) + "\n\n" + _reading(spec, history),
        "## Recipe\n" + _recipe(spec, export.reasons | suggested(spec, facts)),
        _limits(spec, outputs),
        "## Files\n" + _files(files),
    ]
    return "\n\n".join(parts) + "\n"


def _tasks(spec: JobSpec) -> str:
    """Return what the encoder learns from, in words."""
    titles: dict[str, str] = {
        each.name: pretext_part(each.name, "spec").TITLE for each in spec.auxiliary
    }
    titles[spec.method.name] = part_of(spec.method.name, "spec").TITLE
    return " and ".join(titles[name] for name in spec.tasks)


def _title(export: Export, name: str, *, outputs: Outputs) -> str:
    spec = export.spec
    a = outputs.words.a.capitalize()
    if spec.kind == "finetune":
        return CLASSIFIER.rstrip().format(
            name=name,
            a=a,
            arch=spec.encoder.name,
            classes=len(export.facts.labels),
            begun=_begun(spec),
        )
    return TITLE.rstrip().format(
        name=name,
        a=a,
        arch=spec.encoder.name,
        dim=feature_dim(export.encoder),
        method=_tasks(spec),
        labels="with labels" if spec.uses_labels else "without labels",
    )


def _begun(spec: JobSpec) -> str:
    """Return what an encoder began with, in words."""
    begun = spec.init_from
    if begun is None:
        return "random weights"
    if begun.job is None:
        return f"the weights {PurePath(begun.weights or '').name}"
    of_step = "" if begun.checkpoint is None else f", checkpoint {begun.checkpoint}"
    return f"that of `{begun.job}`{of_step}"


def _limits(spec: JobSpec, outputs: Outputs) -> str:
    many = outputs.words.many
    if spec.kind == "finetune":
        labels = LABELS_LEARNED.format(many=many)
        limits = OF_CLASSIFIER.format(
            of_classifier=outputs.classifier_limits, labels=labels, many=many
        )
    else:
        labels = (LABELS_USED if spec.uses_labels else LABELS_UNUSED).format(many=many)
        limits = OF_ENCODER.format(of_encoder=outputs.encoder_limits, labels=labels)
    return LIMITS.format(limits=limits, many=many)


def _elsewhere(text: str | None) -> list[str]:
    return [] if text is None else [f"## Use it elsewhere\n{text}"]


def _files(files: Mapping[str, str]) -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in (dict(files) | SUMS_FILE).items()]
    return _table(("file", "what it is"), rows)


def suggested(spec: JobSpec, facts: DatasetFacts) -> dict[str, str]:
    """Return the reason of every field whose value is the suggested one."""
    found = {}
    facts = trained_on(spec, facts)
    for field, rule in rules_for(spec):
        value, reason = rule(spec, facts)
        if value == _fields(spec).get(field):
            found[field] = reason
    return found


def _fields(spec: JobSpec) -> dict[str, Any]:
    """Dotted name -> value, as Python has it."""
    flat: dict[str, Any] = {}
    for key in type(spec).model_fields:
        value = getattr(spec, key)
        if isinstance(value, BaseModel):
            flat |= _dotted(key, value)
        elif key == "evaluation" and value is not None:
            for name, evaluator in spec.named_evaluators():
                flat |= _dotted(name, evaluator)
        elif key == "auxiliary":
            for index, pretext in enumerate(value):
                flat |= _dotted(f"{key}.{index}", pretext)
        else:
            flat[key] = value
    return flat


def _dotted(prefix: str, part: BaseModel) -> dict[str, Any]:
    return {f"{prefix}.{name}": getattr(part, name) for name in type(part).model_fields}


def _data(spec: JobSpec, facts: DatasetFacts, outputs: Outputs) -> str:
    rows = [
        ("dataset", PurePath(spec.dataset).name),
        (outputs.words.many, f"{facts.rows:,}"),
        ("left out", f"{facts.bad_files:,} rejected files; {facts.duplicates:,} exact duplicates"),
        *outputs.content_lines(spec, facts),
        ("splits", ", ".join(f"{name} {rows:,}" for name, rows in facts.splits.items()) or "none"),
        *(("warning", f"{one.message} {one.hint}") for one in facts.warnings),
        *outputs.value_lines(facts),
        ("labels", _labels(spec, facts)),
        ("sha256 of the pack", f"`{facts.sha256}`"),
    ]
    return _table(("", ""), rows)


def _labels(spec: JobSpec, facts: DatasetFacts) -> str:
    if not facts.labels:
        return "none"
    purpose = "training and evaluation" if spec.uses_labels else "evaluation only"
    return f"{len(facts.labels)} classes, for {purpose}"


ARITHMETIC = {
    "bf16": "Steps on the GPU multiplied in bf16; embeddings and downloads are in IEEE fp32.",
    "fp32": "The GPU computed in IEEE fp32, never in TF32.",
}


def _result(export: Export) -> str:
    judgement = judge(export.history, share=1.0, fills=FILLS)
    verdict = [f"**{judgement.verdict.word}.** {judgement.evidence}"]
    if judgement.verdict.kind != "ok":
        verdict.append(judgement.advice)
    sentences = [f"Trained for {export.step:,} optimizer steps.", *_watched(export)]
    if export.gpu_precision:
        sentences.append(ARITHMETIC[export.gpu_precision])
    if not export.exact:
        sentences.append(
            "The run was resumed under different conditions, so it is not bit-identical."
        )
    figures = _figures(export.spec, export.history)
    return "\n\n".join([*verdict, " ".join(sentences), *figures, *_evaluations(export.evaluation)])


def _watched(export: Export) -> list[str]:
    """Return what the watched signals of the job say."""
    spec, sentences = export.spec, []
    if reason := end_reason(export.history, spec.early_stop, SIGNALS):
        sentences.append(f"The job ended early: {reason}")
    if spec.best_by is not None:
        best = best_reading(export.history, spec.best_by, SIGNALS[spec.best_by])
        if best is not None:
            folder = "the folder `best` has the encoder of that step, and the other files"
            files = "these files" if export.best is None else folder
            sentences.append(
                f"The best {best.signal} was {best.value:.4g} at step {best.step:,}; {files} are "
                "those of the last step."
            )
    return sentences


def _figures(spec: JobSpec, history: Sequence[Line]) -> list[str]:
    """Return a table of the last kNN figure and its baselines; nothing without labels."""
    line = next((line for line in reversed(history) if "knn_top1" in line), None)
    knn = next((each for each in spec.evaluators if isinstance(each, KnnSpec)), None)
    if line is None or knn is None:
        return []
    of_head = " after its head" if knn.feature == "projection" else ""
    told = {f"this encoder{of_head}": "knn_top1", **BASELINES}
    rows = [(name, f"{line[signal]:.1%}") for name, signal in told.items() if signal in line]
    many = outputs_of(spec).words.many
    words = (
        f"Held-out labeled {many} that their nearest neighbors (k = {knn.k}, cosine) "
        "classify correctly, and the same without this training:"
    )
    return [words, _table(("features", "kNN top-1"), rows)]


def _evaluations(report: EvaluationReport) -> list[str]:
    """Return a table of figures for each evaluator but kNN, which has its own, with its notes."""
    parts = []
    for each in report.evaluators:
        if each.name != "knn" and each.result is not None:
            parts += [f"Evaluator `{each.name}`:", _figure_table(each, each.result)]
            parts += each.result.notes
    return parts


def _figure_table(report: EvaluatorReport, result: Findings) -> str:
    held = report.baselines.figures if report.baselines else ()
    values: dict[tuple[str, str], str] = {
        (figure.name, figure.features): number(figure.value) for figure in held
    }
    rows = [
        (
            f"`{figure.name}`",
            number(figure.value),
            _interval(figure),
            f"{figure.n:,}",
            *(values.get((figure.name, features), "") for features in BASELINES),
        )
        for figure in result.figures
    ]
    return _table(("figure", "value", "95 % interval", "n", *BASELINES), rows)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} to {number(figure.high)}"


def _reading(spec: JobSpec, history: Sequence[Line]) -> str:
    chance = [line["chance_loss"] for line in history if "chance_loss" in line]
    words: str = part_of(spec.method.name, "spec").READING
    return f"{words} Guessing has a loss of {number(chance[-1])}." if chance else words


def _recipe(spec: JobSpec, reasons: dict[str, str]) -> str:
    left_out = {"dataset", "test_dataset", "name", "metadata", "pool", "profile", "retry"}
    left_out |= {"exports"}  # the list of files tells them
    rows = [
        (f"`{field}`", _value(value), reasons.get(field, ""))
        for field, value in _fields(spec).items()
        if field.partition(".")[0] not in left_out
    ]
    return _table(("setting", "value", "reason, if it was suggested"), rows)


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return number(value)
    if isinstance(value, tuple):
        return " to ".join(_value(part) for part in value)
    if isinstance(value, BaseModel):
        return "; ".join(f"{name} {_value(part)}" for name, part in value.model_dump().items())
    return _escaped(str(value))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text that stays inside its cell of a table."""
    return text.replace("\n", " ").replace("\\|", "|").replace("|", "\\|")
