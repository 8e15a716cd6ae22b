"""Downloads of artifacts: verified, resumed after a break, and never left half-written."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx

from mocoserve.errors import Damaged, Invalid, Unavailable, Unreachable
from mocoserve.files import sha256_of_file, sync_folder
from mocoserve.http import Http, backoff_s
from mocoserve.models import Artifact

OnProgress = Callable[[str, int, int], None]
"""Callback with a file's name, the bytes downloaded and the bytes in total."""
_TRIES = 6
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names of files that a job publishes: with at most one folder, and no hidden files."""


class Artifacts:
    """Artifacts of jobs, `/v1/jobs/{id}/artifacts`."""

    def __init__(self, http: Http) -> None:
        """Send requests over `http`."""
        self._http = http

    def list(self, job: str, *, checkpoint: int | str | None = None) -> list[Artifact]:
        """Return the artifacts of a job that succeeded, or the encoder of one of its checkpoints.

        `checkpoint` is a step or `latest`.
        """
        page = self._http.get(f"/v1/jobs/{job}/{_folder(checkpoint)}")
        return [Artifact.model_validate(item) for item in page["data"]]

    def download(
        self,
        job: str,
        artifact: Artifact,
        folder: Path,
        *,
        checkpoint: int | str | None = None,
        on_progress: OnProgress = lambda _n, _a, _b: None,
    ) -> Path:
        """Download into `folder`, verify the sha256 that the API states, and return the path.

        A file such as `hf/config.json` gets its folder. A correct file that exists is kept, and a
        `.part` beside it is resumed. If another file has the same bytes, they are copied from it.
        `checkpoint` is as in `list`.

        Raises:
            Damaged: the checksum failed twice.
            Unreachable: the connection broke six times without progress.
        """
        target = folder / _safe_name(artifact.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and sha256_of_file(target) == artifact.sha256:
            on_progress(artifact.name, artifact.size_bytes, artifact.size_bytes)
            return target
        part = target.with_name(f"{target.name}.part")
        if (duplicate := _duplicate({folder, target.parent}, artifact)) is not None:
            shutil.copyfile(duplicate, part)
        for _ in range(2):
            path = f"/v1/jobs/{job}/{_folder(checkpoint)}/{artifact.name}"
            self._fetch(path, artifact, part, on_progress=on_progress)
            if sha256_of_file(part) == artifact.sha256:
                os.replace(part, target)
                sync_folder(target.parent)
                return target
            part.unlink()
        raise Damaged(
            f"{artifact.name} failed its checksum twice",
            detail=f"Its sha256 is not {artifact.sha256}.",
            hint="Check the server's disk. Nothing was saved here.",
        )

    def download_all(
        self, job: str, folder: Path, *, checkpoint: int | str | None = None
    ) -> tuple[Path, ...]:
        """Download every artifact of a job, or the encoder of a checkpoint, into `folder`.

        Raises as `download` does.
        """
        files = self.list(job, checkpoint=checkpoint)
        return tuple(self.download(job, file, folder, checkpoint=checkpoint) for file in files)

    def download_metrics(self, job: str, folder: Path) -> Path:
        """Download all readings of a job so far, as `metrics.jsonl`; the job may still run."""
        return self._save(f"/v1/jobs/{job}/metrics.jsonl", folder / "metrics.jsonl")

    def download_events(self, job: str, folder: Path) -> Path:
        """Download a TensorBoard event file of a job, for `tensorboard --logdir FOLDER`."""
        target = folder / f"events.out.tfevents.{_safe_name(job)}"
        return self._save(f"/v1/jobs/{job}/tensorboard", target)

    def _save(self, path: str, target: Path) -> Path:
        """Download a response of unknown size; the file appears complete or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        try:
            with self._http.stream("GET", path) as answer, part.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(target.parent)
        return target

    def _fetch(self, path: str, artifact: Artifact, part: Path, *, on_progress: OnProgress) -> None:
        failures, before = 0, -1
        while True:
            held = part.stat().st_size if part.exists() else -1
            if held == artifact.size_bytes:
                return None
            if held > artifact.size_bytes:
                part.unlink()
            failures = failures if held == before else 0
            before = held
            try:
                return self._append(path, artifact, part, on_progress=on_progress)
            except (Unreachable, Unavailable, Invalid):
                failures += 1
                if failures >= _TRIES:
                    raise
                self._http.pause(backoff_s(failures))

    def _append(
        self, path: str, artifact: Artifact, part: Path, *, on_progress: OnProgress
    ) -> None:
        held = part.stat().st_size if part.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if held:
            # No If-Range: the sha256 detects a file that has changed, and the download restarts.
            headers["Range"] = f"bytes={held}-"
        with self._http.stream("GET", path, headers=headers) as answer:
            whole = answer.status_code != httpx.codes.PARTIAL_CONTENT
            with part.open("wb" if whole else "ab") as file:
                done = 0 if whole else held
                for chunk in answer.iter_raw():
                    file.write(chunk)
                    done += len(chunk)
                    on_progress(artifact.name, done, artifact.size_bytes)
                file.flush()
                os.fsync(file.fileno())
        if done < artifact.size_bytes:
            raise Unreachable(self._http.url, reason=f"{artifact.name} ended early")


def _folder(checkpoint: int | str | None) -> str:
    return "artifacts" if checkpoint is None else f"checkpoints/{checkpoint}/artifacts"


def _duplicate(folders: set[Path], artifact: Artifact) -> Path | None:
    """Return a file of the folders that has the bytes of an artifact, if there is one."""
    for path in (path for folder in folders for path in folder.iterdir()):
        is_whole = path.is_file() and path.suffix != ".part"
        has_size = is_whole and 0 < path.stat().st_size == artifact.size_bytes
        if has_size and sha256_of_file(path) == artifact.sha256:
            return path
    return None


def _safe_name(name: str) -> str:
    """Return `name` if it stays in its folder. A server is not trusted with local paths."""
    if _NAME.fullmatch(name) is None:
        raise Damaged(
            f"The server sent an invalid file name {name!r}",
            hint="It may not be a mocoserve server. Nothing was saved.",
        )
    return name
