"""A contact sheet of a dataset: its cases side by side, with their labels outlined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, Dataset, Labels
from nnseg_core.errors import DatasetError
from nnseg_core.pictures import View, coloured, draw_view, views
from nnseg_core.writing import whole

CASES = 12
COLUMNS = 4
INCHES = 2.6  # width and height of one case
DPI = 110


def draw_sheet(reader: Reader, dataset: Dataset, path: Path) -> int:
    """Write the middle foreground slice of up to 12 cases, spread over the dataset, as a PNG.

    Cases that cannot be read are passed over; a label of another shape than its image is not
    drawn. Returns how many cases are in the picture; where there is none, nothing is written.
    """
    drawn = [view for case in _sample(dataset.cases) if (view := _view(reader, case)) is not None]
    if drawn:
        _write(path, drawn, dataset.description.labels, dataset.description.name)
    return len(drawn)


def _sample(cases: Sequence[CaseRef]) -> list[CaseRef]:
    """At most 12, from the first to the last, evenly apart."""
    places = np.linspace(0, len(cases) - 1, min(CASES, len(cases))).round().astype(int)
    return [cases[place] for place in places]


def _view(reader: Reader, case: CaseRef) -> View | None:
    """The slice where half of the foreground has passed, captioned with the case."""
    try:
        image, geometry = reader.read(case.images)
        label = reader.read_label(case.label)[0] if case.label else None
    except DatasetError:
        return None
    unfit = label is not None and label.shape != geometry.shape
    shown = views(image, None if unfit else label, None, geometry.spacing)
    remark = "\nlabel of another shape" if unfit else "" if case.label else "\nno label"
    return replace(shown[len(shown) // 2], caption=f"{case.identifier}{remark}")


def _write(path: Path, drawn: Sequence[View], labels: Labels, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    size = (INCHES * columns, INCHES * rows + 0.8)  # and a title and a legend
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, view in zip(grid, drawn, strict=False):
        draw_view(axes, view, labels)
    for axes in grid[len(drawn) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize="medium")
    names = zip(labels.values, coloured(labels), strict=True)
    handles = [Patch(facecolor=colour, label=name) for name, (_, colour) in names]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 2 * columns),
        frameon=False,
        fontsize="small",
    )
    with whole(path) as beside:
        figure.savefig(beside, format="png")
