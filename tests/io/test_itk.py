"""Images and masks through SimpleITK."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from nnseg_core.contracts import Reader
from nnseg_core.errors import DatasetError
from nnseg_io.itk import ItkReader

ENDINGS = ItkReader.endings
OBLIQUE = (0.8, -0.6, 0.0, 0.48, 0.64, -0.6, 0.36, 0.48, 0.8)
PLANAR_TURN = (0.8, -0.6, 0.6, 0.8)


def save(path, values, spacing=None, origin=None, direction=None, vector=False):
    """Write an image whose array is in ITK's numpy order; spacing and origin are (x, y, z)."""
    image = SimpleITK.GetImageFromArray(values, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction:
        image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path))
    return path


def volume(*shape, kind=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def test_it_is_a_reader():
    assert isinstance(ItkReader(), Reader)


@pytest.mark.parametrize("ending", ENDINGS)
def test_axes_and_spacing_are_reversed_and_origin_is_kept(tmp_path, ending):
    path = save(tmp_path / f"é x{ending}", volume(2, 3, 4), (0.5, 1.5, 2.5), (7.0, 8.0, 9.0))

    image, geometry = ItkReader().read([path])

    assert image.dtype == np.float32
    assert np.array_equal(image, volume(2, 3, 4)[None])
    assert (geometry.shape, geometry.spacing) == ((2, 3, 4), (2.5, 1.5, 0.5))
    assert geometry.origin == (7.0, 8.0, 9.0)
    assert ItkReader().peek(path) == (geometry, 1)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_a_2d_file_is_one_thick_slice_and_its_mask_is_2d_again(tmp_path, ending):
    path = save(tmp_path / f"image{ending}", volume(3, 4), (0.5, 2.0), (7.0, 8.0), PLANAR_TURN)
    image, geometry = ItkReader().read([path])
    assert image.shape == (1, 1, 3, 4)
    assert geometry.spacing == (1998.0, 2.0, 0.5)
    assert geometry.is_planar
    assert len(geometry.direction) == 4

    ItkReader().write_label(tmp_path / f"mask{ending}", np.ones((1, 3, 4), np.uint8), geometry)

    assert SimpleITK.ReadImage(str(tmp_path / f"mask{ending}")).GetDimension() == 2
    label, written = ItkReader().read_label(tmp_path / f"mask{ending}")
    assert np.array_equal(label, np.ones((1, 3, 4)))
    np.testing.assert_allclose(written.direction, geometry.direction, atol=1e-7)
    assert (written.origin, written.spacing) == (geometry.origin, geometry.spacing)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_the_fourth_axis_holds_the_channels(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", volume(5, 2, 3, 4), (0.5, 1.5, 2.5, 1.0), (1, 2, 3, 0))

    image, geometry = ItkReader().read([path])

    assert np.array_equal(image, volume(5, 2, 3, 4))
    assert (geometry.shape, geometry.spacing) == ((2, 3, 4), (2.5, 1.5, 0.5))
    assert (geometry.origin, len(geometry.direction)) == ((1.0, 2.0, 3.0), 9)
    assert ItkReader().peek(path) == (geometry, 5)


def test_the_direction_of_a_4d_file_is_that_of_its_volumes(tmp_path):
    direction = np.eye(4)
    direction[:3, :3] = np.reshape(OBLIQUE, (3, 3))
    path = save(tmp_path / "x.mha", volume(2, 2, 3, 4), direction=direction.ravel().tolist())

    assert ItkReader().peek(path)[0].direction == OBLIQUE


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("space", [(2, 3, 4), (3, 4)])
def test_components_are_channels(tmp_path, ending, space):
    values = volume(*space, 3, kind=np.uint8)
    path = save(tmp_path / f"x{ending}", values, vector=True)

    image, geometry = ItkReader().read([path])

    assert np.array_equal(image.reshape(3, *space), np.moveaxis(values, -1, 0))
    assert image.shape == (3, *geometry.shape)
    assert ItkReader().peek(path) == (geometry, 3)


def test_files_are_channels_in_their_order(tmp_path):
    first = save(tmp_path / "a_0000.nrrd", volume(2, 3, 4))
    second = save(tmp_path / "a_0001.nrrd", volume(2, 3, 4, kind=np.float64) / 2)

    image, _ = ItkReader().read([second, first])

    assert np.array_equal(image, [volume(2, 3, 4) / 2, volume(2, 3, 4)])


def test_channels_of_different_shape_are_refused(tmp_path):
    first = save(tmp_path / "a_0000.mha", volume(2, 3, 4))
    second = save(tmp_path / "a_0001.mha", volume(2, 3, 5))

    with pytest.raises(DatasetError) as error:
        ItkReader().read([first, second])

    assert str(error.value) == (
        "the channels of a case must lie on one grid, but their shape (z, y, x) differs: "
        f"(2, 3, 4) in {first}, (2, 3, 5) in {second}. Resample one onto the grid of the other."
    )


def test_channels_of_different_spacing_are_refused_but_rounding_is_not(tmp_path):
    first = save(tmp_path / "a_0000.mha", volume(2, 3, 4), (1.0, 1.0, 2.0))
    second = save(tmp_path / "a_0001.mha", volume(2, 3, 4), (1.0, 1.0, 2.5))
    third = save(tmp_path / "a_0002.mha", volume(2, 3, 4), (1.0, 1.0, 2.0000001))

    assert ItkReader().read([first, third])[0].shape == (2, 2, 3, 4)
    with pytest.raises(DatasetError, match=r"spacing in mm .* \(2.0, 1.0, 1.0\) in .*a_0000.mha"):
        ItkReader().read([first, second])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_values_that_are_not_finite_are_refused(tmp_path, ending, value):
    values = volume(2, 3, 4, kind=np.float32)
    values[1, 1:, 3] = value
    path = save(tmp_path / f"x{ending}", values)

    with pytest.raises(DatasetError, match=r"holds 2 values that .* index \(0, 1, 1, 3\) in array"):
        ItkReader().read([path])
    with pytest.raises(DatasetError, match=r"holds 2 values that .* index \(1, 1, 3\) in array"):
        ItkReader().read_label(path)


def test_values_too_large_for_float32_are_refused(tmp_path):
    path = save(tmp_path / "x.nrrd", np.full((2, 3, 4), 1e300))

    with pytest.raises(DatasetError, match="24 values that are not finite"):
        ItkReader().read([path])


def test_complex_numbers_are_refused(tmp_path):
    path = save(tmp_path / "x.nii", np.ones((2, 3, 4), np.complex64))

    with pytest.raises(DatasetError, match="complex64; an image needs integers or floats"):
        ItkReader().read([path])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64])
