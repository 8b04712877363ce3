"""Left and right on screen: labels that come in pairs, and the axes along which patches mirror."""

from __future__ import annotations

from collections.abc import Sequence

from nnseg_core.dataset.laterality import lateral_pairs
from nnseg_core.plan import Configuration, Plan


def show_sides(plan: Plan) -> None:
    """Say which labels are pairs of left and right, and what is done about it, if there are any."""
    pairs = lateral_pairs(plan.dataset.labels.values)
    if not pairs:
        return
    named = ", ".join(f"{left} / {right}" for left, right in pairs)
    kept = ", ".join(
        f"{mirrored_along(configuration, plan.axes)} ({name})"
        for name, configuration in plan.configurations.items()
    )
    print(
        f"left and right: {named}, which a mirror would swap. Patches are mirrored along {kept}. "
        "--why says more; --set mirror_axes=null mirrors along all axes."
    )


def mirrored_along(configuration: Configuration, axes: Sequence[int]) -> str:
    """The axes of the files along which patches are mirrored, in the order of the patch."""
    names = ["zyx"[axis] for axis in axes[-len(configuration.patch_size) :]]
    kept = configuration.mirror_axes
    shown = names if kept is None else [names[place] for place in kept]
    return " ".join(shown) or "no axis"
