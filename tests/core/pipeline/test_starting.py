"""Weights of one model in the network of another dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnseg_core.dataset import Dataset, Labels
from nnseg_core.errors import ModelError
from nnseg_core.model import build_network
from nnseg_core.pipeline.starting import (
    START_FILE,
    forget_start,
    rehearse_start,
    require_same_start,
    start_from,
    started_from,
    transferred,
)
from nnseg_core.plan import ComponentRef, Plan
from nnseg_core.plugins import load_plugins
from nnseg_core.project import Project
from nnseg_core.transfer.starting import Start, open_start
from nnseg_core.workspace import Workspace
from nnseg_standard.networks.plain_unet import PlainUnet

MakeModel = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path, make_model: MakeModel) -> Start:
    """Two labels, one channel, a planar network of two stages."""
    return open_start(make_model(tmp_path / "source", (16, 16), (4, 8), 3))


@pytest.fixture
def project(tmp_path: Path, start: Start) -> Project:
    return Project(
        dataset=Dataset(folder=tmp_path / "target", description=start.plan.dataset),
        workspace=Workspace(tmp_path / "workspace"),
        plugins=load_plugins(),
    )


def plan_of(folder: Path, **dataset: Any) -> Plan:
    """The plan of a model folder, for a dataset that differs so."""
    plan = open_start(folder).plan
    return replace(plan, dataset=replace(plan.dataset, **dataset))


def network_of(plan: Plan, seed: int = 9) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(PlainUnet(), plan.dataset, plan.configurations["small"])


def moved(project: Project, plan: Plan, start: Start) -> tuple[nn.Module, nn.Module, Any]:
    """The source's network, that of ``plan`` with its weights, and the record."""
    network = network_of(plan)
    tensors, record = transferred(project, plan, "small", start, network)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return network_of(start.plan, seed=0), network, record


