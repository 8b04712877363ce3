from dataclasses import dataclass, replace

import pytest

from nnseg_core import kinds
from nnseg_core.cli.options import named_parts
from nnseg_core.errors import PluginError
from nnseg_core.files import override, validate
from nnseg_core.normalizing import normalization_facts, normalizations_of, planning_facts
from nnseg_core.plan import ComponentRef, Configuration
from nnseg_core.plugins import Component, load_plugins


@dataclass(frozen=True)
class Window:
    """A normalization of a third party."""

    low: float = 0.0

    def apply(self, channel, statistics, inside=None):
        return channel - self.low


@dataclass(frozen=True)
class OwnNames:
    """A preprocessor that knows normalizations of its own, and asks for none."""

    def run(self, case, plan, configuration):
        raise NotImplementedError

    def restore(self, prediction, labels, probabilities=False):
        raise NotImplementedError


@pytest.fixture
def plugins():
    loaded = load_plugins()
    for kind, name, target in (
        (kinds.NORMALIZATION, "window", Window),
        (kinds.PREPROCESSOR, "own", OwnNames),
    ):
        loaded.components[kind.name, name] = Component(kind, name, target, "test")
    return loaded


def configuration(*normalization):
    return Configuration(
        spacing=(1.0, 1.0),
        patch_size=(8, 8),
        batch_size=2,
        median_shape=(8.0, 8.0),
        features=(4,),
        strides=((1, 1),),
        kernel_sizes=((3, 3),),
        normalization=normalization,
        mask_normalization=(False,) * len(normalization),
        batch_dice=True,
    )


def test_each_channel_has_its_own_with_its_options(plugins):
    window = ComponentRef(name="window", options={"low": 3})

    built = normalizations_of(plugins, configuration("window", window, "ct"))

    assert built[:2] == (Window(), Window(low=3.0))
    assert type(built[2]).__name__ == "Ct"


def test_a_preprocessor_that_does_not_ask_may_have_names_of_its_own(plugins):
    own = replace(configuration("histogram"), preprocessor=ComponentRef(name="own"))

    assert normalization_facts(plugins, own) == {}
    with pytest.raises(PluginError, match="no normalization is named 'histogram'"):
        normalization_facts(plugins, configuration("histogram"))


def test_an_import_path_from_a_file_is_not_followed(plugins):
    foreign = configuration("test_module:Window")

    with pytest.raises(PluginError, match="is an import path that came from a file"):
        normalization_facts(plugins, foreign)


def test_planners_are_offered_the_names_of_all(plugins):
    assert "window" in planning_facts(plugins)["normalizations"]


def test_options_survive_the_plans_file():
    window = ComponentRef(name="window", options={"low": 3})
    made = configuration("zscore", window)

    assert override(made, {"batch_size": 2}) == made
    read = validate(
        Configuration,
        {**plain(made), "normalization": ["zscore", {"name": "window", "options": {"low": 3}}]},
        source="plan.json",
    )
    assert read.normalization == ("zscore", window)


def plain(made):
    return {name: getattr(made, name) for name in Configuration.__dataclass_fields__}


def test_references_that_were_typed_may_be_import_paths():
    assert named_parts(
        {
            "loss": "mine:Loss",
            "normalization": ["a:B", "zscore"],
            "planner.normalization": {"CT": "c:D"},
            "batch_size": 4,
        }
    ) == ["mine:Loss", "a:B", "zscore", "c:D"]
