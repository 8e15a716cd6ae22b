"""The contract table against what real registries export, both ways."""

import re
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.observability.metric_definitions import LABEL_VALUES, Metric, Target
from service.observability.metrics import (
    CONTENT_TYPE,
    METRICS,
    SIGNAL_METRICS,
    Instruments,
    artifact_format,
)
from service.store.records import Status, WorkerState
from trainer.methods.registry import declared
from trainer.schema.errors import TrainerError
from trainer.spec.signal_tables import SIGNALS

REPO = Path(__file__).resolve().parents[3]
TARGETS: tuple[Target, ...] = ("api", "worker", "state")


def _touch(instruments: Instruments, row: Metric) -> None:
    """Give a row one series, as its owner would."""
    labels = {label: LABEL_VALUES.get(label, ("x",))[0] for label in row.labels}
    {"gauge": instruments.set, "counter": instruments.inc, "histogram": instruments.observe}[
        row.type
    ](row.name, 1.0, **labels)


def _exported(page: bytes) -> dict[str, tuple[str, str, frozenset[str]]]:
    """Name as queries write it -> (type, help, labels), by the reference parser."""
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = frozenset(key for s in family.samples for key in s.labels if key != "le")
        found[name] = (family.type, family.documentation, labels)
    return {name: facts for name, facts in found.items() if not name.startswith("process_")}


@pytest.mark.parametrize("target", TARGETS)
def test_a_registry_exports_the_table_and_nothing_else(target: Target) -> None:
    instruments = Instruments(CollectorRegistry(), target)
    rows = [row for row in METRICS if target in row.targets]
    for row in rows:
        _touch(instruments, row)
    table = {row.name: (row.type, row.help, frozenset(row.labels)) for row in rows}
    assert _exported(instruments.render()) == table


@pytest.mark.parametrize("target", TARGETS)
def test_known_label_values_stand_at_zero_from_the_start(target: Target) -> None:
    page = Instruments(CollectorRegistry(), target).render().decode()
    samples = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
    }
    for row in METRICS:
        if target in row.targets and row.labels and set(row.labels) <= set(LABEL_VALUES):
            for values in product(*(LABEL_VALUES[label] for label in row.labels)):
                key = (row.name, tuple(sorted(zip(row.labels, values, strict=True))))
                assert samples[key] == 0.0


def test_names_follow_the_conventions_of_prometheus() -> None:
    for row in METRICS:
        assert re.fullmatch(r"moco_[a-z0-9_]+", row.name)
        assert (row.type == "counter") == row.name.endswith("_total")
        assert not re.search(r"_(ms|minutes|percent|mb|gb)(_|$)", row.name)
        assert "job" not in row.labels
        assert "instance" not in row.labels
        assert (row.type == "histogram") == bool(row.buckets)
        assert not (row.type == "histogram" and "job_id" in row.labels)
    assert len({row.name for row in METRICS}) == len(METRICS)


def test_every_signal_has_a_metric_but_the_one_that_is_a_rate() -> None:
    """Rows per second are the rate of `moco_train_images_total`."""
    assert set(SIGNAL_METRICS) == set(SIGNALS) - {"rows_per_s"}


def test_every_metric_is_fed() -> None:
    """A signal, a setting of a method or code outside the table feeds it."""
    table = REPO / "service" / "observability" / "metrics.py"
    paths = {path for package in ("service", "worker") for path in (REPO / package).rglob("*.py")}
    sources = [path.read_text() for path in paths - {table}]
    sources.append(table.read_text().partition("class Instruments")[2])
    for row in METRICS:
        short = re.sub("^moco_(train|worker_gpu)_", "", row.name)
        named = re.compile(rf"[\"']({row.name}|{short})[\"']")
        is_declared = row.signal or short in declared("SETTINGS")
        assert is_declared or any(named.search(text) for text in sources), row.name


