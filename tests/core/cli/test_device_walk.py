"""A device that is not there is found before any work is done for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_train_finds_a_wrong_device_before_it_preprocesses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    dataset, workspace = tmp_path / "Dataset001_Cells", tmp_path / "workspace"
    write_planar_phantom(dataset, cases=5)

    code = run(
        *("train", dataset, "2d", "--workspace", workspace, "--device", device, "--workers", 0),
        *("--set", "planner.patch_size=[32,32]"),
    )

    assert code == 2
    assert f"there is no device {device!r}. Use one of: auto, cpu" in capsys.readouterr().err
    assert not (workspace / "models").exists()
    assert not list(workspace.rglob("case.json"))


def test_train_finds_that_a_cpu_has_no_half_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, workspace = tmp_path / "Dataset001_Cells", tmp_path / "workspace"
    write_planar_phantom(dataset, cases=5)

    code = run(
        *("train", dataset, "2d", "--workspace", workspace, "--device", "cpu", "--workers", 0),
        *("--set", "planner.patch_size=[32,32]", "--set", "trainer.precision=fp16"),
    )

    assert code == 2
    assert "precision 'fp16' needs a GPU" in capsys.readouterr().err
    assert not (workspace / "models").exists()
