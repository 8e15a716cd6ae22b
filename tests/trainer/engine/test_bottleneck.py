"""The sentence of every bottleneck, on made-up times whose shares are known."""

import json
import re
from typing import Any

import pytest

from tests.support.data.dataset_facts import made_up_facts
from trainer.engine.bottleneck import NETWORK, RULES, RunProfile, diagnose
from trainer.engine.profiler import profile_of
from trainer.schema.events import Phase
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.timing.phase_totals import BETWEEN_STEPS, Times

FACTS = made_up_facts()
STEPS, ROWS = 100, 6400

Words = dict[str, Any]


def case(  # the last are fields of a Case
    ms: dict[Phase, float],
    *,
    spec: Words | None = None,
    facts: Words | None = None,
    **where: Any,  # noqa: ANN401
) -> RunProfile:
    """Milliseconds of each step; of evaluation and checkpoint, of all together."""
    seconds = {
        name: value * (1e-3 if name in BETWEEN_STEPS else STEPS * 1e-3)
        for name, value in ms.items()
    }
    steps_s = sum(value for name, value in seconds.items() if name not in BETWEEN_STEPS)
    known = FACTS.model_copy(update=facts or {})
    words = {"dataset": "made-up", "epochs": 20, "batch_rows": 64, **(spec or {})}
    times = Times(
        steps=STEPS,
        rows=ROWS,
        steps_s=steps_s,
        step_median_s=steps_s / STEPS,
        phases_s=seconds,
        counts={name: 3 if name in BETWEEN_STEPS else STEPS for name in seconds},
    )
    return RunProfile(
        times=times,
        spec=resolve(JobSpec.model_validate_json(json.dumps(words)), known).spec,
        facts=known,
        **{"device": "cpu", "threads": 1, "cores": 4, **where},
    )


# A step of 100 ms in which nothing is too much.
CALM: dict[Phase, float] = {
    "gather": 2, "copy": 1, "views": 15, "query": 22, "key": 14, "loss": 6, "backward": 32,
    "signals": 2, "optimizer": 3, "momentum": 1, "enqueue": 1, "other": 1,
}  # fmt: skip
LARGE: Words = {"side_px_median": 300, "same_size": False}
PHOTOS: Words = {"views": {"side_px": 224}, "encoder": {"name": "resnet50"}}

