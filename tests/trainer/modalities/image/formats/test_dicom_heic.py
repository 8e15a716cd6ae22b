"""DICOM and HEIC files, made by their own libraries, and what is said without these."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from tests.support.data.images import picture
from tests.support.data.ingest import ingested
from trainer.data.rows import BadRow
from trainer.data.spec import USUAL
from trainer.modalities.image.decode import strict_pillow
from trainer.modalities.image.formats.pictures import Picture, pictures_of


def dicom(values: NDArray[Any], *, packing: UID = ExplicitVRLittleEndian, **tags: Any) -> bytes:  # noqa: ANN401
    """A file of one frame [H, W], or of several [N, H, W]; of colours [H, W, 3]."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = packing
    scan = pydicom.Dataset()
    scan.file_meta = meta
    scan.SOPClassUID, scan.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    scan.PatientName = "Somebody^Private"
    is_colour = values.ndim == 3 and values.shape[2] == 3
    scan.SamplesPerPixel = 3 if is_colour else 1
    scan.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    scan.PlanarConfiguration = 0
    scan.Rows, scan.Columns = values.shape[:2] if is_colour else values.shape[-2:]
    if values.ndim == 3 and not is_colour:
        scan.NumberOfFrames = len(values)
    scan.BitsAllocated = scan.BitsStored = 8 * values.dtype.itemsize
    scan.HighBit = scan.BitsStored - 1
    scan.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(scan, name, value)
    scan.PixelData = values.tobytes()
    file = io.BytesIO()
    scan.save_as(file, enforce_file_format=True)
    return file.getvalue()


def arrays(data: bytes) -> list[NDArray[Any]]:
    return [np.asarray(found.pixels) for found in pictures(data)]


def pictures(data: bytes) -> list[Picture]:
    with strict_pillow():
        return list(pictures_of(data, USUAL))


def test_values_are_hounsfield_units() -> None:
    stored = np.arange(120, dtype=np.uint16).reshape(10, 12) * 30
    data = dicom(stored, RescaleSlope=2, RescaleIntercept=-1024)
    (found,) = pictures(data)
    assert isinstance(found.pixels, np.ndarray)
    assert found.pixels.dtype == np.int16
    assert np.array_equal(found.pixels, stored.astype(int) * 2 - 1024)


def test_values_without_a_rescale_are_those_stored() -> None:
    stored = np.arange(120, dtype=np.uint16).reshape(10, 12)
    assert np.array_equal(arrays(dicom(stored, BitsStored=12, HighBit=11))[0], stored)
    signed = np.arange(-60, 60, dtype=np.int16).reshape(10, 12)
    assert np.array_equal(arrays(dicom(signed))[0], signed)


def test_monochrome1_is_turned() -> None:
    stored = np.arange(120, dtype=np.uint16).reshape(10, 12)
    tags: dict[str, Any] = {
        "PhotometricInterpretation": "MONOCHROME1",
        "BitsStored": 12,
        "HighBit": 11,
    }
    assert np.array_equal(arrays(dicom(stored, **tags))[0], 4095 - stored.astype(int))


def test_frames_are_rows_and_colours_are_colours() -> None:
    frames = np.random.default_rng(0).integers(0, 4000, (5, 8, 9), dtype=np.uint16)
    assert np.array_equal(arrays(dicom(frames)), frames)
    colours = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(arrays(dicom(colours))[0], colours)


def test_windows_that_agree_are_suggested_and_never_applied(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    (tmp_path / "ct").mkdir()
    for number in range(10):
        values = draw.integers(0, 2000, (12, 12), dtype=np.uint16)
        tags: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowWidth": 400}
        data = dicom(values, **tags, WindowCenter=40 if number else 300)
        (tmp_path / "ct" / f"IM{number:04d}").write_bytes(data)
    made = ingested(tmp_path / "ct", tmp_path / "out")
    assert made.facts.rows == 10
    told = {warning.code: warning for warning in made.facts.warnings}
    assert (
        "9 of 10 files suggest to show the values -160 to 239" in told["suggested_window"].message
    )
    assert "--range -160:239" in told["suggested_window"].hint


def test_a_deflated_file_is_refused_before_it_is_unpacked() -> None:
    data = dicom(np.zeros((64, 64), np.uint16), packing=DeflatedExplicitVRLittleEndian)
    with pytest.raises(BadRow, match="deflated") as caught:
        pictures(data)
    assert caught.value.reason == "wrong_type"


def test_nothing_of_a_patient_is_told() -> None:
    data = dicom(np.zeros((64, 64), np.uint16))
    for length in range(140, len(data) - 1, 97):
        with pytest.raises(BadRow) as caught:
            pictures(data[:length])
        assert "Somebody" not in caught.value.detail
        assert caught.value.reason in {"truncated", "unreadable", "wrong_type"}


def heic(image: Image.Image) -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=95)
    return file.getvalue()


def test_heic_is_read() -> None:
    image = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    (found,) = pictures(heic(image))
    assert isinstance(found.pixels, Image.Image)
    difference = np.asarray(found.pixels.convert("RGB")).astype(int) - np.asarray(image)
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize(
    ("package", "extra"), [("pydicom", "mocoserve[dicom]"), ("pillow_heif", "mocoserve[heic]")]
)
def test_without_the_extra_its_name_is_told(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (
        heic(picture(1, height=64, width=64))
        if "heif" in package
        else dicom(np.zeros((8, 8), np.uint16))
    )
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadRow) as caught:
        pictures(data)
    assert extra in caught.value.detail
