"""The rows of the comparison: what is run on either side, what is asked, what must be equal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import meter
import numpy as np

HERE = Path(__file__).parent
HIPPOCAMPUS, LESIONS = "Dataset004_Hippocampus", "Dataset021_MSLesions"
SPACING = ("0.8", "0.9", "1.1")  # mm, the axes of the images (z, y, x)

Command = Sequence[str]


@dataclass(frozen=True)
class Setting:
    """Where things are. ``work`` is written to, ``data`` is not."""

    data: Path
    work: Path
    peer_python: Path
    steps: int
    given_model: Path | None = None

    def ours(self, task: str, *arguments: object) -> list[str]:
        """A task of ours.py."""
        return [sys.executable, str(HERE / "ours.py"), task, *map(str, arguments)]

    def theirs(self, task: str, *arguments: object) -> list[str]:
        """A task of theirs.py."""
        return [str(self.peer_python), str(HERE / "theirs.py"), task, *map(str, arguments)]

    def nnseg(self, *arguments: object) -> list[str]:
        """Our command."""
        return [sys.executable, "-m", "nnseg_core", *map(str, arguments)]

    def nnunet(self, command: str, *arguments: object) -> list[str]:
        """One of nnU-Net's commands."""
        return [str(self.peer_python.parent / f"nnUNetv2_{command}"), *map(str, arguments)]

    def output(self, name: str) -> Path:
        """Where a variant leaves its result."""
        folder = self.work / "outputs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def environment(self, preprocessed: str = "ready", **more: str) -> dict[str, str]:
        """This process's, and the folders that nnU-Net is told by."""
        return {
            **os.environ,
            "nnUNet_raw": str(self.work / "raw"),
            "nnUNet_preprocessed": str(self.work / "theirs" / preprocessed),
            "nnUNet_results": str(self.work / "theirs" / "results"),
            "nnUNet_compile": "f",
            "PYTHONWARNINGS": "ignore",
            **more,
        }

    def do(self, *commands: Command) -> None:
        """Run what has to be there before something is measured."""
        with (self.work / "prepare.log").open("a+", encoding="utf-8") as log:
            for command in commands:
                meter.run(command, self.environment(), log)

    @cached_property
    def their_data(self) -> Path:
        """Hippocampus as nnU-Net preprocesses it, with a plan of batch size 2 beside its own."""
        folder = self.work / "theirs" / "ready" / HIPPOCAMPUS
        done = folder / "two.json"
        if not done.is_file():
            self.do(self.nnunet("plan_and_preprocess", *THEIR_OPTIONS, "-d", 4))
            plan = json.loads((folder / "nnUNetPlans.json").read_text())
            plan["configurations"]["3d_fullres"]["batch_size"] = 2
            done.write_text(json.dumps({**plan, "plans_name": "two"}))
        return folder

    @cached_property
    def our_data(self) -> Path:
        """A workspace where Hippocampus is preprocessed."""
        workspace = self.work / "ours" / "ready"
        self.do(self.nnseg("preprocess", self.data / HIPPOCAMPUS, *OUR_OPTIONS, workspace))
        return workspace

    @cached_property
    def model(self) -> Path:
        """A trained model of ours: given, or trained here for two minutes."""
        if self.given_model:
            return self.given_model
        model = self.our_data / "models" / HIPPOCAMPUS / "peer"
        self.do(
            self.nnseg(
                *("train", self.data / HIPPOCAMPUS, "3d_fullres", "--workspace", self.our_data),
                *("--trainer", "quick", "--set", "trainer.max_minutes=2", "--name", "peer"),
            )
        )
        return model

    @cached_property
    def their_model(self) -> Path:
        """The same weights in nnU-Net's form, with its own plan."""
        plan, dataset = self.their_data / "nnUNetPlans.json", self.their_data / "dataset.json"
        names, weights = self.work / "names.json", self.work / "weights.npz"
        folder = self.work / "theirs" / "model"
        self.do(
            self.theirs("names", plan, dataset, names),
            self.ours("weights", self.model, names, weights),
            self.theirs("checkpoint", plan, dataset, weights, folder),
        )
        return folder


OUR_OPTIONS = ("-c", "3d_fullres", "--workspace")
THEIR_OPTIONS = ("-c", "3d_fullres", "-npfp", 2, "-np", 2)


@dataclass(frozen=True)
class Variant:
    """One way to do the work of a row; ours begin with ``nnseg``. ``prepare`` is not measured."""

    name: str
    commands: Sequence[Command]
    environment: dict[str, str]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Bar:
    """Least ratio of nnU-Net's best to ours in ``measure``; None only tells the figures."""

    measure: str
    required: float | None = None
    variant: str = "nnseg"


