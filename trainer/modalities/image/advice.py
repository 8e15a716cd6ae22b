"""Ways to make a slow job on images faster, as parts of a sentence. Loads no tensors.

Each is empty where it would not help.
"""

from trainer.modalities.image.spec import image_views
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def smaller_rows(spec: JobSpec, facts: DatasetFacts) -> str:
    """Advise to shrink the images, if the dataset's are larger than the views."""
    side_px = image_views(spec).side_px or 0
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


def cheaper_views(spec: JobSpec) -> str:
    """Advise to leave out the slowest augmentation."""
    blur_p = image_views(spec).blur_p
    return f"blur less often, with `views.blur_p` below {blur_p:g}" if blur_p else ""


def smaller_views(spec: JobSpec) -> str:
    """Advise smaller views."""
    return f"use smaller images, with `views.side_px` below {image_views(spec).side_px}"
