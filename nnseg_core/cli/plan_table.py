"""A plan as it is printed: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nnseg_core.cli.sides import mirrored_along
from nnseg_core.normalizing import reference_of
from nnseg_core.plan import Configuration, Plan

if TYPE_CHECKING:
    from nnseg_core.explanation import Reason
    from nnseg_core.pipeline.costs import Cost


def show_plan(plan: Plan) -> None:
    """Print what was decided, one column per configuration."""
    from nnseg_core.cli.display import table

    names = list(plan.configurations)
    chosen = [plan.configurations[name] for name in names]

    def row(title: str, values: Sequence[Any]) -> tuple[str, ...]:
        return (title, *map(str, values))

    table(
        ("", *names),
        [
            row("spacing (mm)", [_numbers(c.spacing) for c in chosen]),
            row("median shape", [_numbers(c.median_shape) for c in chosen]),
            row("patch size", [_numbers(c.patch_size) for c in chosen]),
            row("batch size", [c.batch_size for c in chosen]),
            row("stages", [len(c.features) for c in chosen]),
            row("features", [f"{c.features[0]} to {c.features[-1]}" for c in chosen]),
            row("strides", [_rows(c.strides) for c in chosen]),
            row("kernels", [_rows(c.kernel_sizes) for c in chosen]),
            row("mirrored along", [mirrored_along(c, plan.axes) for c in chosen]),
            row("normalization", [_normalizations(c) for c in chosen]),
            row("network", [c.architecture.name for c in chosen]),
            *(
                [row("after", [c.previous or "" for c in chosen])]
                if any(c.previous for c in chosen)
                else []
            ),
        ],
        title=f"{plan.dataset.name}: axes in the order {', '.join('zyx'[a] for a in plan.axes)}",
    )


def as_text(
    plan: Plan,
    reasons: Sequence[Reason] | None = None,
    costs: Mapping[str, Cost] | None = None,
) -> str:
    """A plan as JSON; with reasons and costs, where they are given, it is no plan.json."""
    shown: dict[str, Any] = asdict(plan)
    if costs is not None:
        shown["reasons"] = None if reasons is None else [asdict(reason) for reason in reasons]
        shown["costs"] = {name: asdict(cost) for name, cost in costs.items()}
    return json.dumps(shown, indent=2)


def _normalizations(configuration: Configuration) -> str:
    """Each once."""
    names = (reference_of(entry).name for entry in configuration.normalization)
    return ", ".join(dict.fromkeys(names))


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _rows(rows: Sequence[Sequence[int]]) -> str:
    return " ".join("".join(map(str, row)) for row in rows)
