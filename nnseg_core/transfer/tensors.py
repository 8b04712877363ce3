"""Which weights of a trained network go where in another one, and what becomes of each.

Pure: names, shapes and arrays. Nothing here opens a file or knows what a network is made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Literal

import numpy as np

from nnseg_core.transfer.correspondence import Correspondence
from nnseg_core.transfer.refit import Weights, refit_inputs, refit_kernel, refit_outputs

Fate = Literal["loaded", "adapted", "initialised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A tensor of a network that weights can be put into.

    ``place`` says where it is, in the same words for networks of every depth. ``start`` holds its
    first weights. ``transposed`` tells kernels of convolutions that upsample from those of others;
    it is None for what is no kernel. ``inputs`` and ``outputs`` are the axes that count the
    network's inputs and outputs, None where there is none.
    """

    name: str
    place: str
    start: Weights
    transposed: bool | None = None
    inputs: int | None = None
    outputs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of one tensor of the new network, and from which of the old one's it came.

    ``fate`` is ``loaded`` as it was, ``adapted`` as ``how`` says, or ``initialised`` anew for the
    reason that ``how`` gives. ``weights`` counts numbers.
    """

    name: str
    source: str | None
    fate: Fate
    how: str
    weights: int


def transfer(
    slots: Sequence[Slot],
    weights: Mapping[str, Weights],
    names: Mapping[str, str],
    matching: Correspondence,
) -> tuple[dict[str, Weights], tuple[Moved, ...]]:
    """The new network's tensors by name, and what became of each.

    ``names`` gives the name, among ``weights``, of the tensor at each place.
    """
    tensors: dict[str, Weights] = {}
    moved = []
    for slot in slots:
        name = names.get(slot.place)
        value, how = None, "not in the source"
        if name is not None:
            value, how = _put(slot, weights[name], matching)
        fate: Fate = "initialised" if value is None else "adapted" if how else "loaded"
        tensors[slot.name] = slot.start if value is None else value
        source = None if value is None else name
        moved.append(
            Moved(name=slot.name, source=source, fate=fate, how=how, weights=slot.start.size)
        )
    return tensors, tuple(moved)


def _put(slot: Slot, given: Weights, matching: Correspondence) -> tuple[Weights | None, str]:
    """``given`` as the slot needs it, and how it was changed; None, and why it cannot be."""
    wanted = slot.start.shape
    misfit = f"{_size(given.shape)} in the source does not fit {_size(wanted)}"
    value: Weights | None = given
    how = []
    if slot.transposed is not None and given.ndim > 2 and given.shape[2:] != wanted[2:]:
        value = refit_kernel(given, wanted[2:], slot.transposed)
        how += _changed(given.shape[2:], wanted[2:])
    if value is not None and slot.inputs is not None:
        before, value = value, refit_inputs(value, slot.inputs, matching.mix)
        how += ["channels matched"] if value is not before else []
    if value is not None and slot.outputs is not None and not _same_rows(slot, value, matching):
        value = refit_outputs(value, slot.outputs, matching.rows, slot.start)
        misfit = (
            misfit if any(row is not None for row in matching.rows) else "no label of that name"
        )
        how.append("labels matched")
    if value is None or value.shape != wanted:
        return None, misfit
    return np.ascontiguousarray(value, dtype=slot.start.dtype), ", ".join(how)


def _changed(size: tuple[int, ...], wanted: tuple[int, ...]) -> list[str]:
    """What a kernel goes through; nothing where it only gets or loses an axis of length 1."""
    if prod(size) == prod(wanted):
        return []
    verb = "inflated" if prod(size) < prod(wanted) else "shrunk"
    return [f"kernel {verb} from {_size(size)} to {_size(wanted)}"]


def _same_rows(slot: Slot, value: Weights, matching: Correspondence) -> bool:
    """Whether both have the same labels in the same order."""
    assert slot.outputs is not None
    return matching.rows == tuple(range(value.shape[slot.outputs]))


def by_part(moved: Sequence[Moved]) -> list[tuple[str, dict[Fate, int], str]]:
    """For each part of the network: its name, tensors per fate, and what was said of them."""
    return [
        (part, _counts(group), "; ".join(dict.fromkeys(one.how for one in group if one.how)))
        for part, members in groupby(moved, key=lambda one: part_of(one.name))
        for group in [tuple(members)]
    ]


def part_of(name: str) -> str:
    """The part of a network that a tensor belongs to: its name up to the first number."""
    numbered = re.match(r"(?:[^.]+\.)*?\d+(?=\.)", name)
    return numbered[0] if numbered else name.rpartition(".")[0] or name


def trunk_kernels(slots: Sequence[Slot], moved: Sequence[Moved]) -> tuple[int, int]:
    """Convolutions that were taken over, and all there are, heads and first layers left out."""
    trunk = [
        one
        for slot, one in zip(slots, moved, strict=True)
        if slot.start.ndim > 1 and slot.inputs is None and slot.outputs is None
    ]
    return sum(one.fate != "initialised" for one in trunk), len(trunk)


def _counts(group: Sequence[Moved]) -> dict[Fate, int]:
    fates: tuple[Fate, ...] = ("loaded", "adapted", "initialised")
    return {fate: sum(one.fate == fate for one in group) for fate in fates}


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
