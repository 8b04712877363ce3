"""A plan made for one dataset, put to use on another."""

from __future__ import annotations

from dataclasses import replace

from nnseg_core.errors import PlanError
from nnseg_core.plan import Configuration, Plan
from nnseg_core.transfer.matching import counterparts


def adopt_plan(source: Plan, own: Plan) -> Plan:
    """The plan of ``source`` for the dataset that ``own`` was made for.

    From ``source`` come axes, resolutions, patches, batches, networks, preprocessors, and, for
    channels of the same name, normalisation with its intensities. From ``own`` come the dataset,
    the planner that measures it, channels that the source lacks, and the parts that train,
    predict and postprocess.

    Raises ``PlanError`` where a configuration of the source cannot be used on this dataset.
    """
    channels = counterparts(own.dataset.channels, source.dataset.channels)
    intensities = tuple(
        own.intensities[here] if there is None else source.intensities[there]
        for here, there in enumerate(channels)
    )
    return replace(
        own,
        axes=source.axes,
        intensities=intensities,
        configurations={
            name: _adopt(name, configuration, own, channels)
            for name, configuration in source.configurations.items()
        },
    )


def _adopt(
    name: str, source: Configuration, own: Plan, channels: tuple[int | None, ...]
) -> Configuration:
    """One configuration of the source, with ``channels`` telling its channel for each of ours."""
    relative = _relative(name, source, own)
    return replace(
        source,
        normalization=tuple(
            relative.normalization[here] if there is None else source.normalization[there]
            for here, there in enumerate(channels)
        ),
        mask_normalization=tuple(
            relative.mask_normalization[here] if there is None else source.mask_normalization[there]
            for here, there in enumerate(channels)
        ),
        augmentation=relative.augmentation,
        loss=relative.loss,
        trainer=relative.trainer,
        predictor=relative.predictor,
        postprocessor=relative.postprocessor,
    )


def _relative(name: str, source: Configuration, own: Plan) -> Configuration:
    """The dataset's own configuration of that name, else one with as many axes."""
    alike = (c for c in own.configurations.values() if len(c.patch_size) == len(source.patch_size))
    found = own.configurations.get(name) or next(alike, None)
    if found is None:
        raise PlanError(
            f"the plan of {own.dataset.name} has no configuration with {len(source.patch_size)} "
            f"axes, as {name} has. It has: {', '.join(own.configurations)}."
        )
    return found
