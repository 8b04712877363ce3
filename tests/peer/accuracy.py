"""Train the same folds with nnU-Net and with nnseg, equally long, and compare their Dice.

Both get the same cases, the same number of optimizer steps and the same batch size; each has its
own plan, augmentation, loop and prediction. The masks of both are scored by ``nnseg evaluate``.
A training that is done is not repeated, so that a run which was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance

import meter
from scipy.stats import t as student


@dataclass(frozen=True)
class Task:
    """A dataset in one configuration."""

    dataset: str
    configuration: str
    batch_size: int

    @property
    def number(self) -> str:
        """nnU-Net's number of the dataset."""
        return str(int(self.dataset.removeprefix("Dataset")[:3]))


TASKS = {
    "hippocampus": Task("Dataset004_Hippocampus", "3d_fullres", 2),
    "nuclei": Task("Dataset018_Nuclei", "2d", 4),
}


@dataclass(frozen=True)
class Comparison:
    """What is trained, and where it is kept."""

    task: Task
    data: Path
    work: Path
    peer_python: Path
    epochs: int
    iterations: int

    def ours(self, fold: int, seed: int) -> float:
        """Mean Dice of nnseg on a fold."""
        workspace = self.work / "ours"
        name = f"{self.task.configuration}-{self.epochs}x{self.iterations}-seed{seed}"
        options = {
            "trainer.epochs": self.epochs,
            "trainer.iterations": self.iterations,
            "trainer.validation_iterations": 1,
            "batch_size": self.task.batch_size,
        }
        folder = workspace / "models" / self.task.dataset / name / f"fold_{fold}" / "validation"
        if not (folder / "summary.json").is_file():
            settings = [
                part for key, value in options.items() for part in ("--set", f"{key}={value}")
            ]
            self._run(
                *(sys.executable, "-m", "nnseg_core", "train", self.data / self.task.dataset),
                *(self.task.configuration, "--fold", fold, "--seed", seed, "--device", "cpu"),
                *("--workspace", workspace, "--name", name, *settings),
            )
        return self._dice(folder)

    def theirs(self, fold: int, seed: int) -> float:
        """Mean Dice of nnU-Net on a fold."""
        kept = self.work / "theirs" / "masks" / self.task.dataset
        kept /= f"{self.epochs}x{self.iterations}-fold{fold}-seed{seed}"
        if not kept.is_dir():
            plans = self._their_plans()
            self._run(
                *(self.peer_python, Path(__file__).with_name("theirs.py"), "learn"),
                *(self.task.number, self.task.configuration, plans, fold, seed),
                f"{self.epochs}x{self.iterations}",
            )
            results = self.work / "theirs" / "results" / self.task.dataset
            name = f"nnUNetTrainer__{plans}__{self.task.configuration}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            (results / name / f"fold_{fold}" / "validation").rename(kept)
            shutil.rmtree(results / name)
        return self._dice(kept)

    def _their_plans(self) -> str:
        """Its own plan with our batch size; the folds are equal, as the tests of splits show."""
        folder = self.work / "theirs" / "preprocessed" / self.task.dataset
        name = f"batch{self.task.batch_size}"
        if not (folder / f"{name}.json").is_file():
            raw = self.work / "theirs" / "raw" / self.task.dataset
            raw.parent.mkdir(parents=True, exist_ok=True)
            if not raw.exists():
                raw.symlink_to(self.data / self.task.dataset)
            command = self.peer_python.parent / "nnUNetv2_plan_and_preprocess"
            self._run(command, "-d", self.task.number, "-c", self.task.configuration, "-np", 2)
            plan = json.loads((folder / "nnUNetPlans.json").read_text())
            plan["configurations"][self.task.configuration]["batch_size"] = self.task.batch_size
            (folder / f"{name}.json").write_text(json.dumps({**plan, "plans_name": name}))
        return name

    def _dice(self, masks: Path) -> float:
        output = self.work / "scores"
        references = self.data / self.task.dataset / "labelsTr"
        self._run(
            *(sys.executable, "-m", "nnseg_core", "evaluate", masks, references),
            *("--allow-missing", "--output", output),
        )
        dice = json.loads((output / "summary.json").read_text())["foreground_mean"]["Dice"]
        return float(dice)

    def _run(self, *command: object) -> None:
        theirs = self.work / "theirs"
        environment = {
            **os.environ,
            "nnUNet_raw": str(theirs / "raw"),
            "nnUNet_preprocessed": str(theirs / "preprocessed"),
            "nnUNet_results": str(theirs / "results"),
            "nnUNet_compile": "f",
            "nnUNet_n_proc_DA": "2",
            "PYTHONWARNINGS": "ignore",
        }
        with (self.work / "accuracy.log").open("a+", encoding="utf-8") as log:
            meter.run(list(map(str, command)), environment, log)


def difference(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """Of the means, and half the width of its 95 % interval (Welch's)."""
    errors = [variance(scores) / len(scores) for scores in (ours, theirs)]
    total = sum(errors)
    if total == 0:
        return mean(ours) - mean(theirs), 0.0
    degrees = total**2 / sum(
        error**2 / (len(scores) - 1) for error, scores in zip(errors, (ours, theirs), strict=True)
    )
    return mean(ours) - mean(theirs), float(student.ppf(0.975, degrees)) * total**0.5


def line(name: str, fold: int, ours: list[float], theirs: list[float]) -> str:
    """A row of the table."""

    def listed(scores: list[float]) -> str:
        return f"{mean(scores):.4f} ({', '.join(f'{score:.4f}' for score in scores)})"

    gap, half = difference(ours, theirs)
    return (
        f"| {name} | {fold} | {listed(theirs)} | {listed(ours)} | {gap:+.4f} "
        f"({gap - half:+.4f} to {gap + half:+.4f}) |"
    )


def main() -> None:
    """Compare, and print the table as it grows."""
    options = _options()
    print("| Data | Fold | nnU-Net (seeds) | nnseg (seeds) | Difference (95 %) |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name in options.tasks.split(","):
        comparison = Comparison(
            task=TASKS[name],
            data=Path(os.environ["NNSEG_TEST_DATA"]),
            work=options.work.absolute(),
            peer_python=options.peer_python.absolute(),
            epochs=options.epochs,
            iterations=options.iterations,
        )
        comparison.work.mkdir(parents=True, exist_ok=True)
        for fold in map(int, options.folds.split(",")):
            ours, theirs = [], []
            for seed in range(options.seeds):  # side by side, so that a stopped run compares too
                ours.append(comparison.ours(fold, seed))
                theirs.append(comparison.theirs(fold, seed))
                print(
                    f"  seed {seed}: {theirs[-1]:.4f} {ours[-1]:.4f}", file=sys.stderr, flush=True
                )
            print(line(name, fold, ours, theirs), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--folds", default="0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=30)
    return parser.parse_args()


if __name__ == "__main__":
    main()
