"""What a dataset is: channels, labels, cases. And how nnU-Net's folder is read in place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nnseg_core.errors import DatasetError

T = TypeVar("T")

BACKGROUND = "background"
IGNORE = "ignore"

KEYS = (
    *("name", "channel_names", "modality", "labels", "file_ending", "regions_class_order"),
    *("numTraining", "overwrite_image_reader_writer", "dataset"),
)
"""Those of ``dataset.json`` that mean something here."""

LARGEST = 2**15 - 1
"""Of all label values: they are kept as int16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Classes or regions, by name. Background is 0 and is not listed.

    ``values`` maps each foreground name to the label values it covers: one for a class, several
    for a region. One region among them makes all of them regions (nnU-Net's rule): the network
    then has a sigmoid per region instead of a softmax over classes. ``paint_order`` holds, per
    region, the integer painted where that region was found; later ones paint over earlier ones.
    """

    values: dict[str, tuple[int, ...]]
    ignore: int | None = None
    paint_order: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("labels need at least one name beside background")
        if any(len(covered) == 0 for covered in self.values.values()):
            raise ValueError("a region covers no label value")
        if self.is_regions and len(self.paint_order) != len(self.values):
            raise ValueError(
                f"{len(self.values)} regions need as many entries in regions_class_order, "
                f"but it has {len(self.paint_order)}"
            )
        self._check_values()

    def _check_values(self) -> None:
        used = [value for covered in self.values.values() for value in covered]
        ignored = [] if self.ignore is None else [self.ignore]
        for value in (*used, *ignored):
            if not 0 <= value <= LARGEST:
                raise ValueError(f"label values must lie between 0 and {LARGEST}, not at {value}")
        if self.ignore in (0, *used):
            raise ValueError(
                f"the ignore label has value {self.ignore}, which another label has too"
            )
        if not self.is_regions and len({0, *used}) <= len(used):
            raise ValueError(
                f"each label needs a value of its own, and 0 is background's; they have {used}"
            )

    @property
    def is_regions(self) -> bool:
        """Whether the names are regions that may overlap."""
        return any(len(covered) > 1 for covered in self.values.values())

    @property
    def foreground(self) -> tuple[int, ...]:
        """All label values but background and the ignore label, ascending."""
        return tuple(sorted({v for covered in self.values.values() for v in covered if v != 0}))

    @property
    def outputs(self) -> int:
        """Channels of the network's output: one per region, or one per class with background."""
        return len(self.values) if self.is_regions else len(self.foreground) + 1

    @property
    def declared(self) -> int:
        """Entries of the ``labels`` dictionary, background and ignore included."""
        return 1 + len(self.values) + (self.ignore is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """The part of ``dataset.json`` that the recipe depends on."""

    name: str
    channels: tuple[str, ...]
    labels: Labels
    file_ending: str
    reader: str | None = None
    training_cases: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRef:
    """A case by its files: one image per channel (or one for all), and a label if there is one."""

    identifier: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset folder: its description, and its training cases by identifier, sorted."""

    folder: Path
    description: DatasetDescription
    cases: tuple[CaseRef, ...] = field(default=())


def open_dataset(folder: Path) -> Dataset:
    """Read ``dataset.json`` and list the training cases of an nnU-Net dataset folder, in place.

    Images are ``imagesTr/CASE_0000.ending`` (one file per channel), labels
    ``labelsTr/CASE.ending``; the ``dataset`` key of ``dataset.json`` replaces both folders.

    Raises ``DatasetError`` when the folder, ``dataset.json`` or every training case is missing.
    """
    description, raw = read_description(folder / "dataset.json")
    if "dataset" in raw:
        cases = _listed_cases(folder, raw["dataset"])
    else:
        cases = _folder_cases(folder, description)
    if not cases:
        raise DatasetError(_why_no_cases(folder, description.file_ending), code="no-cases")
    return Dataset(folder=folder, description=description, cases=cases)


def read_description(path: Path) -> tuple[DatasetDescription, dict[str, Any]]:
    """Read a ``dataset.json``: what the recipe needs of it, and the whole of it as it stands."""
    raw = read_raw(path)
    name = _optional(raw, "name", str, path) or path.resolve().parent.name
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
        "labels": lambda: _labels(
            _mapping("labels", raw, source), _paint_order(raw, source), source
        ),
        "file_ending": lambda: _ending(raw, source),
        "reader": lambda: _optional(raw, "overwrite_image_reader_writer", str, source),
        "training_cases": lambda: _optional(raw, "numTraining", int, source),
    }
    found: dict[str, Any] = {}
    mistakes: list[str] = []
    for field_name, read in readers.items():
        try:
            found[field_name] = read()
        except DatasetError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DatasetError("\n".join(mistakes), code="dataset-json")
    return DatasetDescription(name=name, **found)


def find_images(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Images of ``folder`` by case, in channel order (``CASE_0000.ending``, ``CASE_0001…``)."""
    pattern = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})" + re.escape(ending))
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):  # what macOS leaves in archives
            continue
        if match := pattern.fullmatch(path.name):
            found.setdefault(match["case"], {})[match["channel"]] = path
    return {case: tuple(files[c] for c in sorted(files)) for case, files in sorted(found.items())}


