"""Medical images through SimpleITK: NIfTI, NRRD, MetaImage and GIPL, in 2, 3 and 4 dimensions."""

# SimpleITK has no annotations.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from nnseg_core.errors import DatasetError
from nnseg_core.geometry import PLANAR_SPACING, Geometry
from nnseg_io.channels import read_channels
from nnseg_io.files import decoding, replacing
from nnseg_io.labels import require_one_channel, to_label, to_mask
from nnseg_io.nifti import (
    HEADER_BYTES,
    NiftiHeader,
    parse_header,
    parse_voxels,
    read_content,
)
from nnseg_io.nifti_mask import write_nifti_mask

# ITK prints warnings past Python; what makes a file unusable is raised all the same.
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

MOST_PLACED = 4096  # 4 MB or so

_PLACED: dict[bytes, tuple[Geometry, int]] = {}
"""What ITK made of the parts of NIfTI headers that decide where voxels lie.

ITK takes 1.3 ms to open a small file, and a case's channels and label share these parts, so that
asking once for all of them costs a third, or nothing where a whole dataset shares them.
"""

GIPL_HEADER_BYTES = 256
"""Size of the header of a GIPL file, by its format."""


class ItkReader:
    """NIfTI, NRRD, MetaImage and GIPL files, in 2D, 3D or 4D.

    The fourth axis of a 4D file, or the components of its voxels, are the channels. Of formats
    that keep less than Geometry does, what comes back is what the format keeps: NIfTI rounds to
    float32 (directions to 1e-7), GIPL has no direction and no 2D.
    """

    endings: tuple[str, ...] = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".gipl")

    def peek(self, path: Path) -> tuple[Geometry, int]:
        """Geometry and number of channels, from the header."""
        with decoding(path):
            return _describe(path, parse_header(_nifti_content(path, HEADER_BYTES)))

    def read(self, paths: Sequence[Path]) -> tuple[NDArray[np.float32], Geometry]:
        """Read one case: image (channel, z, y, x) from one file per channel, or one for all."""
        return read_channels(paths, _read_file)

    def read_label(self, path: Path) -> tuple[NDArray[np.int16], Geometry]:
        """Read a label map (z, y, x)."""
        values, geometry = _read_file(path)
        return to_label(require_one_channel(values, path), path), geometry

    def write_label(self, path: Path, label: NDArray[Any], geometry: Geometry) -> None:
        """Write a label map (z, y, x), compressed; one that belongs to a 2D image in 2D."""
        mask = to_mask(label, geometry)
        values = mask[0] if geometry.is_planar else mask
        with replacing(path) as temporary:
            if path.name.endswith(".nii.gz"):
                corner = values[(slice(1),) * values.ndim]
                write_nifti_mask(temporary, values, _on_grid(corner, geometry))
            else:
                image = _on_grid(values, geometry)
                SimpleITK.WriteImage(image, str(temporary), useCompression=True)


