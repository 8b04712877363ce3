from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from nnseg_core.fixing import volumes


def write(path: Path, voxels: NDArray[Any], spacing: Any = (1, 1, 2), origin: Any = (5, 6, 7)):
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    SimpleITK.WriteImage(image, str(path))
    return path


def array(path: Path) -> NDArray[Any]:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def blob(shape=(4, 8, 8)):
    label = np.zeros(shape, np.uint8)
    label[1:3, 2:6, 3:7] = 3
    return label


@pytest.fixture
def image(tmp_path):
    return write(tmp_path / "image.nii.gz", np.arange(256, dtype=np.int16).reshape(4, 8, 8))


def test_a_finer_label_goes_to_its_image_by_position(tmp_path, image):
    fine = blob().repeat(2, axis=1).repeat(2, axis=2)
    label = write(tmp_path / "label.nii.gz", fine, (0.5, 0.5, 2), (4.75, 5.75, 7))

    done = volumes.put_label_onto(label, image)

    assert done == (
        "resampled onto its image by position, nearest neighbour; 100% of its volume left"
    )
    np.testing.assert_array_equal(array(label), blob())
    assert SimpleITK.ReadImage(str(label)).GetOrigin() == (5, 6, 7)


def test_a_label_that_lies_elsewhere_gets_the_header_of_its_image(tmp_path, image):
    label = write(tmp_path / "label.nii.gz", blob(), origin=(500, 6, 7))

    done = volumes.put_label_onto(label, image)

    assert done is not None
    assert done.endswith("by its own, most of the foreground would lie outside")
    np.testing.assert_array_equal(array(label), blob())


def test_a_label_without_header_gets_that_of_its_image(tmp_path, image):
    label = write(tmp_path / "label.nii.gz", blob(), (1, 1, 1), (0, 0, 0))

    assert volumes.put_label_onto(label, image) == (
        "given the header of its image, voxel by voxel: whose own header said nothing"
    )
    np.testing.assert_array_equal(array(label), blob())


def test_a_label_of_another_shape_that_lies_elsewhere_is_left_alone(tmp_path, image):
    label = write(tmp_path / "label.nii.gz", blob((4, 8, 9)), origin=(500, 6, 7))
    before = label.read_bytes()

    assert volumes.put_label_onto(label, image) is None
    assert label.read_bytes() == before


def test_a_channel_is_interpolated_and_keeps_its_type(tmp_path, image):
    ramp = np.broadcast_to(np.arange(16, dtype=np.int16) * 10, (4, 8, 16))
    other = write(tmp_path / "other.nii.gz", np.ascontiguousarray(ramp), (0.5, 1, 2))

    done = volumes.put_image_onto(other, image)

    assert done == "resampled onto the first channel by position, linearly; 0 outside"
    assert array(other).dtype == np.int16
    np.testing.assert_array_equal(array(other)[0, 0], np.arange(8) * 20)


def test_transparency_is_dropped_and_colours_stay(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    assert volumes.drop_alpha(tmp_path / "a.png") == "transparency taken out"

    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels[..., :3])
    assert volumes.drop_alpha(tmp_path / "a.png") is None


def test_only_grey_colours_become_one_channel(tmp_path):
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey, grey, 0 * grey], -1)).save(tmp_path / "red.png")

    assert volumes.make_grey(tmp_path / "grey.png") == "grey saved as colours is now one channel"
    assert volumes.make_grey(tmp_path / "red.png") is None
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "grey.png")), grey)


def test_volumes_of_a_4d_file_keep_grid_and_order(tmp_path):
    parts = [np.full((2, 3, 4), number, np.int16) for number in (7, 8)]
    images = [SimpleITK.GetImageFromArray(part) for part in parts]
    for part in images:
        part.SetSpacing((1, 2, 3))
        part.SetOrigin((4, 5, 6))
    SimpleITK.WriteImage(SimpleITK.JoinSeries(images), str(tmp_path / "a_0000.nii.gz"))
    targets = [tmp_path / f"a_000{number}.nii.gz" for number in (0, 1)]

    assert volumes.count(targets[0]) == 2
    volumes.split(targets[0], targets)

    for target, part in zip(targets, parts, strict=True):
        np.testing.assert_array_equal(array(target), part)
        again = SimpleITK.ReadImage(str(target))
        assert (again.GetSpacing(), again.GetOrigin()) == ((1, 2, 3), (4, 5, 6))


def test_voxels_that_are_no_numbers_in_other_formats(tmp_path):
    voxels = np.ones((2, 3, 4), np.float32)
    voxels[0, 0, 0] = np.nan
    path = write(tmp_path / "a.nrrd", voxels)

    assert volumes.make_finite(path) == "1 NaN voxels are now 1"
    np.testing.assert_array_equal(array(path), 1)
    assert SimpleITK.ReadImage(str(path)).GetOrigin() == (5, 6, 7)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_a_file_is_placed_in_the_format_of_its_new_name(tmp_path, image, ending):
    volumes.place(image, tmp_path / f"new{ending}")

    np.testing.assert_array_equal(array(tmp_path / f"new{ending}"), array(image))


def test_nan_survives_a_change_of_compression(tmp_path):
    voxels = np.ones((2, 3, 4), np.float32)
    voxels[0, 0, 0] = np.nan
    path = write(tmp_path / "a.nii", voxels)

    volumes.place(path, tmp_path / "b.nii.gz")
    volumes.place(tmp_path / "b.nii.gz", tmp_path / "c.nii")

    assert (tmp_path / "c.nii").read_bytes() == path.read_bytes()
