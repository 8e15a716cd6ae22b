"""A real stack with a real run behind it, and a headless Chromium that looks at it."""

import io
import logging
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import structlog
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sklearn.datasets import load_digits

from tests.support.service.api import KEY, RunningApi, running_api
from tests.support.system.processes import wait_until
from tests.support.system.required_tools import missing
from tests.support.worker.stack import Stack, running_stack

PATIENCE_MS = 120_000
"""Two busy cores draw slowly."""
READ_KEY = "moco_read_key_0123456789"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
Loose: TypeAlias = Any


def digits_zip(count: int, *, start: int = 0, bad: bool = False) -> bytes:
    """Real handwritten digits as a zip of PNG files, a folder a class; three bad files if asked."""
    found, packed = load_digits(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for row in range(start, start + count):
            file = io.BytesIO()
            Image.fromarray((found.images[row] * 15).astype("uint8")).save(file, "PNG")
            archive.writestr(f"{found.target[row]}/{row}.png", file.getvalue())
        if bad:
            archive.writestr("0/broken.png", b"\x89PNG\r\n\x1a\n and no more")
            archive.writestr("1/half.png", file.getvalue()[:60])
            archive.writestr("notes.txt", b"no image")
    return packed.getvalue()


@dataclass
class World:
    """The stack, and what was made in it."""

    api: RunningApi
    stack: Stack
    job_id: str = ""
    _other_id: str = ""

    def other_id(self) -> str:
        """A second job that has trained to its end, with another temperature."""
        if not self._other_id:
            changes = {"epochs": 2, "method": {"temperature": 0.3}}
            self._other_id = self.submit(name="another run", **changes)
            self.stack.wait_for(self._other_id, "succeeded", timeout_s=90.0)
        return self._other_id

    def add_dataset(self, name: str, content: bytes) -> None:
        made = self.api.client.post("/v1/datasets", json={"name": name}).json()
        self.api.client.put(f"/v1/datasets/{made['id']}/content", content=content)
        wait_until(lambda: self.dataset(name)["status"] in ("ready", "failed"), 60.0, name)

    def dataset(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.client.get(f"/v1/datasets/{name}").json()
        return found

    def submit(self, **changes: Loose) -> str:
        """Some seconds of training unless told otherwise."""
        spec = {
            "dataset": "digits",
            "encoder": {"name": "small"},
            "epochs": 4,
            "batch_rows": 32,
            "signals_every_steps": 1,
        }
        answer = self.api.client.post("/v1/jobs", json=spec | changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two datasets, one with bad files, and one job that has trained to its end."""
    if CHROMIUM is None:
        pytest.skip(missing("chromium"))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("browser")
    with (
        running_stack(folder, MOCO_METRICS_PORT="0") as stack,
        running_api(
            stack.redis.url, folder, tick_s=0.2, lease_ttl_ticks=50, read_key=READ_KEY
        ) as api,
    ):
        stack.need_workers(1)
        found = World(api, stack)
        found.add_dataset("digits", digits_zip(200, bad=True))
        found.add_dataset("digits-test", digits_zip(60, start=900))
        found.job_id = found.submit(name="a real run", test_dataset="digits-test")
        stack.wait_for(found.job_id, "succeeded", timeout_s=120.0)
        yield found
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def chromium(world: World) -> Iterator[Browser]:
    """Ends with its module: while it is there, its event loop runs in the thread of the tests."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page: Page, expression: str) -> None:
    """Wait until JavaScript says yes. The page's own policy forbids playwright's way of waiting."""
    wait_until(lambda: bool(page.evaluate(expression)), PATIENCE_MS / 1000, expression)


@dataclass
class Visitor:
    """One person's browser. What went wrong in it is kept."""

    page: Page
    url: str
    troubles: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    """Parts of console messages that a test expects: a refused request is told there."""

    def watch(self) -> None:
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _console(self, message: Loose) -> None:
        text = message.text
        if message.type == "error" and not any(part in text for part in self.allowed):
            self.troubles.append(f"console: {text} {message.location}")

    def _request(self, request: Loose) -> None:
        if not request.url.startswith((self.url, "data:", "blob:", "about:")):
            self.troubles.append(f"left the host: {request.url}")

    def sign_in(self, key: str = KEY) -> None:
        self.page.goto(self.url + "/")
        self.page.fill("#key", key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/ui/jobs")

    def go(self, path: str) -> Page:
        """A page whose content has come."""
        self.page.goto(self.url + path)
        expect(self.page.locator("main [aria-busy=true]")).to_have_count(0)
        return self.page


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1440, "height": 900})
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def stranger(context: BrowserContext, world: World) -> Iterator[Visitor]:
    """Page before the sign-in. Fails if the console has an error at the end."""
    visitor = Visitor(context.new_page(), world.api.url)
    visitor.watch()
    yield visitor
    for job in world.api.client.get("/v1/jobs?status=running&status=queued").json()["data"]:
        world.api.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert visitor.troubles == []


@pytest.fixture
def visitor(stranger: Visitor) -> Visitor:
    """Page of a user with the full key, on the list of jobs."""
    stranger.sign_in()
    return stranger


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path
