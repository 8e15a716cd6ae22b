"""The page before any script runs: who is let in, what is closed to others, what is served."""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest

from service.server.api_keys import Keys
from service.server.sessions import COOKIE, LIFE_S, Sessions, local_path
from service.store.embedded.server import RunningRedis
from service.web.assets import STATIC, load_assets
from tests.support.service.api import (
    KEY,
    RunningApi,
    client_of,
    queued_job,
    ready_dataset,
    running_api,
)
from tests.support.service.redis import empty, opened_store

READ_KEY, SCRAPE_KEY = "moco_read_key_0123456789", "moco_scrape_key_0123456789"
PAGES = ("jobs", "submit", "compare", "datasets", "weights", "workers", "system")


@pytest.fixture(scope="module")
def api(api_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with opened_store(api_redis.url) as store:
        empty(store)
    folder = tmp_path_factory.mktemp("pages")
    with running_api(api_redis.url, folder, read_key=READ_KEY, scrape_key=SCRAPE_KEY) as running:
        yield running


@pytest.fixture
def browser(api: RunningApi) -> Iterator[httpx.Client]:
    """Asks for pages as a browser does, with no key and no session yet."""
    with client_of(api.url, key=None) as client:
        client.headers["Accept"] = "text/html,*/*;q=0.8"
        yield client


def sign_in(browser: httpx.Client, key: str, **form: str) -> httpx.Response:
    headers = {"Origin": str(browser.base_url).rstrip("/")}
    return browser.post("/sign-in", data={"key": key} | form, headers=headers)


def same_site(browser: httpx.Client) -> dict[str, str]:
    return {"Origin": str(browser.base_url).rstrip("/")}


def test_a_stranger_is_led_to_the_sign_in_and_back(browser: httpx.Client) -> None:
    led = browser.get("/ui/jobs?status=failed")
    assert led.status_code == 303
    assert led.headers["location"] == "/sign-in?next=%2Fui%2Fjobs%3Fstatus%3Dfailed"
    assert browser.get(led.headers["location"]).status_code == 200
    back = sign_in(browser, KEY, next="/ui/jobs?status=failed")
    assert (back.status_code, back.headers["location"]) == (303, "/ui/jobs?status=failed")
    assert browser.get("/ui/jobs").status_code == 200


@pytest.mark.parametrize("path", ["/", "/ui", "/ui/"])
def test_short_addresses_lead_to_the_jobs(browser: httpx.Client, path: str) -> None:
    sign_in(browser, KEY)
    led = browser.get(path)
    assert (led.status_code, led.headers["location"]) == (303, "/ui/jobs")


def test_a_program_without_a_key_is_told_so_instead(api: RunningApi) -> None:
    with client_of(api.url, key=None) as program:
        assert program.get("/ui/jobs").json()["code"] == "unauthorized"


def test_a_wrong_key_makes_no_session_and_says_what_to_do(browser: httpx.Client) -> None:
    answer = sign_in(browser, "moco_wrong_key_0123456789")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "Wrong key" in answer.text
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:1", "", "/a\r\nb"],
)
def test_signing_in_leads_nowhere_else(wanted: str, browser: httpx.Client) -> None:
    assert sign_in(browser, KEY, next=wanted).headers["location"] == "/"
    assert local_path(wanted) == "/"


