"""Check what is annotated: whether labels are where they are said to be, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnseg_core.checking.case import CaseCheck
from nnseg_core.checking.findings import Finding, warning
from nnseg_core.dataset import Dataset

MANY_CASES, COMMON = 20, 0.8
"""From so many cases on, of which so many have a label, it is odd for the others not to have it."""


def check_annotation(checks: Sequence[CaseCheck], dataset: Dataset) -> Iterator[Finding]:
    """Labels where none are annotated, none where most cases have them, nothing but ignored."""
    labels = dataset.description.labels
    seen = [check for check in checks if check.voxels is not None]
    for check in seen:
        yield from _check_case(check, dataset)
    for name, covered in labels.values.items():
        known = [c for c in seen if name in dataset.description.annotated_in(c.identifier)]
        without = [c.identifier for c in known if not _voxels(c, covered)]
        found = len(known) - len(without)
        if without and len(known) >= MANY_CASES and found >= COMMON * len(known):
            yield warning(
                f"label {name!r} is in {found} of {len(known)} cases, but not in "
                f"{', '.join(without[:3])}{', …' if len(without) > 3 else ''}",
                'If it is there and only not marked, say so by "annotated" in dataset.json.',
                code="missing-in-some",
            )


def _check_case(check: CaseCheck, dataset: Dataset) -> Iterator[Finding]:
    labels, voxels = dataset.description.labels, check.voxels or {}
    annotated = dataset.description.annotated_in(check.identifier)
    allowed = {value for name in annotated for value in labels.values[name]}
    for name, covered in labels.values.items():
        count = _voxels(check, [value for value in covered if value not in allowed])
        if name not in annotated and count:
            yield warning(
                f'it has {count} voxels of {name!r}, which "annotated" in dataset.json does not '
                "list for it; they are not learned from",
                f"Add {name!r} to the list if all of it is marked, or leave it.",
                check.identifier,
                code="not-annotated",
            )
    if voxels.keys() <= set(labels.ignored):
        yield warning(
            "all of its voxels are ignored, so nothing can be learned from it",
            "Leave it out, or mark something, background too.",
            check.identifier,
            code="all-ignored",
        )


def _voxels(check: CaseCheck, values: Sequence[int]) -> int:
    return sum((check.voxels or {}).get(value, 0) for value in values)
