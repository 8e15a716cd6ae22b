"""The service behind `/moco/`: a proxy takes the prefix off the path, or leaves it there."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from mocoserve import Client
from service.cli.main import app
from service.settings import ApiSettings
from service.store.embedded.server import RunningRedis
from tests.support.service.api import (
    KEY,
    RunningApi,
    client_of,
    finished_job,
    ready_dataset,
    running_api,
)

PREFIX = "/moco"


class Proxy(BaseHTTPRequestHandler):
    """Passes a request on as nginx does with `proxy_pass`, on one host with other services."""

    protocol_version = "HTTP/1.1"
    upstream: str
    strips: bool

    def do_GET(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(418, "Another service")
            return
        path = self.path.removeprefix(PREFIX) if self.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [(name, value) for name, value in self.headers.items() if name != "Connection"]
        with httpx.Client(trust_env=False, verify=False) as client:
            answer = client.request(
                self.command, self.upstream + path, content=body, headers=headers
            )
        self.send_response(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in ("content-length", "content-encoding", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def proxied(upstream: str, *, strips: bool) -> Iterator[str]:
    """The address of a proxy before `upstream`."""
    handler = type("Before", (Proxy,), {"upstream": upstream, "strips": strips})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def api(api_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("prefix")
    with running_api(api_redis.url, folder, root_path=PREFIX) as running:
        yield running


@pytest.fixture(scope="module", params=[True, False], ids=["stripped", "kept"])
def outside(api: RunningApi, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address that a browser knows, without the prefix."""
    with proxied(api.url, strips=request.param) as url:
        yield url


def test_a_browser_stays_under_the_prefix(outside: str) -> None:
    with client_of(outside, key=None) as browser:
        browser.headers["Accept"] = "text/html"
        led = browser.get("/moco/ui/jobs?status=failed")
        assert led.status_code == 303
        assert led.headers["location"] == "/moco/sign-in?next=%2Fmoco%2Fui%2Fjobs%3Fstatus%3Dfailed"
        form = browser.get(led.headers["location"]).text
        assert 'action="/moco/sign-in"' in form
        there = {"Sec-Fetch-Site": "same-origin"}
        for wanted, to in (
            ("/moco/ui/jobs", "/moco/ui/jobs"),
            ("/other/", "/moco/"),
            ("//evil", "/moco/"),
            ("/moco", "/moco/"),
        ):
            form_data = {"key": KEY, "next": wanted}
            back = browser.post("/moco/sign-in", data=form_data, headers=there)
            assert (back.status_code, back.headers["location"]) == (303, to)
        home = browser.get("/moco/")
        assert home.headers["location"] == "/moco/ui/jobs"
        out = browser.post("/moco/sign-out", headers=there)
        assert out.headers["location"] == "/moco/sign-in"


def test_every_link_of_every_page_is_under_the_prefix(outside: str, api: RunningApi) -> None:
    job = finished_job(api, {"encoder.bin": b"x"})
    with client_of(outside) as browser:
        for path in ("jobs", f"jobs/{job}", "submit", "compare", "datasets", "system", "no/such"):
            page = browser.get(f"/moco/ui/{path}").text
            assert 'data-root="/moco"' in page
            links = re.findall(r'(?:src|href|action)="(/[^"]*)"', page)
            assert len(links) > 5
            for link in links:
                assert link.startswith("/moco/"), link
                if "/static/" in link:
                    assert browser.get(link).status_code == 200
        docs = browser.get("/moco/docs").text
        assert not re.findall(r'(?:src|href)="/', docs)


def test_what_the_api_names_is_there(outside: str, api: RunningApi) -> None:
    with client_of(outside) as program:
        made = program.post("/moco/v1/datasets", json={"name": f"at-{outside[-5:]}"})
        assert made.headers["location"].startswith("/moco/v1/datasets/ds_")
        assert program.get(made.headers["location"]).json() == made.json()
        ready_dataset(api.store, f"ready-{outside[-5:]}")
        made = program.post("/moco/v1/jobs", json={"dataset": f"ready-{outside[-5:]}"})
        assert program.get(made.headers["location"]).json()["id"] == made.json()["id"]
        (server,) = program.get("/moco/openapi.json").json()["servers"]
        assert program.get(f"{server['url']}/v1/jobs").status_code == 200
        refused = program.post("/moco/v1/jobs/x")
        assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD")
        assert refused.json()["instance"] == "/moco/v1/jobs/x"


def test_the_client_and_the_command_line_take_an_address_with_a_prefix(
    outside: str, tmp_path: Path
) -> None:
    with Client(f"{outside}{PREFIX}/", KEY) as client:
        client.ready()
    env = {"MOCO_URL": f"{outside}{PREFIX}", "MOCO_API_KEY": KEY, "XDG_CONFIG_HOME": str(tmp_path)}
    ran = CliRunner().invoke(app, ["jobs", "--json"], env=env)
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["object"] == "list"


@pytest.mark.parametrize("path", ["moco", "/moco/", "/", "/a b", "/v1", "/ui/x", "//x", "/\u00e9"])
def test_a_prefix_that_cannot_be_one_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        ApiSettings(data_dir=tmp_path, root_path=path)