def test_the_cookie_is_closed_to_scripts_and_other_sites_and_holds_no_key(
    browser: httpx.Client,
) -> None:
    cookie = SimpleCookie(sign_in(browser, KEY).headers["set-cookie"])[COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/"
    assert not cookie["secure"]
    assert KEY not in cookie.value


def test_by_tls_the_cookie_is_kept_to_tls_and_to_this_host(browser: httpx.Client) -> None:
    host = str(browser.base_url.netloc, "ascii")
    answer = browser.post("/sign-in", data={"key": KEY}, headers={"Origin": f"https://{host}"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"__Host-{COOKIE}")
    assert "; Secure" in cookie
    assert "; Path=/;" in cookie
    assert "domain" not in cookie.lower()
    pair = {"Cookie": cookie.partition(";")[0]}
    assert browser.get("/ui/jobs", headers=pair).status_code == 200


def test_the_scrape_key_makes_no_session(browser: httpx.Client) -> None:
    assert sign_in(browser, SCRAPE_KEY).status_code == 401


def test_cookies_of_other_services_do_not_hide_ours(browser: httpx.Client) -> None:
    ours = sign_in(browser, KEY).headers["set-cookie"].partition(";")[0]
    browser.cookies.clear()
    for header in (f"other=a b[]; {ours}", f'json={{"a": "b; c"}}; {ours}', f"{COOKIE}=x; {ours}"):
        assert browser.get("/ui/jobs", headers={"Cookie": header}).status_code == 200


def test_two_services_on_one_host_have_two_cookies(tmp_path: Path) -> None:
    keys = Keys("full-key-0123456789")
    names = {
        Sessions(keys, data_dir=tmp_path, store_id=store_id)
        .cookie("full", secure=False)
        .partition("=")[0]
        for store_id in ("6f1c", "0a9b")
    }
    assert len(names) == 2


def test_a_session_that_was_signed_out_stays_out(api_redis: RunningRedis, tmp_path: Path) -> None:
    """Also for whoever kept the cookie, on a replica, and after a restart."""
    page = {"Accept": "text/html"}
    with running_api(api_redis.url, tmp_path) as api, client_of(api.url, key=None) as browser:
        cookies = [sign_in(browser, KEY).headers["set-cookie"].partition(";")[0] for _ in "ab"]
        browser.cookies.clear()
        out = browser.post("/sign-out", headers={"Cookie": cookies[0], **same_site(browser)})
        assert out.headers.get_list("set-cookie")[0].startswith(f"__Host-{COOKIE}")
        kept = [(cookies[0], 303), (cookies[1], 200)]
        for cookie, status in kept:
            answer = browser.get("/ui/jobs", headers={"Cookie": cookie} | page)
            assert answer.status_code == status
    with running_api(api_redis.url, tmp_path) as api, client_of(api.url, key=None) as browser:
        for cookie, status in kept:
            answer = browser.get("/ui/jobs", headers={"Cookie": cookie} | page)
            assert answer.status_code == status


def test_marks_of_sessions_that_are_over_are_removed(tmp_path: Path) -> None:
    now = [1000.0]
    sessions = Sessions(Keys("full-key-0123456789"), data_dir=tmp_path, now_s=lambda: now[0])
    for _ in range(3):
        sessions.end(sessions.cookie("full", secure=False).partition(";")[0])
    assert len(list((tmp_path / "signed_out").iterdir())) == 3
    now[0] += LIFE_S + 1
    sessions.end(sessions.cookie("full", secure=False).partition(";")[0])
    assert len(list((tmp_path / "signed_out").iterdir())) == 1


def test_a_session_ends_with_its_time_its_key_and_any_changed_letter(tmp_path: Path) -> None:
    now = [1000.0]
    keys = Keys("full-key-0123456789", "read-key-0123456789")

    def sessions_of(keys: Keys) -> Sessions:
        return Sessions(keys, data_dir=tmp_path, now_s=lambda: now[0])

    sessions = sessions_of(keys)
    value = sessions.cookie("read", secure=False).partition(";")[0].partition("=")[2]
    header = f"theme=dark; {COOKIE}={value}"
    assert sessions.role_of(header) == "read"
    for place in range(len(value)):
        other = "0" if value[place] != "0" else "1"
        assert sessions.role_of(f"{COOKIE}={value[:place]}{other}{value[place + 1 :]}") is None
    assert sessions.role_of(header.replace("read.", "full.")) is None
    assert sessions_of(keys).role_of(header) == "read", "a restart ends no session"
    changed = Keys("full-key-0123456789", "another-key-0123456789")
    assert sessions_of(changed).role_of(header) is None
    assert sessions_of(Keys("full-key-0123456789")).role_of(header) is None
    now[0] += LIFE_S + 1
    assert sessions.role_of(header) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "{here}"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "{here}"}, 200),
    ],
)
def test_only_our_own_pages_may_use_a_session_to_change_things(
    headers: dict[str, str], status: int, api: RunningApi, browser: httpx.Client
) -> None:
    sign_in(browser, KEY)
    job_id = queued_job(api.store)
    here = str(browser.base_url).rstrip("/")
    sent = {name: value.replace("{here}", here) for name, value in headers.items()}
    answer = browser.post(f"/v1/jobs/{job_id}/cancel", headers=sent)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "cross_site"
        assert api.store.jobs.get(job_id).status == "queued"


def test_signing_in_and_out_is_refused_to_other_sites(browser: httpx.Client) -> None:
    for path in ("/sign-in", "/sign-out"):
        for origin in (b"https://evil.example", b"http://[", b"//[x", b"https://\xe9]"):
            answer = browser.post(path, data={"key": KEY}, headers=[(b"Origin", origin)])
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


def test_signing_out_forgets_the_session(browser: httpx.Client) -> None:
    sign_in(browser, KEY)
    browser.post("/sign-out", headers=same_site(browser))
    assert browser.get("/ui/jobs").status_code == 303


def test_the_read_key_looks_and_changes_nothing(api: RunningApi, browser: httpx.Client) -> None:
    job_id = queued_job(api.store)
    sign_in(browser, READ_KEY)
    with client_of(api.url, key=READ_KEY) as program:
        for client in (browser, program):
            assert client.get(f"/v1/jobs/{job_id}").status_code == 200
            for method, path in (
                ("POST", f"/v1/jobs/{job_id}/cancel"),
                ("DELETE", f"/v1/jobs/{job_id}"),
                ("PUT", "/v1/datasets/x/content"),
                ("POST", "/v1/weights"),
                ("PUT", "/v1/weights/x/content"),
                ("DELETE", "/v1/weights/x"),
                ("POST", "/v1/jobs"),
            ):
                answer = client.request(method, path, headers=same_site(browser))
                assert (answer.status_code, answer.json()["code"]) == (403, "read_only")
                assert "api.key" in answer.json()["hint"]
    assert api.store.jobs.get(job_id).status == "queued"
    page = browser.get("/ui/jobs").text
    assert "Read only" in page
    assert "/ui/submit" not in page


