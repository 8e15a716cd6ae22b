"""The neighbours gallery: rows, checkpoints, an image of one's own, and every way to say no.

MOCO_SHOTS=DIR also writes screenshots at both widths.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from PIL import Image
from playwright.sync_api import Page, Route, expect
from sklearn.datasets import load_digits

from tests.browser.conftest import READ_KEY, Visitor, World, until
from tests.support.data.images import encoded, picture
from tests.support.system.processes import wait_until

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("MOCO_SHOTS")
OWN = "main section.card:has(#near-file)"
ROWS = "main section.card:has(#near-encoder)"
DROP = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const area = document.querySelector('.near-drop');
  for (const kind of ['dragover', 'drop']) {
    const how = { dataTransfer: data, bubbles: true, cancelable: true };
    area.dispatchEvent(new DragEvent(kind, how));
  }
}"""
SEEN = "[...document.querySelectorAll('.near-tile img')].every((one) => one.naturalWidth > 0)"


def opened(visitor: Visitor, world: World) -> Page:
    """The tab, with the first neighbours in it."""
    page = visitor.go(f"/ui/jobs/{world.job_id}#neighbours")
    page.locator(f"{ROWS} .near-line").first.wait_for()
    return page


def digit(world: World, row: int) -> tuple[str, bytes]:
    """Name and bytes of a file as it was sent."""
    found = load_digits()
    image = Image.fromarray((found.images[row] * 15).astype("uint8"))
    return f"{found.target[row]}/{row}.png", encoded(image)


def test_rows_are_shown_with_their_neighbours(visitor: Visitor, world: World) -> None:
    page = opened(visitor, world)
    expect(page.get_by_role("tab", name="Neighbors")).to_have_attribute("aria-selected", "true")
    expect(page.locator(f"{ROWS} .near-line")).to_have_count(8)
    expect(page.locator(f"{ROWS} .near-line").first.locator(".near-tiles li")).to_have_count(10)
    until(page, SEEN)
    expect(page.locator(ROWS)).to_contain_text("All 200 images were searched.")
    expect(page.locator(ROWS)).to_contain_text("of 80 neighbors have the same label as their query")
    page.get_by_label("Query rows").fill("3, 190")
    page.keyboard.press("Enter")
    expect(page.locator(f"{ROWS} .near-line")).to_have_count(2)
    expect(page.locator(f"{ROWS} .near-line").nth(1)).to_contain_text("row 190")
    page.get_by_label("Neighbors per query").select_option("5")
    expect(page.locator(f"{ROWS} .near-line").first.locator(".near-tiles li")).to_have_count(5)


def test_a_checkpoint_is_jumped_to(visitor: Visitor, world: World) -> None:
    page = opened(visitor, world)
    seen_by = page.get_by_label("Encoder")
    assert "final encoder" in seen_by.locator("option").first.inner_text()
    seen_by.select_option(index=1)
    expect(page.locator(f"{ROWS} .near-line")).to_have_count(8)
    with page.expect_download() as sheet:
        page.locator(ROWS).get_by_role("link", name="Download as PNG").click()
    assert sheet.value.path().read_bytes().startswith(b"\x89PNG")


def test_an_image_of_ones_own_by_choice_and_by_drop(
    visitor: Visitor, world: World, tmp_path: Path
) -> None:
    page = opened(visitor, world)
    name, data = digit(world, 42)
    (tmp_path / "mine.png").write_bytes(data)
    page.get_by_label("Drop an image here or choose a file").set_input_files(tmp_path / "mine.png")
    first = page.locator(f"{OWN} .near-tiles li").first
    expect(first.locator(".alike")).to_have_text("1.000")
    expect(first.locator("img")).to_have_attribute("alt", f"{name.split('/')[0]}: {name}")
    other, data = digit(world, 43)
    page.evaluate(DROP, ["dropped.png", "image/png", base64.b64encode(data).decode()])
    expect(first.locator("img")).to_have_attribute("alt", f"{other.split('/')[0]}: {other}")
    expect(page.locator(f"{OWN} .near-line > figure")).to_contain_text("dropped.png")


