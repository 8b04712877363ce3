"""Out-of-fold Dice of models and of their pairs, case by case, so that nothing is done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnseg_core import desk, files, kinds, machine
from nnseg_core.averaging import average, decide, mean_of, side_by_side
from nnseg_core.case import Prediction
from nnseg_core.contracts import Preprocessor, Reader
from nnseg_core.dataset import CaseRef, DatasetDescription, Labels
from nnseg_core.logits import read_logits
from nnseg_core.parallel import values
from nnseg_core.pipeline.contenders import Contender, Field
from nnseg_core.pipeline.postprocessing import mean_dice, read_mask, read_reference
from nnseg_core.project import Project, facts_of
from nnseg_core.scoring.overlap import Overlap, count_overlap
from nnseg_core.selection import Candidate
from nnseg_core.selection import mean_of as mean_of_labels

SECONDS = 5e-8
"""For one output of one model at one voxel; only decides whether workers are started.

Not measured: taken to be about what resampling a channel takes (``PREPROCESS_SECONDS``, which is),
since logits are resampled likewise. Off by twice, workers start for 2 s of work, or not for 8 s.
"""

SLICES = 16
"""At a time that preprocessors restore, to estimate memory."""

Overlaps = dict[str, Overlap]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One case of the comparison: its reference, and what each model predicted for it."""

    identifier: str
    case: CaseRef
    names: tuple[str, ...]
    masks: tuple[Path, ...]
    logits: tuple[Path, ...]

    def key(self, members: Sequence[str]) -> str:
        """What the score of a candidate depends on, in short."""
        chosen = [self.names.index(name) for name in members]
        paths = [(self.masks if len(members) == 1 else self.logits)[index] for index in chosen]
        found = [path.stat() for path in (*paths, *filter(None, [self.case.label]))]
        return json.dumps([[entry.st_size, entry.st_mtime_ns] for entry in found])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The voxel counts of one candidate in one case, and what they were counted from."""

    key: str
    overlaps: dict[str, tuple[int, int, int, int]]


def compare(project: Project, field: Field, ensembles: bool = True) -> tuple[Candidate, ...]:
    """Every model by itself, then every pair, with mean Dice per label over all cases.

    Means are taken over the cases that have the label in mask or reference, and over the labels
    that occur.
    """
    names = [contender.name for contender in field.contenders]
    pairs = list(combinations(names, 2)) if ensembles else []
    members: list[tuple[str, ...]] = [*((name,) for name in names), *pairs]
    description = project.dataset.description
    reader = project.reader()
    folder = project.workspace.dataset(project.name) / "selection"
    work = partial(
        _compare,
        members=tuple(members),
        reader=reader,
        description=description,
        preprocessors=tuple(_preprocessor(project, contender) for contender in field.contenders),
        folder=folder,
    )
    contests = [contest(field.contenders, case) for case in field.cases]
    voxels = prod(reader.peek(field.cases[0].images[:1][0])[0].shape)
    cost = voxels * description.labels.outputs * len(names)
    workers = _workers(project, field.cases[0], reader, description.labels.outputs * len(names))
    found: dict[str, dict[str, Overlaps]] = {}
    seconds = cost * SECONDS * len(contests)
    for each, overlaps in values(project.crew.map(work, contests, workers, seconds)):
        found[each.identifier] = overlaps
        project.report("compare", len(found), len(contests), each.identifier)
    return tuple(_candidate(member, found, description) for member in members)


def contest(contenders: Sequence[Contender], case: CaseRef) -> Contest:
    """A case with what some models predicted for it."""
    name = case.identifier
    return Contest(
        identifier=name,
        case=case,
        names=tuple(contender.name for contender in contenders),
        masks=tuple(contender.mask(name) for contender in contenders),
        logits=tuple(contender.logits(name) for contender in contenders),
    )


def write_averages(
    project: Project, members: Sequence[Contender], output: Path, field: Field
) -> None:
    """Write the masks of an ensemble of models, from stored logits, for all cases."""
    reader, description = project.reader(), project.dataset.description
    work = partial(
        _write_average,
        reader=reader,
        description=description,
        preprocessors=tuple(_preprocessor(project, contender) for contender in members),
        output=output,
    )
    contests = [contest(members, case) for case in field.cases]
    outputs = description.labels.outputs * len(members)
    workers = _workers(project, field.cases[0], reader, outputs)
    voxels = prod(reader.peek(field.cases[0].images[0])[0].shape)
    seconds = SECONDS * voxels * outputs * len(contests)
    for done, (each, _) in enumerate(
        values(project.crew.map(work, contests, workers, seconds)), start=1
    ):
        project.report("average", done, len(contests), each.identifier)


def _compare(
    contest: Contest,
    *,
    members: Sequence[tuple[str, ...]],
    reader: Reader,
    description: DatasetDescription,
    preprocessors: Sequence[Preprocessor],
    folder: Path,
) -> dict[str, Overlaps]:
    """Overlaps of every candidate, those counted before from the case's file."""
    path = folder / f"{contest.identifier}.json"
    kept = files.load(dict[str, _Kept], path) if path.is_file() else {}
    keys = {_joined(member): f"{contest.key(member)} {_digest(description)}" for member in members}
    todo = [m for m in members if (k := _joined(m)) not in kept or kept[k].key != keys[k]]
    if todo:
        counted = _count(contest, todo, reader, description.labels, preprocessors)
        kept |= {name: _Kept(key=keys[name], overlaps=_plain(o)) for name, o in counted.items()}
        files.write_json(path, kept)
    return {_joined(m): _overlaps(kept[_joined(m)]) for m in members}


