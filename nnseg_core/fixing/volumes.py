"""Rewrite image files: onto another grid, without transparency, split, converted."""

# SimpleITK has no annotations, and is imported where it is used: the core starts without it.

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.fixing.gather import ending_of
from nnseg_core.fixing.nifti import content_of, fill_non_finite, is_nifti, write_content

LOST = 0.5
"""Share of the foreground's volume that may fall away in resampling before it is not believed."""


def place(source: Path, target: Path) -> None:
    """Copy a file, in the format that the new name says.

    Raises ``RuntimeError`` for a file that cannot be converted.
    """
    ending = ending_of(target).lower()
    if ending_of(source).lower() == ending and ending != ".mhd":  # whose voxels lie beside it
        shutil.copyfile(source, target)
    elif is_nifti(source) and is_nifti(target):
        write_content(target, content_of(source))
    else:
        write(target, read(source))


def read(path: Path) -> Any:
    """A SimpleITK image."""
    import SimpleITK

    return SimpleITK.ReadImage(str(path))


def write(path: Path, image: Any) -> None:
    """Write a SimpleITK image, compressed."""
    import SimpleITK

    SimpleITK.WriteImage(image, str(path), useCompression=True)


def put_label_onto(label_path: Path, image_path: Path) -> str | None:
    """Resample a label onto the grid of an image by physical position, with nearest neighbours.

    Where less than half of the foreground would be left, its header is not believed: of the same
    shape, it gets that of the image. Returns what was done; None where nothing helps.
    """
    import SimpleITK

    label, image = read(label_path), read(image_path)
    if label.GetDimension() != image.GetDimension():
        return None
    same_shape = label.GetSize() == image.GetSize()
    if same_shape and _has_no_header(label):
        return _take_header(label_path, label, image, "whose own header said nothing")
    moved = SimpleITK.Resample(label, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    before, after = _foreground(label), _foreground(moved)
    if after >= LOST * before:
        write(label_path, moved)
        kept = f"{after / before:.0%}" if before else "all"
        return f"resampled onto its image by position, nearest neighbour; {kept} of its volume left"
    if same_shape:
        lost = "by its own, most of the foreground would lie outside"
        return _take_header(label_path, label, image, lost)
    return None


def put_image_onto(moving_path: Path, first_path: Path) -> str | None:
    """Resample a channel onto the grid of the first one by physical position, linearly."""
    import SimpleITK

    moving, first = read(moving_path), read(first_path)
    if moving.GetDimension() != first.GetDimension():
        return None
    outside = float(np.min(SimpleITK.GetArrayViewFromImage(moving)))
    moved = SimpleITK.Resample(
        moving, first, SimpleITK.Transform(), SimpleITK.sitkLinear, outside, moving.GetPixelID()
    )
    write(moving_path, moved)
    return f"resampled onto the first channel by position, linearly; {outside:g} outside"


def snap(path: Path, first_path: Path) -> None:
    """Give a file exactly the geometry of another, of which it is a hair's breadth away."""
    image = read(path)
    image.CopyInformation(read(first_path))
    write(path, image)


def drop_alpha(path: Path) -> str | None:
    """Take the transparency out of a picture of grey or colours with it."""
    return _keep_components(path, {4: (0, 1, 2), 2: (0,)}, "transparency taken out")


def make_grey(path: Path) -> str | None:
    """Keep one of three colours that are the same everywhere."""
    image = read(path)
    if image.GetNumberOfComponentsPerPixel() != 3:
        return None
    colours = _components(image)
    if not all(np.array_equal(colour, colours[0]) for colour in colours):
        return None
    return _keep_components(path, {3: (0,)}, "grey saved as colours is now one channel")


def split(path: Path, targets: Sequence[Path]) -> None:
    """Write each volume of a 4D file, or each component of its voxels, to a file of its own."""
    import SimpleITK

    image = read(path)
    if image.GetDimension() == 4:
        size = [*image.GetSize()[:3], 0]
        parts = [SimpleITK.Extract(image, size, [0, 0, 0, n]) for n in range(len(targets))]
    else:
        parts = [SimpleITK.VectorIndexSelectionCast(image, n) for n in range(len(targets))]
    for target, part in zip(targets, parts, strict=True):
        write(target, part)


def make_finite(path: Path) -> str | None:
    """Replace NaN and infinite voxels of a file that is not NIfTI; returns what was done."""
    import SimpleITK

    image = read(path)
    voxels = SimpleITK.GetArrayFromImage(image)
    done = fill_non_finite(voxels) if voxels.dtype.kind == "f" else None
    if done:
        vectors = image.GetNumberOfComponentsPerPixel() > 1
        filled = SimpleITK.GetImageFromArray(voxels, isVector=vectors)
        filled.CopyInformation(image)
        write(path, filled)
    return done


def _components(image: Any) -> NDArray[Any]:
    import SimpleITK

    return np.moveaxis(SimpleITK.GetArrayViewFromImage(image), -1, 0)


def _keep_components(path: Path, kept: dict[int, tuple[int, ...]], done: str) -> str | None:
    """Keep some components by how many there are; returns ``done`` where that applies."""
    import SimpleITK

    image = read(path)
    numbers = kept.get(image.GetNumberOfComponentsPerPixel())
    if numbers is None:
        return None
    parts = [SimpleITK.VectorIndexSelectionCast(image, number) for number in numbers]
    write(path, SimpleITK.Compose(parts) if len(parts) > 1 else parts[0])
    return done


def _has_no_header(image: Any) -> bool:
    """Whether spacing, origin and direction are what software writes that knows none."""
    size = image.GetDimension()
    bare = np.eye(size).ravel()
    return (
        np.allclose(image.GetSpacing(), 1)
        and np.allclose(image.GetOrigin(), 0)
        and np.allclose(np.abs(image.GetDirection()), bare)
    )


def _take_header(path: Path, label: Any, image: Any, reason: str) -> str:
    label.CopyInformation(image)
    write(path, label)
    return f"given the header of its image, voxel by voxel: {reason}"


def _foreground(label: Any) -> float:
    """Volume in mm³."""
    import SimpleITK

    voxels = np.count_nonzero(SimpleITK.GetArrayViewFromImage(label))
    return float(voxels * np.prod(label.GetSpacing()))


def count(path: Path) -> int:
    """Volumes of a 4D file, or components of its voxels."""
    image = read(path)
    volumes: int = image.GetSize()[3] if image.GetDimension() == 4 else 1
    return volumes * int(image.GetNumberOfComponentsPerPixel())
