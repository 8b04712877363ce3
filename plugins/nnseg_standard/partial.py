"""Cases in which only some labels are annotated: what is not may be there without being marked.

In such cases every label value is replaced by a code, which tells the value and what the case has
annotated. Codes travel in the label map through cutting and augmentation, and are read where the
target is made. Of classes, the logits of those that are not annotated are then merged into that of
background: the softmax is that of "background or any of them", the marginal probability, so that
every loss is a marginal loss (Shi et al., 2021, "Marginal loss and exclusion loss ..."). Regions
that are not annotated are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnseg_core.case import OUTSIDE
from nnseg_core.contracts import IGNORED
from nnseg_core.dataset.labels import LARGEST, Labels
from nnseg_core.errors import PlanError
from nnseg_standard.preprocessing.foreground import ANNOTATED
from nnseg_standard.targets import encode

if TYPE_CHECKING:
    from nnseg_core.geometry import Box
    from nnseg_core.store import CaseStore
    from nnseg_core.training import TrainingTask

BELOW = 40.0
"""How far the logit of a merged class lies below that of background: exp(-40) is 4e-18."""


@dataclass(frozen=True, kw_only=True)
class PartialLabels:
    """The codes of partly annotated cases. ``annotated`` has the names that are, by case."""

    labels: Labels
    annotated: Mapping[str, tuple[str, ...]]

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The different sets of annotated names; cases with all of them are in none."""
        return tuple(sorted(set(self.annotated.values())))

    @cached_property
    def codes(self) -> NDArray[np.int16]:
        """(group, value) for background and foreground: numbers that no label has.

        Raises ``PlanError`` where there are not enough of them.
        """
        labels = self.labels
        values = (0, *labels.foreground)
        taken = {*values, *labels.ignored}
        count = len(self.groups) * len(values)
        free = list(islice((n for n in range(1, LARGEST + 1) if n not in taken), count))
        if len(free) < count:
            raise PlanError(
                f'"annotated" in dataset.json has {len(self.groups)} different lists of '
                f"{len(values)} labels, more than fit into {LARGEST} numbers. Use fewer."
            )
        return np.array(free, dtype=np.int16).reshape(len(self.groups), len(values))

    def marked(self, case: str, label: NDArray[np.int16]) -> NDArray[np.int16]:
        """A label map in codes; as it is where the case has everything annotated."""
        if case not in self.annotated:
            return label
        codes = self.codes[self.groups.index(self.annotated[case])]
        table = np.append(np.arange(LARGEST + 1, dtype=np.int16), np.int16(OUTSIDE))  # at -1
        table[[0, *self.labels.foreground]] = codes
        marked: NDArray[np.int16] = table[label]
        return marked


@dataclass(frozen=True, kw_only=True)
class MarkedCases:
    """The cases of ``store``, of which those that are partly annotated have their labels coded."""

    store: CaseStore
    partial: PartialLabels

    def shape(self, identifier: str) -> tuple[int, int, int]:
        """Voxels per axis (z, y, x)."""
        return self.store.shape(identifier)

    def foreground(self, identifier: str) -> dict[str, NDArray[np.int32]]:
        """Coordinates (n, 3) to sample around, by the names of what is annotated."""
        found = self.store.foreground(identifier)
        known = self.partial.annotated.get(identifier, tuple(found))
        return {name: found[name] for name in found if name == ANNOTATED or name in known}

    def patch(self, identifier: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Image (channel, z, y, x) and label (z, y, x) of a box, which may reach outside."""
        image, label = self.store.patch(identifier, box)
        return image, self.partial.marked(identifier, label)


def partial_labels_of(task: TrainingTask) -> PartialLabels:
    """What the partly annotated cases of a training lack."""
    return PartialLabels(labels=task.labels, annotated=task.annotated)


def marked_cases(task: TrainingTask) -> CaseStore | MarkedCases:
    """The cases of a training, marked where they are partly annotated."""
    if not task.annotated:
        return task.store
    return MarkedCases(store=task.store, partial=partial_labels_of(task))


def decoder(task: TrainingTask) -> Callable[[Tensor], Tensor] | None:
    """What turns codes back into values, for a training whose batches hold some."""
    return PartialTarget(partial_labels_of(task)).values if task.annotated else None


class PartialTarget:
    """Reads codes on any device: the target they stand for, and what is annotated."""

    def __init__(self, partial: PartialLabels) -> None:
        self._partial = partial
        self._tables: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def encode(self, label: Tensor) -> Tensor:
        """The target of label maps int16 (batch, *space), as ``targets.encode`` makes it.

        Regions that are not annotated are ``IGNORED``, in all of a patch.
        """
        labels = self._partial.labels
        target = encode(self.values(label), labels)
        if labels.is_regions:
            target.masked_fill_(~_spread(self.known(label), target), IGNORED)
        return target

    def values(self, label: Tensor) -> Tensor:
        """Label maps in the dataset's values, background where they were ``OUTSIDE``."""
        values, _, _ = self._on(label.device)
        return values[label.clamp(min=0).long()]

    def merge(self, outputs: Tensor | Sequence[Tensor], label: Tensor) -> Tensor | Sequence[Tensor]:
        """Logits (batch, class, *space) in which what is not annotated belongs to background."""
        known = self.known(label)
        if isinstance(outputs, Tensor):
            return merged(outputs, known)
        return [merged(logits, known) for logits in outputs]

    def known(self, label: Tensor) -> Tensor:
        """Whether each foreground output is annotated in each sample, (batch, output)."""
        _, groups, known = self._on(label.device)
        return known[groups[label.clamp(min=0).long()].flatten(1).amax(dim=1).long()]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The value of each code, its group, and what is annotated in each group."""
        if device not in self._tables:
            values, groups, known = (torch.from_numpy(t).to(device) for t in self._made())
            self._tables[device] = values, groups, known
        return self._tables[device]

    def _made(self) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.bool_]]:
        """Group 0 is that of numbers that are no codes, and lacks nothing."""
        partial = self._partial
        values = np.arange(LARGEST + 1, dtype=np.int16)
        values[partial.codes] = (0, *partial.labels.foreground)
        groups = np.zeros(LARGEST + 1, dtype=np.int16)
        groups[partial.codes] = 1 + np.arange(len(partial.groups))[:, None]
        names = partial.labels.output_names
        known = [[name in group for name in names] for group in (names, *partial.groups)]
        return values, groups, np.array(known)


def merged(logits: Tensor, known: Tensor) -> Tensor:
    """Logits (batch, class, *space) whose softmax gives background all that is not ``known``.

    known: (batch, foreground class). Classes that are not get next to nothing, and no gradient of
    their own: they are learned through background.
    """
    logits = logits.float()
    foreground = _spread(known, logits)
    joined = logits[:, 1:].masked_fill(foreground, -torch.inf)
    background = torch.cat([logits[:, :1], joined], dim=1).logsumexp(dim=1, keepdim=True)
    nothing = (background - BELOW).detach()
    return torch.cat([background, torch.where(foreground, logits[:, 1:], nothing)], dim=1)


def _spread(flags: Tensor, over: Tensor) -> Tensor:
    """(batch, output) for voxels of (batch, output, *space)."""
    return flags.reshape(*flags.shape, *[1] * (over.ndim - 2))
