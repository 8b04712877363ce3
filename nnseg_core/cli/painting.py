"""Labels on screen: how regions are painted, and which labels are annotated in how many cases."""

from __future__ import annotations

from collections.abc import Sequence

from nnseg_core.dataset import Dataset
from nnseg_core.dataset.labels import Labels

HEADINGS = ("region", "values", "holds", "painted as", "order")


def show_painting(labels: Labels) -> None:
    """Print regions in the order of painting; nothing where labels are classes."""
    from nnseg_core.cli.display import table

    if labels.is_regions:
        table(HEADINGS, painting_rows(labels), title="masks are painted in this order")


def show_annotated(dataset: Dataset) -> None:
    """Print in how many cases each label is annotated; nothing where all are in all."""
    from nnseg_core.cli.display import table

    description, cases = dataset.description, [case.identifier for case in dataset.cases]
    if not description.annotated:
        return
    listed = [name for case in cases for name in description.annotated_in(case)]
    rows = [
        (name, f"{listed.count(name)} of {len(cases)} cases") for name in description.labels.values
    ]
    table(("label", "annotated in"), rows)


def painting_rows(labels: Labels) -> list[tuple[str, ...]]:
    """A row per region: its values, the regions nested in it, its paint, and its place."""
    return [
        (name, _listed(covered), ", ".join(_nested(covered, labels)), str(paint), str(place))
        for place, ((name, covered), paint) in enumerate(
            zip(labels.values.items(), labels.paint_order, strict=True), start=1
        )
    ]


def _nested(covered: Sequence[int], labels: Labels) -> list[str]:
    return [name for name, other in labels.values.items() if set(other) < set(covered)]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
