"""Ways to make a slow job on images faster, as parts of a sentence. Loads no tensors.

Each is empty where it would not help.
"""

from trainer.modalities.image.spec import resolved_views
from trainer.schema.events import DatasetFacts
from trainer.spec.resolved import ResolvedSpec


def smaller_rows(spec: ResolvedSpec, facts: DatasetFacts) -> str:
    """Advise to shrink the images, if the dataset's are larger than the views."""
    side_px = resolved_views(spec).side_px
    if facts.side_px_median <= side_px:
        return ""
    return f"downscale the images from {facts.side_px_median} to {side_px} px before the upload"


def faster_reading(facts: DatasetFacts) -> str:
    """Advise to store pixels, if each read decodes a JPEG."""
    if facts.stored_as != "jpeg":
        return ""
    return "add the images again with `--store-as pixels`, which avoids decoding"


def rows_on_device(facts: DatasetFacts) -> str:
    """Advise to upload what can be kept on the device."""
    return "" if facts.same_size else "upload images of one size, which are kept on the device"


def cheaper_views(spec: ResolvedSpec) -> str:
    """Advise to leave out the slowest augmentation."""
    views = resolved_views(spec)
    first_p, second_p = views.blur_p, views.of_second().blur_p
    if first_p >= second_p:
        return f"blur less often, with `views.blur_p` below {first_p:g}" if first_p else ""
    return f"blur less often, with `views.second.blur_p` below {second_p:g}"


def smaller_views(spec: ResolvedSpec) -> str:
    """Advise smaller views."""
    return f"use smaller images, with `views.side_px` below {resolved_views(spec).side_px}"
