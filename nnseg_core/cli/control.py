"""Options of ``nnseg train`` that say how long it takes, and who may stop it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnseg_core.errors import PlanError

if TYPE_CHECKING:
    from nnseg_core.project import Project

Epochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs to train. Short for --set trainer.epochs=...")
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        help="Time to train, such as 12h, 30m or 1h30m; the learning rate reaches its end in it. "
        "Short for --set trainer.max_minutes=...",
    ),
]
Extend = Annotated[
    int | None,
    typer.Option(
        "--extend",
        min=1,
        metavar="EPOCHS",
        help="Go on with a finished training, to so many epochs in all.",
    ),
]
StopFile = Annotated[
    Path | None,
    typer.Option(
        help="Stop, so that the same command goes on, when this file appears. A file STOP in the "
        "folder of the fold always does."
    ),
]

EPOCHS, MINUTES = "trainer.epochs", "trainer.max_minutes"

OPTIONS = {EPOCHS: "--epochs", MINUTES: "--max-time"}
"""Settings of the trainer, by the options that stand for them."""

UNITS = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
"""In minutes."""


def budget(
    settings: dict[str, Any],
    epochs: int | None,
    max_time: str | None,
    extend: int | None,
    restart: bool,
) -> dict[str, Any]:
    """``--epochs`` and ``--max-time`` as settings, which are put to the others.

    Raises ``PlanError`` for options that contradict each other.
    """
    if extend and restart:
        raise PlanError("--extend goes on with what --restart throws away: give one of them.")
    given: dict[str, Any] = {}
    if epochs is not None:
        given[EPOCHS] = epochs
    if max_time is not None:
        given[MINUTES] = parse_minutes(max_time)
    for path in sorted(given.keys() & settings.keys()):
        raise PlanError(f"{OPTIONS[path]} and --set {path} say the same thing: give one of them.")
    settings.update(given)
    return given


def parse_minutes(text: str) -> float:
    """``12h``, ``30m``, ``1h30m`` or ``90s`` in minutes."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text.strip().lower())
    written = "".join(number + unit for number, unit in parts)
    minutes = sum(float(number) * UNITS[unit] for number, unit in parts)
    if written != text.strip().lower() or minutes <= 0:
        raise PlanError(f"--max-time {text}: write it like 12h, 30m or 1h30m.")
    return minutes


def check_budget(project: Project, trainer: str, given: Mapping[str, Any]) -> None:
    """Raise ``PlanError`` for a budget that the ``trainer`` of that name has no option for."""
    from nnseg_core import kinds
    from nnseg_core.plugins import parameters

    if not given:
        return
    accepted = parameters(project.component(kinds.TRAINER, trainer).factory)
    for path in given:
        option = path.removeprefix("trainer.")
        if option not in accepted:
            others = [
                OPTIONS[name] for name in OPTIONS if name.removeprefix("trainer.") in accepted
            ]
            instead = f"It has {' and '.join(others)} " if others else "See its options "
            raise PlanError(
                f"the trainer {trainer!r} has no option {option!r}, so {OPTIONS[path]} is not for "
                f"it. {instead}(nnseg plugins trainer {trainer})."
            )
