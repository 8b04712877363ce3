"""A model folder, and what can be done with it: open it, and turn images into masks.

    MODEL/
        plan.json       everything decided, for the one configuration that was trained
        model.json      which configuration, and which plugin each part came from
        fold_0/weights.safetensors
        previous/       of a cascade: the model folder of the stage before it

Nothing else is needed: neither the dataset, nor a workspace, nor the trainer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core import files, kinds
from nnseg_core.cascade import PREVIOUS_FOLDER, inputs_of, onto, with_previous
from nnseg_core.case import Prediction, PreprocessedCase, RawCase, Segmentation
from nnseg_core.contracts import (
    Architecture,
    ChecksDevice,
    Postprocessor,
    Predictor,
    Preprocessor,
    Reader,
)
from nnseg_core.dataset import DatasetDescription
from nnseg_core.errors import DatasetError, ModelError, PluginError, writing_tensors
from nnseg_core.geometry import PLANAR_SPACING, Geometry
from nnseg_core.normalizing import normalization_facts, reference_of
from nnseg_core.plan import Configuration, Plan
from nnseg_core.plugins import Plugins, load_plugins
from nnseg_core.progress import Report, silent
from nnseg_core.project import apply_settings, choose_reader, facts_of, settings_for
from nnseg_core.stages import Stopwatch, TimedLogits
from nnseg_core.training import TrainedModel

if TYPE_CHECKING:
    from torch import nn

    from nnseg_core.ensemble import Ensemble

PLAN_FILE = "plan.json"
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What ``model.json`` holds: which configuration, and where each part came from."""

    configuration: str
    providers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model, loaded: networks of all its folds and the parts around them."""

    folder: Path
    plan: Plan
    configuration: Configuration
    networks: tuple[nn.Module, ...]
    preprocessor: Preprocessor
    predictor: Predictor
    postprocessor: Postprocessor
    plugins: Plugins
    device: str = "auto"
    previous: Model | None = None

    def predict(
        self,
        image: Path | str | Sequence[Path | str] | NDArray[Any],
        spacing: Sequence[float] | None = None,
        probabilities: bool = False,
    ) -> Segmentation:
        """Segment one image: a file, one file per channel, or an array.

        An array is (z, y, x) or (channel, z, y, x) with ``spacing`` in mm (z, y, x); a planar one
        is (y, x) or (channel, y, x) with two spacings. The mask is (z, y, x), with one slice for
        a planar image; class probabilities come with it only when asked for.

        Raises ``DatasetError`` when the image does not fit the model's channels.
        """
        return self.segment(case_from(image, spacing, self.reader_for), probabilities)

    def segment(self, case: RawCase, probabilities: bool = False) -> Segmentation:
        """Segment a case that is in memory: preprocess, predict, restore, postprocess."""
        return self.segment_preprocessed(self.prepare(case), probabilities)

    def prepare(self, case: RawCase) -> PreprocessedCase:
        """Preprocess a case for this model; in a cascade for the stage before it too."""
        prepared = self.preprocessor.run(case, self.plan, self.configuration)
        if self.previous is None:
            return prepared
        return replace(prepared, previous=self.previous.prepare(case))

    def segment_preprocessed(
        self,
        case: PreprocessedCase,
        probabilities: bool = False,
        report: Report = silent,
        stopwatch: Stopwatch | None = None,
    ) -> Segmentation:
        """Segment a case that has been preprocessed for this model's configuration.

        Memory need not grow with the length of the image, unless probabilities are asked for.
        ``stopwatch`` times the stages ``network`` and ``export``.
        """
        watch = stopwatch or Stopwatch()
        return self.restore(self.predict_logits(case, report, watch), probabilities, watch)

    def predict_logits(
        self, case: PreprocessedCase, report: Report = silent, stopwatch: Stopwatch | None = None
    ) -> Prediction:
        """Logits on the network's grid, which may be computed only as they are read.

        In a cascade the stage before it is predicted first, unless ``case`` has its channels.
        """
        watch = stopwatch or Stopwatch()
        if self.previous is not None and case.previous is not None:
            label = self.previous.segment_onto(case, case.previous, report, watch)
            case = with_previous(case, label, self.plan.dataset.labels.foreground)
        with watch.timing("network"):
            prediction = self.predictor.predict(
                self.networks, case, self.configuration, self.device, report
            )
        if isinstance(prediction.logits, np.ndarray):
            return prediction
        logits = TimedLogits(prediction.logits, watch, "network")  # works when they are read
        return replace(prediction, logits=logits)

    def segment_onto(
        self,
        target: PreprocessedCase,
        case: PreprocessedCase,
        report: Report = silent,
        stopwatch: Stopwatch | None = None,
    ) -> NDArray[np.int16]:
        """The label map (z, y, x) of ``case`` on the grid of ``target``, the next stage's.

        Neither postprocessed nor resampled twice: logits go from the one grid to the other.
        """
        watch = stopwatch or Stopwatch()
        z, y, x = target.image.shape[1:]
        prediction = onto(self.predict_logits(case, report, watch), (z, y, x), target.restoration)
        with watch.timing("export"):
            label = self.preprocessor.restore(prediction, self.plan.dataset.labels).label
        return label.astype(np.int16)

    def restore(
        self,
        prediction: Prediction,
        probabilities: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Segmentation:
        """The mask on the original grid that logits amount to, postprocessed."""
        with (stopwatch or Stopwatch()).timing("export"):
            labels = self.plan.dataset.labels
            return self.postprocessor.apply(
                self.preprocessor.restore(prediction, labels, probabilities)
            )

    def reader_for(self, path: Path) -> Reader:
        """The reader of the files that this model was trained on."""
        return choose_reader(self.plugins, self.plan.dataset, path)


def load_model(
    folder: Path | str,
    device: str = "auto",
    folds: Sequence[str | int] | None = None,
    trust: Sequence[str] = (),
    plugins: Plugins | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model | Ensemble:
    """Load a model folder for prediction, one that was trained or one that was selected.

    See ``load_trained`` for the parameters, which in an ensemble go to each of its members.
    """
    from nnseg_core import ensemble

    load = ensemble.load_ensemble if ensemble.is_ensemble(Path(folder)) else load_trained
    return load(Path(folder), device, folds, trust, plugins, settings)


def load_trained(
    folder: Path | str,
    device: str = "auto",
    folds: Sequence[str | int] | None = None,
    trust: Sequence[str] = (),
    plugins: Plugins | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """Load what a training left for prediction, with all the folds found there or those named.

    ``trust`` lists import paths (``module:attribute``) that the model may name. Neither the
    trainer, nor the loss or augmentation it was trained with, is needed. ``settings`` change
    options of its parts, such as ``{"predictor.mirror_axes": []}``; in a cascade those of both
    stages, or of one by name: ``3d_lowres.predictor.step``.

    Raises ``ModelError`` when the folder is no model, or a part it needs is not installed, and
    ``PlanError`` for a device that the predictor cannot work on.
    """
    trained = open_model(Path(folder))
    plugins = plugins or load_plugins()
    settings = settings or {}
    own = settings_for(trained.name, trained.plan, settings)
    configuration = apply_settings(trained.configuration, own)
    facts = {
        **facts_of(configuration, trained.plan.dataset),
        **_load_normalizations(trained, configuration, plugins, trust),
    }

    def part(kind: kinds.Kind[Any]) -> Any:
        reference = getattr(configuration, kind.name)
        try:
            component = plugins.resolve(kind, reference.name, typed=reference.name in trust)
        except PluginError as error:
            if reference != getattr(trained.configuration, kind.name):
                raise  # the user's own choice, not the model's
            raise ModelError(_missing_part(trained, kind.name, error)) from None
        return component.build(reference.options, **facts)

    predictor = part(kinds.PREDICTOR)
    if isinstance(predictor, ChecksDevice):
        predictor.check_device(device)
    return Model(
        folder=trained.folder,
        plan=trained.plan,
        configuration=configuration,
        networks=tuple(
            _load_network(part(kinds.ARCHITECTURE), trained, fold)
            for fold in _chosen_folds(trained, folds)
        ),
        preprocessor=part(kinds.PREPROCESSOR),
        predictor=predictor,
        postprocessor=part(kinds.POSTPROCESSOR),
        plugins=plugins,
        device=device,
        previous=_load_previous(trained, device, trust, plugins, settings),
    )


def _load_previous(
    trained: TrainedModel,
    device: str,
    trust: Sequence[str],
    plugins: Plugins,
    settings: Mapping[str, Any],
) -> Model | None:
    """The stage before a cascade, with all its folds; None for other models."""
    name = trained.configuration.previous
    if name is None:
        return None
    folder = trained.folder / PREVIOUS_FOLDER
    if not folder.is_dir():
        raise ModelError(
            f"{trained.folder} is a cascade, which needs the model of {name} in its subfolder "
            f"{PREVIOUS_FOLDER}. Copy the whole model folder, or that of {name} to there."
        )
    settings = settings_for(name, trained.plan, settings)
    return load_trained(folder, device, trust=trust, plugins=plugins, settings=settings)


def open_model(folder: Path) -> TrainedModel:
    """Read what a model folder holds, without its weights.

    Raises ``ModelError`` when it is not a model folder or no fold of it is trained.
    """
    from nnseg_core.ensemble import is_ensemble

    if is_ensemble(folder):
        raise ModelError(
            f"{folder} is an ensemble, which can predict but not be trained. "
            "Its members are models by themselves: see its subfolder members."
        )
    if not (folder / MODEL_FILE).is_file() or not (folder / PLAN_FILE).is_file():
        raise ModelError(
            f"{folder} is not a model folder: it needs {MODEL_FILE} and {PLAN_FILE}. "
            "'nnseg train' prints the path of the folder it makes as its last line."
        )
    about = files.load(_About, folder / MODEL_FILE)
    plan = files.read_plan(folder / PLAN_FILE)
    if about.configuration not in plan.configurations:
        raise ModelError(
            f"{folder / MODEL_FILE} names configuration {about.configuration!r}, but "
            f"{PLAN_FILE} beside it has {', '.join(plan.configurations)}."
        )
    folds = trained_folds(folder)
    if not folds:
        raise ModelError(f"{folder} holds no trained fold yet (fold_*/{WEIGHTS_FILE}).")
    return TrainedModel(
        folder=folder,
        name=about.configuration,
        plan=plan,
        folds=folds,
        providers=about.providers,
    )


def trained_folds(folder: Path) -> tuple[str, ...]:
    """The folds of a model folder that have weights, sorted; none where there is no folder."""
    paths = folder.glob(f"fold_*/{WEIGHTS_FILE}")
    return tuple(sorted(path.parent.name.removeprefix("fold_") for path in paths))


def fold_folder(folder: Path, fold: str | int) -> Path:
    """Where a fold's weights, checkpoints and pictures are."""
    return folder / f"fold_{fold}"