def test_the_same_network_is_taken_over_whole(project: Project, start: Start):
    source, network, record = moved(project, start.plan, start)

    for (name, one), other in zip(
        source.state_dict().items(), network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert record.weights("loaded") == record.weights() > 1000
    assert record.labels == {name: name for name in ("background", "class 1", "class 2")}


def test_heads_keep_the_labels_of_the_same_name(project: Project, start: Start):
    labels = Labels(values={"new": (1,), "class 2": (2,), "other": (3,)})
    plan = replace(start.plan, dataset=replace(start.plan.dataset, labels=labels))
    fresh = network_of(plan).state_dict()

    source, network, record = moved(project, plan, start)

    head, theirs = network.state_dict()["heads.0.weight"], source.state_dict()["heads.0.weight"]
    assert torch.equal(head[0], theirs[0])
    assert torch.equal(head[2], theirs[2])
    assert torch.equal(head[1], fresh["heads.0.weight"][1])
    assert torch.equal(head[3], fresh["heads.0.weight"][3])
    assert record.labels == {
        **{"background": "background", "new": None},
        **{"class 2": "class 2", "other": None},
    }


def test_the_trunk_answers_as_it_did_and_new_channels_share_the_first_layer(
    project: Project, start: Start, tmp_path: Path, make_model: MakeModel
):
    labels = Labels(values={"class 1": (1,), "a": (2,), "b": (3,)})
    two = make_model(tmp_path / "two", (16, 16), (4, 8), 4, channels=("one", "another"))
    image = torch.randn(1, 1, 16, 16)

    source, network, record = moved(project, plan_of(two, labels=labels), start)

    theirs, ours = source.encoder(image), network.encoder(torch.cat([image, image], dim=1))
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert record.channels == {"one": None, "another": None}
    changed = {one.name for one in record.tensors if one.fate == "adapted"}
    assert changed == {
        *("encoder.stages.0.0.convolution.weight", "heads.0.weight", "heads.0.bias"),
    }


def test_regions_and_classes_do_not_share_heads(project: Project, start: Start):
    labels = Labels(values={"class 1": (1, 2), "class 2": (2,)}, paint_order=(1, 2))
    plan = replace(start.plan, dataset=replace(start.plan.dataset, labels=labels))

    _, _, record = moved(project, plan, start)

    assert record.labels == {"class 1": None, "class 2": None}
    fates = {one.name: one.fate for one in record.tensors if one.name.startswith("heads")}
    assert set(fates.values()) == {"initialised"}


@pytest.mark.parametrize(("theirs", "ours"), [((4, 8), (4, 8, 8)), ((4, 8, 8), (4, 8))])
def test_networks_of_other_depths_correspond_by_resolution(
    project: Project, tmp_path: Path, make_model: MakeModel, theirs, ours
):
    adapting = open_start(make_model(tmp_path / "theirs", (16, 16), theirs, 3), adapt=True)
    plan = plan_of(make_model(tmp_path / "ours", (16, 16), ours, 3))

    source, network, record = moved(project, plan, adapting)

    last = {"theirs": len(theirs) - 2, "ours": len(ours) - 2}
    for part in ("upsamplings.{}.weight", "stages.{}.0.convolution.weight"):
        one = source.decoder.state_dict()[part.format(last["theirs"])]
        assert torch.equal(network.decoder.state_dict()[part.format(last["ours"])], one)
    new = {one.name for one in record.tensors if one.fate == "initialised"}
    parts = {".".join(name.split(".")[: 2 if name.startswith("heads") else 3]) for name in new}
    deeper = {"encoder.stages.2", "decoder.upsamplings.0", "decoder.stages.0", "heads.1"}
    assert parts == (deeper if len(ours) > len(theirs) else set())


def test_an_inflated_network_answers_every_slice_as_the_planar_one(
    project: Project, tmp_path: Path, make_model: MakeModel
):
    """Circular padding leaves no border along z, where an inflated kernel would see zeros."""
    planar = open_start(make_model(tmp_path / "planar", (16, 16), (4, 8), 3), adapt=True)
    plan = plan_of(make_model(tmp_path / "volume", (8, 16, 16), (4, 8), 3))
    image = torch.randn(1, 1, 16, 16)

    source, network, record = moved(project, plan, planar)
    for module in (*source.modules(), *network.modules()):
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.padding_mode = "circular"

    with torch.no_grad():
        slice_by_slice = network(image[:, :, None].expand(-1, -1, 8, -1, -1))[0]
        torch.testing.assert_close(
            slice_by_slice,
            source(image)[0][:, :, None].expand_as(slice_by_slice),
            atol=1e-4,
            rtol=1e-4,
        )
    assert not [one.name for one in record.tensors if one.fate == "initialised"]


def test_a_planar_network_gets_the_kernels_of_a_volume_summed(
    project: Project, tmp_path: Path, make_model: MakeModel
):
    volume = open_start(make_model(tmp_path / "volume", (8, 16, 16), (4, 8), 3), adapt=True)
    plan = plan_of(make_model(tmp_path / "planar", (16, 16), (4, 8), 3))

    source, network, record = moved(project, plan, volume)

    name = "encoder.stages.1.1.convolution.weight"
    assert torch.equal(network.state_dict()[name], source.state_dict()[name].sum(dim=2))
    kernels = [one for one in record.tensors if one.name.endswith("convolution.weight")]
    assert {one.how for one in kernels} == {"kernel shrunk from 3x3x3 to 3x3"}


def test_other_widths_are_refused_unless_adapted_and_named(
    project: Project, start: Start, tmp_path: Path, make_model: MakeModel
):
    plan = plan_of(make_model(tmp_path / "wide", (16, 16), (4, 6), 3))

    with pytest.raises(ModelError, match=r"does not fit the network of small: .* Use --adapt"):
        rehearse_start(project, plan, "small", start)
    record = rehearse_start(project, plan, "small", replace(start, adapt=True))

    reasons = {one.name: one.how for one in record.tensors if one.fate == "initialised"}
    assert reasons["encoder.stages.1.0.norm.weight"] == "8 in the source does not fit 6"


def test_nothing_in_common_is_refused(
    project: Project, start: Start, tmp_path: Path, make_model: MakeModel
):
    plan = plan_of(make_model(tmp_path / "other", (16, 16), (3, 5), 3))

    with pytest.raises(ModelError, match=r"nothing of .* fits the network of small: of \d+ conv"):
        rehearse_start(project, plan, "small", replace(start, adapt=True))


def test_another_architecture_is_named(project: Project, start: Start):
    other = replace(
        start.plan.configurations["small"], architecture=ComponentRef(name="residual_unet")
    )
    plan = replace(start.plan, configurations={"small": other})

    with pytest.raises(ModelError, match="has a plain_unet, and small is planned as a residual_"):
        rehearse_start(project, plan, "small", start)


def test_labels_as_many_as_features_are_still_told_apart(
    project: Project, tmp_path: Path, make_model: MakeModel
):
    """Four outputs, four features, four channels: only what grows with them belongs to them."""
    channels = ("a", "b", "c", "d")
    four = make_model(tmp_path / "four", (16, 16), (4, 8), 4, channels=channels)
    start, mixed = open_start(four), plan_of(four, channels=("d", "c", "b", "a"))

    source, network, record = moved(project, mixed, start)

    first = "encoder.stages.0.0.convolution.weight"
    assert [one.name for one in record.tensors if one.fate == "adapted"] == [first]
    assert torch.equal(network.state_dict()[first], source.state_dict()[first].flip(1))


class Task:
    """The two fields of a training task that matter here."""

    def __init__(self, folder: Path, network: nn.Module) -> None:
        self.folder = folder
        self.network = network


def test_a_fold_that_has_begun_needs_its_source_no_more(
    project: Project, start: Start, tmp_path: Path
):
    fold, plan = tmp_path / "fold_0", start.plan
    first, second = network_of(plan, 1), network_of(plan, 2)

    assert not start_from(project, plan, "small", None, Task(fold, first))  # type: ignore[arg-type]
    assert start_from(project, plan, "small", start, Task(fold, first))  # type: ignore[arg-type]
    assert start_from(project, plan, "small", None, Task(fold, second))  # type: ignore[arg-type]

    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    record = started_from(fold)
    assert record is not None
    assert record.sha256 == start.hash()
    assert (fold / START_FILE).is_file()
    forget_start(fold)
    assert not (fold / START_FILE).exists()


def test_a_fold_does_not_go_on_from_other_weights(
    project: Project, start: Start, tmp_path: Path, make_model: MakeModel
):
    fold = tmp_path / "fold_0"
    fold.mkdir()
    require_same_start(fold, start)
    (fold / "run.json").write_text("{}")

    with pytest.raises(ModelError, match="fold_0 was begun from nothing. Begin anew with --rest"):
        require_same_start(fold, start)
    start_from(project, start.plan, "small", start, Task(fold, network_of(start.plan)))  # type: ignore[arg-type]
    require_same_start(fold, start)
    other = np.fromfile(start.weights, dtype=np.uint8)
    other[-1] ^= 1
    other.tofile(start.weights)
    with pytest.raises(ModelError, match="fold_0 was begun from other weights"):
        require_same_start(fold, start)
