"""`docs/cli.md`: every command, its arguments and its options, as the program itself has them."""

from collections.abc import Iterator
from typing import Any

import typer

from mocoserve.user_config import PROJECT_FILE, SETTINGS
from service.cli.exit_codes import Exit
from service.cli.main import app

EXITS = {
    Exit.OK: "done; of `watch` and `wait`: the job succeeded",
    Exit.ERROR: "something failed; the message says what, and what to do next",
    Exit.USAGE: "the command line, a spec file or a setting is wrong",
    Exit.AUTH: "the key is missing or wrong",
    Exit.UNREACHABLE: "no server answers, or it cannot reach its store",
    Exit.FAILED: "the job, or the dataset, failed",
    Exit.UNFINISHED: "the job is not over: paused, or the time to wait is up",
    Exit.NOT_FOUND: "there is no such job, dataset, worker or file",
    Exit.CANCELLED: "the job was cancelled",
    Exit.DETACHED: "Ctrl-C; a job that was watched goes on",
}
SHARED = ("--url", "--key", "--data-dir", "--json", "--help")


def cli_page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    lines = [
        "# Commands\n",
        "Written by `make docs` from the commands themselves. Data goes to stdout, talk to stderr,",
        "so every command can be piped; `--json` answers for programs, streams one object a line.",
        "`moco --install-completion` teaches your shell to complete commands, and jobs, datasets",
        "and files from the server.\n",
        "Commands that ask the server also take `--url`, `--key` and `--data-dir` (see",
        "[Settings](#settings)) and `--json`. `-h` explains each.\n",
    ]
    for path, command in _commands(root, "moco"):
        lines += _section(path, command)
    return "\n".join([*lines, *_settings(), *_exits()]) + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    for name, command in group.commands.items():
        inner = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, inner)
        else:
            yield inner, command


def _section(path: str, command: Any) -> list[str]:  # noqa: ANN401
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    asks = any("--url" in one.opts for one in options)
    shared = SHARED if asks and path != "moco config list" else ("--json", "--help")
    options = [one for one in options if one.opts[0] not in shared]
    words = " ".join(f"[{_shown(one)}]" if not one.required else _shown(one) for one in arguments)
    lines = [f"## `{f'{path} {words}'.strip()}`\n", f"{_paragraphs(command.help or '')}\n"]
    if arguments or options:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{_shown(one)}` | {_cell(one.help or '')} |" for one in arguments]
        lines += [f"| {_flags(one, command)} | {_cell(_help(one))} |" for one in options]
        lines.append("")
    return lines


def _shown(argument: Any) -> str:  # noqa: ANN401
    name = (argument.metavar or argument.name).upper().strip("[]")
    return f"{name}..." if argument.nargs == -1 else name


def _flags(option: Any, command: Any) -> str:  # noqa: ANN401
    return f"`{option.get_help_record(typer.Context(command))[0]}`"


def _help(option: Any) -> str:  # noqa: ANN401
    text = option.help or ""
    given = option.show_default if isinstance(option.show_default, str) else option.default
    if not option.is_flag and given not in (None, [], ()) and not callable(given):
        text += f" Default: {given}."
    if isinstance(option.envvar, str):
        text += f" Or `{option.envvar}`."
    if option.required:
        text += " Required."
    return text.strip()


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _settings() -> list[str]:
    lines = [
        "## Settings\n",
        f"A flag counts more than the environment, that more than `./{PROJECT_FILE}`, that more",
        "than your own `~/.config/mocoserve/config.toml`, and that more than the default.",
        "`moco config list` shows every value and where it comes from, `moco config path` the",
        "files. A key or a type that no setting has is an error that names file and line.\n",
        "| setting | variable | flag | default | what it is |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.name}` | `{one.env}` | `{one.flag}` | {one.default or ''} | {one.help} |"
        for one in SETTINGS
    ]
    return [
        *lines,
        "",
        "Keys belong into your own file: `api_key`, or one for each server under `[keys]`. A",
        f"server that only `./{PROJECT_FILE}` names gets no other key than one of these under its",
        "own address, the environment's, or a flag's: a folder from elsewhere could name a",
        "stranger's server.\n",
    ]


def _exits() -> list[str]:
    rows = [f"| {int(code)} | {EXITS[code]} |" for code in Exit]
    return ["## Exit codes\n", "| code | meaning |", "|---|---|", *rows]
