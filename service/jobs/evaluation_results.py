"""The newest results of the evaluators of a job, read from the folder of an attempt."""

import json
from pathlib import Path

from pydantic import ValidationError

from service.curves.reader import open_newest
from service.errors import ServiceError
from service.store.records import TERMINAL, JobRecord
from trainer.schema.artifact_names import EVALUATION
from trainer.schema.evaluation import EvaluationReport

BYTES_MAX = 16 * 1024 * 1024
"""Maximum size of a report that is read."""


def read_evaluation(job: JobRecord, data_dir: Path) -> EvaluationReport:
    """Return what the evaluators of a job measured.

    Raises ServiceError `no_evaluation` if there is none, or `artifact_missing` if it is damaged.
    """
    newest = open_newest(data_dir, job.folder, EVALUATION)
    if newest is None:
        raise _missing(job)
    attempt, file = newest
    with file:
        content = file.read(BYTES_MAX + 1)
    try:
        report = EvaluationReport.model_validate_json(content)
    except ValidationError as error:
        detail = f"{EVALUATION} of attempt {attempt} cannot be read."
        raise ServiceError("artifact_missing", detail) from error
    if not (report.evaluators or report.not_measured):
        raise _missing(job)
    return report


def _missing(job: JobRecord) -> ServiceError:
    if json.loads(job.resolved_json or job.spec_json).get("evaluation", ...) is None:
        detail = "The job does not evaluate its encoder: `evaluation` is null."
        hint = "Submit it again without that field, or with an evaluator."
        return ServiceError("no_evaluation", detail, hint=hint)
    if job.status in TERMINAL:
        detail = f"The job is {job.status} and has evaluated nothing."
        hint = "Run it again; labeled images are evaluated before the first step and every epoch."
        return ServiceError("no_evaluation", detail, hint=hint)
    return ServiceError("no_evaluation", f"The job is {job.status} and has evaluated nothing yet.")
