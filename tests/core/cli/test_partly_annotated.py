"""Nuclei that are missing in the labels of some cases must not be learned to be absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

SETTINGS = (
    *("trainer.epochs=5", "trainer.iterations=40", "trainer.validation_iterations=0"),
    *("trainer.precision=fp32", "planner.patch_size=[32,32]", "batch_size=4"),
    *("features=[8,16,16,16]", "trainer.learning_rate=0.02", "augmentation=none"),
)


def dice_of_nuclei(folder: Path, declared: bool) -> float:
    """Nuclei are annotated in 4 of 16 cases, and background in the others."""
    write_planar_phantom(folder, cases=16, test_cases=6)
    for path in sorted((folder / "labelsTr").iterdir())[4:]:
        with Image.open(path) as image:
            mask = np.asarray(image)
        Image.fromarray(np.where(mask == 2, 0, mask).astype(np.uint8)).save(path)
    if declared:
        described = json.loads((folder / "dataset.json").read_text())
        described["annotated"] = {"phantom_00[4-9]": ["cell"], "phantom_01?": ["cell"]}
        (folder / "dataset.json").write_text(json.dumps(described))
    model = folder.parent / "w" / "models" / folder.name / "m"
    given = [part for setting in SETTINGS for part in ("--set", setting)]
    fitting = ("train", folder, "2d", "--fold", "all", "--device", "cpu", "--name", "m")
    assert run(*fitting, "--workers", 0, "--workspace", folder.parent / "w", *given) == 0
    assert run("predict", model, folder / "imagesTs", folder / "out", "--device", "cpu") == 0
    assert run("evaluate", folder / "out", folder / "labelsTs") == 0
    scores = json.loads((folder / "out" / "summary.json").read_text())
    return float(scores["mean"]["2"]["Dice"])


@pytest.mark.slow
def test_declaring_what_is_annotated_finds_what_others_would_miss(tmp_path: Path) -> None:
    silent, declared = dice_of_nuclei(tmp_path / "s", False), dice_of_nuclei(tmp_path / "d", True)

    print(f"Dice of nuclei {silent:.3f} where nothing is declared, {declared:.3f} where it is")
    assert declared > silent + 0.1
    assert declared > 0.7
