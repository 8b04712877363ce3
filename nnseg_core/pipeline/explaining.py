"""Why a plan is as it is, and what its networks look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from nnseg_core import kinds
from nnseg_core.cascade import previous_values
from nnseg_core.contracts import Architecture, Planner
from nnseg_core.diagram import Diagram, levels
from nnseg_core.explanation import Explanation, Reason
from nnseg_core.fingerprint import Fingerprint
from nnseg_core.normalizing import planning_facts
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.plugins import Plugins
from nnseg_core.project import facts_of


def explain_plan(
    plugins: Plugins, plan: Plan, fingerprint: Fingerprint, typed: frozenset[str] = frozenset()
) -> tuple[Reason, ...] | None:
    """The planner's reasons, and what ``--set`` changed afterwards.

    None where the planner gives no reasons, or gives them for another plan than it makes: a
    planner that inherits ``explain`` and has a ``plan`` of its own.
    """
    name = plan.planner.name
    planner: Planner = plugins.resolve(kinds.PLANNER, name, typed=name in typed).build(
        plan.planner.options, **planning_facts(plugins)
    )
    explain = getattr(planner, "explain", None)
    if explain is None:
        return None
    architecture = _built(plugins, planner.architecture, typed)
    explanation: Explanation = explain(plan.dataset, fingerprint, architecture)
    if explanation.plan != planner.plan(plan.dataset, fingerprint, architecture):
        return None
    return _with_changes(explanation, plan)


def diagrams(
    plugins: Plugins, plan: Plan, typed: frozenset[str] = frozenset()
) -> tuple[Diagram, ...]:
    """The networks of a plan; configurations with equal ones, such as cascades, share one."""
    sharing: dict[Any, list[str]] = {}
    for name, configuration in plan.configurations.items():
        network = (configuration.topology, repr(configuration.architecture))
        sharing.setdefault(network, []).append(name)
    return tuple(_diagram(plugins, plan, names, typed) for names in sharing.values())


def architecture_of(
    plugins: Plugins, plan: Plan, configuration: Configuration, typed: frozenset[str]
) -> Architecture:
    """The part that builds a configuration's network."""
    facts = facts_of(configuration, plan.dataset)
    return _built(plugins, configuration.architecture, typed, **facts)


def _diagram(plugins: Plugins, plan: Plan, names: Sequence[str], typed: frozenset[str]) -> Diagram:
    configuration, labels = plan.configurations[names[0]], plan.dataset.labels
    architecture = architecture_of(plugins, plan, configuration, typed)
    return Diagram(
        title=f"{', '.join(names)} ({configuration.architecture.name})",
        inputs=_inputs(plan, names),
        outputs=_counted(labels.outputs, "region" if labels.is_regions else "class"),
        levels=levels(configuration, architecture, labels.declared),
    )


def _inputs(plan: Plan, names: Sequence[str]) -> str:
    """The channels of an image, and what a cascade takes beside them."""
    said = _counted(len(plan.dataset.channels), "channel")
    for name in names:
        configuration = plan.configurations[name]
        if values := previous_values(plan.dataset, configuration):
            labels = _counted(len(values), "label")
            said += f"; {name} also {labels} of {configuration.previous}"
    return said


def _built(
    plugins: Plugins, reference: ComponentRef, typed: frozenset[str], **facts: Any
) -> Architecture:
    component = plugins.resolve(kinds.ARCHITECTURE, reference.name, typed=reference.name in typed)
    return component.build(reference.options, **facts)


def _with_changes(explanation: Explanation, plan: Plan) -> tuple[Reason, ...]:
    """What was set by the user takes the place of the planner's reasons."""
    changes = list(_changes(explanation.plan, plan))
    changed = {(change.configuration, change.choice) for change in changes}
    everywhere = {
        choice
        for _, choice in changed
        if all((name, choice) in changed for name in plan.configurations)
    }
    kept = [
        reason
        for reason in explanation.reasons
        if (reason.configuration, reason.choice) not in changed
        and not (reason.configuration is None and reason.choice in everywhere)
    ]
    return (*kept, *changes)


def _changes(decided: Plan, plan: Plan) -> Iterator[Reason]:
    for name, configuration in plan.configurations.items():
        before = decided.configurations[name]
        for field in fields(Configuration):
            old, new = getattr(before, field.name), getattr(configuration, field.name)
            if old != new:
                yield Reason(
                    choice=field.name,
                    value=_shown(new),
                    text=f"Set by you; the planner decided {_shown(old)}.",
                    configuration=name,
                )


def _shown(value: Any) -> str:
    if isinstance(value, ComponentRef):
        options = ", ".join(f"{name}={given}" for name, given in value.options.items())
        return f"{value.name} ({options})" if options else value.name
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return " ".join("x".join(map(str, row)) for row in value)
    if isinstance(value, tuple):
        return " x ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
    return str(value)


def _counted(count: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{count} {what}{'' if count == 1 else plural}"
