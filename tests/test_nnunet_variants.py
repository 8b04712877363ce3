"""The page that maps nnU-Net's classes to options tells the truth: every option string is tried."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer

from nnseg_core.cli import make_app
from nnseg_core.cli.options import parse_numbers, parse_settings, planner_options, spacing_option
from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.normalizing import normalization_facts
from nnseg_core.pipeline.planning import plan_from_fingerprint
from nnseg_core.plan import ComponentRef
from nnseg_core.plugins import load_plugins
from nnseg_core.project import PARTS, apply_settings, choose_part, facts_of

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "nnunet-variants.md"
ROWS = re.findall(r"^\| (`.+?) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
PLUGINS = load_plugins()
APP = typer.main.get_command(make_app(PLUGINS))
CHOSEN = ("trainer", "loss", "augmentation", "architecture")

DATASET = DatasetDescription(
    name="Heart",
    channels=("T1",),
    labels=Labels(values={"atrium": (1,)}),
    file_ending=".nii.gz",
    training_cases=20,
)
FINGERPRINT = Fingerprint(
    spacings=((1.37, 1.25, 1.25),),
    shapes=((115, 320, 320),),
    relative_size=1.0,
    intensities=(IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 1.0)),),
)


def spans(beginning: str) -> list[str]:
    """Every different piece of code in the last column that begins so."""
    found = [code for _, cell in ROWS for code in CODE.findall(cell) if code.startswith(beginning)]
    return list(dict.fromkeys(found))


def parsed(line: str) -> dict[str, object]:
    """What the program makes of a command line."""
    arguments = shlex.split(line)
    with APP.make_context("nnseg", arguments, obj=PLUGINS) as context:
        name, command, rest = APP.resolve_command(context, arguments)  # type: ignore[attr-defined]
        with command.make_context(name, rest, parent=context) as inner:
            return dict(inner.params)


def planned(given: dict[str, object]):
    own, others = planner_options(parse_settings(given["settings"]), given["memory"])  # type: ignore[arg-type]
    own |= spacing_option(given["spacing"])  # type: ignore[arg-type]
    if given["patch_size"]:
        own["patch_size"] = parse_numbers(given["patch_size"], int)  # type: ignore[arg-type]
    planner = ComponentRef(name=given["planner"], options=own)  # type: ignore[arg-type]
    return plan_from_fingerprint(PLUGINS, planner, DATASET, FINGERPRINT, settings=others)


PLAN = planned(parsed("plan Dataset004_Hippocampus"))


def build_all(configuration):
    """Every part, and the network with few features."""
    facts = {
        **facts_of(configuration, DATASET),
        **normalization_facts(PLUGINS, configuration),
    }
    built = {}
    for name, kind in PARTS.items():
        reference = getattr(configuration, name)
        built[name] = PLUGINS.resolve(kind, reference.name).build(reference.options, **facts)
    small = replace(configuration.topology, features=(2,) * len(configuration.features))
    built["network"] = built["architecture"].build(small, 1, 2)
    return built


def test_the_page_names_nnunets_classes():
    names = {name for cell, _ in ROWS for name in CODE.findall(cell)}

    assert len(names) > 200
    assert len([name for name in names if name.startswith("nnUNetTrainer")]) > 120


def test_every_row_says_what_to_do():
    for names, cell in ROWS:
        assert CODE.findall(cell) or cell.startswith("nothing") or len(cell) > 20, names


@pytest.mark.parametrize("options", spans("--"))
def test_options_of_a_training_build_every_part(options):
    given = parsed(f"train DATASET 3d_fullres {options}")
    settings = parse_settings(given["settings"])  # type: ignore[arg-type]

    before = PLAN.configurations["3d_fullres"]
    chosen = choose_part(before, {part: given[part] for part in CHOSEN})  # type: ignore[misc]
    configuration = apply_settings(chosen, settings)
    built = build_all(configuration)

    optimizer = built["trainer"].make_optimizer(built["network"])
    assert optimizer.param_groups
    assert configuration != before or given["name"] or is_default(options)
    drawn = built["augmentation"].initial_patch_size(configuration.patch_size)
    assert len(drawn) == 3
    assert isinstance(built["network"], torch.nn.Module)


def is_default(options: str) -> bool:
    """Whether they say what this plan has already; nnU-Net has a class for it all the same."""
    same = ("--loss dice_ce", "--architecture plain_unet", "--set batch_dice=false")
    return options in same or "kernel_sizes" in options


@pytest.mark.parametrize("command", spans("nnseg plan"))
def test_commands_that_plan_make_plans_whose_parts_can_be_built(command):
    plan = planned(parsed(command.removeprefix("nnseg ")))

    build_all(plan.configurations["3d_fullres"])
    if " --" in command.replace("--plan ", "") and "zscore" not in command:
        assert plan != PLAN


def test_options_combine():
    options = {
        "loss": "tversky",
        "augmentation": "strong",
        "architecture": "residual_unet",
    }
    settings = {
        "trainer.optimizer": "adan",
        "trainer.schedule": "poly_cycle",
        "trainer.warm_up": 0.1,
        "trainer.foreground_by_chance": True,
        "loss.ce_weight": 1.0,
        "architecture.norm": "batch",
        "architecture.activation": "mish",
        "augmentation.mirror_axes": [],
        "batch_size": 4,
    }

    chosen = choose_part(PLAN.configurations["3d_fullres"], options)
    built = build_all(apply_settings(chosen, settings))

    assert type(built["trainer"].make_optimizer(built["network"])).__name__ == "Adan"
    assert built["loss"].ce_weight == 1.0