def test_labels_are_int16_whatever_integers_the_file_holds(tmp_path, kind):
    values = volume(2, 3, 4, kind=kind)

    label, geometry = ItkReader().read_label(save(tmp_path / "x.nrrd", values, (1, 2, 3)))

    assert label.dtype == np.int16
    assert np.array_equal(label, values)
    assert geometry.spacing == (3.0, 2.0, 1.0)


def test_interpolated_labels_are_refused_with_their_values(tmp_path):
    values = volume(2, 3, 4, kind=np.float32)
    values[0, 0, :2] = 0.5, 1.25

    with pytest.raises(DatasetError) as error:
        ItkReader().read_label(save(tmp_path / "x.nii.gz", values))

    assert str(error.value) == (
        f"{tmp_path / 'x.nii.gz'} holds values that are not integers: 0.5, 1.25. A label map must "
        "not be interpolated: resample it with nearest neighbours, or threshold probabilities."
    )


def test_labels_beyond_int16_are_refused(tmp_path):
    path = save(tmp_path / "x.nrrd", np.full((2, 3, 4), 40000, np.uint16))

    with pytest.raises(DatasetError, match="label values from 40000 to 40000, .* and 32767"):
        ItkReader().read_label(path)


def test_a_label_file_has_one_channel(tmp_path):
    path = save(tmp_path / "x.nrrd", volume(2, 3, 4, 3), vector=True)

    with pytest.raises(DatasetError, match="3 channels that differ; a label file needs one"):
        ItkReader().read_label(path)


