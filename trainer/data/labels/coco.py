"""Labels from annotations in COCO's JSON: an image whose objects are of one category has it."""

import json
from collections import defaultdict
from collections.abc import Iterator

from trainer.data.labels.tables import BadTable

PARTS = ("images", "annotations", "categories")
OTHER_KIND = "it has no lists `images`, `annotations`, `categories`, as COCO's JSON has"


def read_coco(data: bytes) -> Iterator[tuple[str, str | None]]:
    """Return the class of each image by file name, None if it has no category or several.

    Raises BadTable if it is JSON of another kind.
    """
    if not all(f'"{part}"'.encode() in data for part in PARTS):
        raise BadTable(OTHER_KIND)
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadTable("it is not JSON") from error
    if not isinstance(record, dict) or not all(_are_objects(record.get(part)) for part in PARTS):
        raise BadTable(OTHER_KIND)
    names = {_key(entry.get("id")): str(entry.get("name")) for entry in record["categories"]}
    categories: dict[str, set[str]] = defaultdict(set)
    for entry in record["annotations"]:
        name = names.get(_key(entry.get("category_id")))
        if name is not None:
            categories[_key(entry.get("image_id"))].add(name)
    for entry in record["images"]:
        labels = categories.get(_key(entry.get("id")), set())
        yield str(entry.get("file_name", "")), next(iter(labels)) if len(labels) == 1 else None


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _key(value: object) -> str:
    return str(value)
