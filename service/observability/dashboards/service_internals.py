"""The panels of what the service keeps: datasets, space, versions, and its own collections."""

from service.observability.dashboards.panels import Query, Row, Section, curve, stat, table

HOUSE = Section(
    "Data and the service itself",
    (
        Row(
            7,
            (
                stat(
                    "Files of datasets",
                    "Since the store was made: images that can be trained on, files that could not"
                    " be used, and copies.",
                    "short",
                    Query("max by (outcome) (moco_dataset_images_total)", "{{outcome}}"),
                    columns=6,
                ),
                stat(
                    "Bytes of datasets",
                    "Of the datasets that became ready, since the store was made.",
                    "bytes",
                    Query("max(moco_dataset_bytes_ingested_total)", "ready"),
                    columns=3,
                ),
                curve(
                    "Space on the data volume",
                    "What is free, all, and what the data folder takes by use.",
                    "bytes",
                    Query("min by (volume) (moco_storage_free_bytes)", "free {{volume}}"),
                    Query("max by (volume) (moco_storage_total_bytes)", "all {{volume}}"),
                    Query("max by (use) (moco_storage_used_bytes)", "{{use}}"),
                    columns=5,
                    low=0,
                    dashed="all .*",
                ),
                curve(
                    "Time to read the store",
                    "Of the state exporter's last collection.",
                    "s",
                    Query("max(moco_state_collect_duration_seconds)", "collection"),
                    columns=5,
                    low=0,
                ),
                curve(
                    "Collections that failed",
                    "In the last five minutes. They fail when Redis is away.",
                    "short",
                    Query("sum(increase(moco_state_collect_errors_total[5m]))", "failed"),
                    columns=5,
                    low=0,
                ),
            ),
        ),
        Row(
            5,
            (
                table(
                    "Versions",
                    "What runs. Two versions at once are an upgrade that has not come to its end.",
                    Query("count by (job, version, python) (moco_build_info)", "{{version}}"),
                    columns=24,
                ),
            ),
        ),
    ),
)