@dataclass(frozen=True)
class Row:
    """``variants`` are measured in turn; ``agree`` says how equal the results were, or raises."""

    key: str
    title: str
    bars: Sequence[Bar]
    variants: Callable[[Setting], Sequence[Variant]]
    agree: Callable[[Setting], str]


def _preprocess_small(setting: Setting) -> list[Variant]:
    ours, theirs = setting.work / "ours" / "a", setting.work / "theirs" / "a"
    command = setting.nnseg("preprocess", setting.data / HIPPOCAMPUS, *OUR_OPTIONS, ours)
    return [
        Variant("nnseg", [command], setting.environment(), lambda: _empty(ours)),
        Variant(
            "nnU-Net",
            [setting.nnunet("plan_and_preprocess", "-d", 4, *THEIR_OPTIONS)],
            setting.environment("a"),
            lambda: _empty(theirs),
        ),
    ]


def _preprocess_large(setting: Setting) -> list[Variant]:
    ours, theirs = setting.work / "ours" / "b", setting.work / "theirs" / "b"
    dataset = setting.data / LESIONS
    ours_options = ("--spacing", ",".join(SPACING), *OUR_OPTIONS, ours)
    commands = [setting.nnseg("preprocess", dataset, *ours_options)]
    their_options = ("-overwrite_target_spacing", *SPACING, "-overwrite_plans_name", "other")
    command = setting.nnunet("plan_and_preprocess", "-d", 21, *THEIR_OPTIONS, *their_options)
    return [
        Variant("nnseg", commands, setting.environment(), lambda: _empty(ours)),
        Variant("nnU-Net", [command], setting.environment("b"), lambda: _empty(theirs)),
    ]


def _calls(task: str) -> Callable[[Setting], list[Variant]]:
    """A function of either side, called once in a process of its own."""

    def variants(setting: Setting) -> list[Variant]:
        ours, theirs = (setting.output(f"{task}.{side}.npy") for side in ("ours", "theirs"))
        return [
            Variant("nnseg", [setting.ours(task, ours)], setting.environment()),
            Variant("nnU-Net", [setting.theirs(task, theirs)], setting.environment()),
        ]

    return variants


def _train(setting: Setting) -> list[Variant]:
    def ours(name: str, precision: str) -> Variant:
        arguments = (setting.data / HIPPOCAMPUS, setting.our_data, setting.steps, precision)
        return Variant(name, [setting.ours("train", *arguments)], setting.environment())

    def theirs(workers: int) -> Variant:
        assert setting.their_data
        environment = setting.environment(nnUNet_n_proc_DA=str(workers))
        command = setting.theirs("train", "two", setting.steps)
        return Variant(f"nnU-Net, data workers: {workers}", [command], environment)

    return [ours("nnseg", "auto"), theirs(2), ours("nnseg fp32", "fp32"), theirs(1)]


def _predict(setting: Setting) -> list[Variant]:
    images = setting.data / HIPPOCAMPUS / "imagesTs"

    def theirs(name: str, *options: object) -> Variant:
        output = setting.output("predict.theirs")
        basis = ("-m", setting.their_model, "-f", 0, "-i", images, "-o", output, "-device", "cpu")
        command = setting.nnunet("predict_from_modelfolder", *basis, *options)
        return Variant(name, [command], setting.environment(), lambda: _empty(output))

    output = setting.output("predict.ours")
    command = setting.nnseg("predict", setting.model, images, output, "--device", "cpu")
    return [
        Variant("nnseg", [command], setting.environment(), lambda: _empty(output)),
        theirs("nnU-Net"),
        theirs("nnU-Net, -npp 1 -nps 1", "-npp", 1, "-nps", 1),
    ]


def _same_cases(row: str, plan: str, name: str) -> Callable[[Setting], str]:
    """Shapes equal, values nearly: their blosc2 files against our store."""

    def agree(setting: Setting) -> str:
        import blosc2

        from nnseg_core.store import CaseStore
        from nnseg_core.workspace import Workspace

        ours = Workspace(setting.work / "ours" / row)
        store = CaseStore(folder=ours.store(name, "standard", "3d_fullres"))
        theirs = setting.work / "theirs" / row / name / f"{plan}_3d_fullres"
        worst, labels, voxels = 0.0, 0, 0
        for case in store.identifiers():
            mine = store.read(case)
            image = blosc2.open(str(theirs / f"{case}.b2nd"), mode="r")[:]
            label = blosc2.open(str(theirs / f"{case}_seg.b2nd"), mode="r")[:][0]
            assert mine.image.shape == image.shape, f"{case}: {mine.image.shape}, {image.shape}"
            worst = max(worst, float(np.abs(mine.image - image).max()))
            labels, voxels = labels + int((mine.label != label).sum()), voxels + label.size
        assert worst < 0.01 and labels < 1e-3 * voxels, f"{worst} in images, {labels} labels differ"
        return (
            f"shapes equal in {len(store.identifiers())} cases, images within {worst:.1g}, "
            f"{labels} of {voxels} labels differ"
        )

    return agree


