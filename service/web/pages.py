"""The web page: a few HTML shells whose scripts are clients of the API."""

import json
import re
import time
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service import ids
from service.store.store_errors import NotFound
from service.web.assets import Assets
from trainer.data.spec import IngestOptions
from trainer.evaluators import registry as evaluators
from trainer.methods.registry import declared
from trainer.pretexts import registry as pretexts
from trainer.spec.job import JobSpec
from trainer.spec.signal_tables import SIGNALS

router = APIRouter(include_in_schema=False)

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Hash of the empty text: plotly.js adds an empty <style>, then its rules by insertRule."""
MAPS_STYLE = "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
"""Hash of the one text that plotly.js 7.1 puts into a <style>: rules for maps, which no page draws.
The text of another version is refused with a line in the browser's console."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {EMPTY_STYLE} {MAPS_STYLE}",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
CURVES = (
    *("loss", "chance_loss", "contrast_loss", "top1", "top5", "knn_top1"),
    *("knn_top1_raw", "knn_top1_untrained", "knn_top1_majority"),
    *("embedding_std_ratio", "rows_per_s", "data_s", "step_s"),
    *("positive_similarity", "negative_similarity", "lr"),
)
"""The signals that the charts of a job show, in the order of `curves.js`."""
MORE_CURVES = tuple(
    {
        "name": name,
        "title": signal.meaning,
        "unit": signal.unit,
        "better": signal.better,
        "fills": signal.fills,
    }
    for name, signal in (evaluators.SIGNALS | pretexts.SIGNALS | declared("SIGNALS")).items()
    if name not in CURVES
)
"""Signals of evaluators, pretexts and methods with a chart of their own each, after those of
`curves.js`."""
FOREVER = "private, max-age=31536000, immutable"


def render_page(request: Request, name: str, *, status: int = 200, **words: object) -> Response:
    """Render a page from its template, with its security headers."""
    assets: Assets = request.app.state.assets
    root = root_of(request)
    shared = {
        "root": root,
        "role": getattr(request.state, "role", None),
        "static": f"{root}/ui/static/{assets.tag}",
        "now_ms": int(1000 * time.time()),
        "section": name,
    }
    text = assets.templates.get_template(f"{name}.html").render(shared | words)
    return HTMLResponse(text, status, headers=HEADERS)


def root_of(request: Request) -> str:
    """Return the path under which a proxy serves the page; empty without one."""
    return str(request.scope.get("root_path", ""))


def missing(request: Request, what: str) -> Response:
    """Return the page for an address where nothing is."""
    return render_page(request, "missing", status=404, what=what)


@router.get("/")
@router.get("/ui")
@router.get("/ui/")
async def home(request: Request) -> Response:
    """Redirect to the list of jobs."""
    return RedirectResponse(f"{root_of(request)}/ui/jobs", 303)


@router.get("/ui/jobs")
async def jobs(request: Request) -> Response:
    """Show all training jobs."""
    return render_page(request, "jobs")


@router.get("/ui/jobs/{id}")
async def job(request: Request, id: str) -> Response:
    """Show one job; the script says so if there is none."""
    if not re.fullmatch(ids.JOB_ID, id):
        return missing(request, "job")
    modules = request.app.state.assets.modules("job.js")
    curves = (*CURVES, *(curve["name"] for curve in MORE_CURVES))
    more = json.dumps(MORE_CURVES)
    return render_page(request, "job", job_id=id, curves=curves, more=more, modules=modules)


@router.get("/ui/submit")
async def submit(request: Request) -> Response:
    """Show a form made from the schema of a JobSpec."""
    return render_page(request, "submit")


@router.get("/ui/compare")
async def compare(request: Request) -> Response:
    """Show two jobs side by side."""
    return render_page(request, "compare")


@router.get("/ui/datasets")
async def datasets(request: Request) -> Response:
    """Show all datasets."""
    return render_page(request, "datasets")


@router.get("/ui/datasets/{id}")
async def dataset(request: Request, id: str) -> Response:
    """Show one dataset: its content, and the files that were left out."""
    if not re.fullmatch(ids.DATASET_NAME, id):
        return missing(request, "dataset")
    return render_page(request, "dataset", dataset_id=id)


@router.get("/ui/weights")
async def weights(request: Request) -> Response:
    """Show all uploaded weights."""
    return render_page(request, "weights")


@router.get("/ui/workers")
async def workers(request: Request) -> Response:
    """Show the workers."""
    return render_page(request, "workers")


@router.get("/ui/system")
async def system(request: Request) -> Response:
    """Show the service itself."""
    return render_page(request, "system")


@router.get("/ui/words.json")
async def words() -> Response:
    """Return the schemas of a JobSpec and of ingest options, and the signals' meanings."""
    headers = {"Cache-Control": "private, max-age=60"}
    return Response(_words(), headers=headers, media_type="application/json")


@cache
def _words() -> str:
    """Return the JSON of `words`, made on first use: pydantic takes 25 ms for the schemas."""
    return json.dumps(
        {
            "job_spec": JobSpec.model_json_schema(),
            "ingest_options": IngestOptions.model_json_schema(),
            "signals": {name: signal._asdict() for name, signal in SIGNALS.items()},
        }
    )


@router.get("/ui/static/{tag}/{name}")
def static(
    request: Request,
    tag: str,
    name: str,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Return a script or a style, cached by the browser as long as its address stays."""
    assets: Assets = request.app.state.assets
    asset = assets.get(name)
    if asset is None:
        raise NotFound("file", name[:64])
    headers = {
        "Cache-Control": FOREVER if tag == assets.tag else "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
    }
    if "gzip" not in accept_encoding.lower():
        return Response(asset.content, headers=headers, media_type=asset.media_type)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.gzipped, headers=headers, media_type=asset.media_type)


@router.get("/ui/{rest:path}")
async def unknown_page(request: Request) -> Response:
    """Return the page for an unknown address."""
    return missing(request, "page")
