"""Everything that is checked, one session each. ``nox -l`` lists them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "docs", "examples"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
PACKAGES = ("nnseg_core", "plugins/nnseg_io", "plugins/nnseg_standard", "plugins/nnseg_track")


def _install(session: nox.Session, *more: str) -> None:
    """Nnseg with the tested versions; torch first, so that its CPU build satisfies the rest."""
    session.install("torch", *CONSTRAINTS)
    session.install("-e", ".", *more, *CONSTRAINTS)


@nox.session
def tests(session: nox.Session) -> None:
    """The default test suite; ``nox -s tests -- -m slow`` for the slow ones."""
    _install(session, "pytest", "pytest-timeout", "hatchling")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and who may import whom."""
    _install(session, "ruff", "codespell", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "nnseg_core", "plugins", "docs", "examples", "README.md")
    session.run("lint-imports", env={"PYTHONPATH": "plugins"})


@nox.session
def types(session: nox.Session) -> None:
    """Mypy --strict over the core and the built-in plugins."""
    _install(session, "mypy")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Generate the reference pages, and check that what is written is what is there."""
    _install(session, "pytest", "pytest-timeout")
    session.run("python", "docs/generate.py", *session.posargs)
    session.run("pytest", "tests/test_docs.py")


@nox.session
def examples(session: nox.Session) -> None:
    """Build nnseg and the example plugins as wheels, and run the examples against those."""
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.install("torch", "build", "pytest", "pytest-timeout", *CONSTRAINTS)
    for project in (Path(), *sorted(Path("examples").glob("nnseg-*"))):
        session.run("python", "-m", "build", "--wheel", "-o", str(wheels), str(project.resolve()))
    session.install("--force-reinstall", "--no-deps", *map(str, wheels.glob("*.whl")))
    session.install(*map(str, wheels.glob("nnseg-*.whl")), *CONSTRAINTS)
    session.run("pytest", "tests/examples", env={"NNSEG_TEST_INSTALLED": "1"})


@nox.session
def minimums(session: nox.Session) -> None:
    """The default suite with the lowest versions that pyproject.toml allows."""
    session.install("uv")
    lowest = ("uv", "pip", "install", "--resolution", "lowest-direct")
    session.run(*lowest, "-e", ".", "pytest>=8", "pytest-timeout>=2.2", "hatchling>=1.27")
    # Newer libraries warn of what older ones, such as the lowest typer, still call.
    session.run("pytest", "-x", "-W", "default::DeprecationWarning", *session.posargs)


@nox.session
def numerics(session: nox.Session) -> None:
    """Equality with nnU-Net's recorded results, and of our own runs with each other."""
    _install(session, "pytest", "pytest-timeout")
    session.run("pytest", "tests/numerics", "-m", "slow or not slow", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The built-in phantom through every step; at least Dice 0.90 or it fails."""
    _install(session)
    folder = Path(session.create_tmp()) / "demo"
    session.run("nnseg", "demo", "--output", str(folder), "--require", "0.90", *session.posargs)
    if os.environ.get("CI"):
        shutil.rmtree(folder, ignore_errors=True)


@nox.session
def peer(session: nox.Session) -> None:
    """Nnseg beside nnU-Net on this machine: time, memory and results; needs NNSEG_TEST_DATA."""
    _install(session)
    session.install("-e", ".[fast]", *CONSTRAINTS)
    work = Path(session.create_tmp()).resolve()
    options = ["--work", str(work / "peer"), *session.posargs]
    if "--peer-python" not in session.posargs:
        options += ["--peer-python", str(_nnunet(session, work / "nnunet"))]
    session.run("python", "tests/peer/compare.py", *options)


def _nnunet(session: nox.Session, folder: Path) -> Path:
    """The Python of an environment with nnU-Net, made where there is none."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "ready").exists():
        session.run("python", "-m", "venv", "--clear", str(folder))
        pip = (str(python), "-m", "pip")
        session.run(*pip, "install", "torch==2.13.0", external=True)
        session.run(*pip, "install", "nnunetv2==2.8.1", "torch==2.13.0", external=True)
        # One version of torchvision does not suit every build of torch, and nothing here needs it.
        session.run(*pip, "uninstall", "-y", "torchvision", external=True)
        (folder / "ready").touch()
    return python
