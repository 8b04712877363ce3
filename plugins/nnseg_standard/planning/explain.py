"""Why a plan is as it is: what concerns the whole dataset, then each configuration.

Every number comes from the record of the decisions, so no rule is stated twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from nnseg_core.explanation import Reason
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.geometry import PLANAR_SPACING, resampled_shape
from nnseg_standard.planning.decisions import Decisions
from nnseg_standard.planning.explain_sizes import explain_sizes
from nnseg_standard.planning.normalization import MOSTLY_EMPTY, Choice
from nnseg_standard.planning.planner import SMALLEST_COVER, SMALLEST_GAIN
from nnseg_standard.planning.spacing import ANISOTROPY, FINE_PERCENTILE
from nnseg_standard.planning.wording import by_axis, listed, number, percent, times
from nnseg_standard.preprocessing.resample import ANISOTROPY as SLICED
from nnseg_standard.preprocessing.resample import separate_axis

if TYPE_CHECKING:
    from nnseg_standard.planning.planner import StandardPlanner

FILE_AXES = "zyx"


def explain(
    planner: StandardPlanner, decisions: Decisions, fingerprint: Fingerprint
) -> tuple[Reason, ...]:
    """A reason for each choice, in the order in which they were made."""
    plan = decisions.plan
    dataset = (
        Reason(
            choice="spacing",
            value=by_axis(decisions.spacing, FILE_AXES, "mm"),
            text=_spacing(planner, decisions, fingerprint),
        ),
        Reason(
            choice="axes",
            value=", ".join(FILE_AXES[axis] for axis in plan.axes),
            text=_axes(plan.axes, decisions.spacing),
        ),
        Reason(
            choice="median_shape",
            value=by_axis(decisions.median_size, FILE_AXES, "voxels"),
            text=_median_size(decisions, fingerprint),
        ),
        _resampling(decisions, fingerprint),
        *_normalization(decisions, fingerprint),
        *_mirroring(decisions),
        Reason(
            choice="configurations",
            value=", ".join(plan.configurations),
            text=_configurations(decisions),
        ),
    )
    return (*dataset, *explain_sizes(planner, decisions))


def _spacing(planner: StandardPlanner, decisions: Decisions, fingerprint: Fingerprint) -> str:
    target = decisions.target
    medians = _medians(fingerprint, target.median)
    if planner.spacing:
        return f"Given. {medians}"
    axis, others = FILE_AXES[target.coarsest], np.delete(target.median, target.coarsest)
    if target.median[target.coarsest] == PLANAR_SPACING:
        return f"{medians} The images are planar: {number(PLANAR_SPACING)} mm stands for no axis."
    ratio = f"{target.median[target.coarsest] / others.max():.2g} times"
    if not target.is_coarse:
        return (
            f"{medians} No axis is more than {number(ANISOTROPY)} times as coarse as the others "
            f"(the coarsest, {axis}: {ratio}), so each has its median."
        )
    size = number(target.size[target.coarsest])
    shortest = number(np.delete(target.size, target.coarsest).min())
    if not target.is_short or target.fine is None:
        return (
            f"{medians} {axis} is {ratio} as coarse as the others, but images are not more than "
            f"{number(ANISOTROPY)} times as short along it ({size} voxels, {shortest} along the "
            "shortest other), so it has its median too."
        )
    taken = (
        f"{medians} {axis} is {ratio} as coarse as the others (more than {number(ANISOTROPY)}), "
        f"and images are more than {number(ANISOTROPY)} times as short along it ({size} voxels, "
        f"{shortest} along the shortest other). So that few cases lose detail, it has the "
        f"{number(FINE_PERCENTILE)}th percentile of its spacings, {number(target.fine)} mm"
    )
    if target.fine < others.max():
        return f"{taken}; or rather just above {number(others.max())} mm, to stay the coarsest."
    return f"{taken}."


def _medians(fingerprint: Fingerprint, median: tuple[float, ...]) -> str:
    spacings = np.asarray(fingerprint.spacings)
    cases = len(spacings)
    if (spacings == spacings[0]).all():
        return f"All {cases} cases have {by_axis(median, FILE_AXES, 'mm')}."
    ranges = [
        f"{axis} {number(middle)} ({number(low)} to {number(high)})"
        for axis, middle, low, high in zip(
            FILE_AXES, median, spacings.min(axis=0), spacings.max(axis=0), strict=True
        )
    ]
    return f"Medians of {cases} cases: {', '.join(ranges)} mm."


def _axes(axes: tuple[int, int, int], spacing: tuple[float, ...]) -> str:
    first, *rest = (f"{FILE_AXES[axis]} {number(spacing[axis])}" for axis in axes)
    if len(set(spacing)) == 1:
        return "All are equally fine, so they stay in the order of the files."
    stays = axes == (0, 1, 2)
    return f"{FILE_AXES[axes[0]]} is the coarsest ({first} mm, {', '.join(rest)} mm) and " + (
        "comes first, as in the files." if stays else "is moved to the front."
    )


def _median_size(decisions: Decisions, fingerprint: Fingerprint) -> str:
    size = by_axis(decisions.target.size, FILE_AXES, "voxels")
    return (
        f"The median per axis of {len(fingerprint.shapes)} cases, cropped to what is not 0 and "
        f"taken to the target spacing. Before that it is {size}."
    )


def _resampling(decisions: Decisions, fingerprint: Fingerprint) -> Reason:
    """How many cases are resampled, and how many of them slice by slice."""
    plan, sliced, changed = decisions.plan, [], 0
    for case_spacing, case_shape in zip(fingerprint.spacings, fingerprint.shapes, strict=True):
        old = [case_spacing[axis] for axis in plan.axes]
        new = [decisions.spacing[axis] for axis in plan.axes]
        if decisions.low is None:  # 2D only: slices keep their distance
            new[0] = old[0]
        shape = tuple(case_shape[axis] for axis in plan.axes)
        if resampled_shape(shape, old, new) != shape:
            changed += 1
            separate = separate_axis(old, new)
            sliced += [] if separate is None else [FILE_AXES[plan.axes[separate]]]
    cases = len(fingerprint.shapes)
    if not changed:
        text = f"All {cases} cases have this spacing, to less than half a voxel."
        return Reason(choice="resampling", value="none", text=text)
    counted = f"{changed} of {cases} cases have another spacing and are resampled"
    if not sliced:
        text = (
            f"{counted} by cubic splines. None is more than {number(SLICED)} times as coarse "
            "along one axis as along the finest, before or after."
        )
        return Reason(choice="resampling", value="all axes alike", text=text)
    text = (
        f"{counted}. {_all_or(len(sliced), changed)} more than {number(SLICED)} times as long "
        f"along {listed(sorted(set(sliced), reverse=True))} as along the finest axis, before or "
        "after: by cubic splines within each slice, and by the nearest slice across them."
    )
    if len(sliced) < changed:
        text += " The others by cubic splines along all axes."
    return Reason(choice="resampling", value="slice by slice", text=text)


def _all_or(count: int, total: int) -> str:
    return "Their voxels are" if count == total else f"The voxels of {count} of them are"


def _normalization(decisions: Decisions, fingerprint: Fingerprint) -> Iterator[Reason]:
    plan = decisions.plan
    planar = plan.configurations["2d"]
    rules = zip(plan.dataset.channels, planar.normalization, plan.intensities, strict=True)
    for channel, scheme, statistics in rules:
        yield Reason(
            choice="normalization",
            value=f"{channel}: {_name(scheme)}",
            text=_scheme(channel, scheme, statistics),
        )
    kept = percent(fingerprint.relative_size)
    if "zscore" not in planar.normalization:
        value, text = "all voxels", "Only z-scores can be restricted to the non-zero region."
    elif any(planar.mask_normalization):
        value = "the non-zero region"
        text = (
            f"Cropping keeps {kept} of an image, less than {percent(MOSTLY_EMPTY)}: what is left "
            "is mostly empty around a structure, and stays 0 there."
        )
    else:
        value = "all voxels"
        text = (
            f"Cropping keeps {kept} of an image, at least {percent(MOSTLY_EMPTY)}: there is "
            "little empty space around the structure."
        )
    yield Reason(choice="mask_normalization", value=value, text=text)


def _scheme(channel: str, choice: Choice, statistics: IntensityStatistics) -> str:
    scheme, named = _name(choice), f"The channel is named {channel}"
    what = {
        "ct": (
            "so a value means the same in every image. Clipped to the 0.5 and 99.5 "
            f"percentiles of the foreground of all cases, {number(statistics.percentile_0_5)} to "
            f"{number(statistics.percentile_99_5)}; then minus their mean, "
            f"{number(statistics.mean)}, divided by their standard deviation, "
            f"{number(statistics.std)}."
        ),
        "nonorm": "values stay as they are.",
        "rescale_to_0_1": "each image is scaled to the range from 0 to 1.",
        "rgb_to_0_1": "values from 0 to 255 are divided by 255.",
        "zscore": "each image is taken to mean 0 and standard deviation 1.",
    }.get(scheme, f"the normalization {scheme!r} is used.")
    if channel.casefold() == scheme.casefold():
        return f"{named}{',' if scheme == 'ct' else ':'} {what}"
    if scheme == "zscore":
        return f"{channel} is not the name of a normalization (such as CT), so {what}"
    return f"It was asked for by planner.normalization: {what}"


def _name(choice: Choice) -> str:
    return choice if isinstance(choice, str) else choice.name


def _mirroring(decisions: Decisions) -> Iterator[Reason]:
    """Said only where labels name sides: otherwise all axes are mirrored, as always."""
    sides = decisions.mirroring
    if not sides.pairs:
        return
    axis, pairs = FILE_AXES[sides.axis], listed([f"{a} and {b}" for a, b in sides.pairs])
    if not sides.cases:
        whence = f"{axis} runs from left to right in usual scans, and nobody has measured these."
    elif sides.agreeing == sides.cases:
        whence = f"By the directions in their headers, {axis} runs from left to right in all cases."
    else:
        whence = (
            f"By the directions in their headers, {axis} runs from left to right in "
            f"{sides.agreeing} of {sides.cases} cases. In the others a mirror along another axis "
            "still swaps sides: bring all cases into one orientation."
        )
    yield Reason(
        choice="mirroring",
        value=f"not along {axis}",
        text=f"The labels name sides: {pairs}. A mirror would turn one into the other. {whence} "
        "To mirror along all axes anyway: --set mirror_axes=null.",
    )


def _configurations(decisions: Decisions) -> str:
    low = decisions.low
    if low is None:
        return "The median image has one slice, so there is no 3D configuration."
    least, cover = percent(SMALLEST_COVER), percent(min(low.cover, 1))
    if not low.steps:
        return (
            f"No 3d_lowres and no cascade: a patch of 3d_fullres covers {cover} of the median "
            f"image, at least {least}."
        )
    gain = f"{low.gain:.3g}"
    if not low.kept:
        return (
            f"No 3d_lowres and no cascade: a patch of 3d_fullres covers {cover} of the median "
            f"image, less than {least}; but where it would cover {percent(low.low_cover)}, images "
            f"have only {gain} times fewer voxels, and {number(SMALLEST_GAIN)} times are wanted."
        )
    spacing = times(decisions.plan.configurations["3d_lowres"].spacing)
    return (
        f"3d_lowres, and a cascade after it: a patch of 3d_fullres covers {cover} of the median "
        f"image, less than {least}. At {spacing} mm a patch covers {percent(low.low_cover)}, and "
        f"images have {gain} times fewer voxels (at least {number(SMALLEST_GAIN)})."
    )
