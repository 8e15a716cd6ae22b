"""Recording rules and alerts: their words, their names, their runbook, and promtool's tests."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.observability.promql import (
    ALERTS,
    REPO,
    RULES,
    Rule,
    contract,
    labels_of,
    parsed,
    recorded,
    rules,
    selectors,
)
from tests.support.system.required_tools import needs
from trainer.schema.verdicts import (
    ABOVE_CHANCE,
    AT_CHANCE,
    COLLAPSED_STD,
    COLLAPSING_STD,
    EASY_TOP1,
    GAIN_MIN,
    GUESSING_TOP1,
    LOST_DISTANCE,
    TELLING_EPOCHS,
    TELLING_SHARE,
    VERDICTS,
    WEAK,
    Verdict,
    of_code,
)
from trainer.spec.signal_tables import FILLS, SIGNALS

KNOWN = contract() | recorded()
CASES = sorted((Path(__file__).parent / "alerts").glob("*.yml"))
ALERT = pytest.mark.parametrize("alert", rules(ALERTS), ids=lambda alert: alert.name)
EVERY = pytest.mark.parametrize("rule", [*rules(RULES), *rules(ALERTS)], ids=lambda rule: rule.name)
promtool = needs("promtool")


@EVERY
def test_a_rule_names_only_metrics_and_labels_of_the_table(rule: Rule) -> None:
    found = selectors(parsed(rule.expr))
    assert found
    for selector in found:
        assert str(selector.name) in KNOWN
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[str(selector.name)]


@pytest.mark.parametrize("rule", rules(RULES), ids=lambda rule: rule.name)
def test_a_recorded_name_tells_level_metric_and_operation(rule: Rule) -> None:
    level, _, operation = rule.name.rpartition(":")
    assert re.fullmatch(r"(\w+:)?moco_\w+", level)
    assert re.fullmatch(r"(mean|(rate|ratio_rate|p\d+_rate)\d+[mh])", operation)
    labels = labels_of(parsed(rule.expr))
    assert labels == ({level.partition(":")[0]} if ":" in level else set())


def test_the_alert_on_easy_tasks_waits_until_nothing_fills() -> None:
    (alert,) = (rule for rule in rules(ALERTS) if rule.name == "MocoContrastiveTooEasy")
    for name in FILLS:
        assert f"unless moco_train_{SIGNALS[name].metric} < 1" in " ".join(alert.expr.split())


@ALERT
def test_an_alert_says_what_it_is_for_whom_and_what_to_do(alert: Rule) -> None:
    assert re.fullmatch(r"Moco([A-Z][a-z]+)+", alert.name)
    assert alert.fields["for"]
    assert alert.fields["labels"] in [{"severity": s} for s in ("critical", "warning", "info")]
    words = alert.fields["annotations"]
    assert set(words) == {"summary", "description", "runbook_url"}
    for name in ("summary", "description"):
        assert words[name].endswith(".")
        labels = set(re.findall(r"\$labels\.(\w+)", words[name]))
        assert labels <= labels_of(parsed(alert.expr), KNOWN)
    assert len(words["description"]) > len(words["summary"])


@ALERT
def test_an_alert_has_its_section_in_the_runbook(alert: Rule) -> None:
    page, _, anchor = alert.fields["annotations"]["runbook_url"].partition("#")
    text = (REPO / page).read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n### ")[1:]}
    assert anchor == alert.name.lower()
    for word in ("**Means.**", "**Look.**", "**Do.**"):
        assert word in sections[alert.name]


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^### (\w+)$", (REPO / "docs" / "runbook.md").read_text(), re.M)
    assert headings == [alert.name for alert in rules(ALERTS)]


@promtool
@pytest.mark.parametrize("path", [RULES, ALERTS], ids=lambda path: path.name)
def test_promtool_finds_no_fault_in_the_rules(path: Path) -> None:
    _promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))


@promtool
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(case: Path) -> None:
    _promtool("test", "rules", str(case))


def _promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _groups() -> list[dict[str, Any]]:
    return [group for case in CASES for group in yaml.safe_load(case.read_text())["tests"]]


def _firing(group: dict[str, Any]) -> list[set[str]]:
    """Return the alerts that fire at each moment that a case looks at."""
    return [
        {re.findall(r'alertname="(\w+)"', sample["labels"])[0] for sample in check["exp_samples"]}
        for check in group["promql_expr_test"]
        if check["expr"] == 'count by (alertname) (ALERTS{alertstate="firing"})'
    ]


@ALERT
def test_every_alert_fires_alone_in_a_case_of_its_own_and_not_from_the_start(alert: Rule) -> None:
    mine = [_firing(group) for group in _groups() if group["name"].split(" (")[0] == alert.name]
    assert mine
    for moments in mine:
        assert moments[0] == set()
        assert {alert.name} in moments
        assert all(found <= {alert.name} for found in moments)


@promtool
@ALERT
@pytest.mark.parametrize("expr", ["vector(1) == 2", "vector(1)"], ids=["never", "always"])
def test_the_cases_notice_an_alert_that_never_fires_and_one_that_always_does(
    alert: Rule, expr: str, tmp_path: Path
) -> None:
    """The tests of the alerts, tested."""
    wrong = yaml.safe_load(ALERTS.read_text())
    for rule in (rule for group in wrong["groups"] for rule in group["rules"]):
        rule["expr"] = expr if rule["alert"] == alert.name else rule["expr"]
    mine = [group for group in _groups() if group["name"] == alert.name]
    case = {
        "rule_files": [str(RULES), "alerts.yml"],
        "evaluation_interval": "1m",
        "tests": mine,
    }
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(wrong))
    (tmp_path / "case.yml").write_text(yaml.safe_dump(case))
    command = ["promtool", "test", "rules", str(tmp_path / "case.yml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert alert.name in done.stdout + done.stderr


def test_no_alert_even_waits_on_the_healthy_run() -> None:
    """6.96 -> 7.29 -> 2.27, as it was measured, beside ln(1 + K)."""
    (healthy,) = (group for group in _groups() if group["name"] == "a healthy run")
    checks = {check["expr"]: check for check in healthy["promql_expr_test"]}
    assert checks["count by (alertname) (count_over_time(ALERTS[5h]))"]["exp_samples"] == []
    values = {series["series"]: series["values"] for series in healthy["input_series"]}
    losses = next(text for name, text in values.items() if name.startswith("moco_train_loss{"))
    assert all(loss in losses for loss in ("6.96", "7.29", "2.27"))
    read = {str(s.name) for rule in rules(ALERTS) for s in selectors(parsed(rule.expr))}
    given = {str(selectors(parsed(name))[0].name) for name in values}
    assert read - set(recorded()) <= given, "an alert has nothing to look at"


def test_every_series_of_a_case_is_of_the_table() -> None:
    """A case about a metric that does not exist would prove nothing."""
    for group in _groups():
        for given in group["input_series"]:
            (selector,) = selectors(parsed(given["series"]))
            assert str(selector.name) in KNOWN, given["series"]
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= KNOWN[str(selector.name)], given["series"]


ALERT_OF = {
    "diverged": "MocoDiverged",
    "collapsed": "MocoRepresentationCollapse",
    "at_chance": "MocoLossAtChance",
    "collapsing": "MocoRepresentationCollapsing",
    "no_better_than_raw": "MocoNoBetterThanRawInput",
    "gained_little": "MocoGainedLittle",
    "too_easy": "MocoContrastiveTooEasy",
}
BOUNDS_OF = {
    "diverged": {ABOVE_CHANCE, COLLAPSED_STD, LOST_DISTANCE},
    "collapsed": {COLLAPSED_STD, LOST_DISTANCE},
    "at_chance": {AT_CHANCE, ABOVE_CHANCE, GUESSING_TOP1},
    "collapsing": {COLLAPSED_STD, COLLAPSING_STD},
    "no_better_than_raw": {TELLING_SHARE},
    "gained_little": {GAIN_MIN, WEAK, AT_CHANCE, GUESSING_TOP1, TELLING_SHARE},
    "too_easy": {EASY_TOP1, 1.0},
}
"""Numbers of each rule besides those of when a run is far enough; 1 is a full queue."""


@pytest.mark.parametrize("row", VERDICTS, ids=lambda row: row.code)
def test_an_alert_has_the_bounds_and_the_advice_of_the_table(row: Verdict) -> None:
    if row.kind in ("ok", "busy"):
        assert row.code not in ALERT_OF
        return
    (alert,) = (one for one in rules(ALERTS) if one.name == ALERT_OF[row.code])
    ratio = "moco_train_queue_dataset_ratio or 0 * moco_train_epoch"
    telling = f"moco_train_epoch >= {TELLING_EPOCHS} + clamp_max({ratio}, 1)"
    assert alert.expr.endswith(f"and {telling}")
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", alert.expr.removesuffix(telling))
    assert {float(number) for number in numbers} == BOUNDS_OF[row.code]
    assert alert.fields["annotations"]["description"].startswith(row.advice)
    section = (REPO / "docs" / "runbook.md").read_text().partition(f"### {alert.name}\n")[2]
    assert row.advice in " ".join(section.partition("\n### ")[0].split())


def test_a_loss_that_is_not_finite_has_the_advice_of_a_run_that_diverged() -> None:
    (alert,) = (one for one in rules(ALERTS) if one.name == "MocoNonFiniteLoss")
    assert alert.fields["annotations"]["description"].startswith(of_code("diverged").advice)
