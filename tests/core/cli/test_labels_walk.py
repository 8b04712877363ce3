"""Regions, ignored voxels, partly annotated cases and odd label values, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    *("trainer.epochs=1", "trainer.iterations=6", "trainer.validation_iterations=2"),
    *("trainer.precision=fp32", "planner.patch_size=[32,32]", "batch_size=2"),
    *("features=[4,8,8,8]", "augmentation=none", "predictor.step=1.0"),
)
Mask = NDArray[Any]


def dataset(
    folder: Path, change: Callable[[Mask, int], Mask] | None = None, **entries: Any
) -> Path:
    """Pictures of cells (1) with nuclei (2), whose labels are changed case by case."""
    write_planar_phantom(folder, cases=5, test_cases=1)
    if change:
        for number, path in enumerate(sorted((folder / "labelsTr").iterdir())):
            with Image.open(path) as image:
                mask = np.asarray(image)
            Image.fromarray(change(mask, number)).save(path)
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(described | entries))
    return folder


def train(folder: Path, *settings: str) -> Path:
    """Train fold 0, and return the model."""
    given = [part for setting in (*TINY, *settings) for part in ("--set", setting)]
    workspace = folder.parent / "workspace"
    code = run(
        *("train", folder, "2d", "--workspace", workspace, "--workers", 0, "--device", "cpu"),
        *("--name", "m", *given),
    )
    assert code == 0
    return workspace / "models" / folder.name / "m"


def masks(model: Path) -> dict[str, Mask]:
    found = sorted((model / "fold_0" / "validation").glob("phantom_???.png"))
    return {path.stem: np.asarray(Image.open(path)) for path in found}


def scores(model: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((model / "fold_0/validation/summary.json").read_text())
    return read


def test_masks_of_regions_are_the_same_in_whatever_order_they_are_listed(tmp_path: Path) -> None:
    orders: tuple[dict[str, Any], ...] = (
        {"background": 0, "cell": [1, 2], "nucleus": 2},
        {"nucleus": 2, "cell": ["nucleus", 1], "background": 0},
    )

    models = [
        train(dataset(tmp_path / name, labels=labels))
        for name, labels in zip("ab", orders, strict=True)
    ]

    first, second = map(masks, models)
    assert first.keys() == second.keys()
    assert any(mask.any() for mask in first.values())
    assert all(np.array_equal(mask, second[name]) for name, mask in first.items())


def test_two_values_are_ignored_and_scores_do_not_count_them(tmp_path: Path) -> None:
    def half_marked(mask: Mask, number: int) -> Mask:
        marked = mask.copy()
        marked[:, 32:], marked[:, :4] = 255, 7
        return marked

    labels = {"background": 0, "cell": 1, "nucleus": 2, "ignore": [7, 255]}
    folder = dataset(tmp_path / "scribbles", half_marked, labels=labels)

    model = train(folder)

    (first, *_), shown = scores(model)["metric_per_case"], masks(model)
    counted = first["metrics"]["1"]
    assert sum(counted[key] for key in ("TP", "FP", "FN", "TN")) == 64 * 28
    assert {value for mask in shown.values() for value in np.unique(mask)} <= {0, 1, 2}


@pytest.mark.parametrize("ignored", [(), (9,)])
def test_values_of_the_users_choice_come_back(tmp_path: Path, ignored: tuple[int, ...]) -> None:
    values = np.array([0, 255, 32767], dtype=np.uint16)
    labels = {"background": 0, "nucleus": 32767, "cell": 255}
    folder = dataset(
        tmp_path / "odd",
        lambda mask, _: values[mask],
        labels=labels | ({"ignore": ignored[0]} if ignored else {}),
    )

    model = train(folder, "trainer.iterations=20")

    found = {int(value) for mask in masks(model).values() for value in np.unique(mask)}
    assert found <= {0, 255, 32767}
    assert found & {255, 32767}
    assert set(scores(model)["mean"]) == {"255", "32767"}


@pytest.mark.parametrize("regions", [False, True])
def test_partly_annotated_cases_are_scored_in_what_they_have(tmp_path: Path, regions: bool) -> None:
    """All but case 4 lack the nuclei, which look like cell in their labels."""
    folder = dataset(
        tmp_path / "partial",
        lambda mask, number: mask if number == 4 else mask.clip(0, 1),
        labels={"background": 0, "cell": [1, 2] if regions else 1, "nucleus": 2},
        annotated={"phantom_00[0-3]": ["cell"]},
    )

    model = train(folder)

    record = scores(model)
    names = {"phantom_004": 2}
    for case in record["metric_per_case"]:
        assert len(case["metrics"]) == names.get(case["case"], 1)
    assert record["mean"]["2"]["Dice"] is None
    assert record["foreground_mean"]["Dice"] is not None


def test_a_trainer_that_does_not_know_of_partial_labels_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnseg_standard.training.trainer import StandardTrainer

    monkeypatch.setattr(StandardTrainer, "partial_labels", False)
    folder = dataset(tmp_path / "partial", annotated={"phantom_000": ["cell"]})

    code = run("train", folder, "2d", "--workspace", tmp_path / "w", "--workers", 0)

    assert code == 2
    assert "trainer 'standard' cannot learn from cases that" in capsys.readouterr().err


def test_regions_are_shown_as_they_are_painted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"background": 0, "nucleus": 2, "cell": [1, "nucleus"]}
    folder = dataset(tmp_path / "cells", labels=labels)

    assert run("check", folder, "--workspace", tmp_path / "w", "--workers", 0) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cell", "1,", "2", "nucleus", "1", "1"] in lines
    assert ["nucleus", "2", "2", "2"] in lines


def test_a_check_tells_what_is_annotated_how_often(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset(tmp_path / "cells", annotated={"phantom_00[0-2]": ["cell"]})

    assert run("check", folder, "--workspace", tmp_path / "w", "--workers", 0) == 0

    said = capsys.readouterr()
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "cell 5 of 5 cases" in lines
    assert "nucleus 2 of 5 cases" in lines
    assert "of 'nucleus', which \"annotated\" in" in said.err  # whose labels have them all the same


def test_an_order_that_erases_a_region_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"background": 0, "nucleus": 2, "cell": [1, 2]}
    folder = dataset(tmp_path / "cells", labels=labels, regions_class_order=[2, 1])

    assert run("check", folder, "--workspace", tmp_path / "w", "--workers", 0, "--json") == 2

    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["code"] == "paint-order-erases"
    assert "paints region 'cell' over 'nucleus', which is a part of it" in finding["message"]


def test_sides_are_not_swapped_by_mirrors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"background": 0, "left cell": 1, "cell_R": 2}
    folder = dataset(tmp_path / "sides", labels=labels)

    model = train(folder)

    (configuration,) = json.loads((model / "plan.json").read_text())["configurations"].values()
    assert configuration["mirror_axes"] == [0]
    assert configuration["predictor"]["options"]["mirror_axes"] == []  # augmentation is none
    code = run("plan", folder, "--workspace", tmp_path / "w", "--workers", 0, "--json")
    assert code == 0
    plan = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert plan["configurations"]["2d"]["mirror_axes"] == [0]
