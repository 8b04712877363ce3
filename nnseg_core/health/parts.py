"""Probes of the plugins: which there are, what each offers, and whether it can be imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from pluggy import HookImpl

from nnseg_core.errors import PluginError
from nnseg_core.health import Probe, ok, problem, warning
from nnseg_core.kinds import KINDS
from nnseg_core.plugins import DISABLE_VARIABLE, Component, Plugins

RUNTIMES = re.compile(r"lib(gomp|iomp5|omp)\b[^/]*\.so[^/]*$")
"""Libraries that run the threads of OpenMP, of which a process wants one kind."""


def plugin_probes(plugins: Plugins) -> Iterator[Probe]:
    """Each plugin with what it offers, those that were skipped, and what was disabled."""
    providers = dict.fromkeys(component.provider for component in plugins.components.values())
    for provider in providers:
        yield _provider(plugins, provider)
    for broken in plugins.broken:
        yield problem(
            broken.plugin,
            f"skipped: {broken.reason}",
            f"Update or uninstall it, or set {DISABLE_VARIABLE}={broken.plugin.split()[0]}.",
        )
    if disabled := os.environ.get(DISABLE_VARIABLE):
        yield ok("disabled", f"{disabled} (by {DISABLE_VARIABLE})")


def _provider(plugins: Plugins, provider: str) -> Probe:
    theirs = [part for part in plugins.components.values() if part.provider == provider]
    failures = [said for part in theirs if (said := _failure(part))]
    if failures:
        return problem(provider, "; ".join(failures), "Reinstall the package that is named.")
    return ok(provider, "; ".join(_offers(theirs)))


def _failure(component: Component[object]) -> str:
    try:
        _ = component.factory
    except PluginError as error:
        return str(error)
    return ""


def _offers(components: list[Component[object]]) -> Iterator[str]:
    for kind in KINDS:
        names = [component.name for component in components if component.kind is kind]
        if names:
            yield f"{kind.name} {', '.join(names)}"


def openmp_probe() -> Probe:
    """Whether two kinds of OpenMP are at work, once everything is imported."""
    loaded = _openmp_libraries()
    kinds = {match[1] for path in loaded if (match := RUNTIMES.search(path))}
    if len(kinds) > 1:
        return warning(
            "OpenMP",
            f"{len(kinds)} kinds in one process: {', '.join(sorted(loaded))}",
            "They can block each other: install all packages with pip, or all with conda.",
        )
    if os.environ.get("KMP_DUPLICATE_LIB_OK"):
        return warning(
            "OpenMP",
            "KMP_DUPLICATE_LIB_OK hides that there are two",
            "Unset it; if OpenMP then reports an error, make a fresh environment with pip alone.",
        )
    return ok("OpenMP", ", ".join(sorted({Path(path).name for path in loaded})) or "not known here")


def _openmp_libraries() -> set[str]:
    """Paths of the loaded ones; only Linux tells."""
    if sys.platform != "linux":
        return set()
    with Path("/proc/self/maps").open(encoding="utf-8", errors="replace") as file:
        paths = (line.rstrip("\n").partition("/") for line in file)
        return {slash + path for _, slash, path in paths if RUNTIMES.search(path)}


def asked_plugins(plugins: Plugins, deep: bool) -> Iterator[tuple[str, Iterator[Probe]]]:
    """The probes of each plugin that has some, by the plugin's name."""
    for implementation in plugins.manager.hook.nnseg_health.get_hookimpls():
        yield implementation.plugin_name, _asked(implementation, deep)


def _asked(implementation: HookImpl, deep: bool) -> Iterator[Probe]:
    """What a plugin says of itself; where it fails instead, that is what is wrong with it."""
    given = {"deep": deep}
    try:
        said = implementation.function(*(given[name] for name in implementation.argnames))
        for probe in cast(Iterable[object], said):
            if not isinstance(probe, Probe):
                raise TypeError(f"nnseg_health gave {probe!r}, which is not a Probe")
            yield probe
    except Exception as error:  # a plugin may raise anything, and others are still to be asked
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield problem("self-test", f"ended with {reason}", "Reinstall the package that is named.")
