"""``nnseg split``: which cases train and which validate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import DatasetPath, Workers, WorkspacePath, open_project
from nnseg_core.errors import NnsegError

if TYPE_CHECKING:
    from nnseg_core.pipeline.drawing_folds import State, Wish
    from nnseg_core.project import Project
    from nnseg_core.splits import Splits

LABELS_SHOWN = 8
"""Labels with a column of their own; of more, those that are shared out least evenly."""


def split(
    context: typer.Context,
    dataset: DatasetPath,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Draw so many folds.  [default: 5]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of the draw.  [default: 12345]")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE|REGEX|names",
            help="Keep patients whole: a table with case,group; a regular expression on the "
            "names of cases; or 'names' for what they suggest.",
        ),
    ] = None,
    sites: Annotated[
        str | None,
        typer.Option(metavar="TABLE|REGEX", help="Leave one site out: a fold per site."),
    ] = None,
    stratify: Annotated[
        bool, typer.Option("--stratify", help="Share out the labels evenly among the folds.")
    ] = False,
    fixed_validation: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|CASE,CASE", help="One fold, which validates with exactly these cases."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Take nnU-Net's splits_final.json, or ours."),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Deal new cases to the folds and drop those gone; move none."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Change folds that models were trained with.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the folds; write nothing.")
    ] = False,
    workspace: WorkspacePath = None,
    workers: Workers = None,
) -> None:
    """Show the folds of a dataset, or make them anew: as many as you like, by patient, by site.

    Without options the folds that there are, or nnU-Net's five.

    Example: nnseg split Dataset004_Hippocampus --folds 3 --stratify
    """
    from nnseg_core.pipeline.drawing_folds import Wish, draw
    from nnseg_core.pipeline.splitting import current_state
    from nnseg_core.splits import SEED
    from nnseg_core.splits.tables import read_names

    wish = Wish(
        folds=folds,
        seed=SEED if seed is None else seed,
        groups=groups,
        sites=sites,
        stratify=stratify,
        fixed_validation=None if fixed_validation is None else read_names(fixed_validation),
        source=source,
    )
    project = open_project(context.obj, dataset, workspace, workers)
    if stratify:
        _know_labels(project)
    if add:
        state = _added(project, wish, seed)
    elif seed is None and wish == Wish():
        state = current_state(project)
    else:
        state = draw(project, wish)
    _keep(project, state, force=force, dry_run=dry_run)


def _added(project: Project, wish: Wish, seed: int | None) -> State:
    """The folds brought up to date; only groups and sites of new cases may be given with it."""
    from nnseg_core.pipeline.drawing_folds import State, Wish
    from nnseg_core.pipeline.splitting import add_cases, remove_gone, told_of_new
    from nnseg_core.splits.tables import read_splits
    from nnseg_core.wording import some

    if seed is not None or replace(wish, groups=None, sites=None) != Wish():
        raise NnsegError(
            "--add leaves the folds as they are: only --groups and --sites go with it."
        )
    path = project.workspace.splits(project.name)
    if not path.is_file():
        raise NnsegError(f"there are no folds at {path} to add to. Run nnseg split without --add.")
    before = read_splits(path)
    kept, gone = remove_gone(project, before)
    after = add_cases(project, kept, wish.groups, wish.sites)
    notes = []
    if gone:
        notes.append(f"gone, and taken out of the folds ({len(gone)}): {some(gone)}.")
    if after.members - kept.members:
        notes.append(told_of_new(kept, after))
    if not notes:
        notes.append("no case is new and none is gone.")
    return State(splits=after, changed=bool(after != before), notes=tuple(notes))


def _keep(project: Project, state: State, *, force: bool, dry_run: bool) -> None:
    """Print folds and write them, unless a model stands against it."""
    from nnseg_core.cli.display import note
    from nnseg_core.pipeline.splitting import write_splits
    from nnseg_core.pipeline.trained_splits import conflicts

    path = project.workspace.splits(project.name)
    _show(project, state.splits)
    for line in state.notes:
        note(line)
    standing = conflicts(project.workspace, project.name, state.splits) if state.changed else []
    if standing:
        named = ", ".join(f"{trained.model} fold {trained.fold}" for trained in standing)
        said = f"these were trained with other folds: {named}"
        if not force and not dry_run:
            raise NnsegError(
                f"{said}. Their scores and ensembles would mix cases that they have learnt from. "
                "Nothing is written; --force writes the new folds all the same."
            )
        note(f"warning: {said}.")
    if dry_run:
        print("Nothing is written." if state.changed else f"as it is: {path}")
        return
    if state.changed:
        write_splits(project, state.splits)
    print(path)


def _know_labels(project: Project) -> None:
    """Have the cases checked where nobody knows yet which labels are in them."""
    from nnseg_core.cli.check import require_usable
    from nnseg_core.errors import PlanError
    from nnseg_core.pipeline.drawing_folds import known_presence
    from nnseg_core.plan import ComponentRef

    try:
        known_presence(project)
    except PlanError:
        with project.crew:
            require_usable(project, ComponentRef(name="standard"))


def _show(project: Project, splits: Splits) -> None:
    """A row per fold: cases, groups, and in how many cases of the validation each label is."""
    from nnseg_core.cli.display import table
    from nnseg_core.pipeline.drawing_folds import known_presence

    presence = known_presence(project, may_lack=True)
    of = splits.sites or splits.groups
    labels = _labels_shown(project, splits, presence) if presence else []
    rows = []
    for number, fold in enumerate(splits.folds):
        counts = [_having(label, fold.validation, presence) for label in labels]
        named = [str(len({of.of[name] for name in fold.validation if name in of.of}))] if of else []
        if splits.sites:
            sites = sorted({splits.sites.of[name] for name in fold.validation})
            named = [", ".join(sites)]
        rows.append((number, len(fold.train), len(fold.validation), *named, *counts))
    grouped = [] if of is None else ["site" if splits.sites else "groups"]
    count = "1 fold" if len(splits.folds) == 1 else f"{len(splits.folds)} folds"
    seed = "" if splits.seed is None else f", seed {splits.seed}"
    print(f"{count} of {len(splits.members)} cases ({splits.scheme}{seed})")
    table(("fold", "train", "validation", *grouped, *(f"with {label}" for label in labels)), rows)


def _labels_shown(
    project: Project, splits: Splits, presence: dict[str, frozenset[str]]
) -> Sequence[str]:
    """All labels, or those whose shares differ most from fold to fold."""
    names = list(project.dataset.description.labels.values)
    if len(names) <= LABELS_SHOWN:
        return names

    def spread(name: str) -> int:
        counts = [_having(name, fold.validation, presence) for fold in splits.folds]
        return max(counts) - min(counts)

    chosen = sorted(names, key=spread, reverse=True)[:LABELS_SHOWN]
    return [name for name in names if name in chosen]


def _having(label: str, names: Iterable[str], presence: dict[str, frozenset[str]]) -> int:
    return sum(label in presence.get(name, ()) for name in names)
