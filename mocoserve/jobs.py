"""Jobs over the API: submit, follow, control, read."""

import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, PrivateAttr

from mocoserve.event_stream import follow
from mocoserve.http import Http
from mocoserve.models import Evaluation, Event, Job, Logs, Metrics, Preview
from mocoserve.polling import polled
from mocoserve.progress_line import ProgressLine

Spec = BaseModel | Mapping[str, Any]
"""A job spec, as JSON values or as a pydantic model whose unset fields are left out."""
Records = list[dict[str, Any]]


class SubmittedJob(Job):
    """Job that knows its server, so that it can be waited for."""

    _jobs: "Jobs" = PrivateAttr()

    @classmethod
    def of(cls, job: Job, jobs: "Jobs") -> "SubmittedJob":
        """Return `job` as one of `jobs`."""
        made = cls.model_validate(job.raw())
        made._jobs = jobs
        return made

    def wait(self, *, timeout_s: float | None = None, progress: bool = False) -> Job:
        """Return the job once it has ended or is paused; `progress` shows its progress on stderr.

        The job runs on the server: it continues even if this program ends.

        Raises:
            TimeoutError: it has not ended after `timeout_s`.
            Unreachable: the server was away for a minute.
        """
        line = ProgressLine(sys.stderr) if progress else None
        try:
            return self._jobs.wait(
                self.id, timeout_s=timeout_s, on_look=line.show if line else lambda _: None
            )
        finally:
            if line:
                line.close()

    def refresh(self) -> "SubmittedJob":
        """Return the current state of the job."""
        return SubmittedJob.of(self._jobs.get(self.id), self._jobs)


class Jobs:
    """Jobs, `/v1/jobs`."""

    def __init__(self, http: Http) -> None:
        """Send requests over `http`."""
        self._http = http

    def create(self, spec: Spec, *, idempotency_key: str | None = None) -> SubmittedJob:
        """Submit; a repeat with the same key and spec gives the same job. Left out: a new key.

        job = client.jobs.create({"dataset": "digits", "epochs": 5}).wait(progress=True)

        Raises:
            Invalid: a field is wrong, or the key was used for another spec.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = self._http.send(
            "POST", "/v1/jobs", body=_body(spec), headers=headers, repeatable=True
        )
        return SubmittedJob.of(Job.model_validate(answer.json()), self)

    def preview(self, spec: Spec) -> Preview:
        """Return a preview of a job with reasons, steps, time and memory; nothing runs."""
        answer = self._http.send(
            "POST", "/v1/jobs", params={"dry_run": "true"}, body=_body(spec), repeatable=True
        )
        return Preview.model_validate(answer.json())

    def get(self, job: str) -> Job:
        """Return the job with this id."""
        return Job.model_validate(self._http.get(f"/v1/jobs/{job}"))

    def list(
        self, *, status: str | None = None, after: str | None = None, limit: int = 20
    ) -> tuple[list[Job], bool]:
        """Return one page, newest first, and whether there are more."""
        params = {"status": status, "after": after, "limit": limit}
        page = self._http.get("/v1/jobs", params=params)
        return [Job.model_validate(item) for item in page["data"]], bool(page["has_more"])

    def cancel(self, job: str) -> Job:
        """Cancel a job at its next step. Raises Conflict if it has ended."""
        return self._control(job, "cancel")

    def pause(self, job: str) -> Job:
        """Pause a job at its next step, after a checkpoint. Raises Conflict if it cannot."""
        return self._control(job, "pause")

    def resume(self, job: str) -> Job:
        """Resume from the last checkpoint. Raises Conflict if it runs, waits, or has succeeded."""
        return self._control(job, "resume")

    def delete(self, job: str) -> None:
        """Delete a job that has ended, and its files."""
        self._http.send("DELETE", f"/v1/jobs/{job}")

    def wait(
        self,
        job: str,
        *,
        timeout_s: float | None = None,
        on_look: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """Return the job once it has ended or is paused. Raises TimeoutError after `timeout_s`.

        A server that is away for less than a minute is waited for.
        """
        for record in polled(self._http, lambda: self.get(job), timeout_s=timeout_s):
            on_look(record)
            if record.over or record.status == "paused":
                return record
        raise TimeoutError(f"{job} did not finish within {timeout_s:g} s")

    def events(self, job: str, *, after: str | None = None) -> Iterator[Event]:
        """Yield every event after id `after`, as they happen, until the job has ended."""
        return follow(self._http, job, after=after)

    def metrics(
        self,
        job: str,
        *,
        names: tuple[str, ...] = (),
        max_points: int = 1000,
        from_step: int | None = None,
        to_step: int | None = None,
    ) -> Metrics:
        """Return the curves of these signals (none named: all), of these steps, both included."""
        params = {"names": ",".join(names) or None, "max_points": max_points}
        params |= {"from_step": from_step, "to_step": to_step}
        return Metrics.model_validate(self._http.get(f"/v1/jobs/{job}/metrics", params=params))

    def evaluation(self, job: str) -> Evaluation:
        """Return the newest result of each evaluator: figures with baselines, and tables.

        Raises:
            Conflict: nothing has been evaluated yet.
        """
        return Evaluation.model_validate(self._http.get(f"/v1/jobs/{job}/evaluation"))

    def logs(self, job: str, *, tail: int = 200) -> Logs:
        """Return the last lines of the newest attempt's log."""
        return Logs.model_validate(self._http.get(f"/v1/jobs/{job}/logs", params={"tail": tail}))

    def attempts(self, job: str) -> Records:
        """Return each attempt of the job, with its worker and outcome."""
        return list(self._http.get(f"/v1/jobs/{job}/attempts")["data"])

    def checkpoints(self, job: str) -> Records:
        """Return the checkpoints that can be resumed from, newest first."""
        return list(self._http.get(f"/v1/jobs/{job}/checkpoints")["data"])

    def _control(self, job: str, verb: str) -> Job:
        return Job.model_validate(self._http.send("POST", f"/v1/jobs/{job}/{verb}").json())


def _body(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json", exclude_unset=True)
    return dict(spec)
