"""The page under `/moco/`: no link, script, request or stream leaves the path."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import Visitor, World
from tests.support.service.api import running_api

pytestmark = pytest.mark.browser


@pytest.fixture
def guest(context: BrowserContext, world: World) -> Iterator[Visitor]:
    """Page of a replica that a proxy serves under a path."""
    settings = world.api.settings
    with running_api(world.stack.redis.url, settings.data_dir, root_path="/moco") as api:
        visitor = Visitor(context.new_page(), f"{api.url}/moco")
        visitor.watch()
        yield visitor
        context.close()
    assert visitor.troubles == []


def test_everything_stays_under_the_path(guest: Visitor, world: World) -> None:
    guest.sign_in()
    page = guest.page
    page.locator(f"#open-{world.job_id}").click()
    expect(page.get_by_role("heading", name="a real run")).to_be_visible()
    expect(page.locator("[data-chart=loss] .main-svg").first).to_be_visible()
    paths = ("datasets", "datasets/digits", "weights", "compare", "workers", "system", "submit")
    for path in paths:
        guest.go(f"/ui/{path}")
    picture = guest.go("/ui/datasets/digits").locator("img.picture").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    running = world.submit(name="under a path", epochs=500)
    guest.go(f"/ui/jobs/{running}")
    expect(page.locator(".head [data-state=running]")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head [data-state=cancelled]")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/moco/sign-in")
    assert urlsplit(guest.go("/ui/jobs").url).path == "/moco/sign-in"
