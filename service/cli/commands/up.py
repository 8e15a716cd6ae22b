"""`moco up`: the whole service on this machine, until Ctrl-C."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from mocoserve.server_address import read_server
from mocoserve.user_config import RETENTION, load
from service.cli.context import Context, guarded
from service.cli.exit_codes import CommandError, Exit

if TYPE_CHECKING:
    from mocoserve.user_config import Config
    from service.cli.local.process import ProcessPlan
    from service.cli.local.stack import Layout, Notify

_WORKER_GRACE_S = 45.0
"""Grace of a worker, longer than its own 30 s, in which it saves a checkpoint."""

_WORKERS = ("worker", "worker-ingest")
"""Processes that run jobs: one that trains, and one that prepares datasets."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("up")(up)


def _number(allowed: range, text: str, *, env: str, default: str) -> Any:  # noqa: ANN401
    """Return an option for a number; `default` is what its help says of the default."""
    least, most = allowed[0], allowed[-1]
    return typer.Option(min=least, max=most, envvar=env, show_default=default, help=text)


def up(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for all data.", envvar="MOCO_DATA_DIR")
    ] = None,
    port: Annotated[
        int | None,
        _number(range(65_536), "API port; 0 picks a free one.", env="MOCO_PORT", default="8080"),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(envvar="MOCO_REDIS_URL", help="External Redis URL (default: start one)."),
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Run only the API and the metrics.")
    ] = False,
    workers: Annotated[
        int | None,
        _number(
            range(1, 1025),
            "Number of training slots; they are assigned to the devices in turn.",
            env="MOCO_SLOTS",
            default="one per GPU, or one on the CPU",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MOCO_DEVICE",
            show_default="auto",
            help="auto (all GPUs, else the CPU), cpu, or GPUs: cuda:0,cuda:1 or by UUID.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines.")] = False,
) -> None:
    """Run the service on this machine until Ctrl-C."""

    def work() -> Exit:
        config = load()
        folder = (data_dir or config.data_dir).absolute()
        options: dict[str, Any] = {
            "port": config.find("port", flag=port).value,
            "redis": config.find("redis_url", flag=redis or None).value,
            "has_worker": not no_worker,
            "slots": workers,
            "device": config.find("device", flag=_joined(device)).value,
            "log_bytes_max": config.find("log_bytes_max").value,
            "retention": _retention(config),
        }
        return _run(Context(url=None, key=None, data_dir=folder, json=json), options)

    raise typer.Exit(guarded(work, as_json=json))


def _retention(config: "Config") -> dict[str, str]:
    """Return the variables of the API that say how long things are kept."""
    values = {setting.env: config.find(setting.name).value for setting in RETENTION}
    return {name: str(value) for name, value in values.items() if value is not None}


def _joined(devices: list[str] | None) -> str | None:
    """Return lists of devices, as given by one option each, as one list."""
    words = [word.strip() for text in devices or () for word in text.split(",")]
    return ",".join(filter(None, words)) or None


def _run(context: Context, options: dict[str, Any]) -> Exit:
    from service.cli.local.embedded_redis import EmbeddedRedis
    from service.cli.local.process import ManagedProcess
    from service.cli.local.stack import Signals, Stack

    if options["has_worker"] and find_spec("torch") is None:
        raise CommandError(
            "PyTorch is not installed, so no worker can run",
            hint="Install `mocoserve[worker]`, or pass --no-worker.",
        )
    notify = _notifier(context)
    with ExitStack() as open_things:
        open_things.enter_context(_locked(context.data_dir))
        _check_layout(context.data_dir)
        signals = open_things.enter_context(Signals())
        layout = _layout(context.data_dir, options)
        redis = None if options["redis"] else EmbeddedRedis(context.data_dir, notify)
        if redis:
            open_things.callback(redis.stop)
        plans = _plans(layout, options, redis_url=redis.url if redis else options["redis"])
        children = [
            ManagedProcess(plan, context.data_dir / "logs", log_bytes_max=options["log_bytes_max"])
            for plan in plans
        ]
        look = redis.look if redis else _leave_external_redis
        Stack(children, layout, check_redis=look, notify=notify).run(signals)
    notify("stopped", {})
    return Exit.OK


