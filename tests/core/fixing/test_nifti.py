from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from nnseg_core.fixing.nifti import (
    content_of,
    fill_non_finite,
    make_regular,
    replace_non_finite,
    write_content,
)

SHAPE = (3, 4, 5)


def write(path: Path, voxels: Any = None, **header: Any) -> bytearray:
    image = SimpleITK.GetImageFromArray(np.ones(SHAPE, np.float32) if voxels is None else voxels)
    image.SetSpacing(header.get("spacing", (0.5, 0.6, 2.0)))
    image.SetOrigin(header.get("origin", (10.0, -20.0, 30.0)))
    image.SetDirection(header.get("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    SimpleITK.WriteImage(image, str(path))
    return content_of(path)


def with_sform(content: bytearray, matrix: Any, offset: Any, qform: int = 0) -> bytearray:
    struct.pack_into("<2h", content, 252, qform, 1)
    rows = np.column_stack([matrix, offset]).ravel()
    struct.pack_into("<12f", content, 280, *rows)
    return content


def read(path: Path, content: bytearray) -> Any:
    write_content(path, content)
    return SimpleITK.ReadImage(str(path))


def test_a_sheared_grid_becomes_the_nearest_regular_one(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    angle = math.radians(20)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 3))
    axes = (turn + noise) * (0.5, 0.6, 2.0)
    content = with_sform(write(path), axes, (1, 2, 3))
    write_content(path, content)
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(str(path))

    moved = make_regular(content)

    image = read(path, content)
    direction = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(direction, np.diag([-1, -1, 1]) @ turn, atol=0.03)
    np.testing.assert_allclose(image.GetSpacing(), np.linalg.norm(axes, axis=0), rtol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), (-1, -2, 3), rtol=1e-6)
    assert moved is not None
    assert 0 < moved < 0.2


def test_voxels_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    content = with_sform(write(path, voxels), [[1, 0.3, 0], [0, 1, 0], [0, 0, 2]], (0, 0, 0))

    make_regular(content)

    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read(path, content)), voxels)


def test_a_mirrored_grid_stays_mirrored(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    content = with_sform(write(path), [[-1, 0.1, 0], [0, 1, 0], [0, 0, 2]], (0, 0, 0))

    make_regular(content)

    direction = np.reshape(read(path, content).GetDirection(), (3, 3))
    assert np.linalg.det(direction) == pytest.approx(-1, abs=1e-5)


def test_a_broken_sform_gives_way_to_the_qform(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    turned = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    right = write(path, direction=turned)
    before = SimpleITK.ReadImage(str(path))
    broken = with_sform(bytearray(right), np.zeros((3, 3)), (0, 0, 0), qform=1)

    assert make_regular(broken) == pytest.approx(0, abs=1e-9)

    after = read(path, broken)
    np.testing.assert_allclose(after.GetDirection(), before.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(after.GetOrigin(), before.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(after.GetSpacing(), before.GetSpacing(), atol=1e-6)


def test_no_orientation_at_all_becomes_the_plainest(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    content = with_sform(write(path), np.zeros((3, 3)), (0, 0, 0))

    make_regular(content)

    image = read(path, content)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel())
    np.testing.assert_allclose(image.GetSpacing(), (0.5, 0.6, 2.0), rtol=1e-6)


@pytest.mark.parametrize("length", [0.0, math.nan])
def test_a_spacing_that_nothing_tells_is_not_guessed(tmp_path: Path, length: float) -> None:
    content = with_sform(write(tmp_path / "a.nii"), np.zeros((3, 3)), (0, 0, 0))
    struct.pack_into("<f", content, 80, length)

    assert make_regular(content) is None


def test_other_content_is_left_alone() -> None:
    assert make_regular(bytearray(b"text")) is None
    assert make_regular(bytearray(400)) is None
    assert replace_non_finite(bytearray(400)) is None


@pytest.mark.parametrize(
    ("voxels", "expected", "done"),
    [
        ([1.0, np.nan, -2.0], [1, 0, -2], "1 NaN voxels are now 0"),
        ([5.0, np.nan, 7.0], [5, 5, 7], "1 NaN voxels are now 5"),
        ([5.0, np.inf, -np.inf], [5, 5, 5], "2 infinite ones are now 5 or 5"),
        (
            [np.nan, np.inf, 0.0, 9.0],
            [0, 9, 0, 9],
            "1 NaN voxels are now 0, 1 infinite ones are now 0 or 9",
        ),
        ([np.nan, np.nan], [0, 0], "2 NaN voxels are now 0"),
        ([1.0, 2.0], [1, 2], None),
    ],
)
def test_what_is_no_number_becomes_zero_or_the_lowest(
    voxels: list[float], expected: list[float], done: str | None
) -> None:
    held = np.array(voxels, dtype=np.float32)

    assert fill_non_finite(held) == done
    np.testing.assert_array_equal(held, expected)


def test_a_nifti_file_is_mended_in_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    voxels = np.ones(SHAPE, np.float32)
    voxels[1, 2, 3] = np.nan
    content = write(path, voxels)

    assert replace_non_finite(content) == "1 NaN voxels are now 1"

    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(read(path, content)), 1)