# name, what is changed in CALM, the case, the sentence. 100 ms and x more make x / (100 + x).
SENTENCES: list[tuple[str, dict[Phase, float], Words, str]] = [
    (
        "evaluation",
        {"evaluation": 5000},
        {},
        "Evaluation takes 33 % of the time: evaluate less often, with `evaluation.every_epochs` "
        "above 1.",
    ),
    (
        "evaluation",
        {"evaluation": 5000},
        {"spec": {"evaluation": {"every_epochs": 20}}},
        "Evaluation takes 33 % of the time: classify fewer images, with a smaller "
        "`evaluation.test_rows` or `evaluation.bank_rows`.",
    ),
    (
        "checkpoint",
        {"checkpoint": 2500},
        {"spec": {"checkpoint_every_s": 7.5}},
        "Saving checkpoints takes 20 % of the time: save less often, with `checkpoint_every_s` "
        "above 7.5.",
    ),
    (
        "checkpoint",
        {"checkpoint": 2500},
        {"spec": {"checkpoint_every_steps": 3}},
        "Saving checkpoints takes 20 % of the time: save less often, with "
        "`checkpoint_every_steps` above 3.",
    ),
    (
        "signals",
        {"signals": 27},
        {"spec": {"signals_every_steps": 2}},
        "Reading the signals takes 22 % of each step: read them less often, with "
        "`signals_every_steps` above 2.",
    ),
    (
        "gather",
        {"gather": 102},
        {},
        "Data loading takes 51 % of each step: put the data folder (`MOCO_DATA_DIR`) on a "
        "faster disk.",
    ),
    (
        "gather",
        {"gather": 102},
        {"facts": LARGE, "spec": PHOTOS},
        "Data loading takes 51 % of each step: put the data folder (`MOCO_DATA_DIR`) on a "
        "faster disk, or downscale the images from 300 to 224 px before the upload.",
    ),
    (
        "gather",
        {"gather": 102},
        {"facts": {"stored_as": "jpeg"}},
        "Data loading takes 51 % of each step: add the images again with `--store-as pixels`, "
        "which avoids decoding.",
    ),
    (
        "copy",
        {"copy": 51},
        {"facts": LARGE, "spec": PHOTOS, "device": "cuda"},
        "Copying images to the device takes 34 % of each step: upload images of one size, which "
        "are kept on the device, or downscale the images from 300 to 224 px before the upload.",
    ),
    (
        "copy",
        {"copy": 51},
        {"device": "cuda"},
        "Copying images to the device takes 34 % of each step: use a device with enough memory for "
        "the dataset.",
    ),
    (
        "views",
        {"views": 115},
        {},
        "Making the views takes 57 % of each step: give the worker more threads "
        "(`MOCO_THREADS` above 1), or train on a GPU.",
    ),
    (
        "views",
        {"views": 115},
        {"threads": 4, "spec": {"views": {"blur_p": 0.4}}},
        "Making the views takes 57 % of each step: use a machine with more than 4 cores, or "
        "blur less often, with `views.blur_p` below 0.4, or train on a GPU.",
    ),
    (
        "views",
        {"views": 115},
        {"facts": LARGE, "spec": PHOTOS, "device": "cuda"},
        "Making the views takes 57 % of each step: blur less often, with `views.blur_p` below "
        "0.5, or use smaller images, with `views.side_px` below 224.",
    ),
    (
        "loss",
        {"loss": 56},
        {"spec": {"method": {"queue_rows": 65_536}}},
        "Comparing with the negatives takes 37 % of each step: use a shorter queue, "
        "with `method.queue_rows` below 65536.",
    ),
    (
        "weights",
        {"optimizer": 40, "momentum": 13},
        {},
        "Updating the weights and the queue takes 36 % of each step (optimizer 27 %, momentum 9 %, "
        "enqueue 1 %): do it less often, with `batch_rows` above 64.",
    ),
    (
        "weights",
        {"optimizer": 53},
        {"facts": {"rows": 64}},
        "Updating the weights and the queue takes 37 % of each step (optimizer 35 %, momentum 1 %, "
        "enqueue 1 %): the dataset already fits in one batch, so only a smaller `encoder.name` "
        "would help.",
    ),
    (
        "other",
        {"other": 51},
        {},
        "Unmeasured work between the phases takes 34 % of each step: do it less often, with "
        "`batch_rows` above 64.",
    ),
    (
        "network",
        {},
        {},
        "The network takes 68 % of each step (query 22 %, key 14 %, backward 32 %): train on a "
        "GPU, or use smaller images, with `views.side_px` below 32, or use a smaller "
        "`encoder.name` than resnet18.",
    ),
    (
        "network",
        {},
        {"spec": {"encoder": {"name": "small"}, "precision": "fp32"}},
        "The network takes 68 % of each step (query 22 %, key 14 %, backward 32 %): omit "
        "`precision`, so that bfloat16 is used where it is fast, or train on a GPU, or use "
        "smaller images, with `views.side_px` below 32.",
    ),
    (
        "network",
        {},
        {"device": "cuda"},
        "The network takes 68 % of each step (query 22 %, key 14 %, backward 32 %): use the GPU "
        "better, with `batch_rows` above 64.",
    ),
    (
        "network",
        {},
        {"device": "cuda", "spec": {"batch_rows": 512}},
        "The network takes 68 % of each step (query 22 %, key 14 %, backward 32 %): use smaller "
        "images, with `views.side_px` below 32, or use a smaller `encoder.name` than resnet18.",
    ),
]


