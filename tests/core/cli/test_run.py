"""``nnseg run``: from files to one selected model, and on from wherever it was stopped."""

from __future__ import annotations

import pytest

from nnseg_core.model import load_model
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    *("--epochs", "1", "--fold", "0,1", "--device", "cpu", "--workers", "0"),
    *("--set", "trainer.iterations=1", "--set", "trainer.validation_iterations=1"),
    *("--set", "batch_size=2", "--set", "planner.patch_size=[32,32]"),
)


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "Dataset001_Cells"
    write_planar_phantom(folder, cases=6, test_cases=1)
    return folder


def test_one_command_leaves_a_model_and_a_report(dataset, tmp_path, capsys):
    arguments = ("run", dataset, "--workspace", tmp_path / "w", *TINY)

    assert run(*arguments) == 0

    folder = tmp_path / "w" / "models" / "Dataset001_Cells" / "selected"
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>Dataset001_Cells: 2d-standard</h1>" in report
    assert report.count("data:image/png;base64,") >= 2  # curves, and a case
    assert load_model(folder, device="cpu").plan.dataset.name == "Dataset001_Cells"


def test_what_is_done_is_not_done_again(dataset, tmp_path, capfd):
    arguments = ("run", dataset, "--workspace", tmp_path / "w", *TINY)
    assert run(*arguments) == 0
    weights = sorted((tmp_path / "w" / "models").glob("*/2d-standard/fold_*/weights.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    capfd.readouterr()

    assert run(*arguments) == 0

    assert [path.stat().st_mtime_ns for path in weights] == written
    assert len(weights) == 2
    said = capfd.readouterr().err
    assert "fold 0 is trained and scored already" in said
    assert "fold 1 is trained and scored already" in said


def test_a_dry_run_tells_all_folds_and_writes_nothing(dataset, tmp_path, capfd):
    workspace = tmp_path / "w"

    assert run("run", dataset, "--workspace", workspace, "--dry-run", "--epochs", "3") == 0

    said = capfd.readouterr().out
    assert all(f"2d, fold {fold}: " in said for fold in range(5))
    assert "3 epochs of 250 steps" in said
    assert not workspace.exists()


def test_a_configuration_that_is_not_planned_is_refused(dataset, tmp_path, capfd):
    workspace = tmp_path / "w"

    assert run("run", dataset, "-c", "3d", "--workspace", workspace, *TINY) == 2

    assert "3d" in capfd.readouterr().err
    assert not (workspace / "models").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--fold", "0,all"), "--fold all leaves no case unseen"),
        (("--name", "mine"), "mine is a trained model. Choose another name, with --name."),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(dataset, tmp_path, capsys, more, said):
    (tmp_path / "w" / "models" / dataset.name / "mine").mkdir(parents=True)

    assert run("run", dataset, "--workspace", tmp_path / "w", "--epochs", "1", *more) == 2

    assert said in capsys.readouterr().err
    assert not (tmp_path / "w" / "datasets").exists()