def write_model(folder: Path, plan: Plan, name: str, providers: dict[str, str]) -> None:
    """Write what a model folder holds beside its folds."""
    files.write_json(folder / PLAN_FILE, plan)
    files.write_json(folder / MODEL_FILE, _About(configuration=name, providers=providers))


def save_weights(network: nn.Module, fold: Path) -> None:
    """Write a network's weights; they appear complete or not at all. Raises ``DiskFull``."""
    from safetensors.torch import save_model

    beside = fold / f".{WEIGHTS_FILE}.part"
    with writing_tensors(fold / WEIGHTS_FILE):
        save_model(network, str(beside))
    beside.replace(fold / WEIGHTS_FILE)


def case_from(
    image: Path | str | Sequence[Path | str] | NDArray[Any],
    spacing: Sequence[float] | None,
    reader_for: Callable[[Path], Reader],
) -> RawCase:
    """A case from an array, a file or one file per channel; see ``Model.predict``."""
    if isinstance(image, np.ndarray):
        return case_from_array(image, spacing)
    paths = [Path(image)] if isinstance(image, str | Path) else [Path(path) for path in image]
    read, geometry = reader_for(paths[0]).read(paths)
    return RawCase(identifier=paths[0].name, image=read, label=None, geometry=geometry)


def case_from_array(image: NDArray[Any], spacing: Sequence[float] | None) -> RawCase:
    """A case from an array; see ``Model.predict`` for axes. Raises ``DatasetError`` on a misfit."""
    if spacing is None or len(spacing) not in (2, 3):
        raise DatasetError(
            "an array needs its spacing in mm: spacing=(z, y, x), or (y, x) for a planar image."
        )
    if image.ndim not in (len(spacing), len(spacing) + 1):
        raise DatasetError(
            f"an array of shape {image.shape} does not fit spacing {tuple(spacing)}: "
            "give (z, y, x) or (channel, z, y, x)."
        )
    channels = image if image.ndim > len(spacing) else image[np.newaxis]
    if len(spacing) == 2:
        channels = channels[:, np.newaxis]
    geometry = Geometry(
        shape=channels.shape[1:],
        spacing=(PLANAR_SPACING,) * (3 - len(spacing)) + tuple(map(float, spacing)),  # type: ignore[arg-type]
    )
    return RawCase(
        identifier="array", image=channels.astype(np.float32), label=None, geometry=geometry
    )


