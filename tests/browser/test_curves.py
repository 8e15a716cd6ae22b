"""Curves looked at closely: smoothed, on a log scale, zoomed into finer points, while they grow.

MOCO_SHOTS=DIR also writes screenshots at both widths and in both colours.
"""

import json
import math
import os
import random
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from scipy.signal import lfilter

from tests.browser.conftest import Visitor, World, until
from tests.support.service.api import finished_job
from tests.support.system.processes import wait_until
from trainer.evaluators.registry import part_of as evaluator_part
from trainer.methods.registry import part_of as method_part
from trainer.schema.signals import COMMON_SIGNALS

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MOCO_SHOTS")
READINGS = 20_000
SIGNALS = [
    *(name for name in COMMON_SIGNALS if name != "contrast_loss"),
    *method_part("moco", "spec").SIGNALS,
    *evaluator_part("knn", "spec").SIGNALS,
]
"""Signals of a job with the default method and evaluator, without pretexts."""
DATA_BYTES_MAX = 300_000
PLOT = "document.querySelector('[data-chart={name}] .plot')"
SHOWN = """() => {
  const plot = document.querySelector('[data-chart=NAME] .plot');
  const { xaxis, yaxis } = plot.layout;
  return {
    range: xaxis.autorange ? null : xaxis.range, scale: yaxis.type,
    traces: plot.data.map(({ name, x, y, opacity }) => ({ name, x: [...x], y: [...y], opacity })),
  };
}"""


@pytest.fixture(scope="module")
def long_job(world: World) -> tuple[str, list[dict[str, float]]]:
    """A job with many readings, and what they are."""
    job_id = finished_job(world.api, {"README.md": b"# A card\n"}, step=READINGS, steps=READINGS)
    numbers = random.Random(0)
    readings = []
    for step in range(1, READINGS + 1):
        falling = 7.0 * math.exp(-step / 6000) + 0.5
        signals = {name: 0.2 + 0.6 * numbers.random() for name in SIGNALS}
        signals |= {"loss": falling + numbers.gauss(0, 0.3) ** 2, "chance_loss": 6.93}
        signals["negatives_fill_ratio"] = min(1.0, step / 2000)
        readings.append({"step": step, "epoch": step / 200, **signals})
    folder = world.api.data_dir / world.api.store.jobs.get(job_id).folder / "attempts" / "1"
    text = "".join(json.dumps(one) + "\n" for one in readings)
    (folder / "metrics.jsonl").write_text(text)
    metrics = f"/v1/jobs/{job_id}/metrics"
    wait_until(lambda: not world.api.client.get(metrics).json()["sampled"], 20.0, "a whole look")
    return job_id, readings


def shown(page: Page, name: str = "loss") -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(SHOWN.replace("NAME", name))
    return found


def opened(visitor: Visitor, job_id: str) -> Page:
    page = visitor.go(f"/ui/jobs/{job_id}")
    page.locator("[data-chart=loss] .main-svg").first.wait_for()
    return page


def zoom_by_keyboard(page: Page, first: int, last: int) -> None:
    page.get_by_label("Steps", exact=True).fill(str(first))
    page.get_by_label("to", exact=True).fill(str(last))
    page.keyboard.press("Enter")


def inside(curve: dict[str, Any], first: float, last: float) -> list[tuple[int, float]]:
    return [(x, y) for x, y in zip(curve["x"], curve["y"], strict=True) if first <= x <= last]


