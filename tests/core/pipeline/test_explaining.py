"""Whose reasons are shown: the planner's, where they are for the plan that it makes."""

from dataclasses import dataclass, replace

import pytest

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.pipeline.explaining import diagrams, explain_plan
from nnseg_core.pipeline.planning import plan_from_fingerprint
from nnseg_core.plan import ComponentRef
from nnseg_core.plugins import load_plugins
from nnseg_standard.planning.planner import PLAIN_UNET, StandardPlanner

PLUGINS = load_plugins(disabled=())
LIVER = DatasetDescription(
    name="Liver",
    channels=("CT",),
    labels=Labels(values={"liver": (1,), "tumour": (2,)}),
    file_ending=".nii.gz",
)
FINGERPRINT = Fingerprint(
    spacings=((1.0, 0.75, 0.75),) * 10,
    shapes=((432, 512, 512),) * 10,
    relative_size=1.0,
    intensities=(IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 1.0)),),
)


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A planner without ``explain``, which has a plan made by another."""

    architecture: ComponentRef = PLAIN_UNET

    def measure(self, case, samples):
        raise NotImplementedError

    def plan(self, dataset, fingerprint, architecture):
        return StandardPlanner().plan(dataset, fingerprint, architecture)


@dataclass(frozen=True, kw_only=True)
class Isotropic(StandardPlanner):
    """Inherits the reasons for plans that it does not make."""

    def plan(self, dataset, fingerprint, architecture):
        cubic = replace(self, spacing=(1.0, 1.0, 1.0))
        return StandardPlanner.plan(cubic, dataset, fingerprint, architecture)


def made_by(planner, **settings):
    typed = frozenset([planner])
    reference = ComponentRef(name=planner)
    plan = plan_from_fingerprint(PLUGINS, reference, LIVER, FINGERPRINT, typed, settings)
    return plan, explain_plan(PLUGINS, plan, FINGERPRINT, typed)


@pytest.mark.parametrize("planner", ["standard", "residual_m", "residual_l", "residual_xl"])
def test_built_in_planners_explain_every_configuration(planner):
    plan, reasons = made_by(planner)

    assert {reason.configuration for reason in reasons} == {None, *plan.configurations}


@pytest.mark.parametrize("planner", [Silent, Isotropic])
def test_a_planner_without_reasons_for_its_plan_has_none(planner):
    plan, reasons = made_by(f"{__name__}:{planner.__name__}")

    assert "3d_fullres" in plan.configurations
    assert reasons is None


def test_what_was_set_by_hand_is_not_explained_by_the_planner():
    _, reasons = made_by("standard", **{"3d_fullres.batch_size": 5, "loss": "dice"})

    found = {(r.configuration, r.choice): r for r in reasons}
    assert len(found) == len(reasons)
    assert found["3d_fullres", "batch_size"].value == "5"
    assert found["3d_fullres", "batch_size"].text == "Set by you; the planner decided 2."
    assert found["2d", "loss"].text == "Set by you; the planner decided dice_ce."
    assert found["3d_lowres", "batch_size"].text.startswith("A sample takes ")


def test_networks_that_are_equal_are_drawn_once():
    plan, _ = made_by("standard")

    drawn = diagrams(PLUGINS, plan)

    assert [diagram.title for diagram in drawn] == [
        "2d (plain_unet)",
        "3d_lowres, 3d_fullres, 3d_cascade_fullres (plain_unet)",
    ]
    assert {d.outputs for d in drawn} == {"3 classes"}
    assert [d.inputs for d in drawn] == [
        "1 channel",
        "1 channel; 3d_cascade_fullres also 2 labels of 3d_lowres",
    ]