def delete_fold(folder: Path, fold: str) -> None:
    """Throw away all that a fold has."""
    shutil.rmtree(fold_folder(folder, fold), ignore_errors=True)


def build_network(
    architecture: Architecture, dataset: DatasetDescription, configuration: Configuration
) -> nn.Module:
    """The network of a configuration: a channel in for each image channel, an output per label.

    A cascade has a channel in for each label too.
    """
    inputs = inputs_of(dataset, configuration)
    return architecture.build(configuration.topology, inputs, dataset.labels.outputs)


def _load_normalizations(
    trained: TrainedModel, configuration: Configuration, plugins: Plugins, trust: Sequence[str]
) -> dict[str, Any]:
    try:
        return normalization_facts(plugins, configuration, trust)
    except PluginError as error:
        if configuration.normalization != trained.configuration.normalization:
            raise  # the user's own choice, not the model's
        raise ModelError(_missing_part(trained, "normalization", error)) from None


def _load_network(architecture: Architecture, trained: TrainedModel, fold: str) -> nn.Module:
    from safetensors.torch import load_model as load_weights

    network = build_network(architecture, trained.plan.dataset, trained.configuration)
    path = fold_folder(trained.folder, fold) / WEIGHTS_FILE
    try:
        load_weights(network, str(path))
    except Exception as error:
        raise ModelError(
            f"{path} does not fit the network that {trained.folder / PLAN_FILE} describes: {error}"
        ) from None
    return network.eval()


def _chosen_folds(trained: TrainedModel, folds: Sequence[str | int] | None) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(map(str, folds))) if folds else trained.folds
    missing = sorted(set(chosen) - set(trained.folds))
    if missing:
        raise ModelError(
            f"{trained.folder} has no trained fold {', '.join(missing)}. "
            f"It has: {', '.join(trained.folds)}."
        )
    return chosen


def _missing_part(trained: TrainedModel, part: str, error: PluginError) -> str:
    origin = trained.providers.get(part, "an unknown plugin")
    chosen = getattr(trained.configuration, part)
    entries = chosen if isinstance(chosen, tuple) else (chosen,)
    if any(":" in reference_of(entry).name for entry in entries):
        return f"model {trained.folder}: {error}"
    return (
        f"model {trained.folder} was trained with {part} {origin}, which is not installed here. "
        f"Install that package. ({error})"
    )
