"""Masks as .nii.gz: what ITK would have written, only faster."""

import gzip

import numpy as np
import pytest
import SimpleITK

from nnseg_core.geometry import PLANAR_SPACING, Geometry
from nnseg_io.itk import ItkReader

TURN = (0.8, -0.6, 0.0, 0.48, 0.64, -0.6, 0.36, 0.48, 0.8)
SOLID = Geometry(shape=(5, 6, 7), spacing=(2.5, 1.5, 0.5), origin=(7.0, -8.0, 9.0), direction=TURN)
FLAT = Geometry(
    shape=(1, 6, 7),
    spacing=(PLANAR_SPACING * 1.5, 1.5, 0.5),
    origin=(7.0, -8.0),
    direction=(0.8, -0.6, 0.6, 0.8),
)


def label(geometry, highest):
    return np.random.default_rng(0).integers(0, highest + 1, geometry.shape).astype(np.int16)


def written_by_itk(path, values, geometry):
    mask = np.squeeze(values) if geometry.is_planar else values
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8 if values.max() <= 255 else np.uint16))
    image.SetSpacing(geometry.spacing[::-1][: image.GetDimension()])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    SimpleITK.WriteImage(image, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("highest", [3, 400])
@pytest.mark.parametrize("geometry", [SOLID, FLAT])
def test_a_mask_is_what_itk_would_write(tmp_path, geometry, highest):
    values = label(geometry, highest)
    path = tmp_path / "é mask.nii.gz"

    ItkReader().write_label(path, values, geometry)

    expected = written_by_itk(tmp_path / "by_itk.nii", values, geometry)
    assert gzip.decompress(path.read_bytes()) == expected
    (tmp_path / "by_itk.nii").unlink()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_equal_masks_are_equal_files(tmp_path):
    for name in ("first", "second"):
        ItkReader().write_label(tmp_path / f"{name}.nii.gz", label(SOLID, 3), SOLID)

    first, second = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second
