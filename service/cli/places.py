"""Where the server and its key are found: flag, then environment, then the data folder."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from service.cli.exits import CommandError, Exit


class Address(NamedTuple):
    """A server, and the key to it."""

    url: str
    key: str


def default_data_dir() -> Path:
    """`MOCO_DATA_DIR`, or `${XDG_DATA_HOME:-~/.local/share}/mocoserve`.

    The same folder as the store's settings say; those take half a second to load.
    """
    if named := os.environ.get("MOCO_DATA_DIR"):
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "mocoserve"


def find(url: str | None, key: str | None, data_dir: Path) -> Address:
    """The server to talk to; `url` and `key` come from flags or environment.

    Raises:
        CommandError: no server is named anywhere, or there is no key to it.
    """
    return Address(url or _url_in(data_dir), key or _key_in(data_dir))


def read_server(data_dir: Path) -> dict[str, object]:
    """What `server.json` says, or nothing if no server runs on this folder."""
    try:
        known = json.loads((data_dir / "server.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _url_in(data_dir: Path) -> str:
    url = read_server(data_dir).get("url")
    if isinstance(url, str):
        return url
    raise CommandError(
        "No server is running here",
        detail=f"{data_dir / 'server.json'} names none, and neither do --url and MOCO_URL.",
        hint="Start one with `moco up`, in another shell.",
        code=Exit.UNREACHABLE,
    )


def _key_in(data_dir: Path) -> str:
    path = data_dir / "api.key"
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError as error:
        detail = f"{path} does not exist, and neither --key nor MOCO_API_KEY is given."
        raise _no_key(detail) from error
    except OSError as error:
        raise _no_key(f"{path} cannot be read: {error.strerror}.") from error


def _no_key(detail: str) -> CommandError:
    return CommandError(
        "There is no key to the server",
        detail=detail,
        hint="Put the key that the server's owner gave you into MOCO_API_KEY.",
        code=Exit.AUTH,
    )
