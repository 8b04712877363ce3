"""Step 7: segment new images, case by case, each mask written as it is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import Segmentation
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, find_images
from nnseg_core.desk import Desk
from nnseg_core.ensemble import Ensemble
from nnseg_core.errors import DatasetError
from nnseg_core.model import Model
from nnseg_core.outcome import Outcome, attempt, values
from nnseg_core.pipeline.preprocessing import read_case
from nnseg_core.progress import Report, silent
from nnseg_core.stages import Stopwatch
from nnseg_core.writing import make_folder, whole

Prepared = Any
"""What ``prepare`` of the model has made of a case: one preprocessed case, or one per member."""

PROBABILITIES = "_probabilities.npz"
"""Ending of the class probabilities beside a mask."""

AHEAD = 32 * 2**20
"""Bytes of image files up to which a case is read while the one before it is predicted: less than
half a GB in memory, at the fourfold compression of a scan."""


def find_inputs(inputs: Sequence[Path], ending: str) -> tuple[CaseRef, ...]:
    """The cases among files and folders.

    ``CASE_0000.ending`` is channel 0 of CASE; its other channels lie beside it. A file without
    that number is a case of its own, with all its channels in one file.

    Raises ``DatasetError`` when there is nothing to predict.
    """
    found: dict[str, CaseRef] = {}
    for path in inputs:
        if not path.exists():
            raise DatasetError(f"{path} does not exist.")
        for case in _folder_cases(path, ending) if path.is_dir() else [_file_case(path, ending)]:
            found[case.identifier] = case
    if not found:
        raise DatasetError(
            f"no images named CASE_0000{ending} or CASE{ending} in {', '.join(map(str, inputs))}."
        )
    return tuple(found[name] for name in sorted(found))


def predict(
    model: Model | Ensemble,
    cases: Sequence[CaseRef],
    output: Path,
    probabilities: bool = False,
    skip_existing: bool = False,
    report: Report = silent,
    stopwatch: Stopwatch | None = None,
) -> Iterator[tuple[CaseRef, Segmentation]]:
    """Segment cases and write ``output/CASE.ending``; yields each when its mask is on disk.

    A small case is read and preprocessed while the one before it is predicted; a large one would
    take the memory. ``stopwatch`` times the stages read, preprocess, network, export and write.

    A case that cannot be segmented does not stop the others. Raises ``CasesFailed`` naming all of
    those in the end, ``DatasetError`` at once when a mask would replace an image, and
    ``NnsegError`` when nothing can be written to ``output``.
    """
    ending = model.plan.dataset.file_ending
    _require_apart(cases, output, ending)
    todo = [
        c for c in cases if not (skip_existing and (output / (c.identifier + ending)).is_file())
    ]
    if not todo:
        return
    make_folder(output)
    work = _Work(
        model=model,
        reader=model.reader_for(todo[0].images[0]),
        output=output,
        probabilities=probabilities,
        report=report,
        stopwatch=stopwatch or Stopwatch(),
    )
    yield from values(work.outcomes(todo))


def write_mask(output: Path, segmentation: Segmentation, reader: Reader, ending: str) -> Path:
    """Write a mask, and class probabilities beside it where there are any, as npz."""
    make_folder(output)
    path = output / f"{segmentation.identifier}{ending}"
    if segmentation.probability is not None:
        _write_probabilities(
            output / f"{segmentation.identifier}{PROBABILITIES}", segmentation.probability
        )
    reader.write_label(path, segmentation.label, segmentation.geometry)
    return path


def _write_probabilities(path: Path, probability: NDArray[np.float32]) -> None:
    with whole(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, probability=probability)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is done to each case."""

    model: Model | Ensemble
    reader: Reader
    output: Path
    probabilities: bool
    report: Report
    stopwatch: Stopwatch

    def outcomes(self, cases: Sequence[CaseRef]) -> Iterator[Outcome[CaseRef, Segmentation]]:
        """Each case with its mask on disk, or with what hindered that."""
        for done, outcome in enumerate(self._written(cases), start=1):
            if outcome.error:
                self.report("tiles", 1, 1)  # the case will not go on with them
            self.report("predict", done, len(cases), outcome.item.identifier)
            yield outcome

    def _written(self, cases: Sequence[CaseRef]) -> Iterator[Outcome[CaseRef, Segmentation]]:
        """A mask is written while the next case is segmented."""
        writing: Future[Outcome[CaseRef, Segmentation]] | None = None
        with ThreadPoolExecutor(max_workers=1) as writer:
            for case, prepared in self._prepared(cases):
                desk = Desk()
                segmented = attempt(partial(self._segment, prepared, desk), case, desk)
                if writing is not None:
                    yield writing.result()
                writing = writer.submit(self._write, segmented)
                if self.probabilities:  # too large for two at a time
                    del segmented
                    yield writing.result()
                    writing = None
            if writing is not None:
                yield writing.result()

    def _prepared(
        self, cases: Sequence[CaseRef]
    ) -> Iterator[tuple[CaseRef, Callable[[], Prepared]]]:
        """Each case with what prepares it, or waits for that where it has begun already."""
        get: Callable[[], Prepared]
        begun: Future[Prepared] | None = None
        with ThreadPoolExecutor(max_workers=1) as ahead:
            for case, following in zip(cases, [*cases[1:], None], strict=True):
                get = begun.result if begun is not None else partial(self._prepare, case)
                small = following is not None and _bytes(following) <= AHEAD
                begun = ahead.submit(self._prepare, following) if following and small else None
                yield case, get

    def _prepare(self, case: CaseRef) -> Prepared:
        _require_channels(case, self.model.plan.dataset)
        with self.stopwatch.timing("read"):
            raw = read_case(case, self.reader)
        with self.stopwatch.timing("preprocess"):
            return self.model.prepare(raw)

    def _segment(self, prepared: Callable[[], Prepared], desk: Desk, _: CaseRef) -> Segmentation:
        desk.stage = "reading and preprocessing it"
        preprocessed = prepared()
        desk.stage = "predicting it"
        return self.model.segment_preprocessed(
            preprocessed, self.probabilities, self.report, self.stopwatch
        )

    def _write(self, segmented: Outcome[CaseRef, Segmentation]) -> Outcome[CaseRef, Segmentation]:
        """Write the mask, if there is one."""
        desk = Desk()

        def write(_: CaseRef) -> Segmentation:
            desk.stage = "writing its mask"
            assert segmented.value is not None, "no error, so a mask"
            with self.stopwatch.timing("write"):
                ending = self.model.plan.dataset.file_ending
                write_mask(self.output, segmented.value, self.reader, ending)
            return segmented.value

        return segmented if segmented.error else attempt(write, segmented.item, desk)


