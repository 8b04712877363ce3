"""Records to JSON and back: written whole or not at all, and checked when they are read.

Users edit plans, so what is read is compared with the record's types: names nobody knows, wrong
types and broken rules are reported together, each with its place. Only this module knows
pydantic, and imports it when something is first checked.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from nnseg_core import __version__
from nnseg_core.errors import PlanError
from nnseg_core.fingerprint import Fingerprint
from nnseg_core.plan import FORMAT, Plan
from nnseg_core.writing import whole

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")

WIDTH = 100
"""What fits into a line of this many characters is written into one."""


def read_json(path: Path, what: str = "JSON file") -> Any:
    """The content of a JSON file. ``what`` names it in messages, as in "no plan at …".

    Raises ``PlanError`` where there is no such file, or with the line and column of the mistake.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise PlanError(f"there is no {what} at {path}.") from None
    except json.JSONDecodeError as error:
        raise PlanError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path} cannot be read: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a record, or anything JSON can hold, so that readers see the old file or the new one.

    Missing folders are made. Values that are not numbers are written as ``NaN``.

    Raises ``NnsegError`` where nothing can be written, ``DiskFull`` where only room is missing.
    """
    write_text(path, _layout(_plain(value)) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file as ``write_json`` does, with the same errors."""
    with whole(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def load(expected: type[T], path: Path) -> T:
    """Read a record, or a tuple of them, from a file and check it.

    Raises ``PlanError`` with every mistake and its place.
    """
    return validate(expected, read_json(path), source=str(path))


def validate(expected: type[T], value: Any, source: str) -> T:
    """Turn plain JSON values into the record they should be. ``source`` begins each message.

    Nothing is converted but what JSON lacks: lists become tuples, integers pass for floats.

    Raises ``PlanError``: one line per mistake, as in
    ``plan.json: configurations.2d.batch_size: should be a valid integer, it is "two"``.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    settings = ConfigDict(extra="forbid", strict=True)
    listed: Any = list[expected]  # type: ignore[valid-type]  # a bare record takes no settings
    try:
        checked: list[T] = TypeAdapter(listed, config=settings).validate_json(
            json.dumps([value], default=_part)
        )
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        lines = [_describe(mistake, expected, source) for mistake in mistakes]
        raise PlanError("\n".join(lines)) from None
    return checked[0]


def override(record: T, changes: Mapping[str, Any]) -> T:
    """The record with values replaced: ``override(plan, {"configurations.2d.batch_size": 4})``.

    Each path goes through the names of records and the keys of dictionaries, separated by dots.
    All changes are made before the result is checked, so they may depend on each other.

    Raises ``PlanError`` where a name does not exist, naming those that do, or a value is wrong.
    """
    plain = _plain(record)
    for path, value in changes.items():
        _put(plain, path, value)
    given = ", ".join(f"{path}={_shown(_plain(value))}" for path, value in changes.items())
    return validate(type(record), plain, source=given)


def _put(plain: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place = plain
    for name in parents:
        if not isinstance(place, dict) or name not in place:
            raise PlanError(f"{path}: {name!r} {_unknown(name, place)}")
        place = place[name]
    if not isinstance(place, dict):
        raise PlanError(f"{path}: {last!r} {_unknown(last, place)}")
    place[last] = value


def read_plan(path: Path) -> Plan:
    """Read a plan, which its user may have edited.

    Raises ``PlanError`` with every mistake and its place, or when a newer nnseg made it.
    """
    raw = read_json(path, "plan")
    made = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(made, int) and made > FORMAT:
        raise PlanError(
            f"{path} has plan format {made}, but nnseg {__version__} knows formats up to {FORMAT}. "
            "Update nnseg, or make the plan again with nnseg plan."
        )
    return validate(Plan, raw, source=str(path))


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint: ours, or the ``dataset_fingerprint.json`` that nnU-Net writes.

    Raises ``PlanError`` with every mistake and its place.
    """
    raw = read_json(path, "fingerprint")
    if isinstance(raw, dict) and "shapes_after_crop" in raw:
        raw = _from_nnunet(raw, path)
    return validate(Fingerprint, raw, source=str(path))


_NNUNET_STATISTICS = {
    "mean": "mean",
    "median": "median",
    "std": "std",
    "min": "minimum",
    "max": "maximum",
    "percentile_00_5": "percentile_0_5",
    "percentile_99_5": "percentile_99_5",
}


def _from_nnunet(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        channels = raw["foreground_intensity_properties_per_channel"]
        return {
            "spacings": raw["spacings"],
            "shapes": raw["shapes_after_crop"],
            "relative_size": raw["median_relative_size_after_cropping"],
            "intensities": [
                {ours: channels[channel][theirs] for theirs, ours in _NNUNET_STATISTICS.items()}
                for channel in sorted(channels, key=int)
            ],
        }
    except KeyError as error:
        raise PlanError(f"{path} looks like nnU-Net's fingerprint but lacks {error}.") from None


def _describe(mistake: ErrorDetails, expected: Any, source: str) -> str:
    """One line: file, place, what is wrong."""
    place = mistake["loc"][1:]
    where = [".".join(map(str, place))] if place else []
    return ": ".join([source, *where, _mistake(mistake, expected)])


def _mistake(mistake: ErrorDetails, expected: Any) -> str:
    place, given = mistake["loc"][1:], mistake["input"]
    if mistake["type"] == "missing":
        return "is missing"
    if mistake["type"] == "unexpected_keyword_argument":
        return _unknown(str(place[-1]), dict.fromkeys(_names(expected, place[:-1])))
    if mistake["type"] == "value_error":
        return str(mistake["ctx"]["error"])
    if mistake["type"] == "dataclass_type":
        return f"should be an object in braces, it is {_shown(given)}"
    return f"{mistake['msg'].removeprefix('Input ')}, it is {_shown(given)}"


def _unknown(name: str, place: Any) -> str:
    """What to say of a name that is not in ``place``, which is a dictionary or has no names."""
    names = list(place) if isinstance(place, dict) else []
    close = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    choice = f"There are: {', '.join(names)}." if names else "Nothing there has a name."
    return f"does not exist.{guess} {choice}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDTH else text[:WIDTH] + "…"


def _names(expected: Any, place: Sequence[int | str]) -> tuple[str, ...]:
    """The fields of the record at ``place``, by type: its value is not there to be asked."""
    for step in place:
        if is_dataclass(expected):
            expected = get_type_hints(expected)[str(step)]
        else:
            expected = get_args(expected)[1 if get_origin(expected) is dict else 0]
        if NoneType in get_args(expected):
            expected = get_args(expected)[0]
    return tuple(field.name for field in fields(expected))


def _plain(value: Any) -> Any:
    """Only what JSON knows: dictionaries, lists, numbers, strings."""
    return json.loads(json.dumps(value, default=_part))


def _part(value: Any) -> Any:
    """One thing that JSON does not know, in terms of what it may know."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def _layout(value: Any, indent: str = "") -> str:
    """JSON with short lists and objects on one line, so that a plan can be read and edited."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= WIDTH:
        return line
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _layout(part, inner) for part in value) + f"\n{indent}]"
    parts = (f"{inner}{_layout(k)}: {_layout(v, inner)}" for k, v in value.items())
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