def test_the_known_values_are_those_of_the_trainer_and_the_store() -> None:
    kinds, codes = [TrainerError], {"ok", "stopped", "internal"}
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__ == TrainerError.__module__:  # others end a command, not a job
            codes.add(kind.code)
    assert set(LABEL_VALUES["code"]) == codes
    assert LABEL_VALUES["status"] == get_args(Status)
    assert set(LABEL_VALUES["state"]) == set(get_args(WorkerState))


def test_a_job_leaves_no_series_behind() -> None:
    """Fifty jobs come and go; the page is then as it was."""
    instruments = Instruments(CollectorRegistry(), "worker")

    def mine() -> list[str]:
        return [line for line in instruments.render().decode().splitlines() if "moco_" in line]

    before = mine()
    for number in range(50):
        for row in METRICS:
            if "job_id" in row.labels:
                labels = {label: "w" for label in row.labels} | {"job_id": f"job-{number}"}
                instruments.set(row.name, 1.0, **labels) if row.type == "gauge" else (
                    instruments.total(row.name, 1.0, **labels)
                )
    assert len(mine()) > len(before) + 1000
    for number in range(50):
        instruments.forget_job(f"job-{number}")
    assert mine() == before


def test_forgetting_one_job_keeps_the_other() -> None:
    instruments = Instruments(CollectorRegistry(), "worker")
    instruments.set("moco_train_loss", 1.0, job_id="a")
    instruments.set("moco_train_loss", 2.0, job_id="b")
    instruments.forget_job("a")
    page = instruments.render().decode()
    assert 'moco_train_loss{job_id="b"} 2.0' in page
    assert 'job_id="a"' not in page


def test_a_total_follows_its_counter_and_starts_again_when_that_falls() -> None:
    instruments = Instruments(CollectorRegistry(), "worker")
    seen = []
    for value in (3.0, 3.0, 7.5, 2.0, 4.0):
        instruments.total("moco_train_step_seconds_total", value, job_id="a")
        page = instruments.render().decode()
        found = re.search(r'moco_train_step_seconds_total\{job_id="a"\} (\S+)', page)
        assert found is not None
        seen.append(float(found[1]))
    assert seen == [3.0, 3.0, 7.5, 2.0, 4.0]


def test_a_total_of_a_forgotten_job_starts_from_nothing() -> None:
    instruments = Instruments(CollectorRegistry(), "worker")
    instruments.total("moco_train_steps_total", 5.0, job_id="a")
    instruments.forget_job("a")
    instruments.total("moco_train_steps_total", 6.0, job_id="a")
    assert 'moco_train_steps_total{job_id="a"} 6.0' in instruments.render().decode()


def test_wrong_names_and_labels_are_refused() -> None:
    instruments = Instruments(CollectorRegistry(), "api")
    with pytest.raises(KeyError):
        instruments.set("moco_train_loss", 1.0, job_id="a")
    with pytest.raises(ValueError, match="label"):
        instruments.inc("moco_http_requests_total", 1.0, handler="/")


def test_no_created_series_and_the_plain_text_format() -> None:
    page = Instruments(CollectorRegistry(), "api").render().decode()
    assert "_created" not in page
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("name", "label"),
    [("encoder.safetensors", "safetensors"), ("SHA256SUMS", "other"), ("atlas.png", "png")],
)
def test_formats_are_a_closed_set(name: str, label: str) -> None:
    assert artifact_format(name) == label


def test_a_series_that_is_dropped_is_gone_and_its_total_starts_over() -> None:
    made, name = Instruments(CollectorRegistry(), "worker"), "moco_worker_gpu_energy_joules_total"
    for gpu in ("0", "1"):
        made.total(name, 5.0, worker="w", gpu=gpu)
    for _ in range(2):
        made.drop(name, worker="w", gpu="0")
    text = made.render().decode()
    assert f'{name}{{gpu="1",worker="w"}} 5.0' in text
    assert 'gpu="0"' not in text
    made.total(name, 2.0, worker="w", gpu="0")
    assert f'{name}{{gpu="0",worker="w"}} 2.0' in made.render().decode()
