"""Options that several commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import completion
from service.cli.exit_codes import CommandError, Exit

if TYPE_CHECKING:
    from mocoserve.client import Client

JobId = Annotated[
    str,
    typer.Argument(help="Job id.", show_default=False, autocompletion=completion.jobs),
]
AnyJobId = Annotated[
    str | None,
    typer.Argument(
        help="Job id (default: the newest job).",
        show_default=False,
        autocompletion=completion.jobs,
    ),
]
DatasetRef = Annotated[
    str,
    typer.Argument(
        help="Dataset id or name.", show_default=False, autocompletion=completion.datasets
    ),
]
TimeoutS = Annotated[
    float | None, typer.Option("--timeout", min=0.0, help="Maximum seconds to wait.")
]


def job_id(client: "Client", given: str | None) -> str:
    """Return `given`, or the id of the newest job. Raises CommandError if there is none."""
    if given:
        return given
    newest, _ = client.jobs.list(limit=1)
    if not newest:
        raise CommandError(
            "No jobs yet", hint="Submit one: `moco submit -d NAME`.", code=Exit.NOT_FOUND
        )
    return newest[0].id