@pytest.mark.parametrize(("name", "ms", "where", "sentence"), SENTENCES)
def test_a_sentence(name: str, ms: dict[Phase, float], where: Words, sentence: str) -> None:
    found = diagnose(case({**CALM, **ms}, **where))
    assert (found.bottleneck, found.sentence) == (name, sentence)


def test_every_rule_is_tried() -> None:
    assert {name for name, *_ in SENTENCES} == {rule.name for rule in (*RULES, NETWORK)}


@pytest.mark.parametrize(("name", "ms", "where", "sentence"), SENTENCES)
def test_its_shares_are_those_of_the_table(
    name: str, ms: dict[Phase, float], where: Words, sentence: str
) -> None:
    """Each percentage is the one in the event, so that table and sentence never disagree."""
    told = profile_of(case({**CALM, **ms}, **where), step=7)
    assert (told.bottleneck, told.sentence) == (name, sentence)
    shares = {phase.name: phase.share for phase in told.phases}
    (rule,) = (rule for rule in (*RULES, NETWORK) if rule.name == name)
    found = [int(number) for number in re.findall(r"(\d+) %", sentence)]
    parts = [shares[phase] for phase in rule.phases]
    wanted = [sum(parts), *(parts if len(parts) > 1 else [])]
    assert found == pytest.approx([100 * share for share in wanted], abs=0.51)


def test_the_advice_is_a_field_or_a_setting_that_exists() -> None:
    fields = JobSpec.model_json_schema()
    known = {"MOCO_THREADS", "MOCO_DATA_DIR"}
    for name in {word for *_, text in SENTENCES for word in re.findall(r"`([\w.]+)[^`]*`", text)}:
        head, _, rest = name.partition(".")
        assert name in known or head in fields["properties"], name
        if rest:
            found = JobSpec(dataset="x").model_dump()[head]
            assert rest in found, name


@pytest.mark.parametrize(
    ("ms", "name"),
    [
        ({"views": 29.9, "query": 7.1}, "network"),
        ({"views": 30.1, "query": 6.9}, "views"),
        ({"evaluation": 2499}, "network"),
        ({"evaluation": 2501}, "evaluation"),
        ({"checkpoint": 526}, "network"),
        ({"checkpoint": 527}, "checkpoint"),
        ({"signals": 10.8}, "network"),
        ({"signals": 11}, "signals"),
        ({"loss": 20, "query": 8}, "loss"),
        ({"loss": 21, "query": 21.5, "backward": 17.5}, "network"),  # an encoder that costs more
    ],
)
def test_a_threshold(ms: dict[Phase, float], name: str) -> None:
    assert diagnose(case({**CALM, **ms})).bottleneck == name


def test_of_two_the_one_that_costs_more_seconds_is_told() -> None:
    """The evaluation's 31 % of all are more seconds than the rows' 32 % of a step."""
    ms: dict[Phase, float] = {**CALM, "gather": 47}
    assert diagnose(case({**ms, "evaluation": 6500})).bottleneck == "evaluation"
    assert diagnose(case({**ms, "evaluation": 4000})).bottleneck == "gather"


def test_the_checkpoint_at_the_end_is_no_reproach() -> None:
    found = case({**CALM, "checkpoint": 5000})
    found.times.counts["checkpoint"] = 1
    assert diagnose(found).bottleneck == "network"


def test_the_event_has_the_mean_of_a_step_and_of_an_occasion() -> None:
    told = profile_of(case({**CALM, "evaluation": 3000}), step=120)
    mean_s = {phase.name: phase.mean_s for phase in told.phases}
    assert mean_s["views"] == pytest.approx(0.015)
    assert mean_s["evaluation"] == pytest.approx(1.0)  # three of them
    assert told.step_mean_s == pytest.approx(0.1)
    assert told.rows_per_s == pytest.approx(640.0)
    assert (told.step, told.steps_measured) == (120, STEPS)
    assert "checkpoint" not in mean_s