def test_what_is_no_image_is_refused_with_the_next_step(visitor: Visitor, world: World) -> None:
    page = opened(visitor, world)
    visitor.allowed.append("415")
    wrong = page.locator(OWN).get_by_role("alert")
    page.evaluate(DROP, ["notes.png", "image/png", base64.b64encode(b"no image").decode()])
    expect(wrong).to_contain_text("not in a supported format")
    cut = encoded(picture(3))[:200]
    page.evaluate(DROP, ["cut.png", "image/png", base64.b64encode(cut).decode()])
    expect(wrong).to_contain_text("Send one picture, such as a JPEG")
    page.get_by_label("Query rows").fill("many")
    page.keyboard.press("Enter")
    expect(page.locator("#near-rows-error")).to_contain_text("such as 12, 40")
    visitor.allowed.append("422")
    page.get_by_label("Query rows").fill("5000")
    page.keyboard.press("Enter")
    expect(page.locator(ROWS).get_by_role("alert").last).to_contain_text("rows 0 to 199")


def test_somebody_who_may_only_look_sees_what_was_found(stranger: Visitor, world: World) -> None:
    world.api.client.post(f"/v1/jobs/{world.job_id}/probes", json={"k": 10})
    stranger.sign_in(READ_KEY)
    page = opened(stranger, world)
    expect(page.locator("#near-file")).to_have_count(0)
    expect(page.locator("#near-rows")).to_have_count(0)


def test_a_search_whose_checkpoint_was_replaced_is_asked_again(
    visitor: Visitor, world: World
) -> None:
    """A job that trains fast replaces a checkpoint before a worker has looked through it."""
    gone = {"id": "probe_gone", "status": "failed", "status_reason": {"code": "encoder_gone"}}
    asked: list[str] = []

    def first(route: Route) -> None:
        if route.request.method == "POST":
            asked.append(route.request.url)
        if len(asked) == 1 and route.request.method == "POST":
            route.fulfill(status=202, json=gone)
        else:
            route.continue_()

    visitor.page.route("**/probes", first)
    page = opened(visitor, world)
    expect(page.locator(f"{ROWS} .near-line")).to_have_count(8)
    assert len(asked) == 2


@pytest.fixture
def learning(world: World) -> Iterator[str]:
    """A job that saves a checkpoint every second or so, too short to be worth compiling for."""
    world.stack.warm(world.stack.start_worker(MOCO_POOLS="ingest"))
    frequent = {"checkpoint_every_steps": 40, "keep_checkpoints": 4}
    job = world.submit(name="still learning", epochs=1900, evaluation=None, **frequent)
    yield job
    world.stack.store.jobs.cancel(job)
    world.stack.wait_for(job, "cancelled", timeout_s=120.0)


def test_a_running_job_is_followed_and_its_past_stays_seen(
    visitor: Visitor, world: World, learning: str
) -> None:
    """Checkpoints are replaced every few steps; what was seen through them is kept."""
    wait_until(lambda: world.stack.store.jobs.get(learning).checkpoint is not None, 180.0)
    page = visitor.go(f"/ui/jobs/{learning}#neighbours")
    newest = page.get_by_label("Encoder").locator("option").first
    page.locator(f"{ROWS} .near-line").first.wait_for()
    first = newest.inner_text()
    assert first.startswith("latest checkpoint, step ")
    expect(newest).not_to_have_text(first)
    past = page.locator("#near-encoder option", has_text="saved result").first
    expect(past).to_have_count(1)
    page.get_by_label("Encoder").select_option(label=past.inner_text())
    expect(page.locator(f"{ROWS} .near-line")).to_have_count(8)


@pytest.mark.parametrize("width", [1440, 390])
def test_it_fits_and_has_no_serious_fault(visitor: Visitor, world: World, width: int) -> None:
    visitor.page.set_viewport_size({"width": width, "height": 900})
    if width == 390:
        visitor.page.emulate_media(color_scheme="dark")
    page = opened(visitor, world)
    _, data = digit(world, 42)
    page.evaluate(DROP, ["mine.png", "image/png", base64.b64encode(data).decode()])
    page.locator(f"{OWN} .near-line").wait_for()
    until(page, SEEN)
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"neighbours-{width}.png", full_page=True)
    found = Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ] == []
    assert over <= 0, f"{over} px too wide"
