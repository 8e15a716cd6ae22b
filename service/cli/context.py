"""Context of every command: the server to talk to, and where output goes.

Data goes to stdout, talk to stderr. `command` gives a function the options of the connection
and turns whatever it raises into a message and an exit code, never a trace.
"""

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from mocoserve.plain_text import escaped, escaped_json
from mocoserve.server_address import Address, find
from mocoserve.user_config import NOTHING, Config, load
from service.cli.exit_codes import Exit

if TYPE_CHECKING:
    from mocoserve.client import Client

P = ParamSpec("P")

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="MOCO_URL", help="Server URL (default: the local `moco up`)."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="MOCO_API_KEY",
        show_envvar=True,
        help="API key (default: from the data folder).",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data folder of the local server.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, kw_only=True)
class Context:
    """Options that all commands share."""

    url: str | None
    key: str | None
    data_dir: Path
    json: bool
    config: Config = NOTHING

    def address(self) -> Address:
        """Return the server and its key. Raises ConfigError if one is missing."""
        return find(self.url or None, self.key or None, self.data_dir, config=self.config)

    def client(self) -> "Client":
        """Return a client of the server, to be closed by the caller."""
        from mocoserve.client import Client  # half a second that `--help` need not wait

        address = self.address()
        return Client(address.url, address.key)

    def emit(self, value: Mapping[str, Any]) -> None:
        """Print one indented JSON object to stdout."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        print(escaped_json(text), flush=True)

    def emit_line(self, value: Mapping[str, Any]) -> None:
        """Print one JSON object of a stream to stdout, on one line."""
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        print(escaped_json(text), flush=True)

    def data(self, text: str) -> None:
        """Print a result to stdout; control characters are escaped."""
        print(escaped(text, keep="\n\t"), flush=True)

    def say(self, text: str) -> None:
        """Print a message to stderr; control characters are escaped."""
        print(escaped(text, keep="\n\t"), file=sys.stderr, flush=True)


def command(
    app: typer.Typer, name: str, *, more: Sequence[inspect.Parameter] = ()
) -> Callable[[Callable[Concatenate[Context, P], Exit | None]], None]:
    """Register a function as a command of `app`; its first parameter is the Context.

    `more` are the flags that the function takes as `**flags`.
    """

    def register(body: Callable[Concatenate[Context, P], Exit | None]) -> None:
        app.command(name)(_with_context(body, more))

    return register


def guarded(work: Callable[[], Exit | None], *, as_json: bool) -> int:
    """Run `work`; turn any exception into a message on stderr and an exit code."""
    try:
        return int(work() or Exit.OK)
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        return Exit.DETACHED
    except BrokenPipeError:
        sys.stdout = None  # the reader left; flushing would fail too
        return Exit.OK
    except Exception as error:
        from service.cli.render.error_report import report  # late: `--help` needs none of it

        return report(error, as_json=as_json)


def _with_context(
    body: Callable[Concatenate[Context, P], Exit | None], more: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    def run(*, url: Url, key: Key, data_dir: DataDir, json: Json, **rest: object) -> None:
        def work() -> Exit | None:
            config = load()
            folder = data_dir or config.data_dir
            context = Context(url=url, key=key, data_dir=folder, json=json, config=config)
            return body(context, **rest)  # type: ignore[call-arg, arg-type]

        raise typer.Exit(guarded(work, as_json=json))

    own = list(inspect.signature(body).parameters.values())[1:]
    own = [*(p for p in own if p.kind is not p.VAR_KEYWORD), *more]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, kind, default in (
            ("url", Url, None),
            ("key", Key, None),
            ("data_dir", DataDir, None),
            ("json", Json, False),
        )
    ]
    signature = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in own] + shared)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    run.__doc__ = body.__doc__
    return run
