"""Logs as JSON lines on stderr: one event a line, whatever a user's text holds."""

import json
import logging
import sys
from typing import Any

import structlog


def configure(level: int = logging.INFO) -> None:
    """Send the logs of this process, uvicorn's included, to stderr as JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    # Ours go straight to stderr: by way of `logging` each request's line would cost three times.
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(_json)],
        logger_factory=lambda name=None: structlog.BytesLogger(sys.stderr.buffer, name=name),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _json(event: object, **options: Any) -> bytes:  # noqa: ANN401  # as the renderer gives them
    return json.dumps(event, **options).encode()
