"""Probes of the installation: versions, and whether they go together."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

import nnseg_core
from nnseg_core.health import Probe, ok, problem, warning

FAST = {"isal": "reads and writes .nii.gz faster", "cc3d": "finds components faster"}
"""Modules of the extra ``fast``, and what each is good for."""


def installation_probes() -> Iterator[Probe]:
    """What is installed."""
    yield ok("nnseg", f"{nnseg_core.__version__} in {Path(nnseg_core.__file__).parent}")
    python = f"{platform.python_version()} ({platform.machine()}) in {sys.prefix}"
    yield ok("python", python)
    yield ok("system", platform.platform())
    yield _requirements()
    yield _extras()


def _requirements() -> Probe:
    """Whether every package is there, in a version that nnseg can work with."""
    wanted = [Requirement(line) for line in requires("nnseg") or ()]
    needed = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = [said for requirement in needed if (said := _mismatch(requirement))]
    if not wrong:
        return ok("packages", f"all {len(needed)} that nnseg needs, in versions that fit")
    return problem("packages", "; ".join(wrong), "Run: python -m pip install --upgrade nnseg")


def _mismatch(wanted: Requirement) -> str:
    try:
        installed = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(installed, prereleases=True):
        return ""
    return f"{wanted.name} is {installed}, nnseg needs {wanted.specifier}"


def _extras() -> Probe:
    missing = {module: good for module, good in FAST.items() if find_spec(module) is None}
    if not missing:
        return ok("extras", ", ".join(FAST))
    lacking = ", ".join(f"{module}, which {good}" for module, good in missing.items())
    return warning("extras", f"without {lacking}", "Run: python -m pip install 'nnseg[fast]'")
