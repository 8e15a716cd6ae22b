"""CPU cost of browsers that watch the page of a running job.

    python -m benchmarks watched [--pages 20] [--rounds 3] [--block-s 30]

A job runs under `moco up`; alternately without visitors and with browsers, each a separate visitor,
on the job's page. The result is the CPU time of all processes that serve pages: API, store,
exporter and `moco up` itself. What the pages add to it, as a share of all cores, is the most that a
training which fills them can lose; it is far below what two measured speeds differ by anyway. The
browsers' own work is not counted: visitors look from their own machines. Nothing else should run.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.harness.report import print_lines, versions
from tests.support.client.moco_up import Up
from trainer.demo.digits import write_zip

SETTLE_S = 5.0
EPOCHS = 100_000
"""More epochs than the benchmark takes: the job is cancelled at the end."""


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-s", type=float, default=30.0)
    args = parser.parse_args()
    with running_job() as (up, job_id), sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        rounds = [run_round(up, browser, job_id, args) for _ in range(args.rounds)]
        browser.close()
    cores = len(os.sched_getaffinity(0))
    print_lines(
        f"| round | nobody looks, s of CPU per s | {args.pages} pages | added, share of {cores} "
        "cores |",
        "|---|---|---|---|",
        *(
            f"| {number} | {alone:.4f} | {watched:.4f} | {100 * (watched - alone) / cores:.2f} % |"
            for number, (alone, watched) in enumerate(rounds, 1)
        ),
        f"| median | {median(alone for alone, _ in rounds):.4f} "
        f"| {median(watched for _, watched in rounds):.4f} "
        f"| {100 * median(watched - alone for alone, watched in rounds) / cores:.2f} % |",
        "",
        f"Blocks of {args.block_s:.0f} s. {versions()}",
    )


@contextmanager
def running_job() -> Iterator[tuple[Up, str]]:
    """Run a service with a job that is training."""
    with tempfile.TemporaryDirectory(prefix="moco-") as name:
        up = Up(Path(name) / "data")
        try:
            up.next("ready")
            write_zip(Path(name) / "digits.zip")
            up.moco("dataset", "add", str(Path(name) / "digits.zip"), "--name", "digits")
            spec = ["-d", "digits", "--encoder", "small", "--epochs", str(EPOCHS)]
            job_id = up.moco("submit", *spec).stdout.strip()
            while '"step":' not in up.moco("show", job_id, "--json").stdout.replace(" ", ""):
                time.sleep(1.0)
            yield up, job_id
            up.moco("cancel", job_id)
        finally:
            up.end()


def run_round(
    up: Up, browser: Browser, job_id: str, args: argparse.Namespace
) -> tuple[float, float]:
    """Return CPU seconds per second without visitors and with all pages open."""
    alone = serving_cpu_share(up, args.block_s)
    with open_pages(up, browser, job_id, args.pages):
        time.sleep(SETTLE_S)
        watched = serving_cpu_share(up, args.block_s)
    return alone, watched


@contextmanager
def open_pages(up: Up, browser: Browser, job_id: str, pages: int) -> Iterator[None]:
    """Open the page of the job in `pages` browsers and wait until it is drawn."""
    url = (up.data_dir / "server.json").read_text().partition('"url":')[2].split('"')[1]
    key = (up.data_dir / "api.key").read_text().strip()
    visitors = [browser.new_context() for _ in range(pages)]
    for visitor in visitors:
        page = visitor.new_page()
        page.goto(url + "/")
        page.fill("#key", key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/ui/jobs")
        page.goto(f"{url}/ui/jobs/{job_id}", wait_until="commit")
        page.locator("[data-chart=loss] .plot svg path").first.wait_for()
    yield
    for visitor in visitors:
        visitor.close()


def serving_cpu_share(up: Up, block_s: float) -> float:
    """Return CPU seconds per second of all processes that serve pages."""
    serving = [process for process in up.everyone() if not is_worker(process)]
    began_s, before_s = time.monotonic(), sum(map(cpu_s, serving))
    time.sleep(block_s)
    return (sum(map(cpu_s, serving)) - before_s) / (time.monotonic() - began_s)


def is_worker(process: psutil.Process) -> bool:
    """Return whether the process trains or ingests."""
    return any(word.startswith("worker") for word in process.cmdline())


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
