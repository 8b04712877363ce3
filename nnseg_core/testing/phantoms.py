"""Synthetic datasets with known answers, for tests and for trying the tool without data.

A phantom is a scan of a simple body: a large organ, a pair of small ones, and a vessel that runs
through. A structure without a label is as bright as the large organ, and noise blurs the rest, so
that position and shape must be learned, not brightness alone. Shapes are formulas in mm, sampled
on the voxel grid: the label map is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import RawCase
from nnseg_core.files import write_json
from nnseg_core.geometry import PLANAR_SPACING, Geometry
from nnseg_core.writing import make_folder

LABELS = {"background": 0, "liver": 1, "kidneys": 2, "vessel": 3}
TWINS_LABELS = {"background": 0, "organ": 1}
PLANAR_LABELS = {"background": 0, "cell": 1, "nucleus": 2}

AIR, BODY, LIVER, VESSEL, KIDNEYS = 10.0, 100.0, 140.0, 155.0, 175.0  # mean brightness
NOISE = 15.0  # standard deviation, so that neighbours in this list overlap

Numbers = Sequence[float] | NDArray[np.float64]
Mask = NDArray[np.bool_]
Grid = NDArray[np.float64]  # (axis, *space): where each voxel is, in mm from the centre
Random = np.random.Generator


def phantom_case(random: Random, identifier: str = "phantom") -> RawCase:
    """One scan, about 24 x 56 x 56 voxels of 2.5 x 1 x 1 mm, with its label map."""
    depth, height, width = (size + int(random.integers(-3, 4)) for size in (24, 56, 56))
    in_plane = float(random.uniform(0.95, 1.1))
    geometry = Geometry(
        shape=(depth, height, width),
        spacing=(2.5, in_plane, in_plane),
        origin=(-28.0, -28.0, -30.0),
    )
    grid = _grid(geometry.shape, geometry.spacing)
    image, label = _draw_body(grid, random)
    return _case(identifier, image * _bias(grid, random), label, geometry, random)


def planar_phantom_case(random: Random, identifier: str = "phantom") -> RawCase:
    """One grey picture of cells with nuclei, 64 x 64 pixels, with its label map."""
    geometry = Geometry(
        shape=(1, 64, 64),
        spacing=(PLANAR_SPACING, 1.0, 1.0),
        origin=(0.0, 0.0),
        direction=(1.0, 0.0, 0.0, 1.0),
    )
    grid = _grid((64, 64), (1.0, 1.0))
    image, label = _draw_cells(grid, random)
    return _case(identifier, image[np.newaxis], label[np.newaxis], geometry, random)


def twins_case(random: Random, identifier: str = "phantom") -> RawCase:
    """Two equal balls, 16 x 24 x 96 voxels: the organ is the one nearer to a bright landmark.

    The landmark lies at one end of the long axis, 27 mm or more from the balls, so that a patch of
    less cannot tell which of them it shows. It takes a cascade, or a larger patch.
    """
    geometry = Geometry(shape=(16, 24, 96), spacing=(1.0, 1.0, 1.0))
    grid = _grid(geometry.shape, geometry.spacing)
    image = np.full(geometry.shape, BODY)
    label = np.zeros(geometry.shape, dtype=np.int16)
    side = 1 if random.random() < 0.5 else -1
    image[_ellipsoid(grid, (0, 0, 40 * side), (5, 5, 5), random)] = 2 * BODY
    for ball_side in (-1, 1):
        ball = _ellipsoid(grid, (0, 0, 10 * ball_side), (4, 4, 4), random)
        image[ball] = KIDNEYS
        label[ball] = TWINS_LABELS["organ"] if ball_side == side else 0
    return _case(identifier, image, label, geometry, random)


def write_phantom(folder: Path, cases: int = 24, test_cases: int = 6, seed: int = 0) -> None:
    """Write a dataset folder of scans (``.nii.gz``), the test cases with labels in ``labelsTs``."""
    _write(folder, phantom_case, _write_volume, ".nii.gz", LABELS, (cases, test_cases, seed))


def write_twins(folder: Path, cases: int = 12, test_cases: int = 4, seed: int = 0) -> None:
    """Write a dataset folder of twins (``.nii.gz``), the test cases with labels in ``labelsTs``."""
    _write(folder, twins_case, _write_volume, ".nii.gz", TWINS_LABELS, (cases, test_cases, seed))


def write_planar_phantom(folder: Path, cases: int = 12, test_cases: int = 4, seed: int = 0) -> None:
    """Write a dataset folder of pictures (``.png``), the test cases with labels in ``labelsTs``."""
    sizes = (cases, test_cases, seed)
    _write(folder, planar_phantom_case, _write_picture, ".png", PLANAR_LABELS, sizes)


def _write(
    folder: Path,
    make: Callable[[Random, str], RawCase],
    write: Callable[[Path, NDArray[Any], Geometry], None],
    ending: str,
    labels: dict[str, int],
    sizes: tuple[int, int, int],
) -> None:
    cases, test_cases, seed = sizes
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        make_folder(folder / name)
    for number in range(cases + test_cases):
        part = "Tr" if number < cases else "Ts"
        case = make(np.random.default_rng((seed, number)), f"phantom_{number:03d}")
        image = folder / f"images{part}" / f"{case.identifier}_0000{ending}"
        write(image, case.image[0].round().astype(np.int16), case.geometry)
        assert case.label is not None
        write(folder / f"labels{part}" / f"{case.identifier}{ending}", case.label, case.geometry)
    description = {
        "name": folder.name,
        "channel_names": {"0": "phantom"},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ending,
    }
    write_json(folder / "dataset.json", description)


def _write_volume(path: Path, voxels: NDArray[Any], geometry: Geometry) -> None:
    import SimpleITK as sitk

    image: Any = sitk.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin(geometry.origin)
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_picture(path: Path, pixels: NDArray[Any], geometry: Geometry) -> None:
    from PIL import Image

    Image.fromarray(pixels[0].clip(0, 255).astype(np.uint8)).save(path)


def _case(
    identifier: str, image: NDArray[Any], label: NDArray[Any], geometry: Geometry, random: Random
) -> RawCase:
    noisy = image + random.normal(0, NOISE, size=image.shape)
    return RawCase(
        identifier=identifier,
        image=(noisy * random.uniform(0.8, 1.2))[np.newaxis].astype(np.float32),
        label=label,
        geometry=geometry,
    )


def _draw_body(grid: Grid, random: Random) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Brightness and label: later structures lie over earlier ones. Positions are (z, y, x)."""
    structures = (
        (BODY, "background", _ellipsoid(grid, (0, 0, 0), (1000, 23, 26), random)),
        (LIVER, "background", _ellipsoid(grid, (4, -6, 14), (13, 8, 7), random)),
        (LIVER, "liver", _ellipsoid(grid, (2, -5, -9), (19, 11, 13), random)),
        (KIDNEYS, "kidneys", _kidney(grid, -1, random) | _kidney(grid, 1, random)),
        (VESSEL, "vessel", _tube(grid, (4, 3), 4, random)),
    )
    image = np.full(grid.shape[1:], AIR)
    label = np.zeros(grid.shape[1:], dtype=np.int16)
    for brightness, name, inside in structures:
        image[inside] = brightness
        label[inside] = LABELS[name]
    return image, label


