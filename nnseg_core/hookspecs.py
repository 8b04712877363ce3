"""Every place where a plugin can join in, on one page.

Two sorts of hook. *Offers* answer with components: a mapping from name to factory, or to an
import path ``"module:attribute"`` that is imported when it is chosen. *Events* say that
something has happened. A plugin is a module with functions marked ``@hookimpl``, named by an
entry point of the group ``nnseg``:

    [project.entry-points.nnseg]
    fancy = "nnseg_fancy"

An implementation may take fewer arguments than its specification, so a hook can gain arguments
without breaking anyone. For a single component no hook is needed at all: an entry point of the
group ``nnseg.trainers``, ``nnseg.losses``, ... names it directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from typer import Typer

    from nnseg_core.dataset import DatasetDescription
    from nnseg_core.health import Probe
    from nnseg_core.plan import Plan
    from nnseg_core.scoring.scores import Scores
    from nnseg_core.training import TrainedModel

Offer = Mapping[str, "Callable[..., Any] | str"]

hookspec = pluggy.HookspecMarker("nnseg")


# Offers, in the order in which data meets the components.


@hookspec
def nnseg_readers() -> Offer:  # type: ignore[empty-body]
    """Offer readers of image formats; asked for when a dataset or a file is opened.

    Example:
        @hookimpl
        def nnseg_readers():
            return {"zarr": "nnseg_zarr:ZarrReader"}
    """


@hookspec
def nnseg_planners() -> Offer:  # type: ignore[empty-body]
    """Offer planners; chosen by ``--planner`` when a dataset is planned.

    Example:
        @hookimpl
        def nnseg_planners():
            return {"small": "nnseg_small:SmallPlanner"}
    """


@hookspec
def nnseg_preprocessors() -> Offer:  # type: ignore[empty-body]
    """Offer preprocessors; chosen in the plan, used before training and before prediction.

    Example:
        @hookimpl
        def nnseg_preprocessors():
            return {"histogram": "nnseg_histogram:HistogramPreprocessor"}
    """


@hookspec
def nnseg_normalizations() -> Offer:  # type: ignore[empty-body]
    """Offer normalizations; chosen in the plan by the name of a channel, used in preprocessing.

    Example:
        @hookimpl
        def nnseg_normalizations():
            return {"window": "nnseg_window:Window"}
    """


@hookspec
def nnseg_architectures() -> Offer:  # type: ignore[empty-body]
    """Offer networks; chosen in the plan, built for training and for prediction.

    Example:
        @hookimpl
        def nnseg_architectures():
            return {"mednext": "nnseg_mednext:MedNeXt"}
    """


@hookspec
def nnseg_augmentations() -> Offer:  # type: ignore[empty-body]
    """Offer augmentations; chosen by ``--augmentation`` when a training starts.

    Example:
        @hookimpl
        def nnseg_augmentations():
            return {"gentle": "nnseg_gentle:GentleAugmentation"}
    """


@hookspec
def nnseg_losses() -> Offer:  # type: ignore[empty-body]
    """Offer losses; chosen by ``--loss`` when a training starts.

    Example:
        @hookimpl
        def nnseg_losses():
            return {"focal": "nnseg_focal_loss:FocalLoss"}
    """


@hookspec
def nnseg_trainers() -> Offer:  # type: ignore[empty-body]
    """Offer trainers; chosen by ``--trainer`` when a training starts.

    Example:
        @hookimpl
        def nnseg_trainers():
            return {"fancy": "nnseg_fancy.trainer:FancyTrainer"}
    """


@hookspec
def nnseg_callbacks() -> Offer:  # type: ignore[empty-body]
    """Offer callbacks; added by ``--callback``, as often as wanted, when a training starts.

    Example:
        @hookimpl
        def nnseg_callbacks():
            return {"mail": "nnseg_mail:MailWhenDone"}
    """


@hookspec
def nnseg_predictors() -> Offer:  # type: ignore[empty-body]
    """Offer predictors; chosen in the plan, used whenever a case is predicted.

    Example:
        @hookimpl
        def nnseg_predictors():
            return {"whole": "nnseg_whole:WholeImagePredictor"}
    """


@hookspec
def nnseg_postprocessors() -> Offer:  # type: ignore[empty-body]
    """Offer postprocessors; chosen in the plan, applied to every predicted mask.

    Example:
        @hookimpl
        def nnseg_postprocessors():
            return {"smooth": "nnseg_smooth:SmoothSurface"}
    """


# Commands and events.


@hookspec
def nnseg_health(deep: bool) -> Iterable[Probe]:  # type: ignore[empty-body]
    """Look at what the plugin depends on, for ``nnseg doctor``; ``deep`` may take a minute.

    Yield each probe when it is known, so that whoever waits sees it. What is raised is reported.

    Example:
        @hookimpl
        def nnseg_health():
            from nnseg_core.health import ok, problem

            there = Path("/mnt/scans").is_mount()
            remedy = "Mount it: sudo mount /mnt/scans"
            yield ok("scans", "mounted") if there else problem("scans", "not mounted", remedy)
    """


@hookspec
def nnseg_commands(app: Typer) -> None:
    """Add commands to the command line; called once, when it starts. Import heavy things inside.

    Example:
        @hookimpl
        def nnseg_commands(app):
            @app.command()
            def hello():
                print("hello")
    """


@hookspec
def nnseg_plan_made(plan: Plan, description: DatasetDescription) -> None:
    """A plan has been made and written. Look, don't touch.

    Example:
        @hookimpl
        def nnseg_plan_made(plan):
            print(sorted(plan.configurations))
    """


@hookspec
def nnseg_model_trained(model: TrainedModel) -> None:
    """A fold has been trained and its model folder is complete.

    Example:
        @hookimpl
        def nnseg_model_trained(model):
            print(model.folder)
    """


@hookspec
def nnseg_scored(model: TrainedModel, scores: Scores, folder: Path) -> None:
    """A fold's validation cases have been predicted in full and scored.

    ``folder`` holds the masks, and pictures of some cases that end in ``_overlay.png``.

    Example:
        @hookimpl
        def nnseg_scored(scores):
            print(scores.foreground.dice.mean)
    """
