"""Neighbours over the API: which rows an encoder finds like some images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mocoserve.errors import Unusable
from mocoserve.http import Http
from mocoserve.models import OVER, Answer, Reason
from mocoserve.polling import polled

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
}
ANY_IMAGE = "image/x-portable-anymap"
"""Media type sent for unknown files; the service detects the format from the bytes."""


class Neighbour(Answer):
    """A nearest neighbor."""

    row: int
    name: str
    label: str | None = None
    similarity: float


class Probed(Answer):
    """Query image; `row` is None for an uploaded one."""

    row: int | None = None
    name: str = ""
    label: str | None = None
    neighbours: tuple[Neighbour, ...] = ()


class ProbeResult(Answer):
    """Neighbors of the query images by one encoder."""

    checkpoint: int | None = None
    rows: int
    searched_rows: int
    note: str = ""
    probes: tuple[Probed, ...] = ()


class Probe(Answer):
    """Neighbor search; its result is there once it succeeded."""

    id: str
    job_id: str
    status: str
    status_reason: Reason | None = None
    checkpoint: int | None = None
    k: int = 10
    queue_position: int | None = None
    result: ProbeResult | None = None
    sheet_url: str = ""

    @property
    def over(self) -> bool:
        """True if the search has ended."""
        return self.status in OVER


class Probes:
    """Neighbor searches of jobs, `/v1/jobs/{id}/probes`."""

    def __init__(self, http: Http) -> None:
        """Send requests over `http`."""
        self._http = http

    def create(
        self,
        job: str,
        image: Path | None = None,
        *,
        rows: Sequence[int] | None = None,
        checkpoint: int | None = None,
        k: int = 10,
    ) -> Probe:
        """Search by an image file, else by `rows`, else by eight rows that the service chooses.

        Raises:
            Unusable: both an image and rows are given.
            Invalid: the file is no image, or a value is out of range.
            Conflict: the job has no encoder yet.
        """
        path = f"/v1/jobs/{job}/probes"
        if image is None:
            body: dict[str, Any] = {"k": k, "checkpoint": checkpoint}
            if rows is not None:
                body["rows"] = list(rows)
            answer = self._http.send("POST", path, body=body, repeatable=True)
            return Probe.model_validate(answer.json())
        if rows is not None:
            raise Unusable("An image and rows cannot be combined", hint="Pass only one of them.")
        query = {"k": k} | ({} if checkpoint is None else {"checkpoint": checkpoint})
        data = image.read_bytes()
        kind = MEDIA_TYPES.get(image.suffix.lower(), ANY_IMAGE)
        headers = {"Content-Type": kind, "Content-Length": str(len(data))}
        url = f"{path}?{urlencode(query)}"
        with self._http.stream("POST", url, headers=headers, content=iter([data])) as response:
            response.read()
            return Probe.model_validate(response.json())

    def get(self, job: str, probe: str) -> Probe:
        """Return the search with this id."""
        return Probe.model_validate(self._http.get(f"/v1/jobs/{job}/probes/{probe}"))

    def wait(
        self,
        job: str,
        probe: str,
        *,
        timeout_s: float = 300.0,
        on_look: Callable[[Probe], None] = lambda _: None,
    ) -> Probe:
        """Return the search once it has ended. Raises TimeoutError."""
        read = partial(self.get, job, probe)
        for record in polled(self._http, read, timeout_s=timeout_s, patience_s=0.0):
            on_look(record)
            if record.over:
                return record
        raise TimeoutError(f"{probe} did not finish within {timeout_s:g} s")

    def sheet(self, probe: Probe) -> bytes:
        """Return a PNG with the neighbors, their labels and similarities."""
        path = f"/v1/jobs/{probe.job_id}/probes/{probe.id}/sheet.png"  # sheet_url is for browsers
        return self._http.send("GET", path).content
