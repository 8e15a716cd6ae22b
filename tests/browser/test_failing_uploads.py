"""Bringing images when it does not go well: what is said, and that nothing has to be sent twice."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Visitor, World, digits_zip

pytestmark = pytest.mark.browser
PART_BYTES = 8 * 2**20
QUICK = "window.setTimeout = ((real) => (work, ms) => real(work, Math.min(ms, 60)))(setTimeout)"
"""Waiting is for people; the six tries are the same."""


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The form for a new dataset, opened."""
    visitor.page.add_init_script(QUICK)
    page = visitor.go("/ui/datasets")
    page.locator("summary", has_text="Add a dataset").click()
    return page


def two_parts(path: Path) -> bytes:
    """An archive that is sent in two parts: some images, and a long file that is none."""
    path.write_bytes(digits_zip(30, start=560))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("long.bin", bytes(PART_BYTES))
    return path.read_bytes()


def add(page: Page, name: str, file: Path | None = None, *, folder: str = "") -> None:
    page.get_by_label("Archive of images").set_input_files([file] if file else [])
    page.get_by_label("or a folder on the server").fill(folder)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Add", exact=True).click()


def error(page: Page, field: str) -> Locator:
    return page.locator(f"#new-{field}-error")


def test_what_was_not_filled_in_is_told_at_the_field(
    page: Page, visitor: Visitor, tmp_path: Path
) -> None:
    file = tmp_path / "some.zip"
    file.write_bytes(digits_zip(20, start=500))
    add(page, "", file)
    expect(error(page, "name")).to_have_text("Enter a name.")
    for name in ("my photos!", "-x", "ümläut"):
        add(page, name, file)
        expect(error(page, "name")).to_contain_text("start with a letter or a digit")
        expect(page.get_by_label("Name")).to_be_focused()
    add(page, "some")
    expect(error(page, "file")).to_contain_text("Choose an archive")
    add(page, "some", folder="photos")
    expect(error(page, "path")).to_contain_text("such as /data/photos")
    visitor.allowed.append("403")
    add(page, "some", folder="/etc")
    expect(error(page, "path")).to_contain_text("MOCO_ALLOWED_ROOTS")
    expect(page.locator(".notice")).to_have_count(0)


def test_what_is_no_archive_becomes_a_failed_dataset_that_says_why(
    page: Page, visitor: Visitor, tmp_path: Path
) -> None:
    file = tmp_path / "notes.zip"
    file.write_bytes(b"this is a text and no archive at all")
    add(page, "notes", file)
    row = page.locator("[data-dataset=notes]")
    expect(row.locator("[data-state=failed]")).to_be_visible()
    expect(row).to_contain_text("Unrecognized format")
    row.get_by_role("link", name="notes").click()
    reason = visitor.page.locator(".notice.is-bad")
    expect(reason).to_contain_text("Unrecognized format")
    expect(reason).to_contain_text("Send a folder, zip, tar")
    expect(visitor.page.locator("main")).not_to_contain_text("every file was read")


def test_a_connection_that_breaks_for_a_while_costs_nothing(
    page: Page, visitor: Visitor, world: World, tmp_path: Path
) -> None:
    visitor.allowed.append("ERR_")
    file = tmp_path / "wobbly.zip"
    file.write_bytes(digits_zip(25, start=520))
    tries: list[str] = []

    def breaks_twice(route: Route) -> None:
        tries.append(route.request.method)
        route.abort() if len(tries) < 4 else route.continue_()

    page.route("**/content", breaks_twice)
    add(page, "wobbly", file)
    row = page.locator("[data-dataset=wobbly]")
    expect(row.locator("[data-state=ready]")).to_be_visible()
    assert len(tries) > 3
    expect(page.locator(".notice")).to_have_count(0)
    assert world.dataset("wobbly")["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_upload_that_broke_off_goes_on_from_the_same_page_and_from_a_new_one(
    page: Page, visitor: Visitor, world: World, tmp_path: Path
) -> None:
    visitor.allowed += ["ERR_", "409"]
    file = tmp_path / "broken.zip"
    content = two_parts(file)
    sent: list[int] = []

    def first_part_only(route: Route) -> None:
        offset = int(route.request.headers.get("upload-offset", "0"))
        if route.request.method == "PUT" and offset == 0:
            sent.append(len(route.request.post_data_buffer or b""))
            route.continue_()
        else:
            route.abort()

    page.route("**/content", first_part_only)
    add(page, "broken", file)
    notice = page.locator("[data-notice=problem]")
    expect(notice).to_contain_text("Upload interrupted")
    expect(notice).to_contain_text("8.39 MB of 8.40 MB uploaded and kept")
    expect(notice).to_contain_text("press Add when the service is back")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(notice).to_contain_text("Upload interrupted")
    assert sent == [PART_BYTES], "what has arrived is not sent again"

    held = visitor.go("/ui/datasets/broken").locator(".notice.is-warn")
    expect(held).to_contain_text("8.39 MB of 8.40 MB uploaded")
    expect(held).to_contain_text("choose the same file again under Datasets")
    expect(held).to_contain_text("moco dataset add FILE --name broken")

    page.unroute("**/content")
    page = visitor.go("/ui/datasets")
    page.locator("summary", has_text="Add a dataset").click()
    other = tmp_path / "other.zip"
    other.write_bytes(digits_zip(20, start=600))
    add(page, "broken", other)
    expect(error(page, "name")).to_contain_text("is of another file (8.40 MB)")
    expect(error(page, "name")).to_contain_text("Choose that file to continue")
    add(page, "broken", file)
    expect(page.locator("[data-dataset=broken] [data-state=ready]")).to_be_visible()
    assert world.dataset("broken")["sha256"] == hashlib.sha256(content).hexdigest()
