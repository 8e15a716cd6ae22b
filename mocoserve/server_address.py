"""Lookup of the server and its key: settings first, then the local data folder."""

import json
from pathlib import Path
from typing import NamedTuple

from mocoserve.user_config import Config, ConfigError, SettingValue, load, user_file


class NoServer(ConfigError):
    """No server is configured."""


class NoKey(ConfigError):
    """No key for the server is known."""


class Address(NamedTuple):
    """Address and key of a server."""

    url: str
    key: str


class Located(NamedTuple):
    """Address and key with their origins; None where unknown."""

    url: SettingValue
    key: SettingValue


def find(
    url: str | None, key: str | None, data_dir: Path | None, *, config: Config | None = None
) -> Address:
    """Return the server to use. `url`, `key` and `data_dir` are flags.

    Raises:
        NoServer: no server is named anywhere.
        NoKey: there is none that may be sent to it.
        BadConfig: a file or a variable cannot be understood.
    """
    config = config or load()
    folder = data_dir or config.data_dir
    located = locate(config, url=url, key=key, data_dir=folder)
    if located.url.value is None:
        raise NoServer(
            "No server configured",
            detail=f"Looked at {folder / 'server.json'}, --url and MOCO_URL.",
            hint="Start one with `moco up` in another shell.",
        )
    if located.key.value is None:
        raise _no_key(config, located.url, folder)
    return Address(str(located.url.value), str(located.key.value))


def locate(config: Config, *, url: str | None, key: str | None, data_dir: Path) -> Located:
    """Return what `find` returns, but raise nothing for a missing address or key.

    Whoever can put a `moco.toml` into a folder could name a server of theirs in it. So a server
    that only that file names gets no key but one that was given for it: on the command line, in
    the environment, in the same file, under [keys] of the user's file, or by the data folder
    whose server it is.
    """
    server = read_server(data_dir).get("url")
    address = config.find("url", flag=url)
    if address.value is None and isinstance(server, str):
        address = SettingValue(server, str(data_dir / "server.json"))
    given = config.find("api_key", flag=key)
    foreign = _is_of_project(config, address, data_dir)
    if given.value is not None and not (foreign and given.origin == str(config.user.path)):
        return Located(address, given)
    if (named := config.user.keys.get(str(address.value).rstrip("/"))) is not None:
        return Located(address, SettingValue(named, f"{config.user.path}, [keys]"))
    own = _key_in(data_dir) if not foreign or address.value == server else None
    return Located(address, SettingValue(own, str(data_dir / "api.key") if own else "default"))


def _is_of_project(config: Config, url: SettingValue, data_dir: Path) -> bool:
    """Return whether only the project's file leads to this server, by URL or by data folder."""
    path = str(config.project.path)
    folder = config.find("data_dir")
    led = folder.origin == path and folder.value == data_dir
    return url.origin == path or (led and url.origin == str(data_dir / "server.json"))


def read_server(data_dir: Path) -> dict[str, object]:
    """Return the content of `server.json`, or nothing if no server runs on this folder."""
    try:
        content = json.loads((data_dir / "server.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _key_in(data_dir: Path) -> str | None:
    try:
        return (data_dir / "api.key").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _no_key(config: Config, url: SettingValue, data_dir: Path) -> NoKey:
    path = data_dir / "api.key"
    detail = f"{path} does not exist, and neither --key nor MOCO_API_KEY is set."
    if url.origin == str(config.project.path):
        return NoKey(
            "No key for the server in this folder's moco.toml",
            detail=f"{url.origin} names {url.value}; keys of other servers are not sent to it.",
            hint=f'Write "{url.value}" = "KEY" under [keys] in {user_file()}, or set MOCO_API_KEY.',
        )
    if path.exists():
        detail = f"{path} cannot be read, and neither --key nor MOCO_API_KEY is set."
    return NoKey(
        "No API key",
        detail=detail,
        hint="Set MOCO_API_KEY to the key from the server's owner.",
    )
