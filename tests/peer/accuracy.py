"""Train the same folds with nnU-Net and with nnseg, equally long, and compare their Dice.

Both get the same cases, the same number of optimizer steps, the same batch size and the same
optimizer; each has its own plan, augmentation, loop and prediction. The masks of both are scored
by ``nnseg evaluate``. A training that is done is not repeated, so that a run which was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, variance
from tempfile import TemporaryDirectory

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
    "nuclei": Task("Dataset018_Nuclei", "2d", 3),
}


@dataclass(frozen=True)
class Course:
    """How both train: equally long, with equally wide networks and the same optimizer.

    ``width`` is the share of the planned features; ``threads`` are those of each training.
    """

    epochs: int
    iterations: int
    learning_rate: float
    momentum: float
    width: float
    threads: int

    def __str__(self) -> str:
        rate = f"lr{self.learning_rate:g}-momentum{self.momentum:g}"
        return f"{self.epochs}x{self.iterations}-{rate}-width{self.width:g}"


@dataclass(frozen=True)
class Comparison:
    """What is trained, and where it is kept."""

    task: Task
    course: Course
    data: Path
    work: Path
    peer_python: Path

    @property
    def plan(self) -> str:
        """Name of nnU-Net's plan with our batch size and width."""
        return f"batch{self.task.batch_size}-width{self.course.width:g}"

    def prepare(self) -> None:
        """Plan and preprocess with both, once for all trainings."""
        raw, theirs = self.data / self.task.dataset, self.work / "theirs"
        folder = theirs / "preprocessed" / self.task.dataset
        if not (folder / f"{self.plan}.json").is_file():
            link = theirs / "raw" / self.task.dataset
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(raw)
            command = self.peer_python.parent / "nnUNetv2_plan_and_preprocess"
            self._run(command, "-d", self.task.number, "-c", self.task.configuration, "-np", 2)
            plan = json.loads((folder / "nnUNetPlans.json").read_text())
            configuration = plan["configurations"][self.task.configuration]
            configuration["batch_size"] = self.task.batch_size
            network = configuration["architecture"]["arch_kwargs"]
            network["features_per_stage"] = self._narrowed(network["features_per_stage"])
            named = {**plan, "plans_name": self.plan}
            (folder / f"{self.plan}.json").write_text(json.dumps(named))
        self._ours("preprocess", raw, "-c", self.task.configuration)

    def ours(self, fold: int, seed: int) -> float:
        """Mean Dice of nnseg on a fold."""
        name = f"{self.task.configuration}-{self.course}-seed{seed}"
        folder = self.work / "ours" / "models" / self.task.dataset / name / f"fold_{fold}"
        if not (folder / "validation" / "summary.json").is_file():
            plan = self.work / "ours" / "datasets" / self.task.dataset / "standard" / "plan.json"
            planned = json.loads(plan.read_text())["configurations"][self.task.configuration]
            options = {
                "trainer.epochs": self.course.epochs,
                "trainer.iterations": self.course.iterations,
                "trainer.validation_iterations": 1,
                "trainer.learning_rate": self.course.learning_rate,
                "trainer.momentum": self.course.momentum,
                "batch_size": self.task.batch_size,
                "features": self._narrowed(planned["features"]),
            }
            settings = [
                part for key, value in options.items() for part in ("--set", f"{key}={value}")
            ]
            self._ours(
                *("train", self.data / self.task.dataset, self.task.configuration),
                *("--fold", fold, "--seed", seed, "--device", "cpu", "--name", name, *settings),
            )
        return self._dice(folder / "validation")

    def theirs(self, fold: int, seed: int) -> float:
        """Mean Dice of nnU-Net on a fold."""
        run = f"{self.course}-fold{fold}-seed{seed}"
        kept = self.work / "theirs" / "masks" / self.task.dataset / run
        if not kept.is_dir():
            results = self.work / "theirs" / "results" / f"{self.task.number}-{run}"
            self._run(
                *(self.peer_python, Path(__file__).with_name("theirs.py"), "learn"),
                *(self.task.number, self.task.configuration, self.plan, fold, seed),
                f"{self.course.epochs}x{self.course.iterations}",
                *(self.course.learning_rate, self.course.momentum, self.course.threads),
                results=results,
            )
            kept.parent.mkdir(parents=True, exist_ok=True)
            (masks,) = results.glob(f"*/*/fold_{fold}/validation")
            masks.rename(kept)
            shutil.rmtree(results)
        return self._dice(kept)

    def _narrowed(self, features: list[int]) -> list[int]:
        return [max(1, round(self.course.width * each)) for each in features]

    def _dice(self, masks: Path) -> float:
        with TemporaryDirectory() as output:
            self._ours(
                *("evaluate", masks, self.data / self.task.dataset / "labelsTr"),
                *("--allow-missing", "--output", Path(output) / "scores"),
                workspace=False,
            )
            summary = json.loads((Path(output) / "scores" / "summary.json").read_text())
        return float(summary["foreground_mean"]["Dice"])

    def _ours(self, *command: object, workspace: bool = True) -> None:
        folder = ("--workspace", self.work / "ours") if workspace else ()
        self._run(sys.executable, "-m", "nnseg_core", *command, *folder)

    def _run(self, *command: object, results: Path | None = None) -> None:
        theirs = self.work / "theirs"
        environment = {
            **os.environ,
            "nnUNet_raw": str(theirs / "raw"),
            "nnUNet_preprocessed": str(theirs / "preprocessed"),
            "nnUNet_results": str(results or theirs / "results"),
            "nnUNet_compile": "f",
            "nnUNet_n_proc_DA": "1",
            "OMP_NUM_THREADS": str(self.course.threads),
            "PYTHONWARNINGS": "ignore",
        }
        kept = self.work / "logs" / f"{threading.get_native_id()}.log"
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a+", encoding="utf-8") as log:
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
    """Train side by side, then print the table."""
    options = _options()
    cores = os.cpu_count() or 1
    course = Course(
        epochs=options.epochs,
        iterations=options.iterations,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        width=options.width,
        threads=max(1, cores // options.jobs),
    )
    comparisons = {
        name: Comparison(
            task=TASKS[name],
            course=course,
            data=Path(os.environ["NNSEG_TEST_DATA"]),
            work=options.work.absolute(),
            peer_python=options.peer_python.absolute(),
        )
        for name in options.tasks.split(",")
    }
    folds, seeds = list(map(int, options.folds.split(","))), range(options.seeds)
    for comparison in comparisons.values():
        comparison.prepare()
    with ThreadPoolExecutor(options.jobs) as pool:
        dice = {  # both sides in turn, so that a run which was stopped has pairs
            (name, fold, side, seed): pool.submit(getattr(comparison, side), fold, seed)
            for name, comparison in comparisons.items()
            for fold in folds
            for seed in seeds
            for side in ("theirs", "ours")
        }
        for (name, fold, side, seed), future in dice.items():
            print(f"{name} fold {fold} seed {seed} {side}: {future.result():.4f}", flush=True)
    print("| Data | Fold | nnU-Net (seeds) | nnseg (seeds) | Difference (95 %) |")
    print("| --- | --- | --- | --- | --- |")
    for name in comparisons:
        for fold in folds:
            ours = [dice[name, fold, "ours", seed].result() for seed in seeds]
            theirs = [dice[name, fold, "theirs", seed].result() for seed in seeds]
            print(line(name, fold, ours, theirs))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--folds", default="0")
    parser.add_argument("--seeds", type=int, default=3, help="at least 2")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.99)
    parser.add_argument("--width", type=float, default=1.0, help="share of the planned features")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    return parser.parse_args()


if __name__ == "__main__":
    main()