def _why_no_cases(folder: Path, ending: str) -> str:
    """What lies in the folder instead of training cases, and what should."""
    images = folder / "imagesTr"
    names = [path.name for path in _visible(images)]
    others = sorted({"".join(Path(name).suffixes[-2:]) for name in names})
    if not images.is_dir():
        found = f"there is no folder imagesTr{_similar('imagesTr', folder)}"
    elif not names:
        found = "imagesTr is empty"
    elif any(name.endswith(ending) for name in names):
        found = f"of {len(names)} files in imagesTr, none has the number of its channel in its name"
    else:
        found = (
            f"none of the {len(names)} files in imagesTr ends in {ending!r}, which is file_ending "
            f"in dataset.json; they end in {', '.join(map(repr, others[:5]))}"
        )
    return (
        f"{folder} has no training cases: {found}. Expected images named "
        f"imagesTr/CASE_0000{ending} and labels labelsTr/CASE{ending}; "
        f"file_ending in dataset.json is {ending!r}."
        + (" 'nnseg fix' makes a copy with these names." if names else "")
    )


def _similar(name: str, folder: Path) -> str:
    near = _near(name, [path.name for path in _visible(folder)])
    return f", but {near!r}" if near else ""


def _visible(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith("."))


def _folder_cases(folder: Path, description: DatasetDescription) -> tuple[CaseRef, ...]:
    images = find_images(folder / "imagesTr", description.file_ending)
    if images and not (folder / "labelsTr").is_dir():
        raise DatasetError(
            f"{folder} has no folder labelsTr{_similar('labelsTr', folder)}. It holds a label for "
            f"every image, named labelsTr/CASE{description.file_ending}.",
            code="no-cases",
        )
    labels = {case: folder / "labelsTr" / f"{case}{description.file_ending}" for case in images}
    return tuple(
        CaseRef(
            identifier=case, images=files, label=labels[case] if labels[case].is_file() else None
        )
        for case, files in images.items()
    )


def _listed_cases(folder: Path, listed: Any) -> tuple[CaseRef, ...]:
    if not isinstance(listed, Mapping):
        raise DatasetError(f'"dataset" in {folder / "dataset.json"} must map case names to files.')
    return tuple(_listed_case(folder, case, entry) for case, entry in sorted(listed.items()))


def _listed_case(folder: Path, case: str, entry: Any) -> CaseRef:
    files = entry if isinstance(entry, Mapping) else {}
    images, label = files.get("images"), files.get("label") or ""
    if not isinstance(images, list) or not images or not _are_all(str, [*images, label]):
        raise DatasetError(
            f'case {case!r} under "dataset" in {folder / "dataset.json"} needs '
            '{"images": ["…"], "label": "…"}.'
        )
    return CaseRef(
        identifier=case,
        images=tuple((folder / image).resolve() for image in images),
        label=(folder / label).resolve() if label else None,
    )


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
    near = _near(key, [other for other in raw if other not in KEYS])
    return f"; it has {near!r}, a typing error?" if near else ""


def _channels(raw: Mapping[str, Any], source: Path) -> tuple[str, ...]:
    if sorted(raw) != sorted(str(index) for index in range(len(raw))):
        raise DatasetError(
            f'channel_names in {source} must be numbered "0", "1", … without gaps; '
            f"it has {', '.join(map(repr, raw))}."
        )
    return tuple(str(raw[str(index)]) for index in range(len(raw)))


def _labels(raw: Mapping[str, Any], paint_order: Iterable[int], source: Path) -> Labels:
    if all(value.isdecimal() for value in raw):
        raw = {str(name): int(value) for value, name in raw.items()}  # nnU-Net v1: value -> name
    if raw.get(BACKGROUND) not in (0, [0]):
        near = _near(BACKGROUND, raw)
        raise DatasetError(
            f'labels in {source} need "background": 0'
            + (f"; they have {near!r}: {raw[near]!r}." if near else ".")
        )
    covered = {name: _values(name, value, source) for name, value in raw.items()}
    ignore = covered.pop(IGNORE, None)
    if ignore is not None and len(ignore) != 1:
        raise DatasetError(
            f'the "ignore" label in {source} must be a single integer, not {ignore}.'
        )
    covered.pop(BACKGROUND)
    try:
        return Labels(
            values=covered, ignore=ignore[0] if ignore else None, paint_order=tuple(paint_order)
        )
    except ValueError as error:
        raise DatasetError(f"labels in {source}: {error}.") from None


def _values(name: str, value: Any, source: Path) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list) else (value,)
    if not _are_all(int, values):
        raise DatasetError(
            f"label {name!r} in {source} must be an integer, or a list of integers for a region; "
            f"it is {value!r}."
        )
    return values


def _paint_order(raw: Mapping[str, Any], source: Path) -> tuple[int, ...]:
    order = _optional(raw, "regions_class_order", list, source) or []
    if not _are_all(int, order):
        raise DatasetError(f"regions_class_order in {source} must hold integers; it is {order}.")
    return tuple(order)


def _optional(raw: Mapping[str, Any], key: str, kind: type[T], source: Path) -> T | None:
    """The value of a key that may be missing or null, but not of another type."""
    value = raw.get(key)
    if value is None or type(value) is kind:  # a boolean is no integer
        return value
    wanted = {str: "text", int: "an integer", list: "a list"}[kind]
    raise DatasetError(f"{key} in {source} must be {wanted}; it is {value!r}.")


def _are_all(kind: type, values: Iterable[Any]) -> bool:
    return all(type(value) is kind for value in values)


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


def _near(key: str, raw: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(key, [str(k) for k in raw], n=1, cutoff=0.7)), None)
