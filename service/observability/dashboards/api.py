"""The dashboard of the API: rates, errors, durations, bytes."""

from service.observability.dashboards.panels import (
    Dashboard,
    Query,
    Row,
    Section,
    Variable,
    curve,
    stat,
)

_MINE = '{handler=~"$handler"}'
_RATE = "[$__rate_interval]"


def _quantile(share: float) -> str:
    buckets = f"rate(moco_http_request_duration_seconds_bucket{_MINE}{_RATE})"
    return f"histogram_quantile({share}, sum by (le) ({buckets})) >= 0"


_REQUESTS = Section(
    "Selected routes",
    (
        Row(
            4,
            (
                stat(
                    "Requests",
                    "Requests per second, over the selected routes.",
                    "reqps",
                    Query(f"sum(rate(moco_http_requests_total{_MINE}{_RATE}))", "requests"),
                    columns=6,
                ),
                stat(
                    "Failures",
                    "Share of 5xx responses on the worst route in the last five minutes.",
                    "percentunit",
                    Query(
                        f"max(handler:moco_http_requests_5xx_per_requests:ratio_rate5m{_MINE})",
                        "worst route",
                    ),
                    columns=6,
                    steps=((None, "green"), (0.01, "yellow"), (0.05, "red")),
                ),
                stat(
                    "Median latency (TTFB)",
                    "Median time to first byte.",
                    "s",
                    Query(_quantile(0.5), "p50"),
                    columns=6,
                ),
                stat(
                    "Wrong keys",
                    "Requests in the last hour rejected for a missing or wrong key.",
                    "short",
                    Query("sum(increase(moco_auth_failures_total[1h]))", "rejected"),
                    columns=6,
                    steps=((None, "green"), (100, "yellow")),
                ),
            ),
        ),
        Row(
            8,
            (
                curve(
                    "By status",
                    "4xx are client errors, 5xx are server errors.",
                    "reqps",
                    Query(
                        f"sum by (status) (rate(moco_http_requests_total{_MINE}{_RATE}))",
                        "{{status}}",
                    ),
                    low=0,
                    stacked=True,
                ),
                curve(
                    "By route",
                    "Requests per second.",
                    "reqps",
                    Query(
                        f"sum by (method, handler) (rate(moco_http_requests_total{_MINE}{_RATE}))",
                        "{{method}} {{handler}}",
                    ),
                    low=0,
                ),
                curve(
                    "Failures by route",
                    "Share of 5xx in the last five minutes. An alert fires above 0.05.",
                    "percentunit",
                    Query(
                        f"max by (handler)"
                        f" (handler:moco_http_requests_5xx_per_requests:ratio_rate5m{_MINE})",
                        "{{handler}}",
                    ),
                    low=0,
                    high=1,
                    steps=((None, "transparent"), (0.05, "red")),
                ),
            ),
        ),
        Row(
            8,
            (
                curve(
                    "Latency (TTFB)",
                    "Time to first byte: median, 95th and 99th percentile.",
                    "s",
                    Query(_quantile(0.5), "p50"),
                    Query(_quantile(0.95), "p95"),
                    Query(_quantile(0.99), "p99"),
                    columns=12,
                    low=0,
                ),
                curve(
                    "Mean latency by route",
                    "Mean time to first byte.",
                    "s",
                    Query(
                        "sum by (handler)"
                        f" (rate(moco_http_request_duration_seconds_sum{_MINE}{_RATE}))"
                        " / (sum by (handler)"
                        f" (rate(moco_http_request_duration_seconds_count{_MINE}{_RATE})) > 0)",
                        "{{handler}}",
                    ),
                    columns=12,
                    low=0,
                ),
            ),
        ),
    ),
)

_BYTES = Section(
    "Traffic",
    (
        Row(
            7,
            (
                curve(
                    "Uploads",
                    "Bytes of datasets received per second.",
                    "Bps",
                    Query(f"sum(rate(moco_upload_bytes_total{_RATE}))", "received"),
                    low=0,
                ),
                curve(
                    "Downloads",
                    "Bytes of artifacts sent per second.",
                    "Bps",
                    Query(f"sum(rate(moco_artifact_bytes_sent_total{_RATE}))", "sent"),
                    low=0,
                ),
                curve(
                    "Files downloaded",
                    "Downloads in the last hour, by format.",
                    "short",
                    Query(
                        "sum by (format) (increase(moco_artifact_downloads_total[1h]))",
                        "{{format}}",
                    ),
                    low=0,
                ),
            ),
        ),
    ),
)

_PROCESS = Section(
    "Processes",
    (
        Row(
            7,
            (
                curve(
                    "Memory",
                    "Resident memory of the API and of the state exporter.",
                    "bytes",
                    Query('process_resident_memory_bytes{job=~"moco-(api|state)"}', "{{job}}"),
                    low=0,
                ),
                curve(
                    "CPU",
                    "CPU cores in use.",
                    "short",
                    Query(
                        f'rate(process_cpu_seconds_total{{job=~"moco-(api|state)"}}{_RATE})',
                        "{{job}}",
                    ),
                    low=0,
                ),
                curve(
                    "Open files",
                    "Open file descriptors, including connections. Dashed: the limit.",
                    "short",
                    Query('process_open_fds{job=~"moco-(api|state)"}', "open {{job}}"),
                    Query('process_max_fds{job=~"moco-(api|state)"}', "limit {{job}}"),
                    low=0,
                    dashed="limit .*",
                ),
            ),
        ),
        Row(
            6,
            (
                curve(
                    "Slow clients",
                    "Connections closed in the last hour because the client was too slow, by "
                    "stage.",
                    "short",
                    Query(
                        "sum by (stage) (increase(moco_http_slow_clients_total[1h]))", "{{stage}}"
                    ),
                    columns=24,
                    low=0,
                ),
            ),
        ),
    ),
)

API = Dashboard(
    uid="mocoserve-api",
    title="mocoserve: API",
    description="Requests, errors, latency and traffic of the API.",
    variables=(Variable("handler", "Route", "moco_http_requests_total"),),
    sections=(_REQUESTS, _BYTES, _PROCESS),
)
