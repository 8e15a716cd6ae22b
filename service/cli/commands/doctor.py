"""`moco doctor`: checks of this machine, the server and its workers."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from mocoserve.launch import module_command
from mocoserve.server_address import locate, read_server
from mocoserve.user_config import ConfigError
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError, Exit
from service.cli.render.value_text import bytes_text

if TYPE_CHECKING:
    from mocoserve.models import Reason

_GIB = 1 << 30


class Check(NamedTuple):
    """Result of one check."""

    name: str
    state: str
    """`ok`, `warn` or `fail`."""
    finding: str
    next: str = ""
    gpu: dict[str, Any] | None = None
    """Facts about one GPU, for programs."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields; `gpu` only where there are facts."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(app, "doctor")(doctor)


def doctor(context: Context) -> Exit:
    """Check this machine, the server and its workers."""
    from service.cli.render.terminal_tables import print_table

    checks = [check for look in CHECKS for check in look(context)]
    if context.json:
        context.emit({"object": "list", "data": [check.as_json() for check in checks]})
    else:
        print_table(("CHECK", "STATE", "FINDING"), (check[:3] for check in checks))
        for check in checks:
            if check.next:
                context.say(f"{check.name}: {check.next}")
    return Exit.ERROR if any(check.state == "fail" for check in checks) else Exit.OK


def _python(_context: Context) -> Iterator[Check]:
    release = sys.version.split()[0]
    state = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Check("python", state, release, "" if state == "ok" else "Install Python 3.11 or newer.")


def _torch(_context: Context) -> Iterator[Check]:
    """Check that packages are installed without importing them, which would take seconds."""
    from importlib.metadata import PackageNotFoundError, version

    for name in ("torch", "torchvision"):
        try:
            release = version(name) if find_spec(name) else None
        except PackageNotFoundError:
            release = None
        if release:
            yield Check(name, "ok", release)
        else:
            hint = "Workers need it (the API does not): install `mocoserve[worker]`."
            yield Check(name, "warn", "not installed", hint)


def _gpus(context: Context) -> Iterator[Check]:
    """Check the GPUs as a worker sees them; its packages are loaded in a process of their own."""
    if not find_spec("pynvml"):
        cores = len(os.sched_getaffinity(0))
        yield Check("devices", "ok", f"{cores} cores; GPUs are not checked without the worker")
        return
    command = module_command("worker.gpus", str(context.config.find("device").value))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = f"Run `python -m worker.gpus`. It ended with: {done.stderr.strip()[-200:]}"
        yield Check("devices", "warn", "the GPUs could not be checked", hint)
        return
    for finding in json.loads(done.stdout):
        yield Check(**finding)


def _redis(_context: Context) -> Iterator[Check]:
    if os.environ.get("MOCO_REDIS_URL"):
        yield Check("redis", "ok", "the one in MOCO_REDIS_URL")
        return
    from service.store.embedded.program import find_server
    from service.store.store_errors import StoreError

    try:
        yield Check("redis", "ok", str(find_server()))
    except StoreError as error:
        yield Check("redis", "fail", "no Redis server found", str(error))


def _disk(context: Context) -> Iterator[Check]:
    folder = next(path for path in (context.data_dir, *context.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    finding = f"{bytes_text(free)} free in {context.data_dir}"
    if not os.access(folder, os.W_OK):
        yield Check("disk", "fail", f"{folder} is not writable", "Choose another --data-dir.")
    elif free < _GIB:
        yield Check("disk", "fail", finding, "Free some space, or choose another --data-dir.")
    elif free < 10 * _GIB:
        yield Check("disk", "warn", finding, "Checkpoints of large encoders take gigabytes.")
    else:
        yield Check("disk", "ok", finding)


def _layout(context: Context) -> Iterator[Check]:
    from service.ledger.stamp import check_layout
    from service.store.store_errors import Misconfigured

    try:
        check_layout(context.data_dir)
    except Misconfigured as error:
        yield Check("data folder", "fail", "cannot be opened by this version", str(error))


def _ports(context: Context) -> Iterator[Check]:
    from service.cli.local.stack import is_free

    if read_server(context.data_dir):
        return
    for name, port in (("API", 8080), ("metrics", 9102)):
        if is_free(port):
            yield Check(f"port {port}", "ok", f"free for the {name}")
        else:
            hint = "Choose another --port; 0 picks a free one."
            yield Check(f"port {port}", "warn", "taken by another program", hint)


def _key(context: Context) -> Iterator[Check]:
    setting = locate(
        context.config, url=context.url or None, key=context.key or None, data_dir=context.data_dir
    ).key
    files = (context.data_dir / "api.key", context.config.project.path, context.config.user.path)
    holding = [path for path in files if setting.origin.startswith(str(path)) and path.exists()]
    if setting.value is None:
        yield Check("key", "ok", "none yet; `moco up` creates one")
    elif holding and stat.S_IMODE(holding[0].stat().st_mode) & 0o077:
        finding = f"{holding[0]} is readable by other users"
        yield Check("key", "warn", finding, f"Run `chmod 600 {holding[0]}`.")
    else:
        yield Check("key", "ok", f"from {setting.origin}")


def _server(context: Context) -> Iterator[Check]:
    from mocoserve.errors import ClientError

    try:
        with context.client() as client:
            client.ready()
            release = client.version()
            yield Check("server", "ok", f"{client.url}, version {release.get('version', '?')}")
            workers = [w for w in client.workers() if w.state not in ("lost", "draining")]
            warnings = client.warnings()
    except (CommandError, ConfigError) as error:
        yield Check("server", "warn", error.title, error.hint)
        return
    except ClientError as error:
        yield Check("server", "fail", f"{error.title}. {error.detail}", error.hint)
        return
    pools = sorted({pool for worker in workers for pool in worker.pools})
    for warning in warnings:
        yield Check("workers", "warn", warning.message, _worker_hint(context, warning))
    if not warnings:
        yield Check("workers", "ok", f"{len(workers)} for {', '.join(pools)}")


def _worker_hint(context: Context, warning: "Reason") -> str:
    """Return a hint for when no worker is running; starting `moco up` twice does not help."""
    if warning.code == "no_worker" and read_server(context.data_dir):
        return (
            "`moco up` is running without such a worker. Start one next to it: `python -m worker` "
            "with MOCO_POOLS; or stop `moco up` and start it without --no-worker."
        )
    return warning.hint


CHECKS: tuple[Callable[[Context], Iterator[Check]], ...] = (
    _python,
    _torch,
    _gpus,
    _redis,
    _disk,
    _layout,
    _ports,
    _key,
    _server,
)
