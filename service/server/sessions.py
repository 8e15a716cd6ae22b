"""Sessions: the cookie that stands for a key in a browser.

The cookie holds no key. It is a role, an end and a number, signed with a secret made from that
role's key: it survives a restart, works on every replica, and ends when its time is over, when the
key is changed, or when its holder signs out, which leaves a mark in the data folder.
"""

import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from service.server.api_keys import Keys, Role
from trainer.util.atomic_files import make_folder, sync_folder

COOKIE = "moco_session"
SECURE_PREFIX = "__Host-"
"""Browsers take a cookie of such a name only over TLS, for this host alone (RFC 6265bis)."""
SIGNED_OUT = "signed_out"
"""Folder of the data folder with one empty file for each session that was ended early."""
LIFE_S = 7 * 24 * 3600
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
_FORM = re.compile(r"(full|read)\.([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class Session(NamedTuple):
    """Content of a session cookie that this service has signed."""

    role: Role
    ends_s: int
    nonce: str

    @property
    def name(self) -> str:
        """Name of the file that marks the session as ended."""
        return f"{self.ends_s}.{self.nonce}"


class Sessions:
    """Makes cookies, reads them back, and ends them."""

    def __init__(
        self,
        keys: Keys,
        *,
        data_dir: Path,
        store_id: str | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Make a cookie name from `store_id`, so that it differs from a service on another port."""
        self.keys, self._folder, self._now_s = keys, data_dir / SIGNED_OUT, now_s
        self._cookie = f"{COOKIE}_{store_id}" if store_id else COOKIE

    def cookie(self, role: Role, *, secure: bool) -> str:
        """Return the Set-Cookie header of a new session."""
        head = f"{role}.{int(self._now_s()) + LIFE_S}.{secrets.token_hex(16)}"
        value = f"{head}.{self._seal(role, head)}"
        return _set_cookie(self._name(secure=secure), value, secure=secure, life_s=LIFE_S)

    def forgetting(self) -> list[str]:
        """Return the Set-Cookie headers that remove the cookie, over TLS or not."""
        return [
            _set_cookie(self._name(secure=secure), "", secure=secure, life_s=0)
            for secure in (True, False)
        ]

    def role_of(self, cookie_header: str) -> Role | None:
        """Return what the cookies of a request allow; None without a session that is still good."""
        for session in self._good(cookie_header):
            return session.role
        return None

    def end(self, cookie_header: str) -> None:
        """End every session that the cookies hold, for good. Raises OSError."""
        ended = list(self._good(cookie_header))
        if not ended:
            return
        make_folder(self._folder)
        for session in ended:
            (self._folder / session.name).touch(mode=0o600)
        for path in self._folder.iterdir():
            ends = path.name.partition(".")[0]
            if ends.isdecimal() and int(ends) < self._now_s():
                path.unlink(missing_ok=True)
        sync_folder(self._folder)

    def _good(self, cookie_header: str) -> Iterator[Session]:
        """Yield the sessions in a Cookie header that are signed, not over and not ended."""
        names = {self._name(secure=True), self._name(secure=False)}
        for pair in cookie_header.split(";"):
            name, _, value = pair.strip().partition("=")
            session = self._read(value.strip('"')) if name in names else None
            if session is not None and not self._is_ended(session):
                yield session

    def _read(self, value: str) -> Session | None:
        match = _FORM.fullmatch(value)
        if match is None or int(match[2]) < self._now_s():
            return None
        role: Role = "full" if match[1] == "full" else "read"
        signed = hmac.compare_digest(self._seal(role, value.rpartition(".")[0]), match[4])
        has_key = getattr(self.keys, role) is not None
        return Session(role, int(match[2]), match[3]) if has_key and signed else None

    def _is_ended(self, session: Session) -> bool:
        """Return whether its holder signed out; a disk that cannot tell ends it."""
        try:
            os.stat(self._folder / session.name)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def _name(self, *, secure: bool) -> str:
        return SECURE_PREFIX + self._cookie if secure else self._cookie

    def _seal(self, role: Role, head: str) -> str:
        key = getattr(self.keys, role) or ""
        secret = hmac.digest(key.encode(), b"mocoserve session 1", "sha256")
        return hmac.new(secret, head.encode(), "sha256").hexdigest()


def _set_cookie(name: str, value: str, *, secure: bool, life_s: int) -> str:
    """Return a cookie out of reach of scripts that is never sent on behalf of another site."""
    text = f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict"
    return text + "; Secure" if secure else text


def same_origin(headers: dict[bytes, bytes]) -> bool:
    """Return whether the browser says that the request comes from a page of this service.

    One of two headers must say so; a script of another site can set neither.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin, host = headers.get(b"origin"), headers.get(b"host")
    if origin is None or host is None:
        return False
    try:
        netloc = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:  # such as `http://[`
        return False
    return netloc.lower() == host.decode("latin-1").lower()


def sign_in_path(path: str, query: str, *, root_path: str = "") -> str:
    """Return where to sign in, and to come back to `path` afterwards."""
    wanted = path + (f"?{query}" if query else "")
    where = root_path + SIGN_IN
    return where if wanted == f"{root_path}/" else f"{where}?next={quote(wanted, safe='')}"


def local_path(wanted: str, *, root_path: str = "") -> str:
    """Return `wanted` if it is a path of this service, else its home."""
    is_local = re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", wanted) is not None
    home = f"{root_path}/"
    return wanted if is_local and wanted.startswith(home) else home