def _on_grid(values: NDArray[Any], geometry: Geometry) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing(geometry.spacing[::-1][: image.GetDimension()])
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def _open(path: Path) -> SimpleITK.ImageFileReader:
    """A reader that has read the header."""
    _require_one_nifti(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _explained(error, path) from error
    if not 2 <= reader.GetDimension() <= 4:
        raise DatasetError(
            f"{path} has {reader.GetDimension()} axes {reader.GetSize()}; nnseg reads 2D and 3D "
            "images, and 4D ones whose last axis is the channel. Split it into one file each."
        )
    if reader.GetDimension() == 4 and reader.GetNumberOfComponents() > 1:
        raise DatasetError(
            f"{path} has a fourth axis and {reader.GetNumberOfComponents()} components per voxel, "
            "so it is unclear which are the channels. Split it into one file per channel."
        )
    return reader


def _read_file(path: Path) -> tuple[NDArray[Any], Geometry]:
    """All voxels (channel, z, y, x) in the type of the file."""
    with decoding(path):
        content = _nifti_content(path)
        nifti = parse_header(content)
        geometry, _ = _describe(path, nifti)
        voxels = None if nifti is None else parse_voxels(content, nifti, path)
        if voxels is None:
            voxels = _itk_voxels(path, _open(path))
        return voxels.reshape(-1, *geometry.shape), geometry


def _nifti_content(path: Path, size: int = -1) -> bytes:
    """What a NIfTI file holds, or its first ``size`` bytes; nothing of other files."""
    if not path.name.endswith((".nii.gz", ".nii")):
        return b""
    _require_one_nifti(path)
    try:
        return read_content(path, size)
    except Exception:  # whatever decompression raises at damage
        _open(path)  # ITK explains what is no image at all
        raise


def _describe(path: Path, nifti: NiftiHeader | None) -> tuple[Geometry, int]:
    """Geometry and number of channels."""
    if nifti is not None and nifti.placed_by in _PLACED:
        geometry, channels = _PLACED[nifti.placed_by]
        x, y, z, _ = nifti.sizes
        return replace(geometry, shape=(1 if geometry.is_planar else z, y, x)), channels
    if nifti is not None and not nifti.has_spacing:
        raise DatasetError(
            f"{path} has voxels of 0 mm, by pixdim in its header. Write the right spacing into it.",
            code="zero-spacing",
        )
    header = _open(path)
    described = _geometry(header), math.prod(header.GetSize()[3:]) * header.GetNumberOfComponents()
    if nifti is not None:
        if len(_PLACED) >= MOST_PLACED:
            _PLACED.clear()
        _PLACED[nifti.placed_by] = described
    return described


def _itk_voxels(path: Path, header: SimpleITK.ImageFileReader) -> NDArray[Any]:
    """The voxels with their channels first."""
    try:
        image = header.Execute()
    except RuntimeError as error:
        raise _explained(error, path) from error
    if path.suffix == ".gipl":
        _require_complete_gipl(path, image)
    voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    return np.moveaxis(voxels, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else voxels


def _geometry(header: SimpleITK.ImageFileReader) -> Geometry:
    """Of the first three axes. A 2D file becomes one slice, 999 times as thick as its pixels."""
    axes = min(header.GetDimension(), 3)
    size, spacing = header.GetSize()[:axes][::-1], header.GetSpacing()[:axes][::-1]
    if axes == 2:
        size, spacing = (1, *size), (PLANAR_SPACING * max(spacing), *spacing)  # nnU-Net's rule
    direction = np.reshape(header.GetDirection(), (header.GetDimension(),) * 2)
    return Geometry(
        shape=size,
        spacing=spacing,
        origin=header.GetOrigin()[:axes],
        direction=tuple(direction[:axes, :axes].ravel().tolist()),
    )


def _require_one_nifti(path: Path) -> None:
    """Refuse x.nii.gz beside x.nii: asked for one, ITK may read the other (ITK issue 2243)."""
    if path.name.endswith(".nii.gz"):
        other = path.with_suffix("")
    elif path.name.endswith(".nii"):
        other = path.with_name(path.name + ".gz")
    else:
        return
    if other.exists():
        raise DatasetError(
            f"{path} and {other.name} lie in one folder, and the library that reads NIfTI files "
            "confuses the two. Keep one of them."
        )


def _require_complete_gipl(path: Path, image: SimpleITK.Image) -> None:
    """Refuse a GIPL file that was cut short: ITK fills in what is missing, in silence."""
    voxel_bytes = image.GetSizeOfPixelComponent() * image.GetNumberOfComponentsPerPixel()
    expected = GIPL_HEADER_BYTES + math.prod(image.GetSize()) * voxel_bytes
    if path.stat().st_size < expected:
        raise DatasetError(
            f"{path} is incomplete: its header announces {expected} bytes, but it holds "
            f"{path.stat().st_size}. Copy it again from where it came from."
        )


def _explained(error: RuntimeError, path: Path) -> DatasetError:
    text = str(error)
    if "orthonormal" in text:
        return DatasetError(
            f"{path} lies on a sheared grid: its axes are not perpendicular (the direction cosines "
            "of its sform are not orthonormal), or its orientation is missing. If its qform is "
            "right, copy it over the sform, with nibabel: image.set_sform(image.get_qform()), then "
            "save; otherwise resample it onto a regular grid.",
            code="sheared",
        )
    cause = text.strip().splitlines()[-1].replace("sitk::ERROR: ", "").replace("ITK ERROR: ", "")
    return DatasetError(
        f"{path} cannot be read as an image: {cause.strip().rstrip('.')}. It may be damaged, or "
        "not of the format its name says: copy or export it again."
    )