def _count(
    contest: Contest,
    members: Sequence[tuple[str, ...]],
    reader: Reader,
    labels: Labels,
    preprocessors: Sequence[Preprocessor],
) -> dict[str, Overlaps]:
    counted: dict[str, Overlaps] = {}
    reference = None
    for member in [member for member in members if len(member) == 1]:
        index = contest.names.index(member[0])
        case = CaseRef(identifier=contest.identifier, images=(contest.masks[index],))
        mask = read_mask(case, reader).label
        reference = read_reference(contest.case, reader, mask.shape)
        counted[_joined(member)] = count_overlap(mask, reference, labels)
    pairs = [member for member in members if len(member) > 1]
    if pairs:
        desk.stage("averaging probabilities")
        used = sorted({contest.names.index(name) for pair in pairs for name in pair})
        predictions = {index: read_logits(contest.logits[index]) for index in used}
        if reference is None:
            shape = predictions[used[0]].restoration.original.shape
            reference = read_reference(contest.case, reader, shape)
        restored = [(preprocessors[index], predictions[index]) for index in used]
        chosen = [[used.index(contest.names.index(name)) for name in pair] for pair in pairs]
        found = _count_pairs(restored, chosen, reference, labels)
        counted |= dict(zip(map(_joined, pairs), found, strict=True))
    return counted


def _count_pairs(
    restored: Sequence[tuple[Preprocessor, Prediction]],
    pairs: Sequence[Sequence[int]],
    reference: NDArray[np.integer],
    labels: Labels,
) -> list[Overlaps]:
    """Overlaps of pairs of predictions, each of which is restored once, some slices at a time.

    Beyond those slices there is background: all counts begin as those of an empty mask.
    """
    nothing = np.broadcast_to(np.uint8(0), reference.shape)
    totals = [count_overlap(nothing, reference, labels) for _ in pairs]
    for place, parts in side_by_side(restored, labels):
        expected = np.ascontiguousarray(place.of(reference))
        empty = count_overlap(np.zeros_like(expected), expected, labels)
        for index, pair in enumerate(pairs):
            label = decide(mean_of([parts[member] for member in pair]), labels)
            found = count_overlap(label, expected, labels)
            totals[index] = {
                name: _sum(totals[index][name], found[name], empty[name]) for name in totals[index]
            }
    return totals


def _write_average(
    contest: Contest,
    *,
    reader: Reader,
    description: DatasetDescription,
    preprocessors: Sequence[Preprocessor],
    output: Path,
) -> None:
    desk.stage("averaging probabilities")
    predictions = [read_logits(path) for path in contest.logits]
    mean = average(list(zip(preprocessors, predictions, strict=True)), description.labels)
    path = output / f"{contest.identifier}{description.file_ending}"
    reader.write_label(path, mean.label, mean.geometry)


def _candidate(
    members: tuple[str, ...],
    found: dict[str, dict[str, Overlaps]],
    description: DatasetDescription,
) -> Candidate:
    scored = [
        {
            name: overlap.dice
            for name, overlap in overlaps[_joined(members)].items()
            if name in description.annotated_in(case)
        }
        for case, overlaps in sorted(found.items())
    ]
    dice = mean_dice(scored, description.labels)
    return Candidate(members=members, dice=dice, mean=mean_of_labels(dice))


def _preprocessor(project: Project, contender: Contender) -> Preprocessor:
    configuration = contender.trained.configuration
    facts = facts_of(configuration, contender.trained.plan.dataset)
    return project.build(kinds.PREPROCESSOR, configuration.preprocessor, **facts)


def _workers(project: Project, example: CaseRef, reader: Reader, outputs: int) -> int:
    """As many as have room for slabs of all outputs, and for the masks of a case."""
    z, y, x = reader.peek(example.images[0])[0].shape
    needed = 2 * 4 * outputs * SLICES * max(z * y, y * x, z * x) + 8 * z * y * x
    memory = machine.free_memory()
    room = project.workers if memory is None else memory.free // 2 // needed
    return min(project.workers, max(1, room))


def _joined(members: Iterable[str]) -> str:
    return " + ".join(members)


def _digest(description: DatasetDescription) -> str:
    labels = json.dumps(asdict(description.labels), sort_keys=True)
    return hashlib.sha256(labels.encode()).hexdigest()[:16]


def _plain(overlaps: Overlaps) -> dict[str, tuple[int, int, int, int]]:
    return {name: (o.tp, o.fp, o.fn, o.tn) for name, o in overlaps.items()}


def _overlaps(kept: _Kept) -> Overlaps:
    return {
        name: Overlap(tp=tp, fp=fp, fn=fn, tn=tn)
        for name, (tp, fp, fn, tn) in kept.overlaps.items()
    }


def _sum(total: Overlap, found: Overlap, empty: Overlap) -> Overlap:
    return Overlap(
        tp=total.tp + found.tp - empty.tp,
        fp=total.fp + found.fp - empty.fp,
        fn=total.fn + found.fn - empty.fn,
        tn=total.tn + found.tn - empty.tn,
    )
