"""`moco export`: files for your own Prometheus and Grafana."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from mocoserve.server_address import read_server
from service.cli.context import Context, command
from service.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from service.observability.bundle import Targets

app = typer.Typer(
    help="Write dashboards and alerts for your own Grafana and Prometheus.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Output folder.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]


def grafana(
    context: Context,
    folder: Folder,
    force: Force = False,
    prometheus_url: Annotated[
        str, typer.Option(help="Prometheus URL for Grafana.")
    ] = "http://127.0.0.1:9090",
) -> None:
    """Write four dashboards and their provisioning files."""
    from service.observability.bundle import grafana_files

    folder = folder.absolute()
    paths = _written(grafana_files(prometheus_url=prometheus_url, folder=folder), folder, force)
    _report(
        context,
        folder,
        paths,
        f"Start Grafana with GF_PATHS_PROVISIONING={folder / 'provisioning'}, or import the files"
        f" of {folder / 'dashboards'} by hand.",
    )


def prometheus(
    context: Context,
    *,
    folder: Folder,
    force: Force = False,
    api: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="API target (default: from `moco up`).")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="State exporter target (default: from `moco up`)."),
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="Worker target; repeatable (default: from `moco up`)."
        ),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Path of the scrape key, as seen by Prometheus.")
    ] = None,
) -> None:
    """Write a scrape config, recording rules, alerts and a runbook."""
    from service.observability.bundle import Targets, prometheus_files

    folder = folder.absolute()
    server = read_server(context.data_dir)
    if not server and not (api and state and worker):
        context.say(
            "`moco up` does not run here, so what is not given is where it usually listens. Run "
            "this again with --force while it runs: its ports may be others."
        )
    addresses = _of_up(server)
    targets = Targets(
        api=(api or addresses["api"],),
        workers=tuple(worker or addresses["workers"]),
        state=state or addresses["state"],
        key_file=(key_file or context.data_dir / "scrape.key").absolute(),
    )
    _check(targets)
    paths = _written(prometheus_files(targets, folder=folder), folder, force)
    if not targets.key_file.exists():
        context.say(f"No key at {targets.key_file}. Copy scrape.key from the data folder there.")
    _report(
        context,
        folder,
        paths,
        f"Start it with: prometheus --config.file={folder / 'prometheus.yml'}",
    )


command(app, "grafana")(grafana)
command(app, "prometheus")(prometheus)


def _of_up(server: dict[str, object]) -> dict[str, Any]:
    """Return the metrics addresses of the running `moco up`, or the default ones."""
    metrics = server.get("metrics")
    urls = metrics if isinstance(metrics, dict) else {}
    addresses = {name: urlsplit(url).netloc for name, url in urls.items()}
    workers = [address for name, address in addresses.items() if name.startswith("worker")]
    return {
        "api": addresses.get("api", "127.0.0.1:8080"),
        "state": addresses.get("state", "127.0.0.1:9102"),
        "workers": workers or ["127.0.0.1:9103", "127.0.0.1:9104"],
    }


def _check(targets: "Targets") -> None:
    """Raise CommandError for an invalid address."""
    for address in (*targets.api, *targets.workers, targets.state):
        host, _, port = address.rpartition(":")
        if not host or "/" in address or not port.isdigit() or int(port) > 65_535:
            raise CommandError(
                f"Invalid target address {address}",
                hint="Use HOST:PORT without http://, as in 127.0.0.1:9103.",
            )


def _written(texts: dict[str, str], folder: Path, force: bool) -> list[Path]:
    """Write all files or none; return the paths in order."""
    from service.cli.atomic_downloads import write_all

    taken = [folder / name for name in texts if (folder / name).exists()]
    if taken and not force:
        raise CommandError(
            f"{taken[0]} already exists",
            detail=f"{len(taken)} of {len(texts)} files do. Nothing was written.",
            hint="Choose another folder, or overwrite them with --force.",
        )
    return write_all(folder, {name: text.encode() for name, text in texts.items()})


def _report(context: Context, folder: Path, paths: list[Path], next_step: str) -> None:
    if context.json:
        context.emit({"object": "list", "folder": str(folder), "data": [str(p) for p in paths]})
        return
    for path in paths:
        context.data(str(path))
    context.say(next_step)
