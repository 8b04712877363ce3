"""NIfTI files, whose damage ITK hides."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK

from nnseg_core.errors import DatasetError
from nnseg_io.itk import ItkReader
from nnseg_io.nifti import TYPES

IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
MOVED = [[0, 0, 0, 8], [0, 0, 0, 0], [0, 0, 0, 0]]
SHEARED = [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
NEARLY_STRAIGHT = [[1, 3e-5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def numbers(*shape, kind="f4"):
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def save_nifti(path, values, srow=IDENTITY, order="<", scaling=(1, 0), extension=0):
    """Write a NIfTI-1 file by hand, whose sform is ``srow`` and whose qform is absent."""
    code = next(code for code, kind in TYPES.items() if np.dtype(kind) == values.dtype)
    sizes = (values.ndim, *values.shape[::-1], *[1] * (7 - values.ndim))
    header = bytearray(352 + extension)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *sizes)
    struct.pack_into(order + "2h", header, 70, code, 8 * values.itemsize)
    struct.pack_into(order + "8f", header, 76, 1, 1, 1, 1, 1, 0, 0, 0)
    struct.pack_into(order + "3f", header, 108, 352 + extension, *scaling)
    struct.pack_into(order + "2h", header, 252, 0, 1)
    struct.pack_into(order + "12f", header, 280, *np.ravel(srow))
    header[344:348] = b"n+1\0"
    if extension:
        struct.pack_into(order + "4B2i", header, 348, 1, 0, 0, 0, extension, 0)
    content = bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def as_itk_reads(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


@pytest.mark.parametrize("kind", TYPES.values())
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("extension", [0, 32])
def test_voxels_are_those_that_itk_reads(tmp_path, kind, order, name, extension):
    path = save_nifti(
        tmp_path / name, numbers(2, 3, 4, kind=kind), order=order, extension=extension
    )

    image, _ = ItkReader().read([path])
    label, _ = ItkReader().read_label(path)

    assert np.array_equal(image[0], numbers(2, 3, 4))
    assert np.array_equal(image[0], as_itk_reads(path))
    assert np.array_equal(label, numbers(2, 3, 4))


def test_arrays_belong_to_the_caller(tmp_path):
    image, _ = ItkReader().read([save_nifti(tmp_path / "x.nii", numbers(2, 3, 4))])
    label, _ = ItkReader().read_label(save_nifti(tmp_path / "y.nii", numbers(2, 3, 4, kind="i2")))

    assert image.flags.writeable
    assert label.flags.writeable
    assert image.flags.c_contiguous


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("scaling", [(0.25, -3), (1, 7), (0, 7), (2, 0)])
def test_scaled_voxels_are_those_that_itk_computes(tmp_path, kind, scaling):
    path = save_nifti(tmp_path / "x.nii.gz", numbers(2, 3, 4, kind=kind), scaling=scaling)

    assert np.array_equal(ItkReader().read([path])[0][0], as_itk_reads(path))


@pytest.mark.parametrize("scaling", [(np.nan, np.nan), (0, 0), (0.5, 0), (1, 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_found_where_itk_reads_0(tmp_path, scaling, value):
    values = numbers(2, 3, 4)
    values[1, 2, 3] = value
    path = save_nifti(tmp_path / "x.nii.gz", values, scaling=scaling)
    assert np.isfinite(as_itk_reads(path)).all()

    for use in (lambda: ItkReader().read([path]), lambda: ItkReader().read_label(path)):
        with pytest.raises(DatasetError, match=r"x.nii.gz holds 1 values that are not finite"):
            use()


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_a_file_cut_before_it_was_compressed_is_refused(tmp_path, name):
    content = save_nifti(tmp_path / "whole.nii", numbers(2, 3, 4)).read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content[:400]) if name.endswith("gz") else content[:400])
    assert as_itk_reads(path).shape == (2, 3, 4)

    with pytest.raises(DatasetError) as error:
        ItkReader().read([path])

    assert str(error.value) == (
        f"{path} is incomplete: its header announces 448 bytes, but it holds 400. Copy it again "
        "from where it came from."
    )


def test_a_colour_file_cut_short_is_refused(tmp_path):
    path = save_nifti(tmp_path / "x.nii", numbers(2, 3, 4, kind="u1"))
    content = bytearray(path.read_bytes() + bytes(48))
    struct.pack_into("<2h", content, 70, 128, 24)  # RGB
    path.write_bytes(content)
    assert ItkReader().read([path])[0].shape == (3, 2, 3, 4)
    path.write_bytes(content[:-5])

    with pytest.raises(DatasetError, match="is incomplete: its header announces 424 bytes"):
        ItkReader().read([path])


def test_a_file_compressed_in_parts_is_complete(tmp_path):
    content = save_nifti(tmp_path / "x.nii", numbers(2, 3, 4)).read_bytes()
    path = tmp_path / "y.nii.gz"
    path.write_bytes(gzip.compress(content[:380]) + gzip.compress(content[380:]))

    assert np.array_equal(ItkReader().read([path])[0][0], numbers(2, 3, 4))


def test_a_file_that_only_seems_compressed_is_read(tmp_path):
    path = tmp_path / "y.nii.gz"
    path.write_bytes(save_nifti(tmp_path / "x.nii", numbers(2, 3, 4)).read_bytes())

    assert np.array_equal(ItkReader().read([path])[0][0], numbers(2, 3, 4))


@pytest.mark.parametrize("use", [ItkReader().peek, ItkReader().read_label])
def test_a_sheared_grid_is_explained(tmp_path, use):
    path = save_nifti(tmp_path / "x.nii", numbers(2, 3, 4), SHEARED)

    with pytest.raises(DatasetError) as error:
        use(path)

    assert str(error.value).startswith(f"{path} lies on a sheared grid")
    assert "image.set_sform(image.get_qform())" in str(error.value)


def test_itk_prints_no_warnings(tmp_path, capfd):
    path = save_nifti(tmp_path / "x.nii", numbers(2, 3, 4), NEARLY_STRAIGHT, scaling=(2, 0))

    ItkReader().read([path])

    assert capfd.readouterr().err == ""


def test_real_files_are_read_as_itk_reads_them(data_folder):
    paths = [
        *(data_folder / "spinal_cord").glob("*/*.nii.gz"),
        *data_folder.glob("problems/*/*.gz"),
    ]
    assert len(paths) > 5

    for path in paths:
        image, _ = ItkReader().read([path])
        expected = as_itk_reads(path).astype(np.float32)
        channels_first = np.moveaxis(expected, -1, 0) if expected.ndim == 4 else expected[None]
        assert np.array_equal(image, channels_first)


def test_real_files_lie_where_itk_says(data_folder):
    paths = sorted(data_folder.glob("**/*.nii.gz"))
    assert len(paths) > 400

    for path in paths:
        image = SimpleITK.ImageFileReader()
        image.SetFileName(str(path))
        image.ReadImageInformation()
        geometry, channels = ItkReader().peek(path)
        assert geometry.shape == image.GetSize()[2::-1]
        assert geometry.spacing == image.GetSpacing()[2::-1]
        assert geometry.origin == image.GetOrigin()[:3]
        axes = image.GetDimension()
        direction = np.reshape(image.GetDirection(), (axes, axes))[:3, :3]
        assert geometry.direction == tuple(direction.ravel())
        volumes = image.GetSize()[3] if axes == 4 else 1
        assert channels == volumes * image.GetNumberOfComponents()


def test_files_that_lie_alike_keep_their_own_sizes(tmp_path):
    first = save_nifti(tmp_path / "a.nii", numbers(2, 3, 4))
    second = save_nifti(tmp_path / "b.nii.gz", numbers(5, 6, 7, kind="u1"))
    moved = save_nifti(tmp_path / "c.nii", numbers(5, 6, 7), np.add(IDENTITY, MOVED))

    shapes = [ItkReader().peek(path)[0].shape for path in (first, second, moved)]
    origins = [ItkReader().peek(path)[0].origin for path in (first, second, moved)]

    assert shapes == [(2, 3, 4), (5, 6, 7), (5, 6, 7)]
    assert origins == [(0, 0, 0), (0, 0, 0), (-8, 0, 0)]


@pytest.mark.parametrize("broken", [b"", b"not compressed at all", b"\x1f\x8b and then not"])
def test_what_is_no_nifti_file_is_left_to_itk(tmp_path, broken):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(broken)

    with pytest.raises(DatasetError, match=r"x.nii.gz (is empty|cannot be read as an image)"):
        ItkReader().peek(path)
