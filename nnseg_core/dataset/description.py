"""What a ``dataset.json`` says: channels, labels, and how the files of a dataset end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnseg_core.dataset.annotated import annotated_in
from nnseg_core.dataset.entries import are_all, meant, near, optional
from nnseg_core.dataset.label_entries import read_labels
from nnseg_core.dataset.labels import Labels
from nnseg_core.errors import DatasetError

KEYS = (
    *("name", "channel_names", "modality", "labels", "file_ending", "annotated"),
    "regions_class_order",
    *("numTraining", "overwrite_image_reader_writer", "dataset"),
)
"""Those of ``dataset.json`` that mean something here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """The part of ``dataset.json`` that the recipe depends on.

    ``annotated`` has the names that are annotated, by case or pattern of cases, where not all are.
    """

    name: str
    channels: tuple[str, ...]
    labels: Labels
    file_ending: str
    reader: str | None = None
    training_cases: int | None = None
    annotated: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def annotated_in(self, case: str) -> tuple[str, ...]:
        """The names of labels that are annotated in a case: all, unless something else is said."""
        return annotated_in(case, self.annotated, tuple(self.labels.values))


def read_description(path: Path) -> tuple[DatasetDescription, dict[str, Any]]:
    """Read a ``dataset.json``: what the recipe needs of it, and the whole of it as it stands."""
    raw = read_raw(path)
    name = optional(raw, "name", str, path) or path.resolve().parent.name
    return describe(raw, name=name, source=path), raw


def read_raw(path: Path) -> dict[str, Any]:
    """The object in a ``dataset.json``, whatever it holds."""
    if not path.is_file():
        raise DatasetError(
            f"{path} does not exist. A dataset folder holds dataset.json, imagesTr and labelsTr; "
            "see 'Your data' in the README for an example. For two plain folders of images and "
            "labels, 'nnseg fix' makes one.",
            code="dataset-json",
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except (ValueError, OSError) as error:
        raise DatasetError(
            f"{path} is not readable as JSON: {error}.{_json_remedy(error)}", code="dataset-json"
        ) from None
    if not isinstance(raw, dict):
        raise DatasetError(
            f"{path} must hold one JSON object in braces, not a {type(raw).__name__}.",
            code="dataset-json",
        )
    return raw


def describe(raw: Mapping[str, Any], name: str, source: Path) -> DatasetDescription:
    """Turn the content of a ``dataset.json`` into a description. ``source`` is for messages.

    Raises ``DatasetError`` with every mistake, one per line.
    """
    readers: dict[str, Callable[[], Any]] = {
        "channels": lambda: _channels(_mapping("channel_names", raw, source), source),
        "labels": lambda: read_labels(_mapping("labels", raw, source), raw, source),
        "file_ending": lambda: _ending(raw, source),
        "reader": lambda: optional(raw, "overwrite_image_reader_writer", str, source),
        "training_cases": lambda: optional(raw, "numTraining", int, source),
    }
    found: dict[str, Any] = {}
    mistakes: list[str] = []
    for field_name, read in readers.items():
        try:
            found[field_name] = read()
        except DatasetError as error:
            mistakes.append(str(error))
    if "labels" in found:
        try:
            found["annotated"] = _annotated(raw, found["labels"], source)
        except DatasetError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DatasetError("\n".join(mistakes), code="dataset-json")
    return DatasetDescription(name=name, **found)


def _mapping(key: str, raw: Mapping[str, Any], source: Path) -> Mapping[str, Any]:
    """The object under a key that must be there."""
    value = raw.get(key, raw.get("modality") if key == "channel_names" else None)
    if isinstance(value, Mapping) and value:
        return value
    example = '{"0": "CT"}' if key == "channel_names" else '{"background": 0, "liver": 1}'
    raise DatasetError(
        f"{source} needs {key!r}, an object such as {example}"
        + (_typing_error(key, raw) or "." if value is None else f"; it is {value!r}.")
    )


def _ending(raw: Mapping[str, Any], source: Path) -> str:
    ending = raw.get("file_ending", ".nii.gz" if "modality" in raw else None)
    if isinstance(ending, str) and ending.startswith("."):
        return ending
    raise DatasetError(
        f'{source} needs "file_ending", with its dot, such as ".nii.gz"'
        + (_typing_error("file_ending", raw) or f"; it has {ending!r}.")
    )


def _typing_error(key: str, raw: Mapping[str, Any]) -> str:
    close = near(key, [other for other in raw if other not in KEYS])
    return f"; it has {close!r}, a typing error?" if close else ""


def _channels(raw: Mapping[str, Any], source: Path) -> tuple[str, ...]:
    if sorted(raw) != sorted(str(index) for index in range(len(raw))):
        raise DatasetError(
            f'channel_names in {source} must be numbered "0", "1", … without gaps; '
            f"it has {', '.join(map(repr, raw))}."
        )
    return tuple(str(raw[str(index)]) for index in range(len(raw)))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose keys must differ: the first of two would be lost in silence."""
    keys = [key for key, _ in pairs]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} is there twice")
    return dict(pairs)


def _json_remedy(error: Exception) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return ""
    before = error.doc[: error.pos].rstrip()
    if error.doc[error.pos : error.pos + 1] in ("}", "]") and before.endswith(","):
        line = before.count("\n") + 1
        return f" Delete the comma at the end of line {line}: nothing follows it."
    return " Correct it there; a text editor that knows JSON marks the place."


def _annotated(raw: Mapping[str, Any], labels: Labels, source: Path) -> dict[str, tuple[str, ...]]:
    listed = optional(raw, "annotated", dict, source) or {}
    for case, names in listed.items():
        if not isinstance(names, list) or not are_all(str, names):
            raise DatasetError(
                f'"annotated" in {source} must give a list of label names for each case, such as '
                f'{{"{case}": ["{next(iter(labels.values))}"]}}; it has {names!r}.'
            )
        for name in names:
            if name not in labels.values:
                raise DatasetError(
                    f'"annotated" in {source} names {name!r} for {case!r}, which is no label. '
                    f"{meant(name, labels.values)}"
                )
    return {case: tuple(names) for case, names in listed.items()}
