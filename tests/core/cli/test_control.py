"""Budgets, stops and extensions of a training, as a user asks for them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from nnseg_core.cli.control import parse_minutes
from nnseg_core.errors import PlanError
from nnseg_core.stopping import STOP_FILE
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    "trainer.iterations=2",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "planner.patch_size=[32,32]",
    "batch_size=2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    write_planar_phantom(folder / "Dataset001_Cells", cases=6, test_cases=0)
    return folder


def arguments(folder: Path, name: str, *more: object, settings: Sequence[str] = ()) -> list[str]:
    chosen = {item.partition("=")[0]: item for item in (*TINY, *settings)}.values()
    return [
        *("train", str(folder / "Dataset001_Cells"), "2d", "--name", name, "--no-logits"),
        *("--workspace", str(folder / "workspace"), "--workers", "0", "--device", "cpu"),
        *(part for setting in chosen for part in ("--set", setting)),
        *map(str, more),
    ]


def fold_of(folder: Path, name: str) -> Path:
    return folder / "workspace" / "models" / "Dataset001_Cells" / name / "fold_0"


def losses(fold: Path) -> list[tuple[object, ...]]:
    rows = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
    return [
        (row["epoch"], row["train_loss"], row["validation_loss"], row["mean_dice"]) for row in rows
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows kills where others ask")
def test_sigterm_in_mid_epoch_loses_nothing(folder: Path) -> None:
    """The epoch is long enough for a signal to come in the middle of it."""
    name, long = "SIGTERM", ("trainer.iterations=50", "trainer.epochs=2")
    assert run(*arguments(folder, "undisturbed", settings=long)) == 0
    command = [sys.executable, "-m", "nnseg_core", *arguments(folder, name, settings=long)]
    fold = fold_of(folder, name)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (fold / "metrics.jsonl").exists():  # after the first epoch
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.stderr
        said = process.stderr.read()
        assert process.wait(60) == 75

    last = said.splitlines()[-1]
    assert last.startswith(f"stopped by {name} after step ")
    assert last.endswith(" of epoch 2. Nothing is lost: the same command goes on from there.")
    assert "Traceback" not in said
    assert not (fold / "weights.safetensors").exists()
    assert run(*arguments(folder, name, settings=long)) == 0
    assert losses(fold) == losses(fold_of(folder, "undisturbed"))
    weights = "weights.safetensors"
    assert (fold / weights).read_bytes() == (fold_of(folder, "undisturbed") / weights).read_bytes()


CALLBACK = """
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Touch:
    def on_fit_start(self, task):
        self.folder = task.folder
    def on_epoch_end(self, report):
        if report.epoch == 0:
            (self.folder / "STOP").touch()
    def on_fit_end(self, reports):
        pass
"""


def test_a_stop_file_in_the_folder_of_the_fold_stops_it_once(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "touching.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("nnseg_core.stopping.EVERY", 0.0)
    fold = fold_of(folder, "touched")

    code = run(*arguments(folder, "touched", "--epochs", 3, "--callback", "touching:Touch"))

    assert code == 75
    assert (
        f"stopped by the file {fold / STOP_FILE} after step 1 of epoch 2."
        in capsys.readouterr().err
    )
    assert not (fold / STOP_FILE).exists()
    assert run(*arguments(folder, "touched", "--epochs", 3)) == 0
    assert len(losses(fold)) == 3


def test_a_stop_file_that_is_there_already_stops_before_anything_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "halt").touch()

    code = run(*arguments(folder, "halted", "--stop-file", tmp_path / "halt"))

    assert code == 75
    assert f"the file {tmp_path / 'halt'} says to stop: delete it to train." in (
        capsys.readouterr().err
    )
    assert (tmp_path / "halt").exists()


def test_a_finished_training_is_extended_only_when_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = fold_of(folder, "extended")
    assert run(*arguments(folder, "extended", "--epochs", 2)) == 0
    before = (fold / "weights.safetensors").read_bytes()

    assert run(*arguments(folder, "extended", "--epochs", 3)) == 2
    said = "holds folds that were trained with other settings (another trainer.epochs; see "
    assert said in capsys.readouterr().err
    assert run(*arguments(folder, "extended", "--epochs", 2, "--extend", 4)) == 0

    assert len(losses(fold)) == 4
    assert (fold / "weights.safetensors").read_bytes() != before
    record = json.loads((fold / "run.json").read_text())
    assert [extension["epochs"] for extension in record["extensions"]] == [4]
    assert record["settings"]["trainer.epochs"] == 2
    assert run(*arguments(folder, "extended", "--epochs", 2, "--extend", 3)) == 2
    assert "was trained for 4 epochs; --extend gives the epochs in all" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", 3, "--set", "trainer.epochs=4"], "--epochs and --set trainer.epochs say the"),
        (["--max-time", "soon"], "--max-time soon: write it like 12h, 30m or 1h30m."),
        (["--extend", 9, "--restart"], "--extend goes on with what --restart throws away"),
        (["--extend", 9], "is missing, so this training cannot be extended"),
    ],
)
def test_what_makes_no_sense_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[object], message: str
) -> None:
    assert run(*arguments(folder, "refused", *more)) == 2

    assert message in capsys.readouterr().err


def test_a_trainer_without_epochs_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", folder / "Dataset001_Cells", "2d", "--workspace", folder / "workspace"]

    assert run(*command, "--trainer", "quick", "--epochs", 3) == 2

    assert (
        "the trainer 'quick' has no option 'epochs', so --epochs is not for it. It has --max-time "
        "(nnseg plugins trainer quick)." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "minutes"), [("12h", 720), ("30m", 30), ("1h30m", 90), ("90s", 1.5), ("1.5H", 90)]
)
def test_times_are_read_as_people_write_them(text: str, minutes: float) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "12", "h", "0m", "1h 30", "-3h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="write it like 12h, 30m or 1h30m"):
        parse_minutes(text)


def test_a_learning_rate_is_suggested_and_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = arguments(folder, "x")[3:]  # without a name; nothing is kept
    options = [option for option in options if option not in ("--name", "x", "--no-logits")]
    picture = tmp_path / "curve.png"

    code = run(
        *("find-lr", folder / "Dataset001_Cells", "2d", "--steps", 30, "--output", picture),
        *options,
    )

    assert code == 0
    *_, drawn, suggested = capsys.readouterr().out.strip().splitlines()
    assert drawn == f"curve: {picture}"
    rate = float(suggested.removeprefix("suggested: --set trainer.learning_rate="))
    assert 1e-5 < rate < 1
    assert picture.stat().st_size > 10_000
    assert not (folder / "workspace" / "models" / "Dataset001_Cells" / "find-lr").exists()


@pytest.mark.slow
def test_a_budget_of_time_is_met_within_a_tenth(folder: Path) -> None:
    code = run(*arguments(folder, "timed", "--max-time", "1m", settings=("trainer.iterations=20",)))

    fold = fold_of(folder, "timed")
    rows = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
    assert code == 0
    assert 54 < sum(row["seconds"] for row in rows) < 66
    assert rows[-1]["progress"] == 1
