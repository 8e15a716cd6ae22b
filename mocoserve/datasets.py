"""Datasets over the API: make, send, wait, read."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict, Unpack
from urllib.parse import quote

from mocoserve.errors import Conflict, NotFound, Unavailable, Unreachable, Unusable
from mocoserve.events import PATIENCE_S
from mocoserve.http import Http, backoff_s
from mocoserve.models import Dataset, Report
from mocoserve.sources import Source, sha256_of, source_of

Told = Callable[[int, int], None]
"""Told how many bytes have arrived, and of how many."""
_TRIES = 14
"""About a minute of a server that is away."""


class How(TypedDict, total=False):
    """Settings of how a dataset is read and kept; the server's defaults fill the rest."""

    format: str
    """`auto`, `folder`, `zip`, `tar`, `idx`, `npy` or `parquet`."""
    store_as: str
    """`pixels`, or `jpeg`: a tenth of the disk for photos."""
    replace: bool
    """Take the name from the dataset that has it, once this one is ready."""
    options: Mapping[str, object]
    """Options of the ingest, such as `{"range": "860:1260", "side_px_max": 512}`."""


class Datasets:
    """`/v1/datasets`."""

    def __init__(self, http: Http) -> None:
        """`http` is the connection."""
        self._http = http

    def create(
        self,
        name: str,
        *,
        size_bytes: int | None = None,
        sha256: str | None = None,
        path: Path | None = None,
        **how: Unpack[How],
    ) -> Dataset:
        """Make a dataset; send its bytes with `upload`, or name a `path` on the server.

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
        self, path: Path, *, name: str, labels: Path | None = None, **how: Unpack[How]
    ) -> Dataset:
        """Send a folder or an archive of images, and wait until it is ready.

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
        known = self.same_bytes(name, sha256)
        is_same = (
            known is not None
            and known.store_as == how.get("store_as", "pixels")
            and not differing(known, how.get("options", {}))
        )
        if known is None or not is_same:
            known = self.create(name, size_bytes=source.size_bytes, sha256=sha256, **how)
        if known.status == "received":
            self.upload(known.id, source)
        found = self.wait(known.id)
        if found.status == "failed":
            reason = found.status_reason
            raise Unusable(
                f"{name} cannot be used",
                detail=(reason.message or reason.code) if reason else "",
                hint=reason.hint if reason else "",
            )
        return found

    def get(self, dataset: str) -> Dataset:
        """The dataset with this id or name."""
        return Dataset.model_validate(self._http.get(_path(dataset)))

    def find(self, name: str) -> Dataset | None:
        """The dataset with this name, or None."""
        try:
            return self.get(name)
        except NotFound:
            return next((found for found in self.each() if found.name == name), None)

    def same_bytes(self, name: str, sha256: str) -> Dataset | None:
        """The newest dataset of this name and content that has not failed; maybe half uploaded."""
        for found in self.each():
            if found.name == name and found.sha256 == sha256 and found.status != "failed":
                return found
        return None

    def rename(self, dataset: str, name: str) -> Dataset:
        """Give it another name. Raises Conflict if that is taken."""
        answer = self._http.send("PATCH", _path(dataset), body={"name": name})
        return Dataset.model_validate(answer.json())

    def delete(self, dataset: str) -> None:
        """Remove a dataset and its files.

        Raises:
            Conflict: jobs that have not ended need it; `problem.jobs` has their ids.
        """
        self._http.send("DELETE", _path(dataset))

    def list(self, *, after: str | None = None, limit: int = 20) -> tuple[list[Dataset], bool]:
        """One page, newest first, and whether there are more."""
        page = self._http.get("/v1/datasets", params={"after": after, "limit": limit})
        return [Dataset.model_validate(item) for item in page["data"]], bool(page["has_more"])

    def each(self) -> Iterator[Dataset]:
        """All of them, newest first."""
        after, more = None, True
        while more:
            page, more = self.list(after=after, limit=100)
            yield from page
            after, more = (page[-1].id, more) if page else (None, False)

    def report(self, dataset: str, *, limit: int = 100, after: int = 0) -> Report:
        """Files that are not among the rows, with their reasons; `after` skips so many."""
        answer = self._http.get(f"{_path(dataset)}/report", params={"limit": limit, "after": after})
        return Report.model_validate(answer)

    def held_bytes(self, dataset: str) -> int:
        """Return the number of bytes of an upload that the server has received."""
        answer = self._http.send("HEAD", f"{_path(dataset)}/content")
        return int(answer.headers.get("Upload-Offset", "0"))

    def upload(
        self,
        dataset: str,
        source: Source,
        *,
        on_progress: Told = lambda _a, _b: None,
        on_break: Callable[[], None] = lambda: None,
    ) -> Dataset:
        """Send what the server does not have yet; a broken connection is taken up again.

        Bytes that have all arrived already, because only the answer was lost, are not sent again.

        `on_break` is called when it breaks, before a minute of tries.

        Raises:
            Unreachable: the server was away for a minute, or no byte of progress was made in it.
            Invalid: the bytes are not those that were announced.
            Conflict: the dataset has other content.
        """
        failures, before = 0, -1
        while True:
            try:
                offset = self.held_bytes(dataset)
                failures = failures if offset == before else 0
                before = offset
                return self._put(dataset, source, offset=offset, on_progress=on_progress)
            except (Unreachable, Unavailable, Conflict) as error:
                # A 409 is an offset that moved: a broken request was still being written.
                if isinstance(error, Conflict):
                    there = self.get(dataset)
                    if there.status in ("preparing", "ready"):
                        if there.sha256 == sha256_of(source):
                            return there
                        raise
                failures += 1
                if failures >= _TRIES:
                    raise
                if failures == 1:
                    on_break()
                self._http.pause(backoff_s(failures))

    def wait(
        self,
        dataset: str,
        *,
        timeout_s: float | None = None,
        on_look: Callable[[Dataset], None] = lambda _: None,
    ) -> Dataset:
        """The dataset once it is ready or failed. Raises TimeoutError after `timeout_s`.

        A server that is away for less than a minute is waited for, once it has answered.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        looks, away_since_s, found = 0, None, None
        while True:
            try:
                found = self.get(dataset)
                away_since_s = None
                on_look(found)
                if found.status in ("ready", "failed"):
                    return found
            except (Unreachable, Unavailable):
                away_since_s = away_since_s or time.monotonic()
                if found is None or time.monotonic() - away_since_s > PATIENCE_S:
                    raise
            if found and end_s is not None and time.monotonic() >= end_s:
                raise TimeoutError(f"{found.name} is still {found.status}")
            self._http.pause(backoff_s(looks, cap_s=1.0))
            looks += 1

    def _put(self, dataset: str, source: Source, *, offset: int, on_progress: Told) -> Dataset:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(source.size_bytes - offset),
            "Upload-Offset": str(offset),
        }
        content = _counted(source, offset=offset, on_progress=on_progress)
        path = f"{_path(dataset)}/content"
        with self._http.stream("PUT", path, headers=headers, content=content) as answer:
            answer.read()
            return Dataset.model_validate(answer.json())


def differing(dataset: Dataset, options: Mapping[str, object]) -> list[str]:
    """Return the names of those `options` that the dataset was made with otherwise."""
    return sorted(name for name, value in options.items() if dataset.options.get(name) != value)


def _path(dataset: str) -> str:
    return f"/v1/datasets/{quote(dataset, safe='')}"


def _counted(source: Source, *, offset: int, on_progress: Told) -> Iterator[bytes]:
    sent = offset
    on_progress(sent, source.size_bytes)
    for chunk in source.read(offset):
        yield chunk
        sent += len(chunk)
        on_progress(sent, source.size_bytes)
