"""Route for the report of an ingest as a CSV file."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from service.api.deps import DatasetName, ServicesDep
from service.api.openapi import refused
from service.datasets.report import report_entries
from service.server.strict_json import StrictRoute

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)

COLUMNS = ("name", "reason", "detail")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell instead of showing it."""


@router.get(
    "/{id}/report.csv",
    operation_id="downloadDatasetReport",
    summary="Download the report",
    response_class=Response,
    response_description="The full report: name, reason and detail of each file.",
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **refused("not_found"),
    },
)
def report_csv(id: DatasetName, services: ServicesDep) -> Response:
    """One row per file. Only the header until the ingest is done."""
    record = services.store.datasets.get(id)
    entries = report_entries(services.settings.data_dir, record.id)
    headers = {
        "Content-Disposition": f'attachment; filename="{record.name}-report.csv"',
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(_rows(entries), headers=headers, media_type="text/csv")


def _rows(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield _row(COLUMNS)
    for entry in entries:
        yield _row([str(entry.get(column) or "") for column in COLUMNS])


def _row(cells: tuple[str, ...] | list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(["'" + cell if cell.startswith(FORMULA) else cell for cell in cells])
    return text.getvalue()
