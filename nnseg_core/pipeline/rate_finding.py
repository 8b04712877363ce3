"""Take steps at a rising learning rate, with everything as in the training itself."""

from __future__ import annotations

from dataclasses import replace

from nnseg_core.contracts import TriesLearningRates
from nnseg_core.errors import PlanError
from nnseg_core.learning_rates import RateCurve, ramp
from nnseg_core.pipeline.training import TrainingRequest, build_trainer, make_task
from nnseg_core.project import Project


def try_learning_rates(
    project: Project, request: TrainingRequest, lowest: float, highest: float, steps: int
) -> RateCurve:
    """The loss at rates from ``lowest`` to ``highest``; it may end early.

    Raises ``PlanError`` where the trainer cannot, or the configuration is a cascade.
    """
    configuration = request.plan.configurations[request.name]
    if configuration.previous:
        raise PlanError(
            f"{request.name} is a cascade, for which no learning rate is looked for here. That of "
            f"{configuration.previous} is a good one for it."
        )
    trainer = build_trainer(project, request)
    if not isinstance(trainer, TriesLearningRates):
        raise PlanError(f"the trainer {configuration.trainer.name!r} tries no learning rates.")
    task = replace(make_task(project, request), resume=False)
    rates = ramp(lowest, highest, steps)
    losses = trainer.try_learning_rates(task, rates)
    return RateCurve(rates=rates[: len(losses)], losses=tuple(losses))
