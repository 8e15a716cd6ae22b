"""The options of an ingest as flags of `moco dataset add`."""

import inspect
from typing import Annotated, Any

import typer

LIMIT = "Limits"
FLAGS: dict[str, Any] = {
    "range": Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="auto|full|LOW:HIGH",
            help="Source values that become black and white, for 16-bit and other deep images.",
        ),
    ],
    "channels": Annotated[
        str | None, typer.Option("--channels", metavar="auto|1..16", help="Channels of a row.")
    ],
    "alpha": Annotated[
        str | None, typer.Option("--alpha", help="white lays see-through pixels on white; or drop.")
    ],
    "side_px_max": Annotated[
        int | None,
        typer.Option("--side-px-max", help="Shrink images whose shorter side is longer (256)."),
    ],
    "shrink_filter": Annotated[
        str | None,
        typer.Option("--shrink-filter", help="lanczos (the default) or bilinear shrinks them."),
    ],
    "pages": Annotated[
        str | None,
        typer.Option("--pages", help="Of a file with pages: only the first, or all as rows."),
    ],
    "follow_links": Annotated[
        bool | None,
        typer.Option("--follow-links/--no-follow-links", help="Read what links lead to."),
    ],
    "keep_truncated": Annotated[
        bool | None,
        typer.Option(
            "--keep-truncated/--refuse-truncated",
            help="Keep images that are cut off, the missing part grey; or leave them out.",
        ),
    ],
    "masks": Annotated[
        str | None, typer.Option("--masks", metavar="FOLDER", help="Folder of masks, never rows.")
    ],
    "pixels_max": Annotated[
        int | None,
        typer.Option("--pixels-max", help="Pixels of one image.", rich_help_panel=LIMIT),
    ],
    "file_bytes_max": Annotated[
        int | None,
        typer.Option("--file-bytes-max", help="Bytes of one file.", rich_help_panel=LIMIT),
    ],
    "total_bytes_max": Annotated[
        int | None,
        typer.Option("--total-bytes-max", help="Bytes unpacked.", rich_help_panel=LIMIT),
    ],
    "entries_max": Annotated[
        int | None, typer.Option("--entries-max", help="Files.", rich_help_panel=LIMIT)
    ],
    "ratio_max": Annotated[
        int | None,
        typer.Option(
            "--ratio-max", help="Unpacked bytes for each packed one.", rich_help_panel=LIMIT
        ),
    ],
    "seconds_max": Annotated[
        int | None,
        typer.Option("--seconds-max", help="Seconds of the ingest.", rich_help_panel=LIMIT),
    ],
}
"""Field of the record of options -> its flag. A test compares them with the record."""

PARAMETERS = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)
    for name, kind in FLAGS.items()
)


def chosen(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as the API takes them."""
    options = {name: value for name, value in flags.items() if value is not None}
    if str(options.get("channels", "")).isdigit():
        options["channels"] = int(options["channels"])
    return options
