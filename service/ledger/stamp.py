"""The version stamp of a data folder: who may open it.

`version.json` says which layout the folder has. A folder without it is from before there were
stamps, and has layout 1. A layout that is newer than ours is refused before anything is opened;
an older one is opened and gets the new stamp. Unknown fields of the stamp are kept.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.store.store_errors import Misconfigured
from trainer.util.atomic_files import replace_file

FILE = "version.json"
LAYOUT = 2
"""2: datasets can be deleted and replaced, and packs have columns. An older mocoserve would bring
deleted datasets back."""


def check_layout(data_dir: Path) -> None:
    """Return if this version can work with the folder.

    Raises:
        Misconfigured: its layout is newer, or the stamp cannot be read.
    """
    stamp = _read(data_dir)
    if stamp.get("layout", 1) > LAYOUT:
        raise Misconfigured(
            f"The data folder {data_dir} has layout {stamp['layout']}, written by mocoserve "
            f"{stamp.get('written_by', 'of a newer version')}; this is mocoserve "
            f"{version('mocoserve')}, which knows layouts up to {LAYOUT}. Start the newer "
            "mocoserve, or name another data folder (MOCO_DATA_DIR or --data-dir)."
        )


def stamp_layout(data_dir: Path) -> None:
    """Give a new or an older folder our layout. Raises Misconfigured as `check_layout`, OSError."""
    check_layout(data_dir)
    stamp = _read(data_dir)
    if stamp.get("layout") != LAYOUT:
        ours = {"layout": LAYOUT, "written_by": version("mocoserve")}
        replace_file(data_dir / FILE, json.dumps(stamp | ours, indent=1).encode() + b"\n")


def _read(data_dir: Path) -> dict[str, Any]:
    """Return the stamp; empty if there is none."""
    path = data_dir / FILE
    try:
        stamp = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        stamp = None
    if not isinstance(stamp, dict) or type(stamp.get("layout")) is not int:
        raise Misconfigured(
            f"{path} does not say which layout the data folder has. Restore the file from a "
            "backup; if no newer mocoserve has used the folder, remove the file."
        )
    return stamp
