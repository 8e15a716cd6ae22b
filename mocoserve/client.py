"""The Python client.

from pathlib import Path
from mocoserve import Client

with Client() as client:
    client.datasets.add(Path("photos"), name="photos")
    job = client.jobs.create({"dataset": "photos", "epochs": 5}).wait(progress=True)
    client.artifacts.download_all(job.id, Path("encoder"))
"""

from types import TracebackType
from typing import Any, Self

import httpx

from mocoserve.artifacts import Artifacts
from mocoserve.datasets import Datasets
from mocoserve.http import Http
from mocoserve.jobs import Jobs
from mocoserve.models import Reason, Worker
from mocoserve.probes import Probes
from mocoserve.server_address import find
from mocoserve.weight_files import Weights


class Client:
    """Client of one server. Not thread-safe."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        tries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` is the root of the server, `key` its bearer key; `transport` is for tests.

        What is left out is found as `moco` finds it: MOCO_URL and MOCO_API_KEY, ./moco.toml, the
        user's file, or the `moco up` that runs on this machine.

        Raises:
            ConfigError: no server or no key is to be found, or a file cannot be understood.
        """
        if url is None or key is None:
            url, key = find(url, key, None)
        self._http = Http(url, key, timeout_s=timeout_s, transport=transport, tries=tries)
        self.url = self._http.url
        self.datasets = Datasets(self._http)
        self.jobs = Jobs(self._http)
        self.artifacts = Artifacts(self._http)
        self.probes = Probes(self._http)
        self.weights = Weights(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def workers(self) -> list[Worker]:
        """Return every worker that was seen lately."""
        return [Worker.model_validate(item) for item in self._http.get("/v1/workers")["data"]]

    def drain(self, worker: str) -> dict[str, Any]:
        """Drain a worker: it claims no new job and finishes its current one."""
        return dict(self._http.send("POST", f"/v1/workers/{worker}/drain").json())

    def undrain(self, worker: str) -> dict[str, Any]:
        """Let a drained worker claim jobs again."""
        return dict(self._http.send("POST", f"/v1/workers/{worker}/undrain").json())

    def storage(self) -> dict[str, Any]:
        """Return the bytes of the data folder on the disk, by use."""
        return dict(self._http.get("/v1/storage"))

    def warnings(self) -> list[Reason]:
        """Return why jobs wait: the pools without a worker that takes jobs."""
        ready = self._http.get("/readyz")
        return [Reason.model_validate(item) for item in ready.get("warnings", ())]

    def queue(self) -> dict[str, Any]:
        """Return the queue depth and waiting time per pool."""
        return dict(self._http.get("/v1/queue"))

    def version(self) -> dict[str, Any]:
        """Return the server's version."""
        return dict(self._http.get("/version"))

    def ready(self) -> None:
        """Return if the server can serve. Raises Unreachable, NotAuthorised or Unavailable."""
        self._http.send("GET", "/readyz")
