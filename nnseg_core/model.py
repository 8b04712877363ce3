"""A model, loaded: its networks and the parts around them, which turn images into masks.

Of a model folder (``model_folder.py``) nothing else is needed: neither the dataset, nor a
workspace, nor the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core import kinds
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
from nnseg_core.errors import ModelError, PluginError
from nnseg_core.images import case_from
from nnseg_core.model_folder import (
    PLAN_FILE,
    WEIGHTS_FILE,
    fold_folder,
    is_ensemble,
    open_model,
)
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
    from nnseg_core.ensemble import load_ensemble

    load = load_ensemble if is_ensemble(Path(folder)) else load_trained
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
