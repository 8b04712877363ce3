"""How folds are drawn, or taken from a file, as a user wishes. Nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnseg_core.dataset import Labels
from nnseg_core.errors import DatasetError, NnsegError, PlanError
from nnseg_core.pipeline.examined import known_checks
from nnseg_core.project import Project
from nnseg_core.splits import (
    SEED,
    Split,
    Splits,
    broken_groups,
    leave_one_site_out,
    make_balanced_splits,
    make_splits,
    require_unbroken,
    suspected_patients,
    validate_with,
)
from nnseg_core.splits.tables import GROUP_COLUMNS, SITE_COLUMNS, read_folds, read_grouping
from nnseg_core.wording import some

FOLDS = 5  # nnU-Net's number


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How folds shall be made: what the user may ask of ``nnseg split``.

    ``groups`` and ``sites`` are as typed: a table, a regular expression, or ``names``.
    """

    folds: int | None = None
    seed: int = SEED
    groups: str | None = None
    sites: str | None = None
    stratify: bool = False
    fixed_validation: tuple[str, ...] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        schemes = {
            "--sites": self.sites is not None,
            "--fixed-validation": self.fixed_validation is not None,
            "--from": self.source is not None,
        }
        chosen = [name for name, given in schemes.items() if given]
        counted = {"--folds": self.folds is not None, "--stratify": self.stratify}
        clash = chosen[1:] or [name for name, given in counted.items() if given and chosen]
        if clash:
            raise NnsegError(f"{chosen[0]} says what the folds are, so {clash[0]} has no place.")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The folds as they stand or would be made now, and what is to be said of that.

    ``changed`` says that they are not what the workspace has on disk.
    """

    splits: Splits
    changed: bool
    notes: tuple[str, ...] = ()


def draw(project: Project, wish: Wish) -> State:
    """Folds as wished for, whatever folds there are. Writes nothing.

    Raises ``DatasetError`` where the wish does not fit the dataset.
    """
    names = identifiers(project)
    groups = read_grouping(wish.groups, names, GROUP_COLUMNS) if wish.groups else None
    sites = read_grouping(wish.sites, names, SITE_COLUMNS) if wish.sites else None
    presence = known_presence(project) if wish.stratify else None
    folds: tuple[Split, ...]
    if wish.source is not None:
        scheme, folds = "file", _folds_from(project, wish.source)
    elif wish.fixed_validation is not None:
        scheme, folds = "fixed", validate_with(names, wish.fixed_validation)
    elif sites:
        scheme, folds = "sites", tuple(fold for _, fold in leave_one_site_out(names, sites.of))
    elif groups or wish.stratify:
        parts = ("groups" if groups else "", "stratified" if wish.stratify else "")
        scheme, k = ", ".join(filter(None, parts)), wish.folds or FOLDS
        of = groups.of if groups else None
        folds = make_balanced_splits(names, k, wish.seed, of, presence)
    else:
        scheme, folds = "k-fold", make_splits(names, wish.folds or FOLDS, wish.seed)
    if groups:
        require_unbroken(folds, groups.of, f"--groups does not fit these folds ({scheme})")
    drawn = scheme in ("k-fold", "groups", "stratified", "groups, stratified")
    splits = Splits(
        scheme=scheme,
        cases=tuple(names),
        seed=wish.seed if drawn else None,
        groups=groups,
        sites=sites,
        source=str(wish.source.resolve()) if wish.source else None,
        folds=folds,
    )
    return State(splits=splits, changed=True, notes=(*_left_out(splits), *_patients(splits)))


def identifiers(project: Project) -> list[str]:
    """The names of a dataset's cases."""
    return [case.identifier for case in project.dataset.cases]


def known_presence(project: Project, may_lack: bool = False) -> dict[str, frozenset[str]]:
    """The names of the labels that occur in each case, as they were found by the check.

    Raises ``PlanError`` where a case has not been checked, unless it ``may_lack``: then it is
    missing from the result.
    """
    labels = project.dataset.description.labels
    found = {
        check.identifier: _present(labels, check.voxels)
        for check in known_checks(project)
        if check.voxels is not None
    }
    unknown = sorted(set(identifiers(project)) - set(found))
    if unknown and not may_lack:
        raise PlanError(f"cases have not been checked yet: {some(unknown)}. Run nnseg check.")
    return found


def patients_warning(names: list[str], folds: tuple[Split, ...]) -> str | None:
    """What to say where cases that seem to be of one patient both train and validate."""
    suspected = suspected_patients(names)
    of = {case: patient for patient, cases in suspected.items() for case in cases}
    broken = sorted({name for fold in folds for name in broken_groups(fold, of)})
    if not broken:
        return None
    examples = "; ".join(" and ".join(suspected[name][:2]) for name in broken[:3])
    return (
        f"WARNING: by their names, {len(of)} cases are of {len(suspected)} patients, and some "
        f"train while others of the same patient validate: {examples}. Scores would be too good. "
        "To keep them together: nnseg split DATASET --groups names (or a table case,group)."
    )


def _folds_from(project: Project, path: Path) -> tuple[Split, ...]:
    folds = read_folds(path)
    unknown = {name for fold in folds for name in (*fold.train, *fold.validation)}
    unknown -= set(identifiers(project))
    if unknown:
        raise DatasetError(
            f"{path} names cases that the dataset does not have: {some(sorted(unknown))}."
        )
    return folds


def _left_out(splits: Splits) -> tuple[str, ...]:
    out = sorted(set(splits.cases) - splits.members)
    return (f"cases in no fold, which stay out ({len(out)}): {some(out)}.",) if out else ()


def _patients(splits: Splits) -> tuple[str, ...]:
    said = None if splits.groups else patients_warning(list(splits.cases), splits.folds)
    return (said,) if said else ()


def _present(labels: Labels, voxels: Mapping[int, int]) -> frozenset[str]:
    there = {value for value, count in voxels.items() if count}
    return frozenset(name for name, values in labels.values.items() if there & set(values))
