"""Who is asking: the roles of the keys, and the cookie that stands for a key in a browser.

The cookie holds no key and the service remembers no cookie. It is a role, an end and a number,
signed with a secret made from that role's key: it survives a restart, works on every replica, and
ends when its time is over or the key is changed.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Literal, NamedTuple, get_args
from urllib.parse import quote, urlsplit

Role = Literal["full", "read"]
"""`read` may look at everything and change nothing."""
COOKIE = "moco_session"
LIFE_S = 7 * 24 * 3600
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
_FORM = re.compile(r"(full|read)\.([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class Keys(NamedTuple):
    """The key of each role."""

    full: str
    read: str | None = None

    def role_of(self, key: bytes) -> Role | None:
        """Whose key this is. Takes the same time for every wrong key."""
        found: Role | None = None
        for role in reversed(get_args(Role)):
            known = getattr(self, role)
            if known is not None and hmac.compare_digest(_digest(key), _digest(known.encode())):
                found = role
        return found


class Sessions:
    """Makes cookies and reads them back."""

    def __init__(self, keys: Keys, *, now_s: Callable[[], float] = time.time) -> None:
        self.keys, self._now_s = keys, now_s

    def issue(self, role: Role) -> str:
        """The value of a new cookie."""
        head = f"{role}.{int(self._now_s()) + LIFE_S}.{secrets.token_hex(16)}"
        return f"{head}.{self._seal(role, head)}"

    def role_of(self, cookie_header: str) -> Role | None:
        """What the cookies of a request allow; None without a session that is still good."""
        try:
            jar = SimpleCookie(cookie_header)
        except CookieError:
            return None
        found = _FORM.fullmatch(jar[COOKIE].value if COOKIE in jar else "")
        if found is None or int(found[2]) < self._now_s():
            return None
        role: Role = "full" if found[1] == "full" else "read"
        head = found[0].rpartition(".")[0]
        known = getattr(self.keys, role) is not None
        return role if known and hmac.compare_digest(self._seal(role, head), found[4]) else None

    def _seal(self, role: Role, head: str) -> str:
        key = getattr(self.keys, role) or ""
        secret = hmac.digest(key.encode(), b"mocoserve session 1", "sha256")
        return hmac.new(secret, head.encode(), "sha256").hexdigest()


def set_cookie(value: str, *, secure: bool, life_s: int = LIFE_S) -> str:
    """The Set-Cookie header: out of reach of scripts, and never sent on behalf of another site."""
    text = f"{COOKIE}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict"
    return text + "; Secure" if secure else text


def same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether the browser says that the request comes from a page of this very service.

    One of two headers must say so; a script of another site can set neither.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    origin, host = headers.get(b"origin"), headers.get(b"host")
    if origin is None or host is None:
        return False
    return urlsplit(origin.decode("latin-1")).netloc.lower() == host.decode("latin-1").lower()


def sign_in_path(path: str, query: str) -> str:
    """Where to sign in, and to come back to `path` afterwards."""
    wanted = path + (f"?{query}" if query else "")
    return SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='')}"


def local_path(wanted: str) -> str:
    """`wanted` if it is a path of this service, else `/`: a link must not lead elsewhere."""
    is_local = re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", wanted) is not None
    return wanted if is_local else "/"


def _digest(key: bytes) -> bytes:
    """Of one length for every key, so that comparing tells nothing about it."""
    return hashlib.sha256(key).digest()
