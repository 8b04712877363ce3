"""Step 4: divide the cases into folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nnseg_core import files
from nnseg_core.errors import DatasetError, NnsegError
from nnseg_core.pipeline.drawing_folds import State, Wish, draw, identifiers, known_presence
from nnseg_core.project import Project
from nnseg_core.splits import (
    Grouping,
    Split,
    Splits,
    choose_split,
    gone_cases,
    grouping,
    new_cases,
    require_unbroken,
    with_cases,
    without_cases,
)
from nnseg_core.splits.tables import (
    GROUP_COLUMNS,
    SITE_COLUMNS,
    read_folds,
    read_grouping,
    read_splits,
)
from nnseg_core.wording import some

NNUNET_FILE = "splits_final.json"
"""What nnU-Net calls its folds; used where it lies in the dataset folder."""

EACH = "each"
"""Stands for every fold there is."""


def read_or_make_splits(project: Project, fold: str) -> Split:
    """The split of ``fold``, from ``splits.json`` if it is there; made and written otherwise.

    New cases are dealt to the folds; nothing else in them moves.

    Raises ``DatasetError`` when the splits name a case that the dataset does not have, or the fold
    lacks a half; ``NnsegError`` for a fold that there is none of.
    """
    return read_or_make_folds(project, [fold])[fold]


def read_or_make_folds(project: Project, wanted: Sequence[str] | None) -> dict[str, Split]:
    """The splits of several folds, as ``--fold`` names them: ``["0", "2,3"]``, ``["each"]``."""
    if wanted and all(fold == "all" for fold in wanted):
        return {"all": choose_split((), "all", identifiers(project))}
    splits = read_or_make_all_splits(project)
    folds = folds_wanted(wanted, len(splits.folds))
    return {fold: split_of(project, splits, fold) for fold in folds}


def read_or_make_all_splits(project: Project) -> Splits:
    """All folds, brought up to date with the dataset and written where they were not."""
    state = current_state(project)
    if state.changed:
        write_splits(project, state.splits)
    for line in state.notes:
        project.note(line)
    return state.splits


def split_of(project: Project, splits: Splits, fold: str) -> Split:
    """One fold, which can be trained. Raises what ``read_or_make_splits`` raises."""
    path, names = project.workspace.splits(project.name), identifiers(project)
    split = choose_split(splits.folds, fold, names)
    if not split.train or not split.validation:
        raise DatasetError(
            f"fold {fold} in {path} needs cases to train on and cases to validate with. "
            "Mend the file, or draw new folds with nnseg split --folds 5."
        )
    unknown = sorted({*split.train, *split.validation} - set(names))
    if unknown:
        raise DatasetError(
            f"{path} names cases that the dataset does not have: {some(unknown)}. Bring them back, "
            "or take them out of the folds with nnseg split --add."
        )
    return split


def folds_wanted(given: Iterable[str] | None, count: int) -> tuple[str, ...]:
    """The folds that ``--fold`` names, in the order given, each once; ``count`` are there.

    Raises ``NnsegError`` for what is no fold.
    """
    parts = [part.strip() for item in given or ["0"] for part in item.split(",")]
    folds: list[str] = []
    for part in parts:
        if part not in ("all", EACH) and not part.isdecimal():
            raise NnsegError(f"--fold {part!r}: it must be a number, {EACH!r} or 'all'.")
        folds += [str(number) for number in range(count)] if part == EACH else [part]
    return tuple(dict.fromkeys(fold if fold == "all" else str(int(fold)) for fold in folds))


def current_state(project: Project) -> State:
    """The folds of a dataset as a training would use them. Writes nothing."""
    path = project.workspace.splits(project.name)
    if not path.is_file():
        return _first_state(project)
    splits = read_splits(path)
    notes = _disagreement(project, splits)
    if not (added := new_cases(splits, identifiers(project))):
        return State(splits=splits, changed=False, notes=notes)
    if _is_bare(project, splits):
        said = (
            f"cases in no fold of {path} ({len(added)}): {some(added)}. "
            "nnseg split --add deals them to the folds."
        )
        return State(splits=splits, changed=False, notes=(*notes, said))
    grown = add_cases(project, splits)
    return State(splits=grown, changed=True, notes=(*notes, told_of_new(splits, grown)))


def add_cases(
    project: Project, splits: Splits, groups: str | None = None, sites: str | None = None
) -> Splits:
    """The folds with the dataset's new cases; ``groups`` or ``sites`` is a table that knows them.

    Raises ``DatasetError`` where nobody says to which group or site a new case belongs.
    """
    names = identifiers(project)
    known = sorted({*splits.members, *names})
    presence = None
    if "stratified" in splits.scheme:
        presence = known_presence(project, may_lack=True)
    if _is_bare(project, splits):
        splits = replace(splits, source=None)
    grown = with_cases(
        splits,
        new_cases(splits, names),
        groups=_grown(splits.groups, groups, known, GROUP_COLUMNS),
        sites=_grown(splits.sites, sites, known, SITE_COLUMNS),
        presence=presence,
    )
    if grown.groups:
        require_unbroken(grown.folds, grown.groups.of, "the new cases do not fit the groups")
    return grown


def remove_gone(project: Project, splits: Splits) -> tuple[Splits, list[str]]:
    """The folds without cases that the dataset has no more, and which these were."""
    gone = gone_cases(splits, identifiers(project))
    return (without_cases(splits, gone), gone) if gone else (splits, [])


def write_splits(project: Project, splits: Splits) -> None:
    """Keep folds in the workspace."""
    files.write_json(project.workspace.splits(project.name), splits)


def told_of_new(before: Splits, after: Splits) -> str:
    """What was done with new cases."""
    added = sorted(set(after.cases) - set(before.cases))
    validating = [
        f"{len(new)} to fold {number}"
        for number, fold in enumerate(after.folds)
        if (new := set(fold.validation) & set(added))
    ]
    where = f"to validate with: {', '.join(validating)}" if validating else "all to train on"
    return (
        f"new cases in the folds ({len(added)}): {some(added)}; {where}. No other case has moved."
    )


def _first_state(project: Project) -> State:
    """The folds of a dataset that has none yet: nnU-Net's own file where it lies, else drawn."""
    nnunet = project.dataset.folder / NNUNET_FILE
    if not nnunet.is_file():
        return draw(project, Wish())
    state = draw(project, Wish(source=nnunet))
    said = f"the folds ({len(state.splits.folds)}) are those of {nnunet}."
    return replace(state, notes=(said, *state.notes))


