"""A zoo of broken datasets: each ends in one precise message, and some in a copy that works."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from nnseg_core.checking.findings import FIXABLE
from nnseg_core.fixing.case import FIXERS
from nnseg_core.testing.command import run

Edit = Callable[[NDArray[Any]], NDArray[Any]]
SHAPE = (6, 24, 24)
ORIGIN = (-10.0, 5.0, 40.0)
SPACING = (1.0, 1.0, 3.0)  # x, y, z


def save(path: Path, voxels: NDArray[Any], **header: Any) -> None:
    image = SimpleITK.GetImageFromArray(voxels, isVector=False)
    if voxels.ndim == 3:
        image.SetSpacing(header.get("spacing", SPACING))
        image.SetOrigin(header.get("origin", ORIGIN))
        image.SetDirection(header.get("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    SimpleITK.WriteImage(image, str(path))


def blob(shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    """A label with two structures in the middle."""
    label = np.zeros(shape, dtype=np.uint8)
    label[1:-1, 6:14, 6:18] = 1
    label[2:-2, 14:18, 6:18] = 2
    return label


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    voxels = np.random.default_rng(seed).normal(100, 10, size=shape).round(2)
    return voxels.astype(np.float32) + 40 * (blob(shape) if len(shape) == 3 else 0)


def write_volumes(folder: Path) -> Path:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate("abcd"):
        save(folder / "imagesTr" / f"{name}_0000.nii.gz", noise(number))
        save(folder / "labelsTr" / f"{name}.nii.gz", blob())
    describe(folder, numTraining=4)
    return folder


def write_pictures(folder: Path) -> Path:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate("abcd"):
        disc = np.zeros((48, 48), np.uint8)
        disc[10:30, 12:36] = 1
        pixels = np.random.default_rng(number).integers(0, 150, (48, 48, 3), np.uint8)
        Image.fromarray(pixels + 100 * disc[..., None]).save(folder / f"imagesTr/{name}_0000.png")
        Image.fromarray(disc).save(folder / "labelsTr" / f"{name}.png")
    described = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "cell": 1},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def describe(folder: Path, **changes: Any) -> None:
    """Write dataset.json anew; a value of None takes the key out."""
    described = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "liver": 1, "tumour": 2},
        "file_ending": ".nii.gz",
    } | changes
    kept = {key: value for key, value in described.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(kept))


def described(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: describe(folder, **changes)


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "dataset.json").write_text(content) and None


def replaced(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def removed(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return remove


def moved(*names: tuple[str, str]) -> Callable[[Path], None]:
    def move(folder: Path) -> None:
        for old, new in names:
            (folder / old).rename(folder / new)

    return move


def label(edit: Edit, case: str = "b", **header: Any) -> Callable[[Path], None]:
    return lambda folder: save(folder / "labelsTr" / f"{case}.nii.gz", edit(blob()), **header)


def labels(edit: Edit) -> Callable[[Path], None]:
    def break_all(folder: Path) -> None:
        for case in "abcd":
            label(edit, case)(folder)

    return break_all


def image(edit: Edit, case: str = "b", **header: Any) -> Callable[[Path], None]:
    path = f"imagesTr/{case}_0000.nii.gz"
    return lambda folder: save(folder / path, edit(noise(ord(case) - 97)), **header)


def together(*breaks: Callable[[Path], None]) -> Callable[[Path], None]:
    def break_all(folder: Path) -> None:
        for break_it in breaks:
            break_it(folder)

    return break_all


def with_value(value: float) -> Edit:
    def edit(voxels: NDArray[Any]) -> NDArray[Any]:
        voxels = voxels.astype(np.float32)
        voxels[2, 3, 4] = value
        return voxels

    return edit


def header_bytes(file: str, at: int, form: str, *numbers: float) -> Callable[[Path], None]:
    """Overwrite a field of a NIfTI header."""

    def patch(folder: Path) -> None:
        content = bytearray(gzip.decompress((folder / file).read_bytes()))
        struct.pack_into(f"<{form}", content, at, *numbers)
        (folder / file).write_bytes(gzip.compress(content))

    return patch


SHEAR = (1.0, 0.2, 0.0, 10.0, 0.0, 1.0, 0.0, -5.0, 0.0, 0.0, 3.0, 40.0)


def sheared(file: str) -> Callable[[Path], None]:
    return together(header_bytes(file, 252, "2h", 0, 1), header_bytes(file, 280, "12f", *SHEAR))


def truncated(file: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])

    return cut


def second_channel(folder: Path) -> None:
    save(folder / "imagesTr" / "b_0001.nii.gz", noise(9))


def two_channels(folder: Path) -> None:
    for number, case in enumerate("abcd"):
        save(folder / "imagesTr" / f"{case}_0001.nii.gz", noise(number + 10))
    describe(folder, channel_names={"0": "T1", "1": "T2"})


def four_dimensional(folder: Path, cases: str = "abcd") -> None:
    for number, case in enumerate(cases):
        volumes = [SimpleITK.GetImageFromArray(noise(10 * number + n)) for n in range(3)]
        for volume in volumes:
            volume.SetSpacing(SPACING)
            volume.SetOrigin(ORIGIN)
        joined = SimpleITK.JoinSeries(volumes)
        SimpleITK.WriteImage(joined, str(folder / "imagesTr" / f"{case}_0000.nii.gz"))


def twin(folder: Path) -> None:
    source = folder / "imagesTr" / "b_0000.nii.gz"
    (folder / "imagesTr" / "b_0000.nii").write_bytes(gzip.decompress(source.read_bytes()))


def copied(folder: Path) -> None:
    shutil.copy(folder / "imagesTr" / "a_0000.nii.gz", folder / "imagesTr" / "d_0000.nii.gz")


def rgba(folder: Path) -> None:
    for path in (folder / "imagesTr").iterdir():
        Image.open(path).convert("RGBA").save(path)


def white_masks(folder: Path, cases: str = "abcd") -> None:
    for case in cases:
        path = folder / "labelsTr" / f"{case}.png"
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)


def coloured_label(folder: Path) -> None:
    path = folder / "labelsTr" / "b.png"
    pixels = np.asarray(Image.open(path))
    Image.fromarray(np.stack([pixels, 0 * pixels, pixels], -1)).save(path)


def unnumbered(folder: Path) -> None:
    for path in sorted((folder / "imagesTr").iterdir()):
        path.rename(path.with_name(path.name.replace("_0000", "")))


def all_inflated(folder: Path) -> None:
    """Every file is .nii, but dataset.json says .nii.gz."""
    for path in [*(folder / "imagesTr").iterdir(), *(folder / "labelsTr").iterdir()]:
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


def bigger(voxels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(np.repeat(voxels, 2, axis=1), 2, axis=2)


RESAMPLE = "Resample it onto the grid of b_0000.nii.gz"
MEND = "Mend or replace the file, or take its case out of the dataset."
DECLARE = "Add them to labels in dataset.json, or change them in the file."
ROTATED = tuple(np.round([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], 6).ravel())


@dataclass(frozen=True)
class Broken:
    """How a dataset is broken, what one line of the report must hold, and whether fix mends it.

    ``left`` are codes of warnings that a fixed copy still has.
    """

    name: str
    break_it: Callable[[Path], Any]
    line: tuple[str, ...]
    code: int = 2
    fixed: bool = False
    pictures: bool = False
    left: tuple[str, ...] = ()


ZOO = [
    Broken(
        "label of another shape",
        label(lambda v: v[:, 1:], origin=(-10.0, 6.0, 40.0)),
        ("error b b.nii.gz it has 6 x 23 x 24 voxels (z, y, x), but b_0000.nii.gz has 6 x 24 x 24",
         f"{RESAMPLE}, with nearest neighbours."),
        fixed=True,
    ),
    Broken(
        "label of another spacing",
        label(lambda v: v, spacing=(1.0, 1.0, 3.3)),
        ("error b b.nii.gz its voxels are 3.3 x 1 x 1 mm (z, y, x), but those of b_0000.nii.gz "
         "3 x 1 x 1 mm", f"{RESAMPLE}, with nearest neighbours. If only the spacing"),
        fixed=True,
    ),
    Broken(
        "label without a header",
        label(lambda v: v, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)),
        ("error b b.nii.gz its voxels are 1 x 1 x 1 mm (z, y, x), but those of", RESAMPLE),
        fixed=True,
    ),
    Broken(
        "label of another origin",
        label(lambda v: v, origin=(-8.0, 5.0, 40.0)),
        ("warning b b.nii.gz by origin and direction it lies up to 2 mm away from b_0000.nii.gz",
         "Look at one over the other."),
        code=0, fixed=True,
    ),
    Broken(
        "label of another direction",
        label(lambda v: v, direction=ROTATED),
        ("warning b b.nii.gz by origin and direction it lies up to", "Look at one over the other."),
        code=0, fixed=True,
    ),
    Broken(
        "label far away",
        label(lambda v: v, origin=(1000.0, 5.0, 40.0)),
        ("warning b b.nii.gz by origin and direction it lies up to 1.01e+03 mm away from", "Look"),
        code=0, fixed=True,
    ),
    Broken(
        "channels of different grids",
        together(two_channels, lambda f: save(f / "imagesTr/b_0001.nii.gz", bigger(noise(9)),
                                              spacing=(0.5, 0.5, 3.0))),
        ("error b b_0001.nii.gz it has 6 x 48 x 48 voxels (z, y, x), but b_0000.nii.gz has",
         f"{RESAMPLE}."),
        fixed=True,
    ),
    Broken(
        "value not declared",
        label(with_value(7)),
        ("error b b.nii.gz its label holds values that dataset.json does not declare: "
         "7 (1 voxels)", DECLARE),
    ),
    Broken(
        "negative label value",
        label(with_value(-1)),
        ("error b b.nii.gz its label holds values that dataset.json does not declare: "
         "-1 (1 voxels)", DECLARE),
    ),
    Broken(
        "fractions in a label",
        label(with_value(0.5)),
        ("error b b.nii.gz holds values that are not integers: 0.5. A label map must not be "
         "interpolated", MEND),
    ),
    Broken("label of whole floats", labels(lambda v: v.astype(np.float64)), (), code=0, fixed=True),
    Broken("gaps between label values",
           together(labels(lambda v: v * 5),
                    described(labels={"background": 0, "liver": 5, "tumour": 10})),
           ("warning dataset.json label values are 5, 10, not 1 to 2", "Nothing needs to be done"),
           code=0, fixed=True, left=("label-values",)),
    Broken(
        "NaN in a label",
        label(with_value(np.nan)),
        ("error b b.nii.gz holds 1 values that are not finite numbers (NaN or infinity)", MEND),
        fixed=True,
    ),
    Broken(
        "masks of 0 and 255",
        white_masks,
        ("error 4: a, b, c, … 4: a.png, b.png, c.png, … its label holds values that "
         "dataset.json does not declare: 255 (480 voxels)", "must hold 1 instead of 255."),
        fixed=True, pictures=True, left=("label-values",),
    ),
    Broken(
        "one mask of 0 and 255",
        lambda folder: white_masks(folder, "b"),
        ("error b b.png its label holds values that dataset.json does not declare: 255",
         "A mask of 0 and 255 must hold 1 instead of 255."),
        fixed=True, pictures=True,
    ),
    Broken(
        "transparency",
        rgba,
        ("error 4: a, b, c, … 4: a_0000.png, b_0000.png, c_0000.png, … it has 4 channels, but "
         "dataset.json names 3: R, G, B", "Save it without transparency."),
        fixed=True, pictures=True,
    ),
    Broken(
        "label in colours",
        coloured_label,
        ("error b b.png has 3 channels that differ; a label file needs one channel", MEND),
        pictures=True,
    ),
    Broken(
        "picture of another size",
        lambda folder: Image.new("L", (40, 48), 1).save(folder / "labelsTr" / "b.png"),
        ("error b b.png it has 1 x 48 x 40 voxels (z, y, x), but b_0000.png has 1 x 48 x 48",
         "Resample it onto the grid of b_0000.png"),
        pictures=True,
    ),
    Broken(
        "missing channel",
        together(two_channels, removed("imagesTr/b_0001.nii.gz")),
        ("error b b_0000.nii.gz it has 1 channels, but dataset.json names 2: T1, T2",
         "Add what is missing, take away what is too much, or correct channel_names."),
    ),
    Broken(
        "extra channel",
        second_channel,
        ("error b it has 2 channels, but dataset.json names 1: MRI", "take away what is too much"),
    ),
    Broken(
        "channels numbered from 1",
        moved(*((f"imagesTr/{c}_0000.nii.gz", f"imagesTr/{c}_0001.nii.gz") for c in "abcd")),
        ("error 4: a, b, c, … its channels are numbered 0001", "Number them 0000, in the order"),
        fixed=True,
    ),
    Broken(
        "case without label",
        removed("labelsTr/b.nii.gz"),
        ("error b its image has no label",
         "Add labelsTr/b.nii.gz, or move the image elsewhere."),
        fixed=True,
    ),
    Broken(
        "label without image",
        removed("imagesTr/b_0000.nii.gz"),
        ("error b.nii.gz there is no image for this label", "Add imagesTr/b_0000.nii.gz, or move"),
        fixed=True,
    ),
    Broken(
        "NaN in an image",
        image(with_value(np.nan)),
        ("error b b_0000.nii.gz holds 1 values that are not finite numbers (NaN or infinity), the "
         "first at index", "Replace them"),
        fixed=True,
    ),
    Broken(
        "infinity in an image",
        image(with_value(np.inf)),
        ("error b b_0000.nii.gz holds 1 values that are not finite numbers", "Replace them"),
        fixed=True,
    ),
    Broken(
        "empty file",
        replaced("imagesTr/b_0000.nii.gz", b""),
        ("error b b_0000.nii.gz is empty (0 bytes). Copy it again from where it came from", MEND),
    ),
    Broken(
        "truncated gzip",
        truncated("imagesTr/b_0000.nii.gz"),
        ("error b b_0000.nii.gz cannot be read: Compressed file ended before", MEND),
    ),
    Broken(
        "text instead of an image",
        replaced("imagesTr/b_0000.nii.gz", b"version https://git-lfs.github.com/spec/v1\n" * 9),
        ("error b b_0000.nii.gz cannot be read as an image", "not of the format its name says"),
    ),
    Broken(
        "4D where 3D was meant, everywhere",
        four_dimensional,
        ("error 4: a, b, c, … 4: a_0000.nii.gz, b_0000.nii.gz, c_0000.nii.gz, … it has 3 channels, "
         "but dataset.json names 1: MRI", "Name all its"),
        fixed=True,
    ),
    Broken(
        "4D where 3D was meant, once",
        lambda folder: four_dimensional(folder, "b"),
        ("error b b_0000.nii.gz it has 3 channels, but dataset.json names 1: MRI", "Name all its"),
    ),
    Broken(
        "sheared orientation",
        together(sheared("imagesTr/b_0000.nii.gz"), sheared("labelsTr/b.nii.gz")),
        ("error b b_0000.nii.gz, b.nii.gz lies on a sheared grid: its axes are not perpendicular",
         "copy it over the sform"),
        fixed=True,
    ),
    Broken(
        "x.nii beside x.nii.gz",
        twin,
        ("error b b_0000.nii.gz b_0000.nii lies in the same folder, and ITK may read either of",
         "Keep one of them."),
        fixed=True,
    ),
    Broken(
        "unreadable JSON",
        text('{"labels": {"background": 0'),
        ("dataset.json is not readable as JSON: ", "line 1 column 28", "Correct it there"),
    ),
    Broken(
        "trailing comma",
        text('{\n "channel_names": {"0": "MRI"},\n}'),
        ("dataset.json is not readable as JSON: ", "Delete the comma at the end of line 2"),
    ),
    Broken(
        "a key twice",
        text('{"labels": {"background": 0, "a": 1, "a": 2}}'),
        ("dataset.json is not readable as JSON: the key 'a' is there twice",),
    ),
    Broken(
        "typo in a key",
        described(channel_names=None, chanel_names={"0": "MRI"}),
        ("dataset.json needs 'channel_names', an object such as",
         "it has 'chanel_names', a typing error?"),
    ),
    Broken(
        "typo in a key that may be missing",
        described(regions_clas_order=[1, 2]),
        ("warning dataset.json dataset.json has the key 'regions_clas_order', which means nothing",
         "If 'regions_class_order' was meant, correct it."),
        code=0,
    ),
    Broken(
        "wrong type",
        described(numTraining="4"),
        ("numTraining in", "dataset.json must be an integer; it is '4'."),
    ),
    Broken(
        "label given as text",
        described(labels={"background": 0, "liver": "1"}),
        ("label 'liver' in", "must be an integer, or for a region a list of", "it is '1'."),
    ),
    Broken(
        "no background",
        described(labels={"liver": 1}),
        ("labels in", 'dataset.json need "background": 0.'),
    ),
    Broken(
        "channel_names missing",
        described(channel_names=None),
        ("dataset.json needs 'channel_names', an object such as", '{"0": "CT"}'),
    ),
    Broken(
        "ending without dot",
        described(file_ending="nii.gz"),
        ('needs "file_ending", with its dot, such as ".nii.gz"; it has \'nii.gz\'.',),
    ),
    Broken(
        "unknown ending",
        described(file_ending=".xyz"),
        ("has no training cases: none of the 4 files in imagesTr ends in '.xyz'",
         "they end in '.nii.gz'"),
    ),
    Broken(
        "negative label value declared",
        described(labels={"background": 0, "liver": -1}),
        ("labels in", "label values must lie between 0 and 32767, not at -1."),
    ),
    Broken(
        "duplicate label values",
        described(labels={"background": 0, "liver": 1, "tumour": 1}),
        ("labels in", "each label needs a value of its own, and 0 is background's; they have"),
    ),
    Broken(
        "regions_class_order of wrong length",
        described(labels={"background": 0, "all": [1, 2], "tumour": 2}, regions_class_order=[1]),
        ("labels in", "2 regions need as many entries in regions_class_order, but it has 1."),
    ),
    Broken(
        "several mistakes in dataset.json",
        described(labels={"background": 0, "liver": "1"}, file_ending="nii", numTraining=2.5),
        ("numTraining in", "must be an integer; it is 2.5."),
    ),
    Broken(
        "duplicate case",
        copied,
        ("warning d its image has the same voxels as that of case a", "Keep one of them"),
        code=0,
    ),
    Broken(
        "no foreground anywhere",
        labels(np.zeros_like),
        ("error no case has any foreground: all labels are background", "Look at the label files"),
    ),
    Broken(
        "a label that occurs nowhere",
        labels(lambda v: v.clip(0, 1)),
        ("warning label 'tumour' (2) occurs in no case", "Take it out of dataset.json"),
        code=0,
    ),
    Broken(
        "spacing 200 times the others'",
        together(image(lambda v: v, spacing=(200.0, 200.0, 600.0)),
                 label(lambda v: v, spacing=(200.0, 200.0, 600.0))),
        ("error b its voxels are 600 x 200 x 200 mm (z, y, x), far from the median of 3 x 1 x 1 mm",
         "Correct the spacing in its header; the unit may be wrong."),
    ),
    Broken(
        "spacing 5 times the others'",
        together(image(lambda v: v, spacing=(1.0, 1.0, 15.0)),
                 label(lambda v: v, spacing=(1.0, 1.0, 15.0))),
        ("warning b its voxels are 15 x 1 x 1 mm (z, y, x), far from", "Check spacing and axis"),
        code=0,
    ),
    Broken(
        "zero spacing",
        header_bytes("labelsTr/b.nii.gz", 80, "3f", 0.0, 0.0, 0.0),
        ("error b b.nii.gz has voxels of 0 mm, by pixdim in its header.", "Write the right"),
        fixed=True,
    ),
    Broken(
        "constant image",
        image(lambda v: np.full_like(v, 7)),
        ("warning b channel 0 of its image is 7 everywhere", "Look at the file."),
        code=0,
    ),
    Broken(
        "image of zeros",
        image(np.zeros_like),
        ("error b its image is empty: every voxel is 0", MEND),
    ),
    Broken(
        "another file ending",
        moved(("imagesTr/b_0000.nii.gz", "imagesTr/b_0000.nrrd")),
        ("error b.nii.gz there is no image for this label", "Add imagesTr/b_0000.nii.gz"),
    ),
    Broken(
        "all files of another ending",
        all_inflated,
        ("none of the 4 files in imagesTr ends in '.nii.gz'", "they end in '.nii'",
         "'nnseg fix' makes a copy with these names."),
        fixed=True,
    ),
    Broken(
        "uppercase ending",
        moved(("imagesTr/b_0000.nii.gz", "imagesTr/b_0000.NII.GZ"),
              ("labelsTr/b.nii.gz", "labelsTr/b.NII.GZ")),
        ("warning b_0000.NII.GZ, b.NII.GZ", "does not end in .nii.gz, so it is not read"),
        code=0, fixed=True,
    ),
    Broken(
        "images without channel number",
        unnumbered,
        ("of 4 files in imagesTr, none has the number of its channel in its name",
         "Expected images named imagesTr/CASE_0000.nii.gz", "'nnseg fix' makes a copy"),
        fixed=True,
    ),
    Broken(
        "one image without channel number",
        moved(("imagesTr/b_0000.nii.gz", "imagesTr/b.nii.gz")),
        ("warning b.nii.gz this image belongs to no case", "Name it b_0000.nii.gz if it is"),
        fixed=True,
    ),
    Broken(
        "no labelsTr",
        removed("labelsTr"),
        ("has no folder labelsTr. It holds a label for every image, named labelsTr/CASE.nii.gz.",),
    ),
    Broken(
        "labelsTr misspelt",
        moved(("labelsTr", "labelTr")),
        ("has no folder labelsTr, but 'labelTr'.",),
    ),
    Broken(
        "no imagesTr",
        removed("imagesTr"),
        ("has no training cases: there is no folder imagesTr.",),
    ),
    Broken(
        "empty dataset",
        lambda folder: [path.unlink() for path in sorted(folder.glob("*Tr/*"))],
        ("has no training cases: imagesTr is empty. Expected images named imagesTr/CASE_0000.nii",),
    ),
    Broken(
        "dataset.json missing",
        removed("dataset.json"),
        ("dataset.json does not exist. A dataset folder holds dataset.json, imagesTr and labelsTr",
         "'nnseg fix' makes one."),
    ),
    Broken(
        "numTraining wrong",
        described(numTraining=40),
        ("warning dataset.json numTraining in dataset.json is 40, but there are 4 training cases",
         "or correct numTraining."),
        code=0, fixed=True,
    ),
    Broken(
        "spaces and letters beyond ASCII",
        moved(("imagesTr/b_0000.nii.gz", "imagesTr/Übung 1 ß_0000.nii.gz"),
              ("labelsTr/b.nii.gz", "labelsTr/Übung 1 ß.nii.gz")),
        (), code=0, fixed=True,
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few intensities: with a hundred million, that would be most of the time."""
    monkeypatch.setattr(import_module("nnseg_core.pipeline.examine"), "SAMPLES", 1000)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """One good dataset of volumes, and one of pictures."""
    folder = tmp_path_factory.mktemp("zoo")
    return {False: write_volumes(folder / "volumes"), True: write_pictures(folder / "pictures")}


