"""Processes of the demo: the service, and the programs that handle pixels."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mocoserve.launch import module_command
from mocoserve.user_config import NO_FILES
from service.cli.exit_codes import CommandError
from trainer.util.parent_death import die_with

_STOP_S = 90.0


def clean_env() -> dict[str, str]:
    """Return the environment without the settings of another service."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MOCO_")}
    # Its two short jobs would be over before the compiling is.
    return {**own, NO_FILES: "1", "MOCO_COMPILE_AHEAD": "false"}


def launch(data_dir: Path, log: Path) -> "subprocess.Popen[str]":
    """Start the service on free ports; it ends with this process at the latest."""
    arguments = ["up", "--json", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as errors:
        return subprocess.Popen(
            module_command("service.cli", *arguments),
            env=clean_env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - this process has no threads
        )


def await_ready(service: "subprocess.Popen[str]", log: Path) -> dict[str, Any]:
    """Return the `ready` event of the service. Raises CommandError if it ends instead."""
    assert service.stdout is not None
    for line in service.stdout:
        event: dict[str, Any] = json.loads(line)
        if event.get("event") == "ready":
            return event
    raise CommandError(
        "The demo service did not start",
        detail=log.read_text("utf-8", "replace").strip(),
        hint="`moco doctor` checks the requirements.",
    )


@contextmanager
def stopped_after(service: "subprocess.Popen[str]") -> Iterator[None]:
    """Stop the service and its children after the block."""
    try:
        yield
    finally:
        if service.poll() is None:
            service.send_signal(signal.SIGTERM)
        try:
            service.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            service.kill()
            service.communicate()


def pixels(verb: str, path: Path) -> dict[str, Any]:
    """Return the JSON output of `python -m trainer.demo`. Raises CommandError if it fails."""
    done = subprocess.run(
        module_command("trainer.demo", verb, str(path)),
        env=clean_env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    words = done.stderr.strip().splitlines()
    raise CommandError(
        f"`python -m trainer.demo {verb}` failed",
        detail=words[-1] if words else f"It ended with code {done.returncode}.",
        hint="Install `mocoserve[worker]`; `moco doctor` checks it.",
    )
