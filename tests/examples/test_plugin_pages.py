"""The smallest working example of each kind, as its page in docs/plugins shows it, works."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from nnseg_core.case import PreprocessedCase, Restoration, Segmentation
from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import DatasetError
from nnseg_core.fingerprint import Fingerprint, IntensityStatistics
from nnseg_core.geometry import Geometry, whole
from nnseg_core.kinds import KINDS
from nnseg_core.plan import Topology
from nnseg_core.plugins import Component, import_reference
from nnseg_core.testing.conformance import check_normalization
from nnseg_core.testing.phantoms import phantom_case
from nnseg_core.training import EpochReport
from nnseg_standard.networks.plain_unet import PlainUnet
from nnseg_standard.planning.planner import StandardPlanner
from nnseg_standard.preprocessing.preprocessor import StandardPreprocessor

PAGES = Path(__file__).parents[2] / "docs" / "plugins"
EXAMPLE = re.compile(r"^```python\n# (\w+)\.py\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^(\w+) = \"(\w+:\w+)\"$", re.MULTILINE)
GRID = Geometry(shape=(5, 9, 12), spacing=(2.0, 1.0, 1.0))


@pytest.fixture
def build(monkeypatch):
    """Builds the example of a kind from the reference that its page registers."""

    def build_from_page(kind_name, **options):
        text = (PAGES / f"{kind_name}.md").read_text("utf-8")
        (_, code) = EXAMPLE.findall(text)[0]
        (_, reference) = ENTRY.findall(text)[0]
        module = ModuleType(reference.partition(":")[0])
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, module.__name__, "exec"), vars(module))
        kind = next(kind for kind in KINDS if kind.name == kind_name)
        return Component(kind, "mine", import_reference(reference), "page").build(options)

    return build_from_page


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_the_example_keeps_its_contract(build, kind):
    assert isinstance(build(kind.name), kind.contract)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_the_page_registers_what_it_shows(kind):
    text = (PAGES / f"{kind.name}.md").read_text("utf-8")
    (module, code) = EXAMPLE.findall(text)[0]
    (_, reference) = ENTRY.findall(text)[0]

    assert reference.partition(":")[0] == module
    assert f"class {reference.partition(':')[2]}" in code
    assert f'[project.entry-points."{kind.group}"]' in text


def test_reader_reads_what_it_has_written(build, tmp_path):
    reader, label = build("reader"), np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    reader.write_label(
        tmp_path / "a.npy",
        label,
        reader_geometry := Geometry(shape=(2, 3, 4), spacing=(1.0, 1.0, 1.0)),
    )

    assert np.array_equal(reader.read_label(tmp_path / "a.npy")[0], label)
    assert reader.peek(tmp_path / "a.npy") == (reader_geometry, 1)
    image, _ = reader.read([tmp_path / "a.npy", tmp_path / "a.npy"])
    assert (image.shape, image.dtype) == ((2, 2, 3, 4), np.float32)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]
    with pytest.raises(DatasetError, match="no array that numpy can read"):
        reader.read([tmp_path / "b.npy"])


STATISTICS = IntensityStatistics(
    mean=1.0,
    median=1.0,
    std=1.0,
    minimum=0.0,
    maximum=2.0,
    percentile_0_5=0.0,
    percentile_99_5=2.0,
)


def planned(planner):
    fingerprint = Fingerprint(
        spacings=((3.0, 0.75, 0.8),),
        shapes=((30, 200, 200),),
        relative_size=1.0,
        intensities=(STATISTICS,),
    )
    description = DatasetDescription(
        name="a", channels=("MR",), labels=Labels(values={"liver": (1,)}), file_ending=".npy"
    )
    return planner.plan(description, fingerprint, PlainUnet())


def test_planner_plans_cubic_voxels(build):
    assert planned(build("planner")).configurations["3d_fullres"].spacing == (0.75, 0.75, 0.75)
    assert planned(build("planner", edge=2.0)).configurations["2d"].spacing == (2.0, 2.0)


def test_preprocessor_cuts_the_brightest_voxels(build):
    plan = planned(StandardPlanner())
    case = phantom_case(np.random.default_rng(0))
    bright = replace(case, image=case.image.copy())
    bright.image[0, 0, 0, 0] = 1e6

    cut = build("preprocessor").run(bright, plan, plan.configurations["3d_fullres"])
    uncut = StandardPreprocessor().run(bright, plan, plan.configurations["3d_fullres"])

    assert cut.image.max() < 10 < uncut.image.max()


def test_normalization_cuts_a_window_and_conforms(build):
    channel = np.array([[[-200.0, -100.0, 70.0, 500.0]]], dtype=np.float32)

    windowed = build("normalization", low=-100.0, high=240.0).apply(channel, STATISTICS, None)

    assert windowed.tolist() == [[[0, 0, 0.5, 1]]]
    check_normalization(build("normalization"))


@pytest.mark.parametrize("patch_size", [(16, 16), (8, 16, 16)])
def test_architecture_builds_networks_of_2_and_3_dimensions(build, patch_size):
    axes = len(patch_size)
    topology = Topology(
        patch_size=patch_size, features=(8,), strides=((1,) * axes,), kernel_sizes=((3,) * axes,)
    )
    network = build("architecture").build(topology, inputs=2, outputs=3)

    assert network(torch.zeros(1, 2, *patch_size)).shape == (1, 3, *patch_size)
    assert build("architecture").memory(topology, outputs=3) == (16 + 3) * np.prod(patch_size)


def test_augmentation_mirrors_image_and_label_alike(build):
    image = torch.arange(6.0).reshape(1, 2, 3)

    always = build("augmentation", probability=1.0)
    drawn = always.draw(np.random.default_rng(0), (2, 3), channels=1)
    mirrored, labels = always.apply([image], [image[0].short()], [drawn])

    assert mirrored.tolist() == [[[[5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]]]
    assert labels.tolist() == [[[5, 4, 3], [2, 1, 0]]]


def test_loss_falls_when_the_network_is_right(build):
    truth = torch.tensor([[0, 1, -100]])
    right = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]]])

    assert build("loss")(right, truth) < build("loss")(right.flip(1), truth)


def test_callback_speaks_once(build, capsys):
    callback = build("callback", dice=0.5)
    for epoch, dice in enumerate([None, 0.4, 0.6, 0.7]):
        callback.on_epoch_end(
            EpochReport(
                epoch=epoch,
                progress=0.0,
                learning_rate=0.1,
                train_loss=0.0,
                validation_loss=None,
                dice={},
                mean_dice=dice,
                smoothed_dice=dice,
                seconds=1.0,
                waiting=0.0,
                stepping=1.0,
                validating=0.0,
            )
        )

    assert capsys.readouterr().out == "Dice 0.600 after epoch 3\n"


@pytest.mark.parametrize(("name", "patch_size"), [("2d", (8, 8)), ("3d_fullres", (4, 8, 16))])
def test_predictor_keeps_the_grid_of_the_case(build, name, patch_size):
    chosen = planned(StandardPlanner(patch_size=patch_size)).configurations[name]
    network = PlainUnet().build(chosen.topology, 1, 2).eval()
    case = PreprocessedCase(
        identifier="a",
        image=np.random.default_rng(0).normal(size=(1, *GRID.shape)).astype(np.float32),
        label=None,
        foreground={},
        restoration=Restoration(
            original=GRID, axes=(0, 1, 2), crop=whole(GRID.shape), spacing=GRID.spacing
        ),
    )

    logits = build("predictor").predict([network, network], case, chosen).logits

    assert logits.shape == (2, *GRID.shape)
    assert np.allclose(logits, build("predictor").predict([network], case, chosen).logits)


def test_postprocessor_removes_small_pieces_only(build):
    label = np.zeros(GRID.shape, np.uint8)
    label[0, 0, :4], label[2:, 5:, 5:], label[4, 0, 0] = 1, 1, 2
    segmentation = Segmentation(identifier="a", label=label, geometry=GRID)

    corrected = build("postprocessor", smallest=3).apply(segmentation).label

    assert (corrected != label).sum() == 1
    assert corrected[4, 0, 0] == 0
