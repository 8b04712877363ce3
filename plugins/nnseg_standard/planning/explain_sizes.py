"""Why a configuration is as it is: its patch, network and batch, with the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from nnseg_core.explanation import Reason
from nnseg_standard.planning.decisions import Decisions, Sizing
from nnseg_standard.planning.memory import SMALLEST_BATCH, START_VOXELS
from nnseg_standard.planning.spacing import COARSENING
from nnseg_standard.planning.topology import (
    LONE_EDGE,
    SHORTEST_EDGE,
    SIMILAR,
    Fate,
    Stage,
    pooling,
    pooling_factors,
)
from nnseg_standard.planning.wording import (
    gigabytes,
    listed,
    number,
    often,
    percent,
    span,
    times,
)

if TYPE_CHECKING:
    from nnseg_standard.planning.planner import StandardPlanner


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The configuration that is explained; ``axes`` are the names of its axes."""

    name: str
    sizing: Sizing
    axes: str
    planner: StandardPlanner
    decisions: Decisions

    @property
    def stages(self) -> tuple[Stage, ...]:
        """How the rules of pooling came to the network."""
        return pooling(self.sizing.configuration.spacing, self.sizing.chosen.asked)


def explain_sizes(planner: StandardPlanner, decisions: Decisions) -> Iterator[Reason]:
    """Reasons for each configuration; a cascade is as its full resolution."""
    for name, sizing in decisions.sizings.items():
        axes = "".join("zyx"[axis] for axis in decisions.plan.axes)
        subject = _Subject(
            name=name,
            sizing=sizing,
            axes=axes[-len(sizing.configuration.patch_size) :],
            planner=planner,
            decisions=decisions,
        )
        reasons = _cascade(subject) if sizing.configuration.previous else _sizes(subject)
        for choice, value, text in reasons:
            yield Reason(choice=choice, value=value, text=text, configuration=name)


def _cascade(subject: _Subject) -> Iterator[tuple[str, str, str]]:
    previous = str(subject.sizing.configuration.previous)
    yield (
        "previous",
        previous,
        f"All as in 3d_fullres; the prediction of {previous} is a further input, which shows the "
        f"network what lies around its patch. So the folds of {previous} are trained first, each "
        "case being segmented by the fold that did not train with it.",
    )


def _sizes(subject: _Subject) -> Iterator[tuple[str, str, str]]:
    configuration = subject.sizing.configuration
    features, stages = configuration.features, subject.stages
    most = subject.sizing.reference.most_features
    yield "spacing", f"{times(configuration.spacing)} mm", _spacing(subject)
    yield "patch_size", times(configuration.patch_size), _patch(subject)
    yield "strides", f"{len(stages)} stages", _strides(subject)
    yield "kernel_sizes", _kernel_range(configuration.kernel_sizes), _kernels(subject)
    yield (
        "features",
        f"{features[0]} to {features[-1]}",
        f"{features[0]} at full resolution, doubled from stage to stage up to {most} at most.",
    )
    yield "batch_size", str(configuration.batch_size), _batch(subject)
    yield "batch_dice", "on" if configuration.batch_dice else "off", _batch_dice(subject)


def _spacing(subject: _Subject) -> str:
    if len(subject.axes) == 2:
        return "The target spacing within slices; slices keep the distance they have."
    low = subject.decisions.low
    if subject.name != "3d_lowres" or low is None:
        return "The target spacing."
    return (
        f"{low.steps} steps of {percent(COARSENING - 1)} coarser than 3d_fullres, until a patch "
        f"covers {percent(low.low_cover)} of the median image. Axes more than twice as fine as "
        "the coarsest give way first."
    )


def _patch(subject: _Subject) -> str:
    sizing, memory = subject.sizing, subject.planner.memory
    chosen, first = sizing.chosen, sizing.trials[0]
    samples = sizing.reference.fitting_batch
    limit = f"{gigabytes(memory)} planned for"
    needs = _needs(sizing, -1)
    if sizing.patch_given:
        verdict = (
            f"takes {needs} of the {limit}"
            if sizing.batch.fitting >= samples
            else f"takes {needs}, more than the {limit}"
        )
        given = f"Given as {times(chosen.asked)}{_padding(subject, -1)}."
        return f"{given} A batch of {samples} {verdict}."
    begun = f"{_start(subject)}{_padding(subject, 0)}."
    if len(sizing.trials) == 1:
        return f"{begun} A batch of {samples} takes {needs} of the {limit}."
    return (
        f"{begun} A batch of {samples} would take {_needs(sizing, 0)}, more than the {limit}. "
        f"Shrunk from {times(first.topology.patch_size)} {_steps(subject)}, always along the "
        f"axis that covers most of the median image, until it takes {needs}."
    )


def _needs(sizing: Sizing, trial: int) -> str:
    reference = sizing.reference
    elements = sizing.trials[trial].elements * reference.fitting_batch
    return gigabytes(reference.gigabytes(elements))


def _start(subject: _Subject) -> str:
    start, median = subject.sizing.trials[0].asked, subject.sizing.configuration.median_shape
    if start == median:
        return f"Started from the whole median image, {times(start)}"
    axes = len(start)
    edge = round(START_VOXELS[axes] ** (1 / axes))
    clipped = [
        axis for axis, size, whole in zip(subject.axes, start, median, strict=True) if size == whole
    ]
    within = f", and no longer than the median image along {listed(clipped)}" if clipped else ""
    return (
        f"Started from {times(start)}: as many voxels as {times((edge,) * axes)}, equally long "
        f"in mm along all axes{within}"
    )