def test_the_scrape_key_opens_what_a_monitor_asks_and_nothing_else(api: RunningApi) -> None:
    with client_of(api.url, key=SCRAPE_KEY) as monitor:
        for path in ("/metrics", "/livez", "/readyz"):
            assert monitor.get(path).status_code == 200
            assert monitor.head(path).status_code == 200
            assert monitor.post(path).status_code == 403
        for path in ("/v1/jobs", "/v1/queue", "/version", "/docs", "/ui/jobs", "/no/such"):
            answer = monitor.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "scrape_only")


def test_a_read_key_is_made_beside_the_other(api_redis: RunningRedis, api: RunningApi) -> None:
    assert not (api.data_dir / "read.key").exists(), "one was given"
    with running_api(api_redis.url, api.data_dir / "second") as second:
        key = (second.data_dir / "read.key").read_text().strip()
        with client_of(second.url, key=key) as reader:
            assert reader.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_only_what_is_ours(name: str, api: RunningApi) -> None:
    page = api.client.get(f"/ui/{name}")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page.text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith(("/", "#")), address
        assert not address.startswith("//")
        if "/static/" in address:
            assert api.client.get(address).status_code == 200, address


def test_things_that_are_not_there_have_no_page(api: RunningApi) -> None:
    for path in ("/ui/jobs/nonsense", "/ui/static/x/none.js", "/ui/nothing", "/ui/datasets/%00"):
        assert api.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "what"), [("jobs/half", "job"), ("datasets/a%20b", "dataset"), ("x/y", "page")]
)
def test_an_address_that_is_nobodys_is_answered_with_a_page(
    path: str, what: str, api: RunningApi
) -> None:
    answer = api.client.get(f"/ui/{path}", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert f"{what.capitalize()} not found" in answer.text
    assert 'href="/ui/jobs"' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_home_is_the_list_of_jobs(api: RunningApi) -> None:
    assert api.client.get("/").headers["location"] == "/ui/jobs"


def test_a_file_is_kept_for_as_long_as_its_address(api: RunningApi) -> None:
    tag = load_assets().tag
    plain = {"Accept-Encoding": "identity"}
    for path in sorted(STATIC.iterdir()):
        served = api.client.get(f"/ui/static/{tag}/{path.name}", headers=plain)
        assert served.content == path.read_bytes()
        assert "immutable" in served.headers["cache-control"]
        packed = api.client.get(f"/ui/static/{tag}/{path.name}")
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == path.read_bytes()
    old = api.client.get("/ui/static/0123/dom.js")
    assert old.headers["cache-control"] == "no-store"


def test_the_charts_library_is_that_of_the_installed_wheel(api: RunningApi) -> None:
    assets = load_assets()
    served = api.client.get(f"/ui/static/{assets.tag}/plotly.min.js")
    found = assets.get("plotly.min.js")
    assert found is not None
    assert served.content == found.content == gzip.decompress(found.gzipped)
    assert b"plotly.js v" in served.content[:200]


def test_no_module_writes_markup_or_asks_another_host() -> None:
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path.name
        assert not re.search(r"(assign|fetch|EventSource)\([\"'`]/", text), "use addressOf"
        assert len(text.splitlines()) <= 300, path.name


def test_the_modules_of_a_page_are_all_that_its_script_imports() -> None:
    """Compare with a plain reading of every import line."""
    assets = load_assets()
    found = assets.modules("job.js")
    wanted: set[str] = set()
    for name in found:
        for line in (STATIC / name).read_text().splitlines():
            if line.startswith(("import ", "} from ", "export * from")):
                wanted.add(line.rpartition("./")[2].rstrip('";'))
    assert found[0] == "job.js"
    assert len(found) == len(set(found))
    assert set(found) == wanted | {"job.js"}


def test_the_words_are_the_schema_of_a_job(api: RunningApi) -> None:
    words = api.client.get("/ui/words.json").json()
    assert words["job_spec"]["required"] == ["dataset"]
    assert words["signals"]["loss"]["unit"] == "nats"


def test_a_report_opens_in_a_spreadsheet_and_runs_nothing_there(api: RunningApi) -> None:
    record = ready_dataset(api.store, "spread")
    folder = api.data_dir / "datasets" / record.id / "attempts" / "1" / "pack"
    folder.mkdir(parents=True)
    rows = [
        {"name": "=cmd|' /C calc'!A0", "reason": "unreadable", "detail": 'says "no", twice'},
        {"name": "b/ü.png", "reason": "truncated"},
    ]
    lines = [json.dumps(row) for row in rows]
    (folder / "report.jsonl").write_text("\n".join([lines[0], "{half", lines[1]]) + "\n")
    answer = api.client.get("/v1/datasets/spread/report.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="spread-report.csv"' in answer.headers["content-disposition"]
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["name", "reason", "detail"],
        ["'=cmd|' /C calc'!A0", "unreadable", 'says "no", twice'],
        ["b/ü.png", "truncated", ""],
    ]
