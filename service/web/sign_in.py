"""Sign-in: exchanges a key for a cookie. The only routes without authentication."""

import base64
import hashlib
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from service.api.deps import ServicesDep
from service.files.disk_errors import translate_disk_errors
from service.server.problems import Problem
from service.server.sessions import SIGN_IN, SIGN_OUT, Sessions, local_path
from service.web.assets import Assets
from service.web.pages import HEADERS, render_page, root_of

router = APIRouter(include_in_schema=False)

FORM_BYTES_MAX = 8 * 1024


@router.get(SIGN_IN)
async def show(request: Request, next: Annotated[str, Query(max_length=2048)] = "/") -> Response:
    """Show the form. It needs no script and no other file, so strangers can load nothing else."""
    return _form(request, wanted=local_path(next, root_path=root_of(request)))


@router.post(SIGN_IN)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Set a cookie for the right key; show the form again for a wrong one."""
    fields = parse_qs((await _body(request)).decode("utf-8", "replace"))
    sessions: Sessions = request.app.state.sessions
    wanted = local_path(fields.get("next", ["/"])[0], root_path=root_of(request))
    role = sessions.keys.role_of(fields.get("key", [""])[0].strip().encode())
    if role is None or role == "scrape":  # the pages would show nothing
        services.instruments.inc("moco_auth_failures_total")
        return _form(request, wanted=wanted, status=401)
    # The cookie is kept to TLS where the page came by TLS: a proxy ends it, so only the browser
    # knows.
    secure = request.headers.get("origin", "").startswith("https://")
    cookie = sessions.cookie(role, secure=secure)
    return RedirectResponse(wanted, 303, headers={"Set-Cookie": cookie, **HEADERS})


@router.post(SIGN_OUT)
def sign_out(request: Request) -> Response:
    """End the session for good, and let this browser forget it."""
    sessions: Sessions = request.app.state.sessions
    with translate_disk_errors():
        sessions.end(request.headers.get("cookie", ""))
    response = RedirectResponse(root_of(request) + SIGN_IN, 303, headers=HEADERS)
    for cookie in sessions.forgetting():
        response.headers.append("Set-Cookie", cookie)
    return response


async def _body(request: Request) -> bytes:
    """Read a form with two short fields. Raises Problem `too_large`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise Problem("too_large", f"The form may have at most {FORM_BYTES_MAX} bytes.")
    return body


def _form(request: Request, *, wanted: str, status: int = 200) -> Response:
    assets: Assets = request.app.state.assets
    style = assets.files["base.css"].content.decode()
    answer = render_page(
        request, "sign_in", status=status, style=style, wanted=wanted, is_wrong=status == 401
    )
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    answer.headers["Content-Security-Policy"] = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{mark}'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )
    return answer
