"""3D TIFF stacks with their spacing beside them."""

import json

import numpy as np
import pytest
import tifffile

from nnseg_core.contracts import Reader
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry
from nnseg_io.tiff3d import Tiff3dReader

STACK = np.random.default_rng(0).integers(0, 60000, (4, 5, 6)).astype(np.uint16)


def save(path, values=STACK, axes="ZYX"):
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})
    return path


def test_it_is_a_reader():
    assert isinstance(Tiff3dReader(), Reader)


@pytest.mark.parametrize("name", ["CASE.json", "CASE_0000.json"])
def test_spacing_comes_from_the_file_beside(tmp_path, name):
    path = save(tmp_path / "CASE_0000.tif")
    (tmp_path / name).write_text('{"spacing": [3, 0.5, 0.25]}')

    image, geometry = Tiff3dReader().read([path])

    assert image.dtype == np.float32
    assert np.array_equal(image, STACK[None])
    assert geometry == Geometry(shape=(4, 5, 6), spacing=(3.0, 0.5, 0.25))
    assert Tiff3dReader().peek(path) == (geometry, 1)


def test_without_it_voxels_are_1_mm_apart(tmp_path):
    path = save(tmp_path / "CASE_0000.tiff")

    assert Tiff3dReader().peek(path)[0].spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "text",
    ["[1, 1, 1]", '{"spacing": [1, 1]}', '{"spacing": [1, 1, 0]}', '{"spacing": [1, 1, NaN]}',
     '{"spacing": "1"}', "{"],
)  # fmt: skip
def test_a_spacing_file_that_tells_no_spacing_is_refused(tmp_path, text):
    path = save(tmp_path / "CASE_0000.tif")
    (tmp_path / "CASE.json").write_text(text)

    with pytest.raises(DatasetError) as error:
        Tiff3dReader().peek(path)

    assert str(error.value) == (
        f'{tmp_path / "CASE.json"} must hold {{"spacing": [z, y, x]}}, three positive numbers in '
        "mm, the spacing of CASE_0000.tif."
    )


@pytest.mark.parametrize("ending", [".tif", ".tiff"])
@pytest.mark.parametrize(("largest", "kind"), [(255, np.uint8), (256, np.uint16)])
def test_masks_return_with_their_spacing(tmp_path, ending, largest, kind):
    geometry = Geometry(shape=(4, 5, 6), spacing=(3.0, 0.1, 0.25))
    mask = (STACK % 3).astype(np.int16)
    mask[0, 0, 0] = largest
    path = tmp_path / f"é 1{ending}"

    Tiff3dReader().write_label(path, mask, geometry)

    label, written = Tiff3dReader().read_label(path)
    assert label.dtype == np.int16
    assert np.array_equal(label, mask)
    assert written == geometry
    assert tifffile.imread(path).dtype == kind
    assert json.loads((tmp_path / "é 1.json").read_text()) == {"spacing": [3.0, 0.1, 0.25]}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("slices", [1, 3])
def test_few_slices_are_still_a_stack(tmp_path, slices):
    geometry = Geometry(shape=(slices, 5, 6), spacing=(1.0, 1.0, 1.0))

    Tiff3dReader().write_label(tmp_path / "x.tif", STACK[:slices] % 3, geometry)

    assert np.array_equal(Tiff3dReader().read_label(tmp_path / "x.tif")[0], STACK[:slices] % 3)


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_the_channels_of_a_stack_come_first(tmp_path, axes):
    values = np.stack([STACK, STACK // 2], axis=axes.index("C"))
    path = tmp_path / "x.ome.tif"
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})

    image, geometry = Tiff3dReader().read([path])

    assert np.array_equal(image, [STACK, STACK // 2])
    assert Tiff3dReader().peek(path) == (geometry, 2)


def test_a_stack_of_pages_needs_no_names_of_axes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", STACK, imagej=True)

    for name in ("a.tif", "b.tif"):
        assert np.array_equal(Tiff3dReader().read([tmp_path / name])[0], STACK[None])


def test_2d_pictures_are_refused(tmp_path):
    grey, colour = tmp_path / "grey.tif", tmp_path / "colour.tif"
    tifffile.imwrite(grey, STACK[0])
    tifffile.imwrite(colour, np.zeros((5, 6, 3), np.uint8))

    with pytest.raises(DatasetError, match=r"grey.tif is not a 3D image: it has axes YX of sizes"):
        Tiff3dReader().read([grey])
    with pytest.raises(DatasetError, match=r"colour.tif is not a 3D image: it has axes YXS"):
        Tiff3dReader().peek(colour)


def test_unusable_files_are_named(tmp_path):
    cut, text = save(tmp_path / "cut.tif"), tmp_path / "text.tif"
    cut.write_bytes(cut.read_bytes()[:300])
    text.write_text("hello")

    for path in (cut, text):
        with pytest.raises(DatasetError) as error:
            Tiff3dReader().read([path])
        assert str(error.value).startswith(f"{path} cannot be read")
