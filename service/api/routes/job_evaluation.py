"""Route for what the evaluators of a job measured."""

from fastapi import APIRouter

from service.api.deps import JobId, ServicesDep
from service.api.openapi import refused
from service.api.schemas.job_evaluation import Evaluation
from service.jobs.evaluation_results import read_evaluation
from service.server.strict_json import StrictRoute

router = APIRouter(prefix="/v1/jobs/{id}", tags=["following"], route_class=StrictRoute)


@router.get(
    "/evaluation",
    operation_id="getJobEvaluation",
    summary="Get the evaluation of a job",
    response_description="Figures with intervals and baselines, and tables.",
    responses=refused("not_found", "no_evaluation", "artifact_missing"),
)
def evaluation(id: JobId, services: ServicesDep) -> Evaluation:
    """The newest result of each evaluator: while the job runs, that of its latest round."""
    report = read_evaluation(services.store.jobs.get(id), services.settings.data_dir)
    return Evaluation.of(id, report)
