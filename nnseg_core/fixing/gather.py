"""Which files are the images and the label of which case, however they are named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnseg_core.checking.dataset import IMAGE_ENDINGS
from nnseg_core.dataset import CaseRef
from nnseg_core.fixing.change import Change

NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Cases by their original files, where ``images`` are in the order of their channels."""

    cases: tuple[CaseRef, ...]
    changes: tuple[Change, ...]


def gather(images: Path, labels: Path, ending: str) -> Gathered:
    """Pair the images of one folder with the labels of another.

    An image is ``CASE_0000`` with its ending, or ``CASE`` where a label is named so. What has no
    partner is left out, as is the second of two files that differ in their ending only.
    """
    image_files, doubled_images = _by_name(images, ending)
    label_files, doubled_labels = _by_name(labels, ending)
    found = _cases(image_files, label_files.keys())
    lonely = [*_without_label(found, label_files), *_without_image(found, label_files)]
    paired = [name for name in sorted(found) if name in label_files]
    cases = [
        CaseRef(identifier=name, images=_in_order(found[name]), label=label_files[name])
        for name in paired
    ]
    renumbered = [change for name in paired for change in _renumbered(name, sorted(found[name]))]
    changes = (*doubled_images, *doubled_labels, *lonely, *renumbered)
    return Gathered(cases=tuple(cases), changes=changes)


def image_files(folder: Path) -> list[Path]:
    """The files of a folder that are images by their ending."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if not path.name.startswith(".") and ending_of(path))


def ending_of(path: Path) -> str:
    """The ending that makes a file an image, as it is written; empty where there is none."""
    known = [e for e in IMAGE_ENDINGS if path.name.lower().endswith(e)]
    return path.name[-max(map(len, known)) :] if known else ""


def _by_name(folder: Path, ending: str) -> tuple[dict[str, Path], list[Change]]:
    """Files by their name without ending. Of two, the one with the dataset's ending is taken."""
    files: dict[str, Path] = {}
    changes: list[Change] = []
    for path in sorted(image_files(folder), key=lambda path: not path.name.endswith(ending)):
        own = ending if path.name.endswith(ending) else ending_of(path)
        name = path.name.removesuffix(own)
        kept = files.setdefault(name, path)
        if kept != path:
            message = f"left out: it lies beside {kept.name}, which was taken"
            changes.append(Change("two-files", message, file=f"{folder.name}/{path.name}"))
    return files, changes


def _cases(images: dict[str, Path], labels: Iterable[str]) -> dict[str, dict[int, Path]]:
    """Images by case and channel number. A name that a label has is a case, number or not."""
    found: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        match = None if name in labels else NUMBERED.fullmatch(name)
        case, channel = (match["case"], int(match["channel"])) if match else (name, 0)
        found.setdefault(case, {}).setdefault(channel, path)
    return found


def _in_order(channels: dict[int, Path]) -> tuple[Path, ...]:
    return tuple(channels[number] for number in sorted(channels))


def _renumbered(case: str, numbers: Sequence[int]) -> Iterable[Change]:
    if list(numbers) != list(range(len(numbers))):
        old = ", ".join(f"{number:04d}" for number in numbers)
        new = ", ".join(f"{number:04d}" for number in range(len(numbers)))
        yield Change("channel-numbers", f"channels {old} are now {new}", case)


def _without_label(cases: dict[str, dict[int, Path]], labels: dict[str, Path]) -> Iterable[Change]:
    for name in sorted(cases.keys() - labels.keys()):
        yield Change("no-label", "left out: there is no label for it", name)


def _without_image(cases: dict[str, dict[int, Path]], labels: dict[str, Path]) -> Iterable[Change]:
    for name in sorted(labels.keys() - cases.keys()):
        file = f"{labels[name].parent.name}/{labels[name].name}"
        yield Change("no-image", "left out: there is no image for it", name, file)
