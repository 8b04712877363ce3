"""``nnseg status`` and ``nnseg doctor`` as people and programs read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nnseg_core.claims import claim
from nnseg_core.cli.doctor import verdict
from nnseg_core.cli.status import duration
from nnseg_core.health import ok, problem, warning
from nnseg_core.testing.command import run
from nnseg_core.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two datasets; of one, a training has come to epoch 4 of 10."""
    place = Workspace(tmp_path)
    plan = place.plan("Dataset001_Cells", "standard")
    plan.parent.mkdir(parents=True)
    plan.write_text('{"dataset": {"training_cases": 4}, "configurations": {"2d": {}}}')
    fold = place.model("Dataset001_Cells", "first") / "fold_0"
    fold.mkdir(parents=True)
    row = {"epoch": 3, "epochs": 10, "seconds": 60.0}
    (fold / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    place.dataset("Dataset002_More").mkdir()
    return place


def test_an_empty_workspace_says_how_to_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", "--workspace", tmp_path / "none") == 0

    assert "There is nothing yet. Begin with: nnseg check DATASET" in capsys.readouterr().out


def test_a_training_that_runs_is_shown_with_its_epoch_and_time(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with claim(workspace.model("Dataset001_Cells", "first") / "fold_0", "training"):
        run("status", "--workspace", workspace.root)

    shown = capsys.readouterr().out
    assert "0 of 4" in shown
    assert "training, 6 min left" in shown
    assert "4 of 10" in shown
    assert "models/Dataset001_Cells/first/fold_0" in shown


def test_a_training_that_was_stopped_is_shown_so(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run("status", "--workspace", workspace.root)

    shown = capsys.readouterr().out
    assert "stopped" in shown
    assert "running" not in shown


def test_one_dataset_can_be_asked_for_by_name_or_folder(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("Dataset002_More", "/data/Dataset002_More"):
        assert run("status", given, "--workspace", workspace.root) == 0
        assert "Dataset001" not in capsys.readouterr().out


def test_a_dataset_of_which_there_is_nothing_is_an_error(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", "Dataset003", "--workspace", workspace.root) == 2

    message = capsys.readouterr().err
    assert "has nothing of a dataset 'Dataset003'" in message
    assert "It has: Dataset001_Cells, Dataset002_More." in message


def test_programs_get_json(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with claim(workspace.model("Dataset001_Cells", "first") / "fold_0", "training"):
        run("status", "--json", "--workspace", workspace.root)

    told = json.loads(capsys.readouterr().out)
    (fold,) = told["datasets"][0]["models"][0]["folds"]
    assert (fold["epochs"], fold["of_epochs"], fold["seconds_left"]) == (4, 10, 360)
    assert fold["work"]["gone"] is False


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (720, "12 min"), (12_600, "3.5 h"), (181_440, "2.1 days")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_doctor_looks_at_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("doctor", "--json", "--workspace", tmp_path) in (0, 1)

    told = json.loads(capsys.readouterr().out)
    groups = list(dict.fromkeys(probe["group"] for probe in told))
    assert groups[:3] == ["installation", "machine", "workspace"]
    assert any(group.startswith("standard (nnseg ") for group in groups)
    assert groups[-2:] == ["plugins", "loaded together"]
    assert all(probe["remedy"] for probe in told if probe["state"] != "ok")


def test_a_problem_ends_with_exit_code_1_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("nnseg_standard.health.PATIENCE", 0.0)

    assert run("doctor", "--workspace", tmp_path / "file") == 1

    shown = capsys.readouterr().out
    assert "cannot be written to" in shown
    assert "-> Choose another folder with --workspace or NNSEG_WORKSPACE." in shown
    assert shown.strip().endswith("; after each -> is what to do.")


def test_the_last_sentence_counts() -> None:
    assert verdict([ok("a", "b")]) == "All is well."
    assert verdict([warning("a", "b", "c"), problem("a", "b", "c"), warning("a", "b", "c")]) == (
        "1 problem and 2 warnings; after each -> is what to do."
    )


def test_status_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from nnseg_core.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'SimpleITK', 'scipy', 'blosc2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--workspace", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"
