"""The page for everyone: no serious fault by axe, on a desk, on a phone, in the dark, by keyboard.

MOCO_SHOTS=DIR also writes a screenshot of each page at both widths and in both colours.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visitor, World

pytestmark = pytest.mark.browser

PAGES = {
    "jobs": "/ui/jobs",
    "job": "/ui/jobs/{job}",
    "files": "/ui/jobs/{job}#files",
    "map": "/ui/jobs/{job}#map",
    "settings": "/ui/jobs/{job}#settings",
    "log": "/ui/jobs/{job}#log",
    "history": "/ui/jobs/{job}#history",
    "submit": "/ui/submit?dataset=digits",
    "compare": "/ui/compare?a={job}&b={other}",
    "datasets": "/ui/datasets",
    "dataset": "/ui/datasets/digits",
    "weights": "/ui/weights",
    "workers": "/ui/workers",
    "system": "/ui/system",
}
SIZES = {"1440": (1440, 900), "390": (390, 844)}
SHOTS = os.environ.get("MOCO_SHOTS")
WHOLE = (
    {"1440-light", "390-dark", "1440-dark", "390-light"} if SHOTS else {"1440-light", "390-dark"}
)
SERIOUS = {"serious", "critical"}


@pytest.fixture(params=sorted(WHOLE))
def reader(
    request: pytest.FixtureRequest, chromium: Browser, world: World
) -> Iterator[tuple[str, Visitor]]:
    """Page of a signed-in user, in one width and one color scheme."""
    size, _, colour = request.param.partition("-")
    width, height = SIZES[size]
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if colour == "dark" else "light",
    )
    context.set_default_timeout(120_000)
    visitor = Visitor(context.new_page(), world.api.url)
    visitor.watch()
    visitor.sign_in()
    yield request.param, visitor
    context.close()
    assert visitor.troubles == []


def test_no_page_has_a_serious_fault_or_runs_over_the_edge(
    reader: tuple[str, Visitor], world: World
) -> None:
    kind, visitor = reader
    faults = []
    for name, path in PAGES.items():
        page = visitor.page
        page.goto("about:blank")
        visitor.go(path.format(job=world.job_id, other=world.other_id()))
        if name in ("job", "compare"):
            chart = page.locator(".chart").first  # drawn when it is seen; below the fold of a phone
            chart.scroll_into_view_if_needed()
            chart.locator(".main-svg").first.wait_for()
        found = Axe().run(page).response["violations"]
        faults += [
            (name, one["id"], one["nodes"][0]["html"][:200])
            for one in found
            if one["impact"] in SERIOUS
        ]
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, f"{name} is {over} px too wide"
        if SHOTS:
            see_all(page)
            page.screenshot(path=Path(SHOTS) / f"{name}-{kind}.png", full_page=True)
    assert faults == [], kind


def see_all(page: Page) -> None:
    """A chart is drawn when it is seen."""
    for chart in page.locator(".chart:visible").all():
        chart.scroll_into_view_if_needed()
        page.wait_for_timeout(250)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(250)


def test_the_sign_in_has_no_serious_fault(stranger: Visitor) -> None:
    stranger.page.goto(stranger.url + "/sign-in")
    found = Axe().run(stranger.page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in SERIOUS] == []


def test_by_keyboard_alone(visitor: Visitor, world: World) -> None:
    page = visitor.go("/ui/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator(f"#open-{world.job_id}").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/jobs/{world.job_id}")
    page.get_by_role("tab", name="Curves").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Attempts")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus can be seen"
