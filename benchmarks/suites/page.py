"""Time and bytes to open the page of a job with a long history.

    python -m benchmarks page [--rounds 5] [--readings 50000]

A reading has about 20 signals, so 50,000 readings are 1,000,000 points. Each round is a browser
with a warm cache on a service that has just started, with no history in its cache; then the same
page once more. Timed from the navigation until the curves are seen, and until the chart of the loss
has its axes and can be zoomed. The former is noted by the page itself, after the frame with the
curves: the charts' library is read next, and whoever asks from outside waits for that. The bytes
are those of all answers of the API and of the page itself until then, as they travel, and those
until the history has been read to its end, for which the page waits; scripts and styles are counted
apart, because a browser keeps them. Nothing else should run.
"""

import argparse
import json
import logging
import random
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import structlog
from playwright.sync_api import BrowserContext, sync_playwright

from benchmarks.harness.report import print_lines, versions
from tests.support.service.api import KEY, RunningApi, finished_job, running_api
from tests.support.service.redis import running_redis
from trainer.spec.signal_tables import SIGNALS

OPENINGS = ("service just started", "again")
NOTE_WHEN_SEEN = """
window.seenMs = null;
new MutationObserver((_, me) => {
  if (!document.querySelector("[data-chart=loss] .plot svg path")) return;
  me.disconnect();
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { window.seenMs = performance.now(); };
    port2.postMessage(0);
  });
}).observe(document, { childList: true, subtree: true });
"""
WHOLE_S = 15.0
"""Longer than the page takes to get the whole history."""
DRAWN = "[data-chart=loss] .main-svg .trace"


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readings", type=int, default=50_000)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="moco-") as name, running_redis(Path(name)) as redis:
        data_dir = Path(name) / "data"
        with running_api(redis.url, data_dir) as api:
            job_id = job_with_history(api, args.readings)
        rounds = [run_round(redis.url, data_dir, job_id) for _ in range(args.rounds)]
    print_lines(
        f"{args.readings:,} readings, {args.readings * len(SIGNALS):,} points",
        "",
        "| page | seen s, median | worst | chart s, median | worst | data kB | in all | files kB |",
        "|---|---|---|---|---|---|---|---|",
        *(row(label, [visits[index] for visits in rounds]) for index, label in enumerate(OPENINGS)),
        "",
        f"{args.rounds} rounds. {versions()}",
    )


def row(label: str, visits: list[dict[str, Any]]) -> str:
    """Return the table row of one kind of visit: times, and maximum bytes."""
    seen_s, drawn_s = ([visit[key] for visit in visits] for key in ("seen_s", "drawn_s"))
    data, whole, files = (
        max(visit[key] for visit in visits) / 1000 for key in ("data", "whole", "files")
    )
    return (
        f"| {label} | {median(seen_s):.2f} | {max(seen_s):.2f} | {median(drawn_s):.2f} | "
        f"{max(drawn_s):.2f} | {data:.0f} | {whole:.0f} | {files:.0f} |"
    )


def job_with_history(api: RunningApi, readings: int) -> str:
    """Create a finished job with `readings` readings of every signal."""
    job_id = finished_job(
        api, {"README.md": b"# A card\n"}, step=50 * readings, steps=50 * readings
    )
    folder = api.data_dir / api.store.jobs.get(job_id).folder / "attempts" / "1"
    rng = random.Random(0)
    with (folder / "metrics.jsonl").open("w") as file:
        for number in range(1, readings + 1):
            signals = {name: rng.random() for name in SIGNALS}
            file.write(json.dumps({"step": 50 * number, "epoch": number / 10, **signals}) + "\n")
    return job_id


def run_round(redis_url: str, data_dir: Path, job_id: str) -> list[dict[str, Any]]:
    """Open the page on a fresh service with cached scripts, twice."""
    with running_api(redis_url, data_dir) as api, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(NOTE_WHEN_SEEN)
        visit_once(context, api)
        visits = [open_page(context, f"{api.url}/ui/jobs/{job_id}") for _ in range(2)]
        browser.close()
    return visits


def visit_once(context: BrowserContext, api: RunningApi) -> None:
    """Sign in, and see another job's page, so that scripts and styles are kept."""
    other = finished_job(api, {}, step=1, steps=1)
    page = context.new_page()
    page.goto(api.url + "/")
    page.fill("#key", KEY)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui/jobs")
    page.goto(f"{api.url}/ui/jobs/{other}", wait_until="networkidle")
    page.close()


def open_page(context: BrowserContext, address: str) -> dict[str, Any]:
    """Return seconds until the loss is shown and until it is drawn, and bytes received."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    kinds: dict[str, str] = {}
    counted = {"data": 0, "files": 0}

    def request_sent(event: dict[str, Any]) -> None:
        kinds[event["requestId"]] = "files" if "/ui/static/" in event["request"]["url"] else "data"

    def loading_finished(event: dict[str, Any]) -> None:
        counted[kinds.get(event["requestId"], "data")] += int(event["encodedDataLength"])

    session.on("Network.requestWillBeSent", request_sent)
    session.on("Network.loadingFinished", loading_finished)
    began_s = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(DRAWN).first.wait_for()
    drawn_s = time.perf_counter() - began_s
    visit = {"drawn_s": drawn_s, **counted, "seen_s": page.evaluate("window.seenMs") / 1000}
    page.wait_for_timeout(WHOLE_S * 1000)
    page.close()
    return {**visit, "whole": counted["data"]}
