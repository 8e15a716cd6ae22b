"""Uploaded weights over the API: add, list, delete."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from mocoserve.errors import Unusable
from mocoserve.http import Http
from mocoserve.models import WeightsFile
from mocoserve.resumable_upload import OnProgress, Upload
from mocoserve.sources import FileSource, sha256_of


class Weights:
    """Weights to begin jobs with, `/v1/weights`."""

    def __init__(self, http: Http) -> None:
        """Send requests over `http`."""
        self._http = http

    def add(
        self,
        path: Path,
        *,
        name: str,
        on_progress: OnProgress = lambda _a, _b: None,
        on_break: Callable[[], None] = lambda: None,
    ) -> WeightsFile:
        """Upload a safetensors file. The same bytes under the same name are sent once.

        Raises:
            Unusable: the name is taken by other bytes.
            Invalid: the file holds no weights.
        """
        source = FileSource(path)
        sha256 = sha256_of(source)
        weights = self.find(name)
        if weights is None or weights.status == "failed":
            body = {"name": name, "size_bytes": source.size_bytes, "sha256": sha256}
            answer = self._http.send("POST", "/v1/weights", body=body)
            weights = WeightsFile.model_validate(answer.json())
        elif weights.sha256 != sha256:
            raise Unusable(
                f"The name {name} is taken",
                detail=f"{weights.id} has different content.",
                hint="Choose another name, or delete those weights first.",
            )
        if weights.status == "ready":
            return weights
        upload = Upload(self._http, _path(weights.id), source, WeightsFile, on_progress, on_break)
        return upload.run()

    def get(self, weights: str) -> WeightsFile:
        """Return the weights of this id or name."""
        return WeightsFile.model_validate(self._http.get(_path(weights)))

    def find(self, name: str) -> WeightsFile | None:
        """Return the weights of this name, or None."""
        return next((weights for weights in self.list() if weights.name == name), None)

    def list(self) -> list[WeightsFile]:
        """Return all weights, newest first."""
        page = self._http.get("/v1/weights")
        return [WeightsFile.model_validate(item) for item in page["data"]]

    def delete(self, weights: str) -> None:
        """Remove weights. Raises Conflict while a job that has not ended began with them."""
        self._http.send("DELETE", _path(weights))


def _path(weights: str) -> str:
    return f"/v1/weights/{quote(weights, safe='')}"