def _bytes(case: CaseRef) -> int:
    return sum(path.stat().st_size for path in case.images if path.is_file())


def _folder_cases(folder: Path, ending: str) -> list[CaseRef]:
    numbered = find_images(folder, ending)
    if numbered:
        return [CaseRef(identifier=case, images=images) for case, images in numbered.items()]
    return [
        CaseRef(identifier=path.name.removesuffix(ending), images=(path,))
        for path in sorted(folder.glob(f"*{ending}"))
    ]


def _require_channels(case: CaseRef, dataset: DatasetDescription) -> None:
    """One file for all channels, or one for each, of which none may be missing before another."""
    ending, channels = dataset.file_ending, len(dataset.channels)
    if len(case.images) not in (1, channels):
        raise DatasetError(
            f"case {case.identifier!r} has {len(case.images)} image files, but the model needs "
            f"{channels}: {case.identifier}_0000{ending} to "
            f"{case.identifier}_{channels - 1:04d}{ending}."
        )
    expected = [f"{case.identifier}_{n:04d}{ending}" for n in range(len(case.images))]
    names = [path.name for path in case.images]
    if names not in (expected, [case.identifier + ending]):
        raise DatasetError(
            f"case {case.identifier!r} has {', '.join(names)}, but its channels must be numbered "
            f"from 0: {', '.join(expected)}."
        )


def _require_apart(cases: Sequence[CaseRef], output: Path, ending: str) -> None:
    """No mask may take the place of an image that is to be predicted."""
    for case in cases:
        mask = (output / f"{case.identifier}{ending}").resolve()
        if mask in [path.resolve() for path in case.images]:
            raise DatasetError(
                f"the mask of {case.images[0]} would replace it. Write the masks to another folder."
            )


def _file_case(path: Path, ending: str) -> CaseRef:
    if not path.name.endswith(ending):
        raise DatasetError(
            f"{path} is not a {ending} file, which is what the model was trained on."
        )
    numbered = re.fullmatch(r"(.+)_\d{4}", path.name.removesuffix(ending))
    if not numbered:
        return CaseRef(identifier=path.name.removesuffix(ending), images=(path,))
    case = numbered[1]
    return CaseRef(identifier=case, images=find_images(path.parent, ending)[case])
