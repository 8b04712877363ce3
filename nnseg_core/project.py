"""A dataset in a workspace, and how parts are chosen for it: what every step is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from nnseg_core import kinds
from nnseg_core.contracts import ChecksDevice, Reader
from nnseg_core.dataset import Dataset, DatasetDescription
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.kinds import Kind
from nnseg_core.normalizing import normalization_facts
from nnseg_core.parallel import Crew
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.plugins import Component, Plugins, parameters
from nnseg_core.progress import Report, silent, unheard
from nnseg_core.workspace import Workspace

T = TypeVar("T")

NNUNET_READERS = {
    "SimpleITKIO": "itk",
    "SimpleITKIOWithReorient": "itk",
    "NibabelIO": "itk",
    "NibabelIOWithReorient": "itk",
    "NaturalImage2DIO": "image2d",
    "Tiff3DIO": "tiff3d",
}
"""Readers that ``overwrite_image_reader_writer`` of nnU-Net's dataset.json may name."""

PARTS: dict[str, Kind[Any]] = {
    kind.name: kind
    for kind in (
        kinds.PREPROCESSOR,
        kinds.ARCHITECTURE,
        kinds.AUGMENTATION,
        kinds.LOSS,
        kinds.TRAINER,
        kinds.PREDICTOR,
        kinds.POSTPROCESSOR,
    )
}
"""The parts of a configuration, each a field of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A dataset, where its results go, and the plugins to work on it with.

    ``typed`` are the references the user typed in this run: only they may be import paths.
    ``workers`` are processes for work on whole cases, 0 works in this process; ``crew`` are those
    that have been started. ``note`` is told, in a line, what the user should know on the way.
    ``freeze_plan`` lets new cases join without a new fingerprint and plan.
    """

    dataset: Dataset
    workspace: Workspace
    plugins: Plugins
    workers: int = 0
    report: Report = silent
    typed: frozenset[str] = field(default_factory=frozenset)
    note: Callable[[str], None] = unheard
    freeze_plan: bool = False
    crew: Crew = field(default_factory=Crew, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The dataset's folder name: under it, everything is kept."""
        return self.dataset.folder.name

    def component(self, kind: Kind[T], reference: str) -> Component[T]:
        """Look a part up, without building it."""
        return self.plugins.resolve(kind, reference, typed=reference in self.typed)

    def build(self, kind: Kind[T], part: ComponentRef, **offered: Any) -> T:
        """Build a part from its reference, offering it facts of the run."""
        return self.component(kind, part.name).build(part.options, **offered)

    def reader(self) -> Reader:
        """The reader for this dataset's files."""
        example = next((case.images[0] for case in self.dataset.cases), None)
        return choose_reader(self.plugins, self.dataset.description, example)


def choose_reader(
    plugins: Plugins, description: DatasetDescription, example: Path | None
) -> Reader:
    """The reader named in dataset.json, else the first that can open ``example``.

    Raises ``DatasetError`` when no reader knows the file ending, or none can open the file.
    """
    if description.reader:
        name = NNUNET_READERS.get(description.reader, description.reader)
        return plugins.resolve(kinds.READER, name).build()
    readers = [c.build() for c in plugins.of_kind(kinds.READER).values()]
    fitting = [reader for reader in readers if description.file_ending in reader.endings]
    if not fitting:
        known = sorted({ending for reader in readers for ending in reader.endings})
        raise DatasetError(
            f"no reader for {description.file_ending!r} files. Installed readers know: "
            f"{' '.join(known)}."
        )
    if example is None:
        return fitting[0]
    return next((reader for reader in fitting if _opens(reader, example)), fitting[0])


def choose_part(
    configuration: Configuration, references: Mapping[str, str | None]
) -> Configuration:
    """Put the parts the user named in place of the plan's. None leaves a part as it is.

    A part of another name starts with its own defaults.
    """
    changes: dict[str, Any] = {
        part: ComponentRef(name=reference)
        for part, reference in references.items()
        if reference is not None and reference != getattr(configuration, part).name
    }
    return replace(configuration, **changes)


def apply_settings(configuration: Configuration, settings: Mapping[str, Any]) -> Configuration:
    """Apply ``--set``: an option of a part, a part, or a field of the configuration.

    ``trainer.epochs=100``, ``predictor=whole``, ``batch_size=4``. A part of another name starts
    with its own defaults. Raises ``PlanError`` for a name that is none of these.
    """
    from nnseg_core.files import override

    fields: dict[str, Any] = {}
    for path, value in sorted(settings.items()):  # a part before its options
        part, _, option = path.partition(".")
        if part not in PARTS:
            fields[path] = value
        elif option:
            reference: ComponentRef = getattr(configuration, part)
            changed = replace(reference, options={**reference.options, option: value})
            configuration = replace(configuration, **{part: cast(Any, changed)})
        else:
            configuration = choose_part(configuration, {part: str(value)})
    return override(configuration, fields) if fields else configuration


def apply_plan_settings(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """Apply ``--set`` to every configuration, or to one: ``3d_fullres.batch_size=4``."""
    return replace(
        plan,
        configurations={
            name: apply_settings(configuration, settings_for(name, plan, settings))
            for name, configuration in plan.configurations.items()
        },
    )


def settings_for(name: str, plan: Plan, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a configuration of the plan is given: all but those of others by name."""
    others = [other for other in plan.configurations if other != name]
    return {
        path.removeprefix(f"{name}."): value
        for path, value in settings.items()
        if path.partition(".")[0] not in others
    }


def mirror_as_trained(
    project: Project, configuration: Configuration, dataset: DatasetDescription
) -> Configuration:
    """Let the predictor mirror only along axes that the augmentation mirrors (nnU-Net's rule).

    It is written into the predictor's options, since prediction knows no augmentation.

    Raises ``PlanError`` for axes that the patch does not have: only prediction would notice.
    """
    predictor = project.component(kinds.PREDICTOR, configuration.predictor.name)
    options = configuration.predictor.options
    if "mirror_axes" in options or "mirror_axes" not in parameters(predictor.factory):
        _require_axes(options.get("mirror_axes"), len(configuration.patch_size))
        return configuration
    facts = facts_of(configuration, dataset)
    augmentation = project.build(kinds.AUGMENTATION, configuration.augmentation, **facts)
    axes = getattr(augmentation, "mirror_axes", ())
    if axes is None:  # all of them, which is the predictor's default too
        return configuration
    changed = replace(configuration.predictor, options={**options, "mirror_axes": list(axes)})
    return replace(configuration, predictor=changed)


def _require_axes(mirrored: Sequence[int] | None, axes: int) -> None:
    if not set(mirrored or ()) <= set(range(axes)):
        raise PlanError(
            f"predictor.mirror_axes is {list(mirrored or ())}, but the patch has {axes} axes, "
            f"numbered from 0 to {axes - 1}."
        )


def require_same_cases(before: Configuration, after: Configuration) -> None:
    """Refuse settings that change what is preprocessed: a plan's cases are stored only once.

    Raises ``PlanError`` naming what to do instead.
    """
    for name in ("spacing", "normalization", "mask_normalization", "preprocessor"):
        if getattr(before, name) != getattr(after, name):
            raise PlanError(
                f"{name} decides how cases are preprocessed, so it belongs to a plan. Make one "
                f"with nnseg plan --set {name}=... --plan NAME, and train with --plan NAME."
            )


def check_parts(
    project: Project, configuration: Configuration, dataset: DatasetDescription
) -> None:
    """Build every part once, so that a wrong name or option is known before any work."""
    facts = {
        **facts_of(configuration, dataset),
        **normalization_facts(project.plugins, configuration, project.typed),
    }
    for name, kind in PARTS.items():
        project.build(kind, getattr(configuration, name), **facts)
    check_partial_labels(project, configuration, dataset)


def check_partial_labels(
    project: Project, configuration: Configuration, dataset: DatasetDescription
) -> None:
    """Refuse parts that would teach that whatever a case does not annotate is not there.

    A trainer has to say that it heeds ``TrainingTask.annotated``, by ``partial_labels = True``. A
    loss is given what it can treat as any other target; one that cannot says ``False``.

    Raises ``PlanError`` with the name of the part.
    """
    if not dataset.annotated:
        return
    facts = facts_of(configuration, dataset)
    trainer = project.build(kinds.TRAINER, configuration.trainer, **facts)
    loss = project.build(kinds.LOSS, configuration.loss, **facts)
    for kind, name, knows in (
        ("trainer", configuration.trainer.name, getattr(trainer, "partial_labels", False)),
        ("loss", configuration.loss.name, getattr(loss, "partial_labels", True)),
    ):
        if not knows:
            raise PlanError(
                f'{kind} {name!r} cannot learn from cases that "annotated" in dataset.json says '
                "are partly annotated: it would learn that what is not annotated is not there. "
                f"Take another {kind}, or train on cases with all labels only."
            )


def check_device(
    project: Project, configuration: Configuration, dataset: DatasetDescription, device: str
) -> None:
    """Ask the parts that compute whether they can do so on ``device``, before any work.

    Raises ``PlanError`` where one of them cannot; those that do not know are not asked.
    """
    facts = facts_of(configuration, dataset)
    for part in (
        project.build(kinds.TRAINER, configuration.trainer, **facts),
        project.build(kinds.PREDICTOR, configuration.predictor, **facts),
    ):
        if isinstance(part, ChecksDevice):
            part.check_device(device)


def facts_of(configuration: Configuration, dataset: DatasetDescription) -> dict[str, Any]:
    """What factories may ask for by parameter name."""
    return {
        "batch_dice": configuration.batch_dice,
        "labels": dataset.labels,
        "regions": dataset.labels.is_regions,
        "ignore": dataset.labels.ignore is not None,
        "mask_normalization": configuration.mask_normalization,
        "mirror_axes": configuration.mirror_axes,
    }


def _opens(reader: Reader, path: Path) -> bool:
    try:
        reader.peek(path)
    except DatasetError:
        return False
    return True
