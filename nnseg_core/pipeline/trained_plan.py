"""With which plan a model was trained: its folds are averaged, so that all have the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from nnseg_core import files
from nnseg_core.errors import ModelError
from nnseg_core.model_folder import PLAN_FILE, WEIGHTS_FILE
from nnseg_core.plan import ComponentRef, Configuration, Plan


def require_same_plan(folder: Path, plan: Plan, name: str) -> None:
    """Folds of one model are averaged at prediction: they must be of one kind.

    Raises ``ModelError`` when ``folder`` holds folds that were trained with other settings.
    """
    path = folder / PLAN_FILE
    trained = any(folder.glob(f"fold_*/{WEIGHTS_FILE}"))
    if trained and (there := files.read_plan(path)) != plan.only(name):
        known = there.configurations.get(name)
        changed = _differences(known, plan.configurations[name]) if known else []
        named = f"another {', '.join(changed)}; " if changed else ""
        raise ModelError(
            f"{folder} holds folds that were trained with other settings ({named}see {path}). "
            "Give this training a folder of its own with --name."
        )


def _differences(one: Configuration, other: Configuration) -> list[str]:
    """What differs, by the names that ``--set`` knows."""
    first, second = _named_settings(one), _named_settings(other)
    return [key for key in {**first, **second} if first.get(key) != second.get(key)]


def _named_settings(configuration: Configuration) -> dict[str, Any]:
    """Every value of a configuration, options of its parts by names of their own."""
    named: dict[str, Any] = {}
    for each in fields(configuration):
        value = getattr(configuration, each.name)
        if isinstance(value, ComponentRef):
            named[each.name] = value.name
            named |= {f"{each.name}.{option}": to for option, to in value.options.items()}
        else:
            named[each.name] = value
    return named