def _disagreement(project: Project, splits: Splits) -> tuple[str, ...]:
    """A word where nnU-Net's file lies in the dataset, but the folds are others."""
    nnunet = project.dataset.folder / NNUNET_FILE
    if not nnunet.is_file():
        return ()
    theirs = read_folds(nnunet)
    equal = len(theirs) == len(splits.folds) and all(
        ours.agrees_with(other) for ours, other in zip(splits.folds, theirs, strict=True)
    )
    if equal:
        return ()
    return (
        f"{nnunet} has other folds than {project.workspace.splits(project.name)}, which are used. "
        f"To take those: nnseg split DATASET --from {nnunet}",
    )


def _is_bare(project: Project, splits: Splits) -> bool:
    """Whether ``splits.json`` is a list of folds only: nobody knows which cases were new then."""
    return splits.source == str(project.workspace.splits(project.name))


def _grown(
    known: Grouping | None, given: str | None, names: list[str], columns: tuple[str, ...]
) -> Grouping | None:
    """Groups of all cases: known ones stay, new ones come from where the known ones came from."""
    if known is None and given is None:
        return None
    source = given or (known.source if known else "")
    old: Mapping[str, str] = known.of if known else {}
    missing = [name for name in names if name not in old]
    if not missing:
        return known
    try:
        found = read_grouping(source, missing, columns)
    except DatasetError as error:
        raise DatasetError(
            f"new cases need a {columns[0]}, as the others have. {error} Then: nnseg split DATASET "
            f"--add --{'groups' if columns is GROUP_COLUMNS else 'sites'} TABLE"
        ) from None
    return grouping(source, {**found.of, **old})
