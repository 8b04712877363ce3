"""A few strokes per case teach nearly as much as whole masks do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

SHARE = 0.05
UNMARKED = 9
CASES, TEST_CASES = 24, 8
SETTINGS = (
    *("trainer.epochs=8", "trainer.iterations=40", "trainer.validation_iterations=0"),
    *("trainer.precision=fp32", "planner.patch_size=[32,32]", "batch_size=4"),
    *("features=[8,16,16,16]", "trainer.learning_rate=0.02"),
)


def scribbled(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Short strokes in every class, of ``SHARE`` of the voxels; the rest is unmarked."""
    marked = np.zeros(mask.shape, dtype=bool)
    while marked.mean() < SHARE:
        value = random.choice(np.unique(mask))
        row, column = random.choice(np.argwhere(mask == value))
        stroke = np.zeros_like(marked)
        stroke[row, column : column + 5] = True  # a stroke ends where its class does
        marked |= stroke & (mask == value)
    return np.where(marked, mask, UNMARKED).astype(np.uint8)


def dice_of(folder: Path, scribbles: bool) -> float:
    """Train on whole masks or on scribbles, and score masks of cases that neither has seen."""
    write_planar_phantom(folder, cases=CASES, test_cases=TEST_CASES)
    if scribbles:
        described = json.loads((folder / "dataset.json").read_text())
        described["labels"]["ignore"] = UNMARKED
        (folder / "dataset.json").write_text(json.dumps(described))
        for number, path in enumerate(sorted((folder / "labelsTr").iterdir())):
            with Image.open(path) as image:
                mask = np.asarray(image)
            Image.fromarray(scribbled(mask, np.random.default_rng(number))).save(path)
    model = folder.parent / "w" / "models" / folder.name / "m"
    given = [part for setting in SETTINGS for part in ("--set", setting)]
    common = ("--workers", 0, "--workspace", folder.parent / "w")
    fitting = ("train", folder, "2d", "--fold", "all", "--device", "cpu", "--name", "m")
    predicting = ("predict", model, folder / "imagesTs", folder / "out")
    assert run(*fitting, *common, *given) == 0
    assert run(*predicting, "--device", "cpu") == 0
    assert run("evaluate", folder / "out", folder / "labelsTs") == 0
    scores = json.loads((folder / "out" / "summary.json").read_text())
    return float(scores["foreground_mean"]["Dice"])


@pytest.mark.slow
def test_scribbles_reach_nine_tenths_of_the_dice_of_whole_masks(tmp_path: Path) -> None:
    whole, strokes = dice_of(tmp_path / "whole", False), dice_of(tmp_path / "strokes", True)

    print(f"Dice {whole:.3f} of whole masks, {strokes:.3f} of strokes")
    assert whole > 0.75
    assert strokes >= 0.9 * whole
