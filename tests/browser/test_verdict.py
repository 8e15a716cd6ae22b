"""Verdict of a run on its page and in the table, with the baselines beside the figure."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from service.api.schemas.examples import VERDICT
from tests.browser.conftest import Visitor, World
from tests.support.service.api import claim, queued_job
from trainer.schema.verdicts import of_code

pytestmark = pytest.mark.browser
ROW = of_code("no_better_than_raw")
BELOW: dict[str, Any] = {
    **{"type": "judged", "step": 20, "code": ROW.code, "kind": ROW.kind, "word": ROW.word},
    "evidence": "kNN top-1 55.0% (raw input 60.0%).",
    "advice": ROW.advice,
}
SIGNALS = {"knn_top1": 0.55, "knn_top1_raw": 0.6, "knn_top1_untrained": 0.5}
BASELINES = ["kNN top-1", "raw input", "untrained encoder", "majority class"]


def test_a_verdict_comes_live_and_stays_at_the_end(visitor: Visitor, world: World) -> None:
    store = world.api.store
    job = queued_job(store)
    lease = claim(store, store.jobs.get(job).pool)
    progress = {"step": 10, "steps": 30, "epoch": 3.0, "epochs": 9.0, "signals": SIGNALS}
    store.queue.append(lease, [json.dumps(VERDICT)], progress | {"verdict": VERDICT})
    page = visitor.go(f"/ui/jobs/{job}")
    health = page.get_by_role("region", name="Health")
    expect(health).to_contain_text(VERDICT["evidence"])
    assert health.locator(".is-ok").count() == 1

    store.queue.append(lease, [json.dumps(BELOW)], progress | {"verdict": BELOW})
    expect(health).to_contain_text(BELOW["evidence"])
    expect(health.locator(".is-warn .word")).to_have_text(ROW.word)
    expect(health.locator(".todo")).to_have_text(ROW.advice.replace("`", ""))
    numbers = page.get_by_role("region", name="Progress")
    for words in ("kNN, raw input60.0 %", "kNN, untrained encoder50.0 %", "kNN top-155.0 %"):
        expect(numbers).to_contain_text(words)

    store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    expect(page.locator(".head [data-state=succeeded]")).to_be_visible()
    expect(health.locator(".is-warn .word")).to_have_text(ROW.word)


def test_the_chart_of_a_real_run_has_its_baselines(visitor: Visitor, world: World) -> None:
    page = visitor.go(f"/ui/jobs/{world.job_id}")
    chart = page.locator("[data-chart=knn_top1]")
    chart.scroll_into_view_if_needed()
    chart.locator(".main-svg").first.wait_for()
    plot = "document.querySelector('[data-chart=knn_top1] .plot')"
    assert page.evaluate(f"{plot}.data.map((one) => one.name)") == BASELINES
    values = page.evaluate(f"{plot}.data.map((one) => one.y)")
    assert all(len(set(baseline)) == 1 for baseline in values[1:])
    told = world.api.client.get(f"/v1/jobs/{world.job_id}").json()["progress"]["verdict"]
    health = page.get_by_role("region", name="Health")
    expect(health).to_contain_text(told["word"])
    expect(health).to_contain_text(told["evidence"])