@pytest.fixture
def broken(request: pytest.FixtureRequest, whole: dict[bool, Path], tmp_path: Path) -> Path:
    animal: Broken = request.param
    folder = tmp_path / "Dätaset 1"
    shutil.copytree(whole[animal.pictures], folder)
    animal.break_it(folder)
    return folder


def each(animals: Iterator[Broken] | list[Broken]) -> Any:
    chosen = list(animals)
    return pytest.mark.parametrize(
        ("broken", "animal"),
        [(animal, animal) for animal in chosen],
        indirect=["broken"],
        ids=[animal.name for animal in chosen],
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines(text: str) -> list[str]:
    """Lines with the gaps between the cells of a table closed."""
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]


def check(folder: Path, *more: object) -> int:
    workspace = ("--workspace", folder.parent / "workspace")
    return run("check", folder, *workspace, "--workers", 0, *more)


@pytest.mark.parametrize("kind", [False, True], ids=["volumes", "pictures"])
def test_what_is_broken_below_is_good_before(
    kind: bool, whole: dict[bool, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("check", whole[kind], "--workspace", tmp_path, "--workers", 0)

    assert code == 0
    assert "cases: 4, errors: 0, warnings: 0" in capsys.readouterr().out


@each(ZOO)
def test_each_mistake_ends_in_one_precise_message(
    broken: Path, animal: Broken, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(broken)

    code = check(broken)

    said = capsys.readouterr()
    assert code == animal.code, said.err
    assert "Traceback" not in said.err
    if animal.line:
        assert any(all(part in line for part in animal.line) for line in lines(said.err)), said.err
    else:
        assert "warnings: 0" in said.out
    assert snapshot(broken) == before, "the dataset is only read"
    if animal.code:
        assert not (broken.parent / "workspace").exists(), "nothing is written"
        assert "cases:" not in said.out


@each([animal for animal in ZOO if animal.fixed])
def test_what_can_be_mended_can_be_preprocessed_afterwards(
    broken: Path, animal: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, output = snapshot(broken), tmp_path / "mended copy"

    code = run("fix", broken, output, "--workers", 0)

    said = capsys.readouterr()
    assert code == 0, said.err
    assert snapshot(broken) == before, "the original is only read"
    assert check(output, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {(f["severity"], f["code"]) for f in found} == {("warning", c) for c in animal.left}
    workspace = ("--workspace", tmp_path / "workspace", "--workers", 0)
    assert run("preprocess", output, "-c", "2d", *workspace) == 0
    assert len(list((tmp_path / "workspace").rglob("case.json"))) >= 3


@each([animal for animal in ZOO if not animal.fixed and animal.code])
def test_what_cannot_be_mended_is_said_by_fix_as_well(
    broken: Path, animal: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "copy"

    code = run("fix", broken, output, "--workers", 0)

    said = capsys.readouterr()
    if code == 0:  # what made it unusable is not in the copy
        assert animal.name in ("another file ending", "labelsTr misspelt")
    assert "Traceback" not in said.err
    assert not list(tmp_path.glob(".copy*")), "nothing half made is left"


def test_every_fixer_is_for_findings_that_are_called_fixable() -> None:
    assert FIXERS.keys() <= FIXABLE


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 35
    assert len({animal.name for animal in ZOO}) == len(ZOO)
