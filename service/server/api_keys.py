"""API keys and their roles. Loads no web framework."""

import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from trainer.util.atomic_files import sync_folder

if TYPE_CHECKING:
    from service.settings import KeySettings

Role = Literal["full", "read", "scrape"]
"""`read` may look at everything and change nothing; `scrape` may only ask how the service is."""
KEY_FILE = "api.key"
READ_KEY_FILE = "read.key"
"""File of the key that may read but not change."""
SCRAPE_KEY_FILE = "scrape.key"
"""File of the key that Prometheus uses."""
SETTING_OF = {
    KEY_FILE: "MOCO_API_KEY",
    READ_KEY_FILE: "MOCO_READ_KEY",
    SCRAPE_KEY_FILE: "MOCO_SCRAPE_KEY",
}
SCRAPED = frozenset({"/metrics", "/livez", "/readyz"})
"""Paths that the scrape key opens."""
KEY_PREFIX = "moco_"
KEY_LETTERS_MIN = 16


class WeakKey(Exception):
    """A key that could be guessed."""


class Keys(NamedTuple):
    """Key of each role."""

    full: str
    read: str | None = None
    scrape: str | None = None

    def role_of(self, key: bytes) -> Role | None:
        """Return the role that `key` has. Every wrong key takes the same time."""
        role: Role | None = None
        for name in reversed(get_args(Role)):
            own_key = getattr(self, name)
            if own_key is not None and hmac.compare_digest(_digest(key), _digest(own_key.encode())):
                role = name
        return role

    def role_of_headers(self, values: list[bytes]) -> Role | None:
        """Return the role of the one Authorization header; several of them have none."""
        if len(values) != 1:
            return None
        scheme, _, key = values[0].partition(b" ")
        return self.role_of(key.strip()) if scheme.lower() == b"bearer" else None


def load_keys(settings: "KeySettings") -> Keys:
    """Read every key, making those that are missing. Raises WeakKey, OSError."""
    given = (settings.api_key, settings.read_key, settings.scrape_key)
    files = (KEY_FILE, READ_KEY_FILE, SCRAPE_KEY_FILE)
    return Keys(
        *(
            load_or_make(
                settings.data_dir, None if key is None else key.get_secret_value(), file=file
            )
            for key, file in zip(given, files, strict=True)
        )
    )


def load_or_make(data_dir: Path, given: str | None, *, file: str = KEY_FILE) -> str:
    """Return `given`, else the key in `file` of the data folder, made first if there is none.

    Raises WeakKey when the key has fewer than 16 characters or ones that a header cannot carry.
    """
    key = given if given is not None else _read_or_make(data_dir / file)
    if len(key) < KEY_LETTERS_MIN or not key.isascii() or not key.isprintable() or " " in key:
        where = SETTING_OF[file] if given is not None else str(data_dir / file)
        raise WeakKey(
            f"The key in {where} must have {KEY_LETTERS_MIN} or more printable ASCII characters, "
            "without spaces. Remove it to have a new one made."
        )
    return key


def _read_or_make(path: Path) -> str:
    with suppress(FileNotFoundError):
        return _read(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make(path)
    return _read(path)


def _read(path: Path) -> str:
    """Return the key in a file, after closing the file to other users."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and status.st_uid == os.getuid():
            os.fchmod(file.fileno(), 0o600)
        return file.read(4096).strip()


def _make(path: Path) -> None:
    """Write a new key whole or not at all. Of several processes the first one's key stays."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(KEY_PREFIX + secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _digest(key: bytes) -> bytes:
    """Return the same length for every key, so that comparing tells nothing about it."""
    return hashlib.sha256(key).digest()
