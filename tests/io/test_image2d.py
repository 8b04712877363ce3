"""2D pictures: PNG, BMP and TIFF."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from nnseg_core.contracts import Reader
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry
from nnseg_io.image2d import Image2dReader

PLANE = Geometry(
    shape=(1, 5, 6), spacing=(999.0, 1.0, 1.0), origin=(0.0, 0.0), direction=(1.0, 0.0, 0.0, 1.0)
)
COLOURS = [0, 0, 0, 255, 0, 0, 0, 255, 0, 10, 20, 30]


def pixels(*shape, kind=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape).astype(kind)


def save(path, values):
    if path.suffix.startswith(".tif"):
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def save_palette(path, indices):
    picture = Image.fromarray(indices).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(COLOURS)
    picture.save(path)
    return path


def save_png_with_16_bit_colours(path):
    def part(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    rows = b"".join(b"\0" + pixels(2, 3, kind=np.uint16).astype(">u2").tobytes() for _ in range(3))
    header = part(b"IHDR", struct.pack(">2I5B", 2, 3, 16, 2, 0, 0, 0))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    )
    return path


def test_it_is_a_reader_that_leaves_jpeg_out():
    assert isinstance(Image2dReader(), Reader)
    assert Image2dReader().endings == (".png", ".bmp", ".tif", ".tiff")


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_channels(tmp_path, ending, channels):
    values = pixels(5, 6, channels)
    path = save(tmp_path / f"é x{ending}", values if channels > 1 else values[..., 0])

    image, geometry = Image2dReader().read([path])

    assert image.dtype == np.float32
    assert np.array_equal(image, np.moveaxis(values, -1, 0)[:, None])
    assert geometry == PLANE
    assert geometry.is_planar
    assert Image2dReader().peek(path) == (PLANE, channels)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_rgba_is_four_channels(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", pixels(5, 6, 4))

    assert np.array_equal(Image2dReader().read([path])[0][3, 0], pixels(5, 6, 4)[..., 3])
    assert Image2dReader().peek(path) == (PLANE, 4)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_16_bits_of_grey_are_kept(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", pixels(5, 6, kind=np.uint16))

    assert np.array_equal(Image2dReader().read([path])[0][0, 0], pixels(5, 6, kind=np.uint16))


def test_16_bits_per_colour_are_kept_in_tiff_and_refused_in_png(tmp_path):
    values = pixels(5, 6, 3, kind=np.uint16)
    image, _ = Image2dReader().read([save(tmp_path / "x.tif", values)])
    assert np.array_equal(image[:, 0], np.moveaxis(values, -1, 0))

    path = save_png_with_16_bit_colours(tmp_path / "x.png")
    with pytest.raises(DatasetError, match=r"x.png has 16 bits per colour.*Save it as .tif"):
        Image2dReader().read([path])


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_a_palette_holds_colours_in_an_image_and_indices_in_a_label(tmp_path, ending):
    indices = pixels(5, 6) % 4
    path = save_palette(tmp_path / f"x{ending}", indices)

    image, _ = Image2dReader().read([path])

    colours = np.reshape(COLOURS, (4, 3)).T
    assert np.array_equal(image[:, 0], colours[:, indices])
    assert Image2dReader().peek(path) == (PLANE, 3)
    assert np.array_equal(Image2dReader().read_label(path)[0], indices[None])


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_black_and_white_masks_are_0_and_1(tmp_path, ending):
    mask = pixels(5, 6) > 99
    Image.fromarray(mask).save(tmp_path / f"x{ending}")

    label, geometry = Image2dReader().read_label(tmp_path / f"x{ending}")

    assert label.dtype == np.int16
    assert np.array_equal(label, mask[None])
    assert geometry == PLANE


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_grey_labels_saved_as_colours_are_accepted(tmp_path, ending):
    grey = pixels(5, 6) % 3
    path = save(tmp_path / f"x{ending}", np.stack([grey] * 3, axis=-1))

    assert np.array_equal(Image2dReader().read_label(path)[0], grey[None])


def test_transparency_says_nothing_about_labels(tmp_path):
    grey, opaque = pixels(5, 6) % 3, np.full((5, 6), 255, np.uint8)
    path = save(tmp_path / "x.png", np.stack([grey, grey, grey, opaque], axis=-1))

    assert np.array_equal(Image2dReader().read_label(path)[0], grey[None])


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_coloured_labels_are_refused(tmp_path, ending):
    path = save(tmp_path / f"x{ending}", pixels(5, 6, 3))

    with pytest.raises(DatasetError, match=rf"x\{ending} has 3 channels that differ"):
        Image2dReader().read_label(path)


def test_files_are_channels_and_must_agree(tmp_path):
    first, second = save(tmp_path / "a.png", pixels(5, 6)), save(tmp_path / "b.png", pixels(5, 6))
    other = save(tmp_path / "c.png", pixels(5, 7))

    assert Image2dReader().read([first, second])[0].shape == (2, 1, 5, 6)
    with pytest.raises(DatasetError, match=r"\(1, 5, 6\) in .*a.png, \(1, 5, 7\) in .*c.png"):
        Image2dReader().read([first, other])


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize(("largest", "kind"), [(255, np.uint8), (256, np.uint16)])
def test_masks_return_unchanged(tmp_path, ending, largest, kind):
    mask = (pixels(1, 5, 6) % 3).astype(np.int16)
    mask[0, 0, 0] = largest

    Image2dReader().write_label(tmp_path / f"x{ending}", mask, PLANE)

    label, geometry = Image2dReader().read_label(tmp_path / f"x{ending}")
    assert np.array_equal(label, mask)
    assert geometry == PLANE
    stored = np.asarray(Image.open(tmp_path / f"x{ending}"))
    assert (stored.dtype, stored.shape) == (kind, (5, 6))
    assert [file.name for file in tmp_path.iterdir()] == [f"x{ending}"]


def test_bmp_has_no_room_for_many_labels(tmp_path):
    Image2dReader().write_label(tmp_path / "x.bmp", np.full((1, 5, 6), 254), PLANE)
    assert np.all(Image2dReader().read_label(tmp_path / "x.bmp")[0] == 254)

    with pytest.raises(DatasetError, match=r"x.bmp cannot hold .* largest is 300. Convert"):
        Image2dReader().write_label(tmp_path / "x.bmp", np.full((1, 5, 6), 300), PLANE)


def test_channels_of_a_microscope_are_channels_and_stacks_are_refused(tmp_path):
    kept, stack = tmp_path / "kept.tif", tmp_path / "stack.tif"
    tifffile.imwrite(kept, pixels(4, 5, 6), imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(stack, pixels(4, 5, 6), photometric="minisblack", metadata={"axes": "ZYX"})

    assert np.array_equal(Image2dReader().read([kept])[0][:, 0], pixels(4, 5, 6))
    for use in (Image2dReader().peek, Image2dReader().read_label):
        with pytest.raises(DatasetError) as error:
            use(stack)
        assert str(error.value) == (
            f"{stack} is not a 2D image: it has axes ZYX of sizes (4, 5, 6). "
            "2D images are read by the reader 'image2d', 3D ones by 'tiff3d'."
        )


def test_pages_of_different_size_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(pixels(5, 6))
        file.write(pixels(7, 6))

    with pytest.raises(DatasetError, match="holds 2 images of different size"):
        Image2dReader().read([tmp_path / "x.tif"])


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_unusable_files_are_named(tmp_path, ending):
    empty, text, cut = (tmp_path / f"{name}{ending}" for name in ("empty", "text", "cut"))
    empty.touch()
    text.write_text("hello, this is no picture at all")
    save(cut, pixels(50, 60, 3))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])

    for path, what in ((empty, "is empty"), (text, "cannot be read"), (cut, "cannot be read")):
        with pytest.raises(DatasetError) as error:
            Image2dReader().read([path])
        assert str(error.value).startswith(f"{path} {what}")


def test_a_picture_too_large_for_pillow_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", pixels(5, 6))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(DatasetError, match=r"x.png is larger than Pillow allows.* Save it as .tif"):
        Image2dReader().read([path])


def test_nuclei_are_read(data_folder):
    folder = data_folder / "Dataset018_Nuclei"

    image, geometry = Image2dReader().read([folder / "imagesTr" / "nuclei_000_0000.png"])
    label, label_geometry = Image2dReader().read_label(folder / "labelsTr" / "nuclei_000.png")

    assert image.shape == (3, 1, 256, 256)
    assert geometry == label_geometry
    assert set(np.unique(label)) == {0, 1}


def test_nuclei_as_found_in_the_wild_are_read(data_folder):
    folder = data_folder / "nuclei_raw"

    image, _ = Image2dReader().read([folder / "images" / "nuclei_002.png"])
    label, _ = Image2dReader().read_label(folder / "masks" / "nuclei_002.png")

    assert image.shape == (4, 1, 256, 256)
    assert np.all(image[3] == 255)
    assert set(np.unique(label)) == {0, 255}
