"""Headers of an upload, as they announce it, for datasets and for weights."""

from fastapi import Request

from service.datasets.ingest_jobs import check_size
from service.datasets.uploads import UploadOffer
from service.errors import invalid
from service.server.problems import Problem
from service.settings import ApiSettings

OCTETS = {"schema": {"type": "string", "format": "binary"}}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": OCTETS}}}
"""Body of an upload, for OpenAPI."""


def announced(
    request: Request,
    *,
    offset: int,
    size_bytes: int | None,
    sha256: str | None,
    settings: ApiSettings,
) -> UploadOffer:
    """Return the upload that a request announces; size and hash were stated before it.

    Raises Problem.
    """
    if "content-range" in request.headers:  # RFC 9110, 14.5: never a part taken as the whole
        hint = "Use Upload-Offset to set the start of a part."
        raise Problem("bad_header", "header/content-range: not supported for uploads.", hint=hint)
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith(("multipart/", "application/x-www-form-urlencoded")):
        hint = "Send the raw bytes: `curl -T FILE`, not a form."
        raise Problem("unsupported_media_type", "The upload is a form.", hint=hint)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The upload has a Content-Encoding.")
    length = request.headers.get("content-length")
    if size_bytes is None:
        if length is None:
            raise Problem("length_required", "Neither size_bytes nor Content-Length was sent.")
        size_bytes = offset + int(length)
    if size_bytes == 0:
        raise invalid("header/content-length", "The content is empty.")
    check_size(size_bytes, settings)
    if length is not None and offset + int(length) > size_bytes:
        raise Problem(
            "size_mismatch", f"{offset + int(length)} bytes; the declared size is {size_bytes}."
        )
    return UploadOffer(offset, size_bytes, sha256)