def _padding(subject: _Subject, trial: int) -> str:
    tried = subject.sizing.trials[trial]
    if tried.asked == tuple(tried.topology.patch_size):
        return ""
    return (
        f", padded to {times(tried.topology.patch_size)} so that it can be pooled "
        f"{times(pooling_factors(tried.topology))} times"
    )


def _steps(subject: _Subject) -> str:
    """``4 times (z once, y 3 times)``."""
    trials = subject.sizing.trials
    counts = dict.fromkeys(subject.axes, 0)
    for before, after in pairwise(trials):
        for axis, old, new in zip(
            subject.axes, before.topology.patch_size, after.asked, strict=True
        ):
            counts[axis] += old != new
    shares = [f"{axis} {often(count)}" for axis, count in counts.items() if count]
    return f"{often(len(trials) - 1)} ({', '.join(shares)})"


def _strides(subject: _Subject) -> str:
    """What becomes of each axis; axes with one fate share a sentence."""
    stages = subject.stages
    fates = list(zip(*(stage.fates for stage in stages), strict=True))
    sentences = []
    for fate in dict.fromkeys(fates):
        names = [axis for axis, other in zip(subject.axes, fates, strict=True) if other == fate]
        sentences.append(_fate(subject, names, fate))
    return " ".join(sentences)


def _fate(subject: _Subject, names: Sequence[str], fates: Sequence[Fate]) -> str:
    index = subject.axes.index(names[0])
    pooled = [n for n, fate in enumerate(fates) if fate == "pooled"]
    waits = [n for n in range(pooled[0] if pooled else len(fates)) if fates[n] == "coarse"]
    verb = "is" if len(names) == 1 else "are"
    parts = []
    if waits:
        first, last = waits[0], waits[-1]
        parts.append(
            f"not pooled in {span(first + 1, last + 1)}, being at least {number(SIMILAR)} times "
            f"as coarse as the finest axis there ({_beside(subject, index, first)})"
        )
    if pooled:
        parts.append(f"halved {often(len(pooled))}, from {_size(subject, names, pooled[0])} voxels")
    end = _end(subject, names, fates)
    return f"{listed(names)} {verb} {', then '.join(parts)}{' ' if parts else ''}{end}."


def _beside(subject: _Subject, index: int, stage: int) -> str:
    spacing = subject.stages[stage].spacing
    return f"{number(spacing[index])} mm beside {number(min(spacing))} mm"


def _size(subject: _Subject, names: Sequence[str], stage: int) -> str:
    sizes = [subject.stages[stage].size[subject.axes.index(name)] for name in names]
    return listed([number(size) for size in dict.fromkeys(sizes)])


def _end(subject: _Subject, names: Sequence[str], fates: Sequence[Fate]) -> str:
    last = len(fates) - 1
    size = _size(subject, names, last)
    why = {
        "short": f"shorter than {2 * SHORTEST_EDGE} voxels",
        "coarse": "still much coarser than the finest axis that is long enough",
        "alone": f"alone, and shorter than {LONE_EDGE} voxels",
    }[fates[last]]
    return f"to {size}: there {why}" if "pooled" in fates else f"kept at {size}: {why}"


def _kernel_range(kernels: Sequence[Sequence[int]]) -> str:
    kinds = ["x".join(map(str, kernel)) for kernel in kernels]
    return ", then ".join(kind for kind, _ in groupby(kinds))


def _kernels(subject: _Subject) -> str:
    stages = subject.stages
    flat = {
        axis: [n for n, stage in enumerate(stages) if stage.kernel[index] == 1]
        for index, axis in enumerate(subject.axes)
    }
    sentences = [
        f"1 along {axis} in {span(found[0] + 1, found[-1] + 1)}, where it is at least "
        f"{number(SIMILAR)} times as coarse as the finest axis "
        f"({_beside(subject, subject.axes.index(axis), found[0])})."
        for axis, found in flat.items()
        if found
    ]
    if not sentences:
        return f"3 everywhere: no axis is {number(SIMILAR)} times as coarse as the finest."
    return " ".join([*sentences, "3 elsewhere, and always in the last stage."])


def _batch(subject: _Subject) -> str:
    sizing, planner = subject.sizing, subject.planner
    batch, share = sizing.batch, planner.dataset_share
    each = sizing.reference.gigabytes(sizing.chosen.elements)
    text = (
        f"A sample takes {gigabytes(each)} of {gigabytes(planner.memory)}, which leaves room for "
        f"{planner.memory / each:.3g}, rounded to {batch.fitting}. At most {percent(share)} of the "
        f"voxels of {subject.decisions.cases} cases may be in a batch, which is {batch.allowed} "
        f"patch{'' if batch.allowed == 1 else 'es'}."
    )
    if batch.size > min(batch.fitting, batch.allowed):
        return f"{text} But a batch has at least {SMALLEST_BATCH}."
    return f"{text} The smaller number counts."


def _batch_dice(subject: _Subject) -> str:
    if len(subject.axes) == 2:
        return "In 2D many slices lack a label, so the overlap is summed over the batch."
    low = subject.decisions.low
    if subject.sizing.configuration.batch_dice and low is not None:
        return (
            f"A patch covers {percent(low.cover)} of the median image and often lacks a label, so "
            "the overlap is summed over the batch."
        )
    return (
        "The overlap is counted in each sample. Only in 2D and beside a cascade, where patches "
        "often lack a label, is it summed over the batch."
    )
