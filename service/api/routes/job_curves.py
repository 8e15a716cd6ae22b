"""Routes for the curves, the log and the attempts of a job."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.deps import JobId, ServicesDep
from service.api.openapi import refused
from service.api.schemas.job_history import Attempt, AttemptList, Logs, Metrics, Series
from service.curves.cache import POINTS_KEPT, Curves
from service.curves.reader import curves, downsample, open_newest, tail
from service.curves.step_index import Steps, blocks_of, span_of
from service.errors import invalid
from service.server.strict_json import StrictRoute
from trainer.spec.signal_tables import SIGNALS

router = APIRouter(prefix="/v1/jobs/{id}", tags=["following"], route_class=StrictRoute)

STEP_MAX = 2**63 - 1
FirstStep = Annotated[
    int | None,
    Query(ge=0, le=STEP_MAX, description="First step (default: the first recorded)."),
]
LastStep = Annotated[
    int | None,
    Query(ge=0, le=STEP_MAX, description="Last step, inclusive (default: the latest)."),
]


@router.get(
    "/metrics",
    operation_id="getJobMetrics",
    summary="Get the curves of a job",
    response_description="Every signal over the steps, also for old jobs.",
    responses=refused("not_found", "invalid"),
)
def metrics(
    id: JobId,
    services: ServicesDep,
    names: Annotated[
        str | None,
        Query(
            description="Signal names, separated by commas (default: all).", examples=["loss,top1"]
        ),
    ] = None,
    max_points: Annotated[
        int, Query(ge=2, le=100_000, description="Maximum number of points per signal.")
    ] = 1000,
    from_step: FirstStep = None,
    to_step: LastStep = None,
) -> Metrics:
    """The full history, from step 0.

    Downsampling applies to the requested range, so a shorter range has more detail.
    """
    wanted = _names(names)
    if from_step is not None and to_step is not None and to_step < from_step:
        raise invalid("query/to_step", f"{to_step} is less than from_step, {from_step}.")
    steps = Steps(from_step, to_step)
    newest = open_newest(
        services.settings.data_dir, services.store.jobs.get(id).folder, "metrics.jsonl"
    )
    if newest is None:
        return Metrics(job_id=id, series={})
    attempt, file = newest
    with file:
        if max_points <= POINTS_KEPT // 2:
            key = f"{id}/{attempt}"
            looked = services.curves.read(
                key, file, names=wanted, points_max=max_points, steps=steps
            )
        else:
            whole = curves(blocks_of(file, span_of(file, steps)), wanted)
            thinned = {name: downsample(points, max_points) for name, points in whole.items()}
            looked = Curves(thinned, is_whole=True)
    series = {
        name: Series(step=[step for step, _ in kept], value=[value for _, value in kept])
        for name, kept in sorted(looked.series.items())
    }
    return Metrics(job_id=id, series=series, sampled=not looked.is_whole)


@router.get(
    "/logs",
    operation_id="getJobLogs",
    summary="Get the log of a job",
    response_description="The last lines of the latest attempt with output.",
    responses=refused("not_found", "invalid"),
)
def logs(
    id: JobId,
    services: ServicesDep,
    lines: Annotated[
        int, Query(alias="tail", ge=1, le=10_000, description="Number of lines.")
    ] = 200,
) -> Logs:
    """Output of the training process, including errors."""
    newest = open_newest(services.settings.data_dir, services.store.jobs.get(id).folder, "log.txt")
    if newest is None:
        return Logs(attempt=0, lines=[])
    attempt, file = newest
    with file:
        return Logs(attempt=attempt, lines=tail(file, lines))


@router.get(
    "/attempts",
    operation_id="listJobAttempts",
    summary="List attempts",
    response_description="All attempts, oldest first.",
    responses=refused("not_found"),
)
def attempts(id: JobId, services: ServicesDep) -> AttemptList:
    """Every lease of the job, with worker, time and outcome."""
    services.store.jobs.get(id)
    attempts = [Attempt.of(attempt) for attempt in services.store.jobs.attempts(id)]
    return AttemptList.of(attempts, [str(attempt.attempt) for attempt in attempts])


def _names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    wanted = frozenset(name.strip() for name in text.split(","))
    for name in sorted(wanted - SIGNALS.keys()):
        raise invalid("query/names", f"There is no signal {name[:64]!r}.")
    return wanted
