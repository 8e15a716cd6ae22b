"""An image that someone sent to be compared, under the limits of the ingest."""

from pathlib import Path

from trainer.data.rows import BadRow
from trainer.data.spec import USUAL
from trainer.modalities.image.decode import decode_file, strict_pillow
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.values import PLAIN, stored_row
from trainer.schema.errors import BadProbe
from trainer.schema.events import DatasetFacts

BYTES_MAX = 20_000_000
WORDS = {
    "empty": "The file is empty.",
    "oversize": "The picture is too large:",
    "truncated": "The file is cut off at its end.",
    "unreadable": "The file is damaged:",
    "other_depth": "The file's values are of another kind than the dataset's:",
    "other_channels": "The file has other channels than the dataset:",
    "wrong_type": "The file is no picture that can be read:",
}


def decode_upload(path: Path, facts: DatasetFacts) -> Decoded:
    """Return the image, upright, shrunk and kept just as a row of the dataset. Raises BadProbe."""
    size_bytes = path.stat().st_size
    if size_bytes > BYTES_MAX:
        raise BadProbe(f"The file has {size_bytes} bytes, the limit is {BYTES_MAX}.")
    data = path.read_bytes()
    try:
        with strict_pillow():
            # A truncated image has other neighbors: it is an error here, unlike in an ingest.
            changes = {
                "channels": facts.channels,
                "side_px_max": facts.stored_side_px,
                "shrink_filter": facts.shrink_filter,
                "alpha": facts.alpha,
                "keep_truncated": False,
            }
            decoded = decode_file(data, USUAL.model_copy(update=changes))
            if decoded.pages_left_out or decoded.more:
                raise BadProbe("The file is animated or holds several pictures: send one of them.")
            stored_row(decoded, facts.values or PLAIN)
            return decoded
    except BadRow as bad:
        why = WORDS.get(bad.reason, "The file cannot be used:")
        raise BadProbe(why if why.endswith(".") else f"{why} {bad.detail}.") from bad
