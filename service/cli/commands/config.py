"""`moco config list | path`: settings in effect and their sources."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mocoserve.server_address import locate
from mocoserve.user_config import (
    PROJECT_FILE,
    SETTINGS,
    Config,
    Setting,
    SettingValue,
    load,
    user_file,
)
from service.cli.context import Context, guarded
from service.cli.exit_codes import Exit

app = typer.Typer(
    help="Show settings and their sources.", no_args_is_help=True, rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_MASK_KEPT = 4


@app.command("list")
def list_settings(
    *,
    # Without the environment variables of other commands, to tell a flag from a variable.
    url: Annotated[
        str | None, typer.Option("--url", help="Show the result as if this flag were given.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Show the result as if this flag were given.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Show the result as if this flag were given.")
    ] = None,
    json: Json = False,
) -> None:
    """List effective settings and their sources.

    Precedence: flag, environment, ./moco.toml, user file, default. Secrets are masked.
    """

    def work() -> Exit:
        config = load()
        folder = data_dir or config.data_dir
        context = Context(url=url, key=key, data_dir=folder, json=json, config=config)
        flags = {"url": url, "api_key": key, "data_dir": data_dir}
        _show(
            context,
            [_row(setting, _resolved(config, setting, folder, flags)) for setting in SETTINGS],
        )
        return Exit.OK

    raise typer.Exit(guarded(work, as_json=json))


@app.command("path")
def path(*, json: Json = False) -> None:
    """Print the config files, highest precedence first."""

    def work() -> Exit:
        context = Context(url=None, key=None, data_dir=Path(), json=json)
        files = [Path.cwd() / PROJECT_FILE, user_file()]
        if context.json:
            data = [{"path": str(file), "exists": file.exists()} for file in files]
            context.emit({"object": "list", "data": data})
            return Exit.OK
        for file in files:
            context.data(str(file) if file.exists() else f"{file} (not found)")
        return Exit.OK

    raise typer.Exit(guarded(work, as_json=json))


def _resolved(
    config: Config, setting: Setting, data_dir: Path, flags: dict[str, Any]
) -> SettingValue:
    located = locate(config, url=flags["url"], key=flags["api_key"], data_dir=data_dir)
    if setting.name == "url":
        return located.url
    if setting.name == "api_key":
        return located.key
    return config.find(setting.name, flag=flags.get(setting.name))


def _row(setting: Setting, resolved: SettingValue) -> dict[str, Any]:
    value = resolved.value
    if setting.secret and value is not None:
        value = masked(str(value))
    elif isinstance(value, Path):
        value = str(value)
    return {"name": setting.name, "value": value, "origin": resolved.origin, "help": setting.help}


def masked(secret: str) -> str:
    """Return enough of a secret to recognize it, and no more."""
    kept = secret[-_MASK_KEPT:] if len(secret) >= 4 * _MASK_KEPT else ""
    return f"****{kept}"


def _show(context: Context, rows: list[dict[str, Any]]) -> None:
    if context.json:
        context.emit({"object": "list", "data": rows})
        return
    from service.cli.render.terminal_tables import print_table

    print_table(
        ("NAME", "VALUE", "ORIGIN", "MEANING"),
        ((row["name"], row["value"], row["origin"], row["help"]) for row in rows),
    )