def _layout(data_dir: Path, options: dict[str, Any]) -> "Layout":
    from service.cli.local.stack import Layout, loopback_listener, port_of

    key = _keys(data_dir)
    api = loopback_listener(options["port"])
    if options["port"] not in (0, port_of(api)):
        api.close()
        raise CommandError(
            f"Port {options['port']} is taken", hint="Choose another --port; 0 picks a free one."
        )
    spread = 0 if options["port"] == 0 else 1
    url = f"http://127.0.0.1:{port_of(api)}"
    names = ["state", *(_WORKERS if options["has_worker"] else ())]
    first = 9102
    listeners = {name: loopback_listener(spread * (first + i)) for i, name in enumerate(names)}
    listeners = {"api": api, **listeners}
    urls = {
        name: f"http://127.0.0.1:{port_of(listener)}/metrics"
        for name, listener in listeners.items()
    }
    return Layout(data_dir=data_dir, url=url, key=key, metrics_urls=urls, listeners=listeners)


def _keys(data_dir: Path) -> str:
    """Return the full key; make the keys that are missing."""
    from pydantic import ValidationError

    from service.server.api_keys import WeakKey, load_keys
    from service.settings import KeySettings

    try:
        return load_keys(KeySettings(data_dir=data_dir)).full
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(
            f"MOCO_{str(first['loc'][0]).upper()} has an invalid value",
            detail=f"{first['msg']}.",
            hint="Fix the variable, or unset it.",
            code=Exit.USAGE,
        ) from error
    except WeakKey as error:
        raise CommandError(
            "A key is too weak",
            detail=str(error),
            hint="Set a longer one, or none.",
            code=Exit.USAGE,
        ) from error


def _plans(layout: "Layout", options: dict[str, Any], *, redis_url: str) -> "list[ProcessPlan]":
    from service.cli.local.process import ProcessPlan

    shared = {
        "MOCO_DATA_DIR": str(layout.data_dir),
        "MOCO_REDIS_URL": redis_url,
        "MOCO_API_KEY": layout.key,
    }
    api = {
        **shared,
        "MOCO_HOST": "127.0.0.1",
        "MOCO_PORT": _port(layout.url),
        **options["retention"],
    }
    exporter = {**shared, "MOCO_EXPORTER_PORT": _port(layout.metrics_urls["state"])}
    plans = [
        ProcessPlan(name="api", arguments=("service",), env=api, listener=layout.listeners["api"]),
        ProcessPlan(
            name="exporter",
            arguments=("service", "exporter"),
            env=exporter,
            listener=layout.listeners["state"],
        ),
    ]
    if options["has_worker"]:
        environments = zip(_WORKERS, (_training_env(options), _ingest_env()), strict=True)
        plans += [_worker(name, {**shared, **env}, layout) for name, env in environments]
    return plans


def _worker(name: str, env: dict[str, str], layout: "Layout") -> "ProcessPlan":
    from service.cli.local.process import ProcessPlan

    return ProcessPlan(
        name=name,
        arguments=("worker",),
        env={**env, "MOCO_METRICS_PORT": _port(layout.metrics_urls[name])},
        listener=layout.listeners[name],
        grace_s=_WORKER_GRACE_S,
    )