def _same_arrays(task: str, tolerance: float, differing: float) -> Callable[[Setting], str]:
    """At most a share ``differing`` of the values differ by more than ``tolerance``."""

    def agree(setting: Setting) -> str:
        sides = (np.load(setting.output(f"{task}.{side}.npy")) for side in ("ours", "theirs"))
        ours, theirs = (side.astype(np.float64) for side in sides)
        difference = np.abs(ours - theirs)
        share = float((difference > tolerance).mean())
        assert share <= differing, f"{share:.2%} of the values differ by more than {tolerance}"
        if tolerance:
            return f"values within {difference.max():.1g}"
        return "all values equal" if not share else f"{share:.2g} of the values differ (ties)"

    return agree


def _no_comparison(setting: Setting) -> str:
    return f"{setting.steps} steps; what is learned is compared elsewhere"


def _same_masks(setting: Setting) -> str:
    import SimpleITK as sitk

    references = setting.data / HIPPOCAMPUS / "labelsTs"
    dice, differing, voxels = [], 0, 0
    folders = [setting.output(f"predict.{side}") for side in ("ours", "theirs")]
    for folder in folders:
        scores = setting.output(f"scores.{folder.suffix[1:]}")
        description = setting.data / HIPPOCAMPUS / "dataset.json"
        options = ("--dataset-json", description, "--output", scores)
        setting.do(setting.nnseg("evaluate", folder, references, *options))
        summary = json.loads((scores / "summary.json").read_text())
        dice.append(summary["foreground_mean"]["Dice"])
    for path in sorted(folders[0].glob("*.nii.gz")):
        masks = (sitk.GetArrayFromImage(sitk.ReadImage(str(f / path.name))) for f in folders)
        ours, theirs = masks
        differing, voxels = differing + int((ours != theirs).sum()), voxels + ours.size
    said = f"Dice {dice[0]:.4f} and {dice[1]:.4f}, {differing} of {voxels} voxels differ"
    assert abs(dice[0] - dice[1]) <= 0.002, said
    return said


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


ROWS = {
    row.key: row
    for row in (
        Row(
            "a",
            "fingerprint, plan, preprocess: 160 hippocampi",
            [Bar("wall", 4), Bar("cpu"), Bar("memory")],
            _preprocess_small,
            _same_cases("a", "nnUNetPlans", HIPPOCAMPUS),
        ),
        Row(
            "b",
            "fingerprint, plan, preprocess: 2 brains of 4 channels to 0.8 x 0.9 x 1.1 mm",
            [Bar("wall", 8), Bar("cpu"), Bar("memory")],
            _preprocess_large,
            _same_cases("b", "other", LESIONS),
        ),
        Row(
            "c",
            "resample 128 x 256 x 256 to 160 x 200 x 200, cubic",
            [Bar("call cpu", 12), Bar("cpu"), Bar("call memory")],
            _calls("resample"),
            _same_arrays("resample", tolerance=1e-4, differing=0),
        ),
        Row(
            "d",
            "export 20 classes, 96 x 160 x 160 to 120 x 256 x 256",
            [Bar("call cpu", 8), Bar("call memory", 4), Bar("cpu")],
            _calls("export"),
            _same_arrays("export", tolerance=0, differing=1e-4),
        ),
        Row(
            "e",
            "training steps at nnU-Net's Hippocampus plan, batches of 2",
            [Bar("call wall", 3), Bar("call wall", 1, "nnseg fp32"), Bar("cpu"), Bar("memory")],
            _train,
            _no_comparison,
        ),
        Row(
            "f",
            "predict 30 hippocampi, same weights and tiles, mirrored",
            [Bar("wall", 4), Bar("cpu"), Bar("memory")],
            _predict,
            _same_masks,
        ),
        Row(
            "g",
            "overlap of 15 labels in 256 x 256 x 256",
            [Bar("call cpu", 20), Bar("call memory"), Bar("cpu")],
            _calls("metrics"),
            _same_arrays("metrics", tolerance=0, differing=0),
        ),
    )
}
