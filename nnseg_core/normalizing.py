"""Normalizations: the one kind of part of which a configuration has several, one per channel."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nnseg_core import kinds
from nnseg_core.contracts import Normalization
from nnseg_core.errors import PluginError
from nnseg_core.plan import ComponentRef, Configuration
from nnseg_core.plugins import Plugins, parameters

FACT = "normalizations"
"""What a preprocessor's factory calls them that wants them built, and a planner's their names."""


def normalization_facts(
    plugins: Plugins, configuration: Configuration, typed: Collection[str] = ()
) -> dict[str, Any]:
    """What to offer the preprocessor of a configuration, if it asks for normalizations.

    One that does not may know names of its own. Raises ``PluginError`` for a name or an option
    that does not exist.
    """
    name = configuration.preprocessor.name
    try:
        component = plugins.resolve(kinds.PREPROCESSOR, name, typed=name in typed)
    except PluginError:
        return {}  # whoever builds the preprocessor says so
    if FACT not in parameters(component.factory):
        return {}
    return {FACT: normalizations_of(plugins, configuration, typed)}


def normalizations_of(
    plugins: Plugins, configuration: Configuration, typed: Collection[str] = ()
) -> tuple[Normalization, ...]:
    """That of each channel, built."""
    references = map(reference_of, configuration.normalization)
    return tuple(
        plugins.resolve(kinds.NORMALIZATION, one.name, typed=one.name in typed).build(one.options)
        for one in references
    )


def reference_of(entry: str | ComponentRef) -> ComponentRef:
    """An entry of ``Configuration.normalization``: a name alone has no options."""
    return ComponentRef(name=entry) if isinstance(entry, str) else entry


def planning_facts(plugins: Plugins) -> dict[str, Any]:
    """What to offer planners: the normalizations that channels may be named after."""
    return {FACT: tuple(plugins.of_kind(kinds.NORMALIZATION))}
