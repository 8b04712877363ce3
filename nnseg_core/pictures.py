"""Pictures of a case for people: slices with the reference outlined and the prediction coloured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.dataset import Labels
from nnseg_core.scoring.overlap import count_overlap
from nnseg_core.writing import whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect

Mask = NDArray[np.integer]

# Okabe and Ito (2008), told apart with any colour vision; without those too dark for grey.
COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#D55E00", "#009E73")
WINDOW = (0.5, 99.5)  # percentiles of brightness shown as black and white
QUARTERS = (0.25, 0.5, 0.75)
MARGIN = 0.15  # of the image's side, shown around the foreground
INCHES = 4.0  # width of a slice in the picture, and at most its height
DPI = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One slice to draw, as rows and columns. ``aspect`` is a voxel's height over its width."""

    pixels: NDArray[np.float32]
    reference: Mask | None
    prediction: Mask | None
    aspect: float
    caption: str


def overlay_png(
    path: Path,
    image: NDArray[np.float32],
    *,
    spacing: Sequence[float],
    labels: Labels,
    title: str,
    reference: Mask | None = None,
    prediction: Mask | None = None,
) -> None:
    """Write a picture of one case: up to three slices of a volume, or a whole planar image.

    image: (channel, z, y, x); its first channel is shown, or all three of a planar RGB image.
    Masks are (z, y, x), ``spacing`` in mm. Slices lie across the axis of lowest resolution, where
    a quarter, a half and three quarters of the foreground have passed. With both masks, the
    legend gives the Dice of each label.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = views(image, reference, prediction, spacing)
    handles = _legend(reference, prediction, labels)
    rows, columns = shown[0].pixels.shape[:2]
    height = min(1.0, shown[0].aspect * rows / columns) * INCHES
    height += 0.7 + 0.2 * math.ceil(len(handles) / (2 * len(shown)))  # title and legend
    figure = Figure(figsize=(INCHES * len(shown), height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, view in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        draw_view(axes, view, labels)
    figure.suptitle(title, fontsize="medium")
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2 * len(shown),
        frameon=False,
        fontsize="small",
    )
    with whole(path) as beside:
        figure.savefig(beside, format="png")


def views(
    image: NDArray[np.float32],
    reference: Mask | None,
    prediction: Mask | None,
    spacing: Sequence[float],
) -> list[View]:
    """The slices of a picture. Seen from the front or the side, a volume has its head up."""
    axis = through_plane(spacing)
    row, column = (other for other in range(3) if other != axis)
    foreground = np.zeros(image.shape[1:], dtype=bool)
    for mask in (reference, prediction):
        if mask is not None:
            foreground |= mask != 0
    window = [field_of_view(foreground, other) for other in (row, column)]
    if row == 0:  # z grows towards the head, y towards the back
        window[0] = window[0][::-1]
    channels = image if _is_rgb(image) else image[:1]
    places = positions(foreground, axis)
    cuts = np.stack([[_cut(c, axis, place, window) for c in channels] for place in places])
    low, high = np.percentile(cuts, WINDOW)
    bright = np.clip((cuts - low) / ((high - low) or 1), 0, 1).astype(np.float32)
    count = image.shape[axis + 1]
    return [
        View(
            pixels=np.moveaxis(pixels, 0, -1),
            reference=None if reference is None else _cut(reference, axis, place, window),
            prediction=None if prediction is None else _cut(prediction, axis, place, window),
            aspect=spacing[row] / spacing[column],
            caption=f"slice {place + 1} of {count}" if count > 1 else "",
        )
        for place, pixels in zip(places, bright, strict=True)
    ]


def through_plane(spacing: Sequence[float]) -> int:
    """The axis of lowest resolution, so that slices across it are sharp; z where all are alike."""
    coarsest = max(spacing)
    return next(axis for axis, step in enumerate(spacing) if step > 0.99 * coarsest)


def positions(foreground: NDArray[np.bool_], axis: int) -> tuple[int, ...]:
    """Where along ``axis`` a quarter, half and three quarters of the foreground have passed.

    Without foreground, of the image. A slice that is named twice is shown once.
    """
    counts = _profile(foreground, axis)
    passed = np.cumsum(counts) / counts.sum()
    return tuple(sorted({int(np.searchsorted(passed, share)) for share in QUARTERS}))


def field_of_view(foreground: NDArray[np.bool_], axis: int) -> NDArray[np.intp]:
    """Indices to show along ``axis``: all of the foreground, and a good margin around it."""
    used = np.flatnonzero(_profile(foreground, axis))
    size = foreground.shape[axis]
    margin = math.ceil(MARGIN * size)
    return np.arange(max(0, used[0] - margin), min(size, used[-1] + margin + 1))


def _profile(foreground: NDArray[np.bool_], axis: int) -> NDArray[np.int64]:
    """Foreground voxels per index of ``axis``; where there are none at all, one each."""
    counts = np.count_nonzero(np.moveaxis(foreground, axis, 0), axis=(1, 2))
    return counts if counts.any() else np.ones_like(counts)


def _cut(
    volume: NDArray[Any], axis: int, position: int, window: Sequence[NDArray[np.intp]]
) -> NDArray[Any]:
    cut: NDArray[Any] = volume.take(position, axis)[np.ix_(*window)]
    return cut


def _is_rgb(image: NDArray[np.float32]) -> bool:
    return image.shape[:2] == (3, 1)


def draw_view(axes: Axes, view: View, labels: Labels) -> None:
    """Draw one slice: the prediction filled, the reference outlined."""
    pixels = view.pixels if view.pixels.shape[2] == 3 else view.pixels[..., 0]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect=view.aspect, interpolation="bicubic")
    if view.prediction is not None:
        for covered, colour in coloured(labels):
            inside = np.isin(view.prediction, covered)
            _fill(axes, inside, view.aspect, colour)
            _outline(axes, inside, colour)
    if view.reference is not None:
        for covered, colour in coloured(labels):
            line = colour if view.prediction is None else "white"
            _outline(axes, np.isin(view.reference, covered), line, edged=True)
    axes.set_title(view.caption, fontsize="small")
    axes.set_axis_off()


def _fill(axes: Axes, inside: NDArray[np.bool_], aspect: float, colour: str) -> None:
    from matplotlib.colors import to_rgba

    tint = np.zeros((*inside.shape, 4))
    tint[inside] = to_rgba(colour, 0.35)
    axes.imshow(tint, aspect=aspect, interpolation="nearest")


def _outline(axes: Axes, inside: NDArray[np.bool_], colour: str, edged: bool = False) -> None:
    """A line around a mask, closed at the image's border; ``edged`` shows on bright ground too."""
    if not inside.any():
        return
    framed = np.pad(inside, 1).astype(float)
    rows, columns = (np.arange(-1, size + 1) for size in inside.shape)
    line = axes.contour(columns, rows, framed, levels=[0.5], colors=[colour], linewidths=1)
    if edged:
        line.set_path_effects(_edges())


def _edges() -> list[AbstractPathEffect]:
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=2.2, foreground="black"), Normal()]


def _legend(reference: Mask | None, prediction: Mask | None, labels: Labels) -> list[Artist]:
    """The labels that either mask has, and their Dice where there are both."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    masks = [mask for mask in (prediction, reference) if mask is not None]
    if not masks:
        return []
    overlaps = count_overlap(masks[0], masks[-1], labels)
    handles: list[Artist] = [
        Patch(facecolor=colour, label=f"{name}, Dice {overlap.dice:.3f}" if masks[1:] else name)
        for (name, overlap), (_, colour) in zip(overlaps.items(), coloured(labels), strict=True)
        if overlap.dice is not None
    ]
    if masks[1:]:
        handles.append(Line2D([], [], color="white", path_effects=_edges(), label="reference"))
    return handles


def coloured(labels: Labels) -> list[tuple[tuple[int, ...], str]]:
    """The values of each label or region with its colour; colours repeat after the sixth."""
    values = enumerate(labels.values.values())
    return [(covered, COLOURS[index % len(COLOURS)]) for index, covered in values]
