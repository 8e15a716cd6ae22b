"""A person's way through every page, with a real run behind it."""

import csv
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import READ_KEY, Visitor, World, digits_zip, until
from tests.support.data.images import encoded, picture
from tests.support.service.api import KEY

LAST_STEP = """() => {
  const plot = document.querySelector('[data-chart=loss] .plot');
  return plot?.data?.[0]?.x?.at(-1) ?? 0;
}"""
SHOTS = os.environ.get("MOCO_SHOTS")
BAR_WIDTH = "(cell) => cell.querySelector('.bar-of')?.getBoundingClientRect().width ?? 0"
RANGE = "() => document.querySelector('[data-chart=loss] .plot').layout.xaxis.range"


def drawn(page: Page, name: str = "loss") -> None:
    """Wait until a chart is there."""
    page.locator(f"[data-chart={name}] .main-svg").first.wait_for()


def test_signing_in(stranger: Visitor, world: World) -> None:
    stranger.allowed.append("401")
    page = stranger.page
    page.goto(f"{stranger.url}/ui/jobs/{world.job_id}")
    page.get_by_label("Key").fill("moco_wrong_key_0123456789")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Wrong key")
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("a real run")
    assert page.evaluate("document.cookie") == "", "no script may see the session"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_job_from_the_form_is_watched_zoomed_and_cancelled(visitor: Visitor) -> None:
    page = visitor.go("/ui/submit?dataset=digits")
    visitor.allowed.append("422")
    expect(page.locator("[data-field=epochs] .reason")).to_contain_text("10 M samples")
    expect(page.locator("aside img").first).to_have_js_property("complete", True)
    page.get_by_label("Encoder").select_option("small")
    page.get_by_label("Batch rows", exact=True).fill("many")
    wrong = page.locator("[data-field=batch_rows] .error")
    expect(wrong).not_to_be_empty()
    expect(page.get_by_label("Batch rows", exact=True)).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Batch rows", exact=True).fill("16")
    expect(wrong).to_be_empty()
    page.get_by_label("Epochs", exact=True).fill("2000")
    page.locator("summary", has_text="Runtime").click()
    page.get_by_label("Signals every steps").fill("1")
    page.locator("summary", has_text="Optimizer").click()
    page.locator("[data-field='optim.name'] select").select_option("adamw")
    expect(page.locator("[data-field='optim.lr'] .reason")).to_contain_text("0.001 per 256")
    page.get_by_label("Name", exact=True).fill("from the form")
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("from the form")
    watch_and_zoom(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head [data-state=cancelled]")).to_be_visible()
    expect(page.get_by_label("Health")).to_contain_text("Run again starts a new job")
    page.get_by_role("tab", name="Files").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("moco resume")


def test_gpus_of_a_job_are_a_field_with_its_arithmetic(visitor: Visitor) -> None:
    page = visitor.go("/ui/submit?dataset=digits")
    visitor.allowed.append("422")
    page.locator("summary", has_text="Runtime").click()
    page.get_by_label("Batch rows", exact=True).fill("16")
    page.get_by_label("GPUs", exact=True).fill("2")
    expect(page.locator("[data-scaling]")).to_contain_text("2 GPUs, 8 rows each")
    page.get_by_label("GPUs", exact=True).fill("3")
    wrong = page.locator("[data-field='resources.gpus'] .error")
    expect(wrong).to_contain_text("3 GPUs cannot share 16 rows")


def test_a_switch_alone_sets_an_optional_object(visitor: Visitor) -> None:
    """Balanced batches are off, on without any field filled in, and off again."""
    page = visitor.go("/ui/submit?dataset=digits")
    page.locator("summary", has_text="Balanced batches").click()
    switch, rows = (
        page.get_by_label("Balance batches by label"),
        page.get_by_label("Rows per label"),
    )
    expect(switch).not_to_be_checked()
    expect(rows).to_be_hidden()
    dry_run = re.compile(r"/v1/jobs\?dry_run=true")

    def batching_after(change: Callable[[], None]) -> object:
        with page.expect_request(dry_run) as request:
            change()
        return json.loads(request.value.post_data or "{}")["batching"]

    assert batching_after(switch.check) == {}
    expect(rows).to_be_visible()
    assert batching_after(lambda: rows.fill("2")) == {"rows_per_label": 2}
    assert batching_after(switch.uncheck) is None
    expect(rows).to_be_hidden()
    assert batching_after(switch.check) == {"rows_per_label": 2}


def test_unlike_views_of_a_method_are_said_and_shown(visitor: Visitor) -> None:
    """BYOL's second view is solarized; `same`, or an own object, takes the place of that."""
    page = visitor.go("/ui/submit?dataset=digits")
    picture, words = page.locator("aside img"), page.locator("[data-second]")
    expect(picture).to_have_attribute("src", re.compile("preview.png$"))
    expect(words).to_have_count(0)
    page.locator("details[data-group=method] > summary").click()
    page.locator("[data-field='method.name'] select").select_option("byol")
    expect(words).to_contain_text("solarize, chance 0.2")
    expect(picture).to_have_attribute("src", re.compile("unlike=true$"))
    page.locator("summary", has_text="Augmentations").click()
    switch = page.get_by_label("Other settings for the second view")
    expect(switch).not_to_be_checked()
    switch.check()
    expect(words).to_have_count(0)
    solarize = page.locator("[data-field='views.second.solarize_p'] input")
    visitor.allowed.append("422")
    solarize.fill("2")
    expect(page.locator("[data-field='views.second.solarize_p'] .error")).not_to_be_empty()
    solarize.fill("0.5")
    expect(words).to_contain_text("solarize, chance 0.5")


def test_augmentations_that_the_picture_does_not_show_are_said(visitor: Visitor) -> None:
    page = visitor.go("/ui/submit?dataset=digits")
    page.locator("aside img").wait_for()
    words = page.locator("[data-changed]")
    expect(words).to_have_count(0)
    page.locator("summary", has_text="Augmentations").click()
    page.locator("[data-field='views.vertical_flip_p'] input").fill("0.5")
    expect(words).to_have_text(
        "The picture does not show your settings: vertical flip, chance 0.5."
    )


def test_rows_with_and_without_buttons_have_the_same_columns(
    visitor: Visitor, world: World
) -> None:
    page = visitor.go("/ui/jobs")
    page.locator(f"[data-job={world.job_id}]").wait_for()
    columns = page.evaluate(
        """(id) => {
            const row = document.querySelector(`[data-job=${id}]`), other = row.cloneNode(true);
            other.querySelector(".actions").innerHTML = "<button>Pause</button>";
            row.after(other);
            return [row, other].map((one) => [...one.children].map((cell) => cell.offsetLeft));
        }""",
        world.job_id,
    )
    assert columns[0] == columns[1]
    assert len(set(columns[0])) == 7, "side by side"


def test_run_again_keeps_how_a_job_is_evaluated(visitor: Visitor, world: World) -> None:
    listed = world.submit(name="one in a list", epochs=1, evaluation=[{"name": "knn", "k": 5}])
    page = visitor.go(f"/ui/submit?from={listed}")
    expect(page.locator("[data-field='evaluation.k'] input")).to_have_value("5")
    bare = world.submit(name="not evaluated", epochs=1, evaluation=None)
    page = visitor.go(f"/ui/submit?from={bare}")
    page.locator("summary", has_text="Evaluation").click()
    expect(page.get_by_label("Evaluate during training")).not_to_be_checked()
    expect(page.locator("[data-field='evaluation.k']")).to_be_hidden()
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    job = world.api.client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()
    assert job["spec"]["evaluation"] is None


def watch_and_zoom(page: Page) -> None:
    """The curve grows without a reload, and a zoomed range stays where it is."""
    page.evaluate("window.neverReloaded = true")
    drawn(page)
    until(page, f"({LAST_STEP})() >= 4")
    box = page.locator("[data-chart=loss] .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 44, steps=6)
    page.mouse.up()
    zoomed = page.evaluate(RANGE)
    before = page.evaluate(LAST_STEP)
    until(page, f"({LAST_STEP})() >= {before} + 5")
    assert page.evaluate(RANGE) == pytest.approx(zoomed)
    assert page.evaluate("window.neverReloaded")


def test_what_a_finished_job_shows(visitor: Visitor, world: World) -> None:
    page = visitor.go(f"/ui/jobs/{world.job_id}")
    drawn(page)
    plot = "document.querySelector('[data-chart=loss] .plot')"
    names = page.evaluate(f"{plot}.data.map(t => t.name)")
    assert names == ["loss", "chance"]
    words = page.locator("[data-chart=loss] .annotation-text")
    expect(words).to_contain_text("queue is filling: a rising loss is normal")
    page.locator("[data-chart=embedding_std_ratio]").scroll_into_view_if_needed()
    collapse = page.locator("[data-chart=embedding_std_ratio] .annotation-text")
    expect(collapse).to_contain_text(["collapsed", "collapsing"])
    page.get_by_role("tab", name="Curves").focus()
    for name, text in (
        ("Evaluation", "knn"),
        ("Files", "torch"),
        ("Map", "Each thumbnail is one image"),
        ("Neighbors", "image"),
        ("Settings", "Recommended settings"),
        ("Log", "Log of attempt 1"),
        ("Attempts", "succeeded"),
    ):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel")).to_contain_text(text)
    assert page.url.endswith("#history")
    page.get_by_role("tab", name="Map").click()
    atlas = page.get_by_role("img", name="Embedding map")
    expect(atlas).to_be_visible()
    until(page, "document.querySelector('[role=tabpanel] img').naturalWidth > 100")


@pytest.mark.browser
def test_what_a_job_page_preloads_is_what_its_script_asks_for(
    visitor: Visitor, world: World
) -> None:
    """Else each answer would come twice."""
    page = visitor.go(f"/ui/jobs/{world.job_id}")
    drawn(page)
    asked = page.evaluate(
        "() => performance.getEntriesByType('resource').map((one) => new URL(one.name))"
        ".map((url) => url.pathname)"
    )
    assert asked.count(f"/v1/jobs/{world.job_id}/metrics") == 1
    assert asked.count("/v1/workers") == 1
    scripts = [path for path in asked if path.endswith(".js")]
    assert len(scripts) == len(set(scripts))


def test_a_download_has_the_bytes_that_its_hash_names(
    visitor: Visitor, world: World, downloads: Path
) -> None:
    page = visitor.go(f"/ui/jobs/{world.job_id}#files")
    row = page.get_by_role("listitem").filter(has_text="encoder.safetensors")
    with page.expect_download() as waiting:
        row.get_by_role("link", name="Download encoder.safetensors").click()
    path = downloads / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name == "encoder.safetensors"
    shown = row.locator(".sha").inner_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == shown


@pytest.mark.browser
def test_two_jobs_are_compared(visitor: Visitor, world: World) -> None:
    other = world.other_id()
    page = visitor.go("/ui/jobs")
    for job_id in (world.job_id, other):
        page.locator(f"#pick-{job_id}").check()
    page.get_by_role("button", name="Compare selected").click()
    page.locator("[data-chart='a:loss'] .main-svg").first.wait_for()
    traces = page.evaluate("document.querySelector(\"[data-chart='a:loss'] .plot\").data.length")
    assert traces == 2
    differing = page.get_by_role("row").filter(has_text="method.temperature")
    expect(differing).to_contain_text("0.3")


def test_a_dataset_with_bad_files(visitor: Visitor, downloads: Path) -> None:
    page = visitor.go("/ui/datasets")
    page.get_by_role("link", name="digits", exact=True).click()
    left_out = page.locator("#left-out")
    expect(left_out).to_contain_text("0/broken.png")
    expect(left_out).to_contain_text("1/half.png")
    with page.expect_download() as waiting:
        left_out.get_by_role("link", name="Download as CSV").click()
    waiting.value.save_as(downloads / "report.csv")
    with (downloads / "report.csv").open(newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == {"0/broken.png", "1/half.png", "notes.txt"}
    preview = page.get_by_role("img", name="Images of digits")
    expect(preview).to_be_visible()
    until(page, "document.querySelector('main img').naturalWidth > 20")


@pytest.mark.browser
def test_the_sizes_of_a_dataset_are_a_table_with_bars(visitor: Visitor, world: World) -> None:
    sides = [8, 9, 16, 17, 18, 30, 31, 40, 47, 90, 200, 210, 300]
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            for number, side in enumerate(sides):
                image = picture(number, height=side + number % 3, width=side)
                archive.writestr(f"{number}.png", encoded(image))
        world.add_dataset("many-sizes", packed.getvalue())
    page = visitor.go("/ui/datasets/many-sizes")
    rows = page.get_by_role("table", name="Image sizes").locator("tbody tr")
    edges = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
    counts = np.histogram(sides, edges)[0].tolist()
    shown = [row.locator("th, td.number").all_inner_texts()[:2] for row in rows.all()]
    ranges = [f"{low} to {high - 1} px" for low, high in pairwise(edges)]
    assert shown == [[text, str(count)] for text, count in zip(ranges, counts, strict=True)]
    widths = [row.locator(".bar-cell").evaluate(BAR_WIDTH) for row in rows.all()]
    whole = max(widths)
    assert widths == pytest.approx([whole * count / max(counts) for count in counts], abs=1.5)
    if SHOTS:
        see_sizes(page, SHOTS)


def see_sizes(page: Page, folder: str) -> None:
    for width, colour in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if colour == "dark" else "light")
        page.screenshot(path=Path(folder) / f"sizes-{width}-{colour}.png", full_page=True)


@pytest.mark.browser
def test_a_dataset_of_an_older_version_says_why_it_has_no_sizes(visitor: Visitor) -> None:
    def older(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["facts"]["sides_sent"] = None
        route.fulfill(response=answer, json=body)

    visitor.page.route("**/v1/datasets/digits", older)
    page = visitor.go("/ui/datasets/digits")
    expect(page.locator("#sizes")).to_contain_text("Add the images again to see their sizes")


def test_a_dataset_is_uploaded_from_the_page(visitor: Visitor, downloads: Path) -> None:
    archive = downloads / "more digits.zip"
    archive.write_bytes(digits_zip(40, start=300))
    page = visitor.go("/ui/datasets")
    visitor.allowed.append("409")
    page.locator("summary", has_text="Add a dataset").click()
    page.get_by_label("Archive of images").set_input_files(archive)
    expect(page.get_by_label("Name")).to_have_value("more-digits")
    page.get_by_label("Name").fill("digits")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("This name is taken")).to_be_visible()
    page.get_by_label("Name").fill("more-digits")
    page.get_by_label("Store as").select_option("jpeg")
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("[data-dataset=more-digits]")
    expect(row.locator("[data-state=ready]")).to_be_visible()
    expect(row).to_contain_text("40 images")
    row.get_by_role("link", name="more-digits", exact=True).click()
    expect(page.get_by_text("stored as JPEG")).to_be_visible()


@pytest.mark.browser
def test_options_of_an_ingest_are_set_on_the_page(visitor: Visitor, downloads: Path) -> None:
    archive = downloads / "ranged.zip"
    archive.write_bytes(digits_zip(40, start=340))
    page = visitor.go("/ui/datasets")
    visitor.allowed.append("422")
    page.locator("summary", has_text="Add a dataset").click()
    page.get_by_label("Archive of images").set_input_files(archive)
    page.locator("summary", has_text="Options").click()
    page.get_by_label("Range", exact=True).fill("200:100")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#f-range-error")).to_contain_text("such as 860:1260")
    page.get_by_label("Range", exact=True).fill("10:200")
    page.get_by_label("Channels", exact=True).fill("1")
    page.locator("[data-field=keep_truncated]").get_by_role("checkbox").uncheck()
    page.get_by_role("button", name="Add", exact=True).click()
    row = page.locator("[data-dataset=ranged]")
    expect(row.locator("[data-state=ready]")).to_be_visible()
    row.get_by_role("link", name="ranged", exact=True).click()
    expect(page.get_by_text("range 10:200, channels 1")).to_be_visible()


def test_workers_and_the_system(visitor: Visitor) -> None:
    page = visitor.go("/ui/workers")
    workers = page.get_by_role("list", name="Workers").get_by_role("listitem")
    # One more where the first had no time for so long that it counted as lost.
    expect(workers.filter(has_text=re.compile("Idle|Busy")).first).to_be_visible()
    expect(page.get_by_role("button", name="Drain").first).to_be_visible()
    page = visitor.go("/ui/system")
    expect(page.locator("#system")).to_contain_text("Ready")
    expect(page.locator("#system")).to_contain_text(" free")


def test_who_may_only_look_sees_no_way_to_change_things(stranger: Visitor, world: World) -> None:
    stranger.sign_in(READ_KEY)
    page = stranger.go(f"/ui/jobs/{world.job_id}")
    expect(page.get_by_text("Read only")).to_be_visible()
    for name in ("Cancel", "Delete", "Pause", "Resume"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page = stranger.go("/ui/submit")
    expect(page.locator("main")).to_contain_text("Read-only access")
    page = stranger.go("/ui/workers")
    expect(page.get_by_role("button", name="Drain")).to_have_count(0)


def test_a_dataset_is_deleted_after_a_question(visitor: Visitor, world: World) -> None:
    """Refused with the job's id while a job needs it; a no changes nothing; a yes leads away."""
    world.add_dataset("doomed", digits_zip(40, start=700))
    job = world.submit(dataset="doomed", pool="nobody")
    page = visitor.go("/ui/datasets/doomed")
    visitor.allowed.append("409")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    assert world.dataset("doomed")["status"] == "ready"
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("body")).to_contain_text(job)
    world.api.client.post(f"/v1/jobs/{job}/cancel")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/ui/datasets")
    expect(page.locator("[data-dataset=digits]")).to_be_visible()
    expect(page.locator("[data-dataset=doomed]")).to_have_count(0)
    page = visitor.go("/ui/system")
    expect(page.locator("#storage")).to_contain_text("used in the data folder")


def test_a_worker_is_drained_and_undrained(visitor: Visitor) -> None:
    page = visitor.go("/ui/workers")
    page.get_by_role("button", name="Drain").first.click()
    page.get_by_role("button", name="Undrain").first.click()
    expect(page.get_by_role("button", name="Undrain")).to_have_count(0)
    expect(page.get_by_role("button", name="Drain").first).to_be_visible()
