"""Options of an ingest as flags of `moco dataset add`."""

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
            help="Source values mapped to black and white, for images of more than 8 bits.",
        ),
    ],
    "channels": Annotated[
        str | None,
        typer.Option("--channels", metavar="auto|1..16", help="Channels per stored image."),
    ],
    "alpha": Annotated[
        str | None,
        typer.Option(
            "--alpha",
            help="Transparency: white (blend onto white) or drop (discard the alpha channel).",
        ),
    ],
    "side_px_max": Annotated[
        int | None,
        typer.Option(
            "--side-px-max", help="Downscale images whose shorter side exceeds this (default: 256)."
        ),
    ],
    "shrink_filter": Annotated[
        str | None,
        typer.Option("--shrink-filter", help="Downscaling filter: lanczos (default) or bilinear."),
    ],
    "pages": Annotated[
        str | None,
        typer.Option("--pages", help="Multi-page files: first page only, or all pages as images."),
    ],
    "follow_links": Annotated[
        bool | None,
        typer.Option("--follow-links/--no-follow-links", help="Follow symbolic links."),
    ],
    "keep_truncated": Annotated[
        bool | None,
        typer.Option(
            "--keep-truncated/--refuse-truncated",
            help="Keep truncated images (missing part gray), or reject them.",
        ),
    ],
    "masks": Annotated[
        str | None,
        typer.Option(
            "--masks",
            metavar="FOLDER",
            help="Folder of masks; these files are not training images.",
        ),
    ],
    "pixels_max": Annotated[
        int | None,
        typer.Option("--pixels-max", help="Limit: pixels per image.", rich_help_panel=LIMIT),
    ],
    "file_bytes_max": Annotated[
        int | None,
        typer.Option("--file-bytes-max", help="Limit: bytes per file.", rich_help_panel=LIMIT),
    ],
    "total_bytes_max": Annotated[
        int | None,
        typer.Option(
            "--total-bytes-max", help="Limit: total unpacked bytes.", rich_help_panel=LIMIT
        ),
    ],
    "entries_max": Annotated[
        int | None,
        typer.Option("--entries-max", help="Limit: number of files.", rich_help_panel=LIMIT),
    ],
    "ratio_max": Annotated[
        int | None,
        typer.Option(
            "--ratio-max",
            help="Limit: compression ratio (unpacked / packed bytes).",
            rich_help_panel=LIMIT,
        ),
    ],
    "seconds_max": Annotated[
        int | None,
        typer.Option("--seconds-max", help="Limit: ingest time in seconds.", rich_help_panel=LIMIT),
    ],
}
"""Field of `IngestOptions` -> its flag. A test compares the two."""

PARAMETERS = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=None)
    for name, kind in FLAGS.items()
)


def chosen(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, in the form of the API."""
    options = {name: value for name, value in flags.items() if value is not None}
    if str(options.get("channels", "")).isdigit():
        options["channels"] = int(options["channels"])
    return options
