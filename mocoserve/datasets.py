"""Datasets over the API: create, upload, wait, read."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack
from urllib.parse import quote

from mocoserve.errors import NotFound, Unusable
from mocoserve.http import Http
from mocoserve.models import Dataset, Report
from mocoserve.polling import polled
from mocoserve.resumable_upload import OnProgress, Upload, held_bytes
from mocoserve.sources import Source, sha256_of, source_of


class DatasetSettings(TypedDict, total=False):
    """Settings of a new dataset; the server's defaults fill the rest."""

    format: str
    """`auto`, `folder`, `zip`, `tar`, `idx`, `npy` or `parquet`."""
    store_as: str
    """`pixels`, or `jpeg`: a tenth of the disk for photos."""
    replace: bool
    """Take the name from the dataset that has it, once this one is ready."""
    options: Mapping[str, object]
    """Options of the ingest, such as `{"range": "860:1260", "side_px_max": 512}`."""


class Datasets:
    """Datasets, `/v1/datasets`."""

    def __init__(self, http: Http) -> None:
        """Send requests over `http`."""
        self._http = http

    def create(
        self,
        name: str,
        *,
        size_bytes: int | None = None,
        sha256: str | None = None,
        path: Path | None = None,
        **how: Unpack[DatasetSettings],
    ) -> Dataset:
        """Create a dataset; send its bytes with `upload`, or name a `path` on the server.

        With `replace` it takes the name from the dataset that has it, once it is ready.

        Raises:
            Conflict: the name is taken.
        """
        body = {
            "name": name,
            **how,
            "size_bytes": size_bytes,
            "sha256": sha256,
            "path": str(path) if path else None,
        }
        given = {key: value for key, value in body.items() if value not in (None, False)}
        if "options" in given:
            given["options"] = dict(how["options"])  # any mapping will do, JSON takes dict alone
        return Dataset.model_validate(self._http.send("POST", "/v1/datasets", body=given).json())

    def add(
        self, path: Path, *, name: str, labels: Path | None = None, **how: Unpack[DatasetSettings]
    ) -> Dataset:
        """Upload a folder or an archive of images, and wait until the dataset is ready.

        The same bytes under the same name are sent once: call it again after a break.
        With `replace` other bytes become a new version, which takes the name once it is ready.
        `labels` is a CSV file of two columns, file and class, that is sent with a folder. The
        option `follow_links` sends what links in a folder lead to.

        Raises:
            Conflict: the name is taken by other bytes.
            Unusable: the path holds nothing to send, or no image was found in it.
        """
        follow_links = bool(how.get("options", {}).get("follow_links"))
        source = source_of(path, follow_links=follow_links, labels=labels)
        if path.is_dir() and how.get("format", "auto") in ("auto", "folder"):
            how["format"] = "tar"  # that is how a folder travels
        sha256 = sha256_of(source)
        dataset = self.same_bytes(name, sha256)
        is_same = (
            dataset is not None
            and dataset.store_as == how.get("store_as", "pixels")
            and not differing(dataset, how.get("options", {}))
        )
        if dataset is None or not is_same:
            dataset = self.create(name, size_bytes=source.size_bytes, sha256=sha256, **how)
        if dataset.status == "received":
            self.upload(dataset.id, source)
        dataset = self.wait(dataset.id)
        if dataset.status == "failed":
            reason = dataset.status_reason
            raise Unusable(
                f"{name} cannot be used",
                detail=(reason.message or reason.code) if reason else "",
                hint=reason.hint if reason else "",
            )
        return dataset

    def get(self, dataset: str) -> Dataset:
        """Return the dataset with this id or name."""
        return Dataset.model_validate(self._http.get(_path(dataset)))

    def find(self, name: str) -> Dataset | None:
        """Return the dataset with this name, or None."""
        try:
            return self.get(name)
        except NotFound:
            return next((dataset for dataset in self.each() if dataset.name == name), None)

    def same_bytes(self, name: str, sha256: str) -> Dataset | None:
        """Return the newest dataset of this name and content that has not failed, or None."""
        for dataset in self.each():
            if dataset.name == name and dataset.sha256 == sha256 and dataset.status != "failed":
                return dataset
        return None

    def rename(self, dataset: str, name: str) -> Dataset:
        """Rename a dataset. Raises Conflict if the name is taken."""
        answer = self._http.send("PATCH", _path(dataset), body={"name": name})
        return Dataset.model_validate(answer.json())

    def delete(self, dataset: str) -> None:
        """Remove a dataset and its files.

        Raises:
            Conflict: jobs that have not ended need it; `problem.jobs` has their ids.
        """
        self._http.send("DELETE", _path(dataset))

    def list(self, *, after: str | None = None, limit: int = 20) -> tuple[list[Dataset], bool]:
        """Return one page, newest first, and whether there are more."""
        page = self._http.get("/v1/datasets", params={"after": after, "limit": limit})
        return [Dataset.model_validate(item) for item in page["data"]], bool(page["has_more"])

    def each(self) -> Iterator[Dataset]:
        """Yield all datasets, newest first."""
        after, more = None, True
        while more:
            page, more = self.list(after=after, limit=100)
            yield from page
            after, more = (page[-1].id, more) if page else (None, False)

    def report(self, dataset: str, *, limit: int = 100, after: int = 0) -> Report:
        """Return the report of files that are not rows, with reasons; `after` skips that many."""
        answer = self._http.get(f"{_path(dataset)}/report", params={"limit": limit, "after": after})
        return Report.model_validate(answer)

    def held_bytes(self, dataset: str) -> int:
        """Return the number of bytes of an upload that the server has received."""
        return held_bytes(self._http, _path(dataset))

    def upload(
        self,
        dataset: str,
        source: Source,
        *,
        on_progress: OnProgress = lambda _a, _b: None,
        on_break: Callable[[], None] = lambda: None,
    ) -> Dataset:
        """Upload the bytes that the server does not have yet; resume after a broken connection.

        If all bytes have arrived and only the response was lost, nothing is sent again. `on_break`
        is called when the connection breaks, before a minute of tries.

        Raises:
            Unreachable: the server was away for a minute, or took no byte in it.
            Invalid: the bytes do not match the announced size or hash.
            Conflict: the dataset has other content.
        """
        path = _path(dataset)
        return Upload(self._http, path, source, Dataset, on_progress, on_break).run()

    def wait(
        self,
        dataset: str,
        *,
        timeout_s: float | None = None,
        on_look: Callable[[Dataset], None] = lambda _: None,
    ) -> Dataset:
        """Return the dataset once it is ready or failed. Raises TimeoutError after `timeout_s`.

        A server that is away for less than a minute is waited for, once it has answered.
        """
        read = partial(self.get, dataset)
        for record in polled(self._http, read, timeout_s=timeout_s, answers_first=True):
            on_look(record)
            if record.status in ("ready", "failed"):
                return record
        raise TimeoutError(f"{record.name} is still {record.status}")


def differing(dataset: Dataset, options: Mapping[str, object]) -> list[str]:
    """Return the names of the `options` whose values differ from the dataset's."""
    return sorted(name for name, value in options.items() if dataset.options.get(name) != value)


def _path(dataset: str) -> str:
    return f"/v1/datasets/{quote(dataset, safe='')}"
