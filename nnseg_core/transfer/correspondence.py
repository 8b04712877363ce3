"""Whose channel and whose label is whose, between two configurations of two datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnseg_core.dataset.labels import BACKGROUND, Labels
from nnseg_core.plan import Plan
from nnseg_core.transfer.matching import counterparts
from nnseg_core.transfer.refit import Weights, channel_mix


@dataclass(frozen=True, slots=True, kw_only=True)
class Correspondence:
    """How inputs and outputs of the new network follow from those of the old one.

    ``mix`` is as ``refit_inputs`` takes it, ``rows`` as ``refit_outputs`` does. ``channels`` and
    ``labels`` say the same by name: for each of ours the one of the source, None where there is
    none, or where all of them have a part in it.
    """

    mix: Weights
    rows: tuple[int | None, ...]
    channels: dict[str, str | None]
    labels: dict[str, str | None]


def correspondence(theirs: Plan, their_name: str, ours: Plan, name: str) -> Correspondence:
    """By name; heads of classes and those of regions mean different things, and never match."""
    there, here = theirs.dataset, ours.dataset
    channels = channel_mix(here.channels, there.channels)
    previous = _mix_previous(
        previous_inputs(ours, name), previous_inputs(theirs, their_name)
    )  # a label of the previous stage that is new begins without a say
    outputs, others = output_names(here.labels), output_names(there.labels)
    rows: tuple[int | None, ...] = (None,) * len(outputs)
    if here.labels.is_regions == there.labels.is_regions:
        rows = counterparts(outputs, others)
    alone = [int(row.argmax()) if row.max() == 1 else None for row in channels]
    return Correspondence(
        mix=_beside(channels, previous),
        rows=rows,
        channels=_by_name(here.channels, there.channels, alone),
        labels=_by_name(outputs, others, rows),
    )


def output_names(labels: Labels) -> tuple[str, ...]:
    """What each output of a network stands for: background and classes by value, or regions."""
    return labels.output_names if labels.is_regions else (BACKGROUND, *labels.output_names)


def previous_inputs(plan: Plan, name: str) -> tuple[str, ...]:
    """What each input that a cascade has beside the images stands for: labels, by value."""
    if not plan.configurations[name].previous:
        return ()
    labels = plan.dataset.labels
    named = {covered[0]: name for name, covered in labels.values.items() if len(covered) == 1}
    return tuple(named.get(value, str(value)) for value in labels.foreground)


def _mix_previous(names: Sequence[str], others: Sequence[str]) -> Weights:
    mix = np.zeros((len(names), len(others)), np.float32)
    for here, there in enumerate(counterparts(names, others)):
        if there is not None:
            mix[here, there] = 1
    return mix


def _beside(first: Weights, second: Weights) -> Weights:
    """Both as blocks of a larger matrix, whose other corners are 0."""
    rows, columns = first.shape
    joined = np.zeros((rows + second.shape[0], columns + second.shape[1]), np.float32)
    joined[:rows, :columns] = first
    joined[rows:, columns:] = second
    return joined


def _by_name(
    names: Sequence[str], others: Sequence[str], places: Sequence[int | None]
) -> dict[str, str | None]:
    return {
        name: None if place is None else others[place]
        for name, place in zip(names, places, strict=True)
    }
