"""The panels of what the service keeps: datasets, space, versions, and its own collections."""

from service.observability.dashboards.panels import Query, Row, Section, curve, stat, table

HOUSE = Section(
    "Data and service",
    (
        Row(
            7,
            (
                stat(
                    "Files of datasets",
                    "Accepted images, rejected files and duplicates since the store was created.",
                    "short",
                    Query("max by (outcome) (moco_dataset_images_total)", "{{outcome}}"),
                    columns=6,
                ),
                stat(
                    "Bytes of datasets",
                    "Bytes of datasets ingested since the store was created.",
                    "bytes",
                    Query("max(moco_dataset_bytes_ingested_total)", "ready"),
                    columns=3,
                ),
                curve(
                    "Space on the data volume",
                    "Free space, total size, and usage of the data folder by kind.",
                    "bytes",
                    Query("min by (volume) (moco_storage_free_bytes)", "free {{volume}}"),
                    Query("max by (volume) (moco_storage_total_bytes)", "total {{volume}}"),
                    Query("max by (use) (moco_storage_used_bytes)", "{{use}}"),
                    columns=5,
                    low=0,
                    dashed="total .*",
                ),
                curve(
                    "Time to read the store",
                    "Duration of the state exporter's last collection.",
                    "s",
                    Query("max(moco_state_collect_duration_seconds)", "collection"),
                    columns=5,
                    low=0,
                ),
                curve(
                    "Failed collections",
                    "Failed collections in the last five minutes. They fail when Redis is down.",
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
                    "Running versions. Two at once mean an unfinished upgrade.",
                    Query("count by (job, version, python) (moco_build_info)", "{{version}}"),
                    columns=24,
                ),
            ),
        ),
    ),
)
