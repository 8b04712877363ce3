"""Values in a ``dataset.json``: whether they are of the type they should be, and near misses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nnseg_core.errors import DatasetError

T = TypeVar("T")


def optional(raw: Mapping[str, Any], key: str, kind: type[T], source: Path) -> T | None:
    """The value of a key that may be missing or null, but not of another type."""
    value = raw.get(key)
    if value is None or type(value) is kind:  # a boolean is no integer
        return value
    wanted = {str: "text", int: "an integer", list: "a list", dict: "an object in braces"}[kind]
    raise DatasetError(f"{key} in {source} must be {wanted}; it is {value!r}.")


def are_all(kind: type, values: Iterable[Any]) -> bool:
    """Whether every value is of exactly that type."""
    return all(type(value) is kind for value in values)


def near(key: str, known: Iterable[str]) -> str | None:
    """What was probably meant by ``key``, if anything."""
    import difflib

    return next(iter(difflib.get_close_matches(key, map(str, known), n=1, cutoff=0.7)), None)


def meant(key: str, known: Iterable[str]) -> str:
    """A sentence that asks whether a near miss was meant, or names what there is."""
    names = [str(name) for name in known]
    guess = near(key, names)
    return f"Did you mean {guess!r}?" if guess else f"There are: {', '.join(names)}."
