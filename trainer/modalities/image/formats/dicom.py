"""Reader of DICOM files, with the optional package pydicom.

Values are those after the modality transform, such as Hounsfield units; the files' windows are
reported but not applied. Patient data never gets into a row, a name or a message.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.rows import BadRow

if TYPE_CHECKING:
    from pydicom import Dataset

EXTRA: Final = "DICOM needs one more package: pip install 'mocoserve[dicom]'"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
INT16: Final = (-32_768, 32_767)


@dataclass(frozen=True, slots=True)
class Scan:
    """Content of one DICOM file."""

    width: int
    height: int
    frames: int
    window: tuple[float, float] | None
    """Darkest and brightest value that the file suggests to show."""
    dataset: "Dataset"


def opened(data: bytes) -> Scan:
    """Read the header. Raises BadRow, also without the extra."""
    try:
        import pydicom  # noqa: PLC0415  # an extra
    except ImportError:
        raise BadRow("wrong_type", EXTRA) from None
    # Such a file unpacks without a bound, so it is refused before it is read on.
    file = io.BytesIO(data)
    pydicom.filereader.read_preamble(file, force=False)
    meta = pydicom.filereader._read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") == _DEFLATED:
        raise BadRow("wrong_type", "DICOM that is deflated as a whole is not read")
    dataset = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in dataset:
        raise BadRow("wrong_type", "the DICOM file holds no pixels")
    return Scan(
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        frames=int(dataset.get("NumberOfFrames") or 1),
        window=_window(dataset),
        dataset=dataset,
    )


def arrays_of(scan: Scan, *, most: int) -> Iterator[NDArray[Any]]:
    """Yield at most `most` frames: u8 [H, W, 3], or u16 or i16 [H, W]. Raises BadRow."""
    from pydicom.pixels.utils import iter_pixels  # noqa: PLC0415  # an extra

    indices = list(range(min(scan.frames, most)))
    try:
        for frame in iter_pixels(scan.dataset, indices=indices):
            yield _values(frame, scan.dataset)
    except (NotImplementedError, RuntimeError) as error:
        syntax = scan.dataset.file_meta.TransferSyntaxUID
        raise BadRow(
            "wrong_type", f"no decoder of this DICOM packing is installed: {syntax.name}"
        ) from error


def _values(frame: NDArray[Any], dataset: "Dataset") -> NDArray[Any]:
    from pydicom.pixels.processing import (  # noqa: PLC0415  # an extra
        apply_color_lut,
        apply_modality_lut,
    )

    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
        shift = 8 if frame.dtype == np.uint16 else 0
        return np.asarray(frame >> shift, np.uint8)
    if frame.ndim == 3:
        return frame.astype(np.uint8) if int(dataset.BitsStored) <= 8 else frame
    bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    if kind == "MONOCHROME1":
        frame = (-1 if is_signed else (1 << bits) - 1) - frame.astype(np.int32)
    values = np.rint(apply_modality_lut(frame, dataset))
    # All files of a kind of scan must have one type, so tags decide, not the values of a file.
    if is_signed or float(dataset.get("RescaleIntercept") or 0) < 0:
        return np.asarray(values.clip(*INT16), np.int16)
    return np.asarray(values.clip(0, 65_535), np.uint16)


def _window(dataset: "Dataset") -> tuple[float, float] | None:
    """Return the first window as two values, by the formula of PS3.3 C.11.2."""
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width < 1:
        return None
    low = center - 0.5 - (width - 1) / 2
    return low, low + width - 1


def _first(value: Any) -> float | None:  # noqa: ANN401  # a number, several, or nothing
    try:
        return float(value[0] if hasattr(value, "__getitem__") else value)
    except (TypeError, ValueError, IndexError):
        return None