@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_geometry_survives_a_round_trip_bit_for_bit(tmp_path, ending):
    spacing, origin = (0.1, 0.7123456789, 3.3), (-101.123456789, 1e-9, 77.7)
    image = save(tmp_path / f"x{ending}", volume(2, 3, 4), spacing, origin, OBLIQUE)
    geometry, _ = ItkReader().peek(image)

    ItkReader().write_label(tmp_path / f"mask{ending}", volume(2, 3, 4), geometry)

    label, written = ItkReader().read_label(tmp_path / f"mask{ending}")
    assert written == geometry
    assert np.array_equal(label, volume(2, 3, 4))


@pytest.mark.parametrize(
    ("ending", "precision"), [(".nii.gz", 1e-7), (".nii", 1e-7), (".nrrd", 1e-14)]
)
def test_geometry_survives_a_round_trip_as_far_as_the_format_keeps_it(tmp_path, ending, precision):
    spacing, origin = (0.1, 0.7123456789, 3.3), (-101.123456789, 1e-9, 77.7)
    image = save(tmp_path / f"x{ending}", volume(2, 3, 4), spacing, origin, OBLIQUE)
    geometry, _ = ItkReader().peek(image)

    ItkReader().write_label(tmp_path / f"mask{ending}", volume(2, 3, 4), geometry)

    _, written = ItkReader().read_label(tmp_path / f"mask{ending}")
    assert (written.shape, written.origin) == (geometry.shape, geometry.origin)
    np.testing.assert_allclose(written.spacing, geometry.spacing, rtol=1e-15)
    np.testing.assert_allclose(written.direction, geometry.direction, rtol=0, atol=precision)


@pytest.mark.parametrize(
    ("largest", "kind"), [(255, np.uint8), (256, np.uint16), (3000, np.uint16)]
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_take_the_smallest_type(tmp_path, ending, largest, kind):
    mask = volume(2, 3, 4)
    mask[1, 1, 1] = largest
    path = tmp_path / f"mask{ending}"

    ItkReader().write_label(path, mask, ItkReader().peek(save(tmp_path / "x.mha", mask))[0])

    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert read.dtype == kind
    assert np.array_equal(read, mask)


def test_a_mask_off_the_grid_of_its_image_is_a_defect(tmp_path):
    geometry, _ = ItkReader().peek(save(tmp_path / "x.mha", volume(2, 3, 4)))

    with pytest.raises(ValueError, match=r"label has shape \(2, 3, 5\)"):
        ItkReader().write_label(tmp_path / "mask.mha", volume(2, 3, 5), geometry)
    with pytest.raises(ValueError, match="label values -1 to 22"):
        ItkReader().write_label(tmp_path / "mask.mha", volume(2, 3, 4) - 1, geometry)


@pytest.mark.parametrize("ending", ENDINGS)
def test_writing_replaces_a_mask_and_leaves_nothing_else(tmp_path, ending):
    geometry, _ = ItkReader().peek(save(tmp_path / "x.mha", volume(2, 3, 4)))
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / f"mask{ending}"
    path.write_text("an older file")

    ItkReader().write_label(path, volume(2, 3, 4), geometry)

    data = {"mask.zraw"} if ending == ".mhd" else set()
    assert {file.name for file in path.parent.iterdir()} == {path.name} | data
    assert np.array_equal(ItkReader().read_label(path)[0], volume(2, 3, 4))


def test_a_failed_write_keeps_the_old_mask(tmp_path, monkeypatch):
    def fail(image, name, **options):
        Path(name).write_text("half a file")
        raise RuntimeError("disk full")

    path = tmp_path / "mask.nii.gz"
    geometry, _ = ItkReader().peek(save(path, volume(2, 3, 4)))
    monkeypatch.setattr(SimpleITK, "WriteImage", fail)

    with pytest.raises(RuntimeError, match="disk full"):
        ItkReader().write_label(path, volume(2, 3, 4), geometry)

    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert np.array_equal(ItkReader().read_label(path)[0], volume(2, 3, 4))


def test_x_nii_beside_x_nii_gz_is_refused(tmp_path):
    packed = save(tmp_path / "x.nii.gz", volume(2, 3, 4))
    plain = save(tmp_path / "x.nii", volume(2, 3, 4))

    for path, other in ((packed, plain), (plain, packed)):
        for use in (ItkReader().peek, ItkReader().read_label, lambda p: ItkReader().read([p])):
            with pytest.raises(DatasetError) as error:
                use(path)
            assert str(error.value).startswith(f"{path} and {other.name} lie in one folder")


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_that_hold_no_image_are_named(tmp_path, ending):
    empty, text, absent = (tmp_path / f"{name}{ending}" for name in ("empty", "text", "absent"))
    empty.touch()
    text.write_text("hello")

    for use in (ItkReader().peek, ItkReader().read_label):
        with pytest.raises(DatasetError) as error:
            use(empty)
        assert str(error.value).startswith(f"{empty} is empty (0 bytes)")
        with pytest.raises(DatasetError) as error:
            use(text)
        assert str(error.value).startswith(f"{text} cannot be read as an image: ")
        with pytest.raises(DatasetError) as error:
            use(absent)
        assert str(error.value) == f"{absent} does not exist."


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_refused(tmp_path, ending, compressed):
    path = tmp_path / f"x{ending}"
    noise = np.random.default_rng(0).integers(0, 1000, (20, 30, 40)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(path), compressed)
    assert np.array_equal(ItkReader().read_label(path)[0], noise)
    data = path.with_suffix(".zraw" if compressed else ".raw") if ending == ".mhd" else path
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])

    with pytest.raises(DatasetError) as error:
        ItkReader().read([path])

    assert str(error.value).startswith(str(path))