def _draw_cells(grid: Grid, random: Random) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    image = np.full(grid.shape[1:], 60.0)
    label = np.zeros(grid.shape[1:], dtype=np.int16)
    for _ in range(int(random.integers(3, 6))):
        centre = random.uniform(-24, 24, size=2)
        cell = _ellipsoid(grid, centre, (9, 8), random)
        nucleus = _ellipsoid(grid, centre, (4, 4), random) & cell
        image[cell], label[cell] = 120.0, PLANAR_LABELS["cell"]
        image[nucleus], label[nucleus] = 180.0, PLANAR_LABELS["nucleus"]
    return image, label


def _ellipsoid(grid: Grid, centre: Numbers, radii: Numbers, random: Random) -> Mask:
    """An ellipsoid about here and about this large, in mm."""
    moved = np.asarray(centre) + random.normal(0, 1.2, size=len(grid))
    scaled = np.asarray(radii) * random.uniform(0.87, 1.15, size=len(grid))
    return _within(grid, moved, scaled)


def _kidney(grid: Grid, side: int, random: Random) -> Mask:
    """A bean: an ellipsoid with a notch towards the middle. ``side`` is -1 or 1."""
    centre = np.array([-4, 11, 12.5 * side]) + random.normal(0, 1.2, size=3)
    size = random.uniform(0.9, 1.15)
    notch = centre - (0, 0, 6.0 * side)
    bean = _within(grid, centre, np.array([12, 6, 7]) * size)
    return bean & ~_within(grid, notch, np.array([4, 3, 3]) * size)


def _tube(grid: Grid, centre: Numbers, radius: float, random: Random) -> Mask:
    """A tube along z that bends from side to side about ``centre`` (y, x)."""
    z, y, x = grid
    phases = random.uniform(0, 2 * np.pi, size=2)
    middle = np.asarray(centre) + random.normal(0, 1.2, size=2)
    bends = [c + 2.0 * np.sin(z / 12 + phase) for c, phase in zip(middle, phases, strict=True)]
    away: NDArray[np.float64] = np.hypot(y - bends[0], x - bends[1])
    return away < radius * random.uniform(0.9, 1.15)


def _within(grid: Grid, centre: Numbers, radii: Numbers) -> Mask:
    space = (-1, *(1,) * (grid.ndim - 1))
    scaled: Grid = (grid - np.reshape(centre, space)) / np.reshape(radii, space)
    distance: NDArray[np.float64] = np.square(scaled).sum(axis=0)
    return distance < 1


def _bias(grid: Grid, random: Random) -> NDArray[np.float64]:
    """Brightness that drifts by up to about 15 % across the scan, as a coil's does."""
    tilt = random.uniform(-0.003, 0.003, size=len(grid))  # per mm
    return 1 + np.tensordot(tilt, grid, axes=1)


def _grid(shape: Sequence[int], spacing: Sequence[float]) -> Grid:
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))