def _training_env(options: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the worker that trains, in as many slots as were asked for."""
    env = {"MOCO_POOLS": "train", "MOCO_DEVICE": str(options["device"]), "MOCO_NAME": "train"}
    return env if options["slots"] is None else {**env, "MOCO_SLOTS": str(options["slots"])}


def _ingest_env() -> dict[str, str]:
    """Return the environment of the worker that prepares datasets, one at a time."""
    env = {"MOCO_POOLS": "ingest", "MOCO_DEVICE": "cpu", "MOCO_SLOTS": "1", "MOCO_NAME": "ingest"}
    return {**env, "MOCO_COMPILE_AHEAD": "false"}  # it makes no views but a preview's


def _leave_external_redis() -> None:
    """Do nothing: an external Redis is restarted by its owner."""


def _port(url: str) -> str:
    return url.removesuffix("/metrics").rpartition(":")[2]


def _lock_file(data_dir: Path) -> BinaryIO:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return (data_dir / "up.lock").open("ab")
    except OSError as error:
        raise CommandError(
            f"The data folder {data_dir} cannot be used",
            detail=error.strerror or str(error),
            hint="Choose another with --data-dir or MOCO_DATA_DIR.",
            code=Exit.USAGE,
        ) from error


@contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    """Lock the data folder. Raises CommandError if another `moco up` has it."""
    with _lock_file(data_dir) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            running = read_server(data_dir)
            where = f"It is running at {running['url']}." if running else "It is starting."
            raise CommandError(
                f"`moco up` is already running on {data_dir}",
                detail=where,
                hint="Use that one, stop it, or choose another --data-dir.",
            ) from error
        yield


def _check_layout(data_dir: Path) -> None:
    from service.ledger.stamp import check_layout
    from service.store.store_errors import Misconfigured

    try:
        check_layout(data_dir)
    except Misconfigured as error:
        raise CommandError(
            "The data folder cannot be opened", detail=str(error), code=Exit.USAGE
        ) from error


def _notifier(context: Context) -> "Notify":
    """Return a function that prints events, as JSON lines on stdout or as sentences."""
    sentences: dict[str, Callable[[dict[str, Any]], str]] = {
        "ready": _ready_text,
        "crashed": lambda f: (
            f"{f['name']} exited unexpectedly (code {f['code']}); restarting in "
            f"{f['again_in_s']:g} s. Log: {f['log']}"
        ),
        "restarted": lambda f: f"{f['name']} restarted.",
        "set_aside": lambda f: (
            f"The files of {f['name']} were damaged. They are kept in {f['kept_in']}; all jobs, "
            "datasets, curves and logs are rebuilt from the disk; past events are not."
        ),
        "ended": lambda f: f"{f['name']} stopped as requested.",
        "killed": lambda f: f"{f['name']} did not stop in time and was killed.",
        "stopping": lambda _f: "Stopping. Running jobs save a checkpoint first.",
        "stopped": lambda _f: "Stopped. Jobs continue at the next `moco up`.",
    }

    def notify(event: str, facts: dict[str, Any]) -> None:
        if context.json:
            context.emit_line({"event": event, **facts})
        elif event == "ready":
            context.data(sentences[event](facts))
        else:
            context.say(sentences[event](facts))

    if not context.json:
        context.say("Starting. The first start takes a few seconds.")
    return notify


def _ready_text(facts: dict[str, Any]) -> str:
    metrics = "".join(f"\n  metrics  {url}  ({name})" for name, url in facts["metrics"].items())
    return (
        f"mocoserve is ready. Ctrl-C stops it.\n"
        f"  url      {facts['url']}\n"
        f"  key      in {facts['key_file']}\n"
        f"  read key in {facts['read_key_file']} (read-only access)\n"
        f"  data     {facts['data_dir']}\n"
        f"  training {_slots_text(facts['slots'].get(_WORKERS[0]))}{metrics}\n"
        f"next, in another shell: moco dataset add PATH --name NAME"
    )


def _slots_text(slots: dict[str, Any] | None) -> str:
    if slots is None:
        return "needs a worker: `python -m worker`"
    number = "1 job" if slots["number"] == 1 else f"{slots['number']} jobs"
    return f"{number} at a time on {slots['device']}"