def test_five_axes_are_refused(tmp_path):
    path = save(tmp_path / "x.mha", volume(2, 3, 4, 5, 6))

    with pytest.raises(DatasetError, match="has 5 axes"):
        ItkReader().peek(path)


def test_a_fourth_axis_of_vectors_is_refused(tmp_path):
    path = save(tmp_path / "x.mha", volume(2, 3, 4, 5, 2), vector=True)

    with pytest.raises(DatasetError, match="fourth axis and 2 components per voxel"):
        ItkReader().read([path])


def test_hippocampus_files_read_as_itk_reads_them(data_folder):
    folder = data_folder / "Dataset004_Hippocampus"
    for case in ("hippocampus_001", "hippocampus_003", "hippocampus_004"):
        path = folder / "imagesTr" / f"{case}_0000.nii.gz"
        image, geometry = ItkReader().read([path])
        label, label_geometry = ItkReader().read_label(folder / "labelsTr" / f"{case}.nii.gz")

        expected = SimpleITK.ReadImage(str(path))
        assert np.array_equal(image[0], SimpleITK.GetArrayFromImage(expected).astype(np.float32))
        assert geometry.spacing == expected.GetSpacing()[::-1]
        assert geometry == label_geometry
        assert set(np.unique(label)) == {0, 1, 2}


def test_four_channels_of_one_patient_stack(data_folder):
    folder = data_folder / "Dataset021_MSLesions"
    paths = [folder / "imagesTr" / f"patient07_{channel:04}.nii.gz" for channel in range(4)]

    image, geometry = ItkReader().read(paths)

    label, label_geometry = ItkReader().read_label(folder / "labelsTr" / "patient07.nii.gz")
    assert image.shape == (4, *label.shape) == (4, 182, 218, 182)
    assert np.allclose(geometry.spacing, label_geometry.spacing)


def test_channels_on_different_grids_are_found(data_folder):
    folder = data_folder / "problems" / "grids_differ"

    with pytest.raises(DatasetError, match=r"FLAIR\.nii\.gz, .*T1W\.nii\.gz"):
        ItkReader().read([folder / "study1_FLAIR.nii.gz", folder / "study1_T1W.nii.gz"])


def test_masks_return_to_oblique_scanner_grids(data_folder, tmp_path):
    for name in ("spinal_cord/t2s/t2s.nii.gz", "problems/grids_differ/study1_FLAIR.nii.gz"):
        geometry, _ = ItkReader().peek(data_folder / name)
        ItkReader().write_label(tmp_path / "m.nii.gz", np.zeros(geometry.shape, np.uint8), geometry)

        written, _ = ItkReader().peek(tmp_path / "m.nii.gz")
        assert written.spacing == geometry.spacing
        assert written.origin == geometry.origin
        np.testing.assert_allclose(written.direction, geometry.direction, rtol=0, atol=1e-7)