def test_zooming_asks_for_finer_points_and_a_double_click_shows_the_whole_again(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    job_id, readings = long_job
    page = opened(visitor, job_id)
    whole = shown(page)["traces"][0]
    assert len(inside(whole, 5000, 5200)) < 15
    with page.expect_response(lambda one: "from_step=5000&to_step=5200" in one.url) as told:
        zoom_by_keyboard(page, 5000, 5200)
    assert len(told.value.body()) <= DATA_BYTES_MAX
    until(page, f"{PLOT.format(name='loss')}.data[0].x.filter((x) => x >= 5000).length > 201")
    fine = shown(page)
    assert fine["range"] == [5000, 5200]
    expected = [(one["step"], one["loss"]) for one in readings[4999:5200]]
    assert inside(fine["traces"][0], 5000, 5200) == expected, "each reading is drawn"
    around = [one for one in inside(whole, 1, READINGS) if not 5000 <= one[0] <= 5200]
    assert inside(fine["traces"][0], 1, 4999) + inside(fine["traces"][0], 5201, 20000) == around

    page.locator("[data-chart=top1]").scroll_into_view_if_needed()
    until(page, f"{PLOT.format(name='top1')}.layout?.xaxis?.range?.[0] === 5000")
    assert len(inside(shown(page, "top1")["traces"][0], 5000, 5200)) == 201
    with page.expect_response(re.compile(r"from_step=50\d\d&to_step=51\d\d")):
        drag(page, "top1")
    until(page, f"{PLOT.format(name='loss')}.layout.xaxis.range[0] > 5010")
    assert shown(page)["range"] == pytest.approx(shown(page, "top1")["range"])

    box = page.locator("[data-chart=top1] .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 60, box["y"] + 60)
    for name in ("loss", "top1"):
        until(page, f"{PLOT.format(name=name)}.layout.xaxis.autorange === true")
        until(page, f"{PLOT.format(name=name)}.data[0].x.length <= 500")
    assert shown(page)["traces"][0] == whole
    expect(page.get_by_role("button", name="Whole run")).to_be_disabled()


def test_a_short_range_has_one_tick_for_each_step(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    page = opened(visitor, long_job[0])
    zoom_by_keyboard(page, 3, 5)
    until(page, f"{PLOT.format(name='loss')}.layout.xaxis.range?.[0] === 3")
    expect(page.locator("[data-chart=loss] .xtick text")).to_have_text(["3", "4", "5"])


def drag(page: Page, name: str) -> None:
    """Drag from a third to two thirds of a chart."""
    box = page.locator(f"[data-chart={name}] .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * box["width"] / 3, box["y"] + 44, steps=6)
    page.mouse.up()


def test_smoothing_is_the_debiased_average_and_is_remembered(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    page = opened(visitor, long_job[0])
    assert len(shown(page)["traces"]) == 2, "as they were read, at first"
    page.get_by_label("Smoothing").focus()
    page.keyboard.press("End")
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".chart-tools output")).to_have_text("0.90")
    until(page, f"{PLOT.format(name='loss')}.data.length === 3")
    raw, smooth, guess = shown(page)["traces"]
    assert raw["opacity"] < 0.5
    assert smooth["name"] == "loss"
    counts = [1 - 0.9 ** (place + 1) for place in range(len(raw["y"]))]
    assert smooth["y"] == pytest.approx(lfilter([0.1], [1, -0.9], raw["y"]) / counts, rel=1e-9)
    assert set(guess["y"]) == {6.93}, "a line that is no curve stays as it is"
    page.reload()
    page.locator("[data-chart=loss] .main-svg").first.wait_for()
    until(page, f"{PLOT.format(name='loss')}.data?.length === 3")
    expect(page.get_by_label("Smoothing")).to_have_value("0.9")
    page.get_by_label("Smoothing").focus()
    page.keyboard.press("Home")
    until(page, f"{PLOT.format(name='loss')}.data.length === 2")


def test_a_log_scale_by_keyboard_keeps_the_zoom(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    page = opened(visitor, long_job[0])
    zoom_by_keyboard(page, 2000, 9000)
    until(page, f"{PLOT.format(name='loss')}.layout.xaxis.range[0] === 2000")
    page.get_by_label("Log scale").focus()
    page.keyboard.press("Space")
    until(page, f"{PLOT.format(name='loss')}.layout.yaxis.type === 'log'")
    assert shown(page)["range"] == [2000, 9000]
    for name, scale in (("embedding_std_ratio", "log"), ("positive_similarity", "linear")):
        page.locator(f"[data-chart={name}]").scroll_into_view_if_needed()
        until(page, f"{PLOT.format(name=name)}.layout?.yaxis?.type === '{scale}'")
    expect(page.locator("[data-chart=embedding_std_ratio] .annotation-text")).to_have_text(
        ["collapsed", "collapsing"]
    )
    page.reload()
    page.locator("[data-chart=loss] .main-svg").first.wait_for()
    until(page, f"{PLOT.format(name='loss')}.layout?.yaxis?.type === 'log'")
    expect(page.get_by_label("Log scale")).to_be_checked()


def test_steps_that_are_none_are_told(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    page = opened(visitor, long_job[0])
    for first, last in (("many", "9"), ("9", "9"), ("", "4")):
        page.get_by_label("Steps", exact=True).fill(first)
        page.get_by_label("to", exact=True).fill(last)
        page.get_by_role("button", name="Zoom").click()
        expect(page.locator("#steps-error")).to_have_text(
            "Enter two step numbers, the smaller one first."
        )
        expect(page.get_by_label("Steps", exact=True)).to_be_focused()
    zoom_by_keyboard(page, 100, 300)
    expect(page.locator("#steps-error")).to_be_empty()
    page.get_by_role("button", name="Whole run").click()
    until(page, f"{PLOT.format(name='loss')}.layout.xaxis.autorange === true")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("")


def test_finer_points_that_do_not_come_are_told_and_the_coarse_ones_stay(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    visitor.allowed.append("ERR_")
    page = opened(visitor, long_job[0])
    page.route("**/metrics?*from_step*", lambda route: route.abort())
    zoom_by_keyboard(page, 5000, 5200)
    notice = page.locator("[data-notice=finer]")
    expect(notice).to_contain_text("Cannot reach the service")
    assert shown(page)["range"] == [5000, 5200]
    assert 0 < len(inside(shown(page)["traces"][0], 5000, 5200)) < 15
    page.unroute("**/metrics?*from_step*")
    zoom_by_keyboard(page, 5000, 5300)
    expect(notice).to_have_count(0)
    until(page, f"{PLOT.format(name='loss')}.data[0].x.filter((x) => x >= 5000).length > 301")


def test_live_points_join_the_finer_ones_and_the_zoom_stays(visitor: Visitor, world: World) -> None:
    job_id = world.submit(name="zoomed while it learns", epochs=5000)
    world.stack.wait_for_step(job_id, 60)
    page = opened(visitor, job_id)
    with page.expect_response(re.compile("from_step=20&to_step=100000")):
        zoom_by_keyboard(page, 20, 100_000)
    page.get_by_label("Smoothing").focus()
    page.keyboard.press("End")
    loss = PLOT.format(name="loss")
    until(page, f"{loss}.data.length === 3")
    before = page.evaluate(f"{loss}.data[0].x.at(-1)")
    until(page, f"{loss}.data[0].x.at(-1) >= {before} + 20")
    found = shown(page)
    assert found["range"] == [20, 100_000]
    steps = [step for step, _ in inside(found["traces"][0], 20, 100_000)]
    assert steps == list(range(20, steps[-1] + 1)), "each step once, in order"
    expect(page.get_by_label("Steps", exact=True)).to_have_value("20")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head [data-state=cancelled]")).to_be_visible()


def test_two_jobs_are_zoomed_together(
    visitor: Visitor, world: World, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    page = visitor.go(f"/ui/compare?a={long_job[0]}&b={world.job_id}")
    page.locator("[data-chart='a:loss'] .main-svg").first.wait_for()
    zoom_by_keyboard(page, 5, 15)
    plot = "document.querySelector(\"[data-chart='a:loss'] .plot\")"
    until(page, f"{plot}.layout.xaxis.range[0] === 5")
    until(page, f"{plot}.data[0].x.filter((x) => x >= 5 && x <= 15).length === 11")
    assert page.evaluate(f"{plot}.data[1].x.filter((x) => x >= 5 && x <= 15).length") == 11


@pytest.mark.parametrize("kind", ["1440-light", "1440-dark", "390-light", "390-dark"])
def test_the_tools_fit(
    visitor: Visitor, kind: str, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    width, _, colour = kind.partition("-")
    visitor.page.set_viewport_size({"width": int(width), "height": 900})
    visitor.page.emulate_media(color_scheme="dark" if colour == "dark" else "light")
    page = opened(visitor, long_job[0])
    page.get_by_label("Smoothing").fill("0.8")
    with page.expect_response(re.compile("from_step=1000&to_step=8000")) as told:
        zoom_by_keyboard(page, 1000, 8000)
    assert len(told.value.json()["series"]["loss"]["step"]) == 500
    assert len(told.value.body()) <= DATA_BYTES_MAX
    until(page, f"{PLOT.format(name='loss')}.layout.xaxis.range[0] === 1000")
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert over <= 0, f"{over} px too wide"
    if SHOTS:
        for chart in page.locator(".chart:visible").all():
            chart.scroll_into_view_if_needed()
            page.wait_for_timeout(300)
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=Path(SHOTS) / f"zoomed-{kind}.png", full_page=True)


def test_a_signal_that_the_page_does_not_know_gets_a_chart(
    visitor: Visitor, long_job: tuple[str, list[dict[str, float]]]
) -> None:
    """As of a third method: its words come with the page, its readings from the API."""
    more = [
        {"name": "hardness", "title": "mean distance, squared", "unit": "1", "better": "down"},
        {"name": "silent", "title": "never read", "unit": "ratio", "better": ""},
    ]

    def with_words(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace(
            'data-more="[', f'data-more="{escape(json.dumps(more))[:-1]}, '
        )
        route.fulfill(response=response, body=body)

    def with_readings(route: Route) -> None:
        response = route.fetch(url=re.sub("(,|%2C)(hardness|silent)", "", route.request.url))
        found = response.json()
        found["series"]["hardness"] = {"step": [1, 2, 3], "value": [0.3, 0.2, 0.1]}
        route.fulfill(response=response, json=found)

    job_id, _ = long_job
    visitor.page.route(f"**/ui/jobs/{job_id}", with_words)
    visitor.page.route("**/metrics?*", with_readings)
    page = visitor.go(f"/ui/jobs/{job_id}")
    chart = page.locator("[data-chart=hardness]")
    expect(chart.locator("h3")).to_have_text("Mean distance")
    expect(chart.locator("p")).to_have_text("Mean distance, squared. Lower is better.")
    chart.scroll_into_view_if_needed()
    chart.locator(".main-svg").first.wait_for()
    expect(page.locator("[data-chart=silent]")).to_be_hidden()
