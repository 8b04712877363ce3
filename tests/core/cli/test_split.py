"""``nnseg split`` and ``nnseg train --fold`` as users type them, and cases that come later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nnseg_core.files import write_json
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    "trainer.epochs=1",
    "trainer.iterations=1",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "planner.patch_size=[32,32]",
    "batch_size=2",
)


class Place:
    """A dataset and its workspace."""

    def __init__(self, folder: Path) -> None:
        self.dataset = folder / "Dataset001_Cells"
        self.workspace = folder / "workspace"
        self.here = self.workspace / "datasets" / "Dataset001_Cells"
        self.splits = self.here / "splits.json"

    def run(self, command: str, *more: object) -> int:
        return run(command, self.dataset, *more, "--workspace", self.workspace, "--workers", 0)

    def split(self, *more: object) -> int:
        return self.run("split", *more)

    def train(self, *more: object) -> int:
        settings = [part for setting in TINY for part in ("--set", setting)]
        return self.run("train", "2d", "--device", "cpu", "--name", "m", *settings, *more)

    def written(self) -> Any:
        return json.loads(self.splits.read_text())

    def add_cases(self) -> None:
        """Both test cases become training cases."""
        for path in self.dataset.glob("*Ts/*.png"):
            shutil.copy(path, self.dataset / f"{path.parent.name[:-2]}Tr" / path.name)
        path = self.dataset / "dataset.json"
        write_json(path, json.loads(path.read_text()) | {"numTraining": 8})


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "Dataset001_Cells"
    write_planar_phantom(folder, cases=6, test_cases=2)
    return folder


@pytest.fixture
def place(phantom: Path, tmp_path: Path) -> Place:
    shutil.copytree(phantom, tmp_path / "Dataset001_Cells")
    return Place(tmp_path)


@pytest.fixture(scope="module")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two of three folds are trained."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(phantom, folder / "Dataset001_Cells")
    place = Place(folder)
    assert place.split("--folds", 3) == 0
    assert place.train("--fold", "0,1") == 0
    return place


def test_without_options_there_are_nnunets_five_folds(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split() == 0

    assert "5 folds of 6 cases (k-fold, seed 12345)" in capsys.readouterr().out
    assert len(place.written()["folds"]) == 5


def test_a_dry_run_writes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.split("--folds", 2, "--dry-run") == 0

    assert "Nothing is written." in capsys.readouterr().out
    assert not place.splits.exists()


def test_labels_are_measured_where_they_are_not_known(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split("--folds", 3, "--stratify") == 0

    assert "with nucleus" in capsys.readouterr().out
    assert place.written()["scheme"] == "stratified"
    assert (place.here / "cases.json").is_file()


def test_groups_are_kept_in_the_splits_with_their_hash(place: Place) -> None:
    table = place.dataset.parent / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"phantom_00{i},p{i // 2}\n" for i in range(6)))

    assert place.split("--folds", 3, "--groups", table) == 0

    groups = place.written()["groups"]
    assert groups["of"]["phantom_005"] == "p2"
    assert len(groups["sha256"]) == 64
    for fold in place.written()["folds"]:
        assert len({groups["of"][name] for name in fold["validation"]}) == 1


def test_a_fixed_validation_set_may_not_break_a_group(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    code = place.split("--fixed-validation", "phantom_000", "--groups", "phantom_00[01]|.*")

    assert code == 0
    code = place.split("--fixed-validation", "phantom_000", "--groups", "phantom_0")
    assert code == 2
    assert "group 'phantom_0' trains with phantom_001 and validates with phantom_000" in (
        capsys.readouterr().err
    )


def test_options_that_contradict_each_other_are_refused(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split("--sites", ".*", "--folds", 3) == 2
    assert place.split("--add", "--folds", 3) == 2

    said = capsys.readouterr().err
    assert "--sites says what the folds are, so --folds has no place." in said
    assert "--add leaves the folds as they are" in said


def test_nnunets_folds_in_the_dataset_are_used_and_told_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"phantom_00{number}" for number in range(5)]
    write_json(place.dataset / "splits_final.json", [{"train": names[1:], "val": names[:1]}])

    assert place.split() == 0

    said = capsys.readouterr().err
    assert "the folds (1) are those of" in said
    assert "cases in no fold, which stay out (1): phantom_005." in said
    assert place.written()["folds"] == [{"train": names[1:], "validation": names[:1]}]
    assert place.split() == 0
    assert "has other folds" not in capsys.readouterr().err


def test_nnunets_folds_that_are_not_used_are_told_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split("--folds", 3) == 0
    write_json(
        place.dataset / "splits_final.json", [{"train": ["phantom_000"], "val": ["phantom_001"]}]
    )

    assert place.split() == 0
    assert "splits_final.json has other folds than" in capsys.readouterr().err
    assert len(place.written()["folds"]) == 3


def test_names_like_those_of_one_patient_are_warned_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in place.dataset.glob("*Tr/*.png"):
        number = int(path.name[8:11])
        ending = "_0000.png" if path.parent.name == "imagesTr" else ".png"
        path.rename(path.parent / f"patient01{number // 2}_{number % 2}{ending}")

    assert place.split("--folds", 3) == 0
    said = capsys.readouterr().err
    assert "WARNING: by their names, 6 cases are of 3 patients" in said
    assert "patient010_0 and patient010_1" in said
    assert "nnseg split DATASET --groups names" in said

    assert place.split("--folds", 3, "--groups", "names") == 0
    assert "WARNING" not in capsys.readouterr().err
    assert sorted(place.written()["groups"]["of"].values())[::2] == [
        "patient010",
        "patient011",
        "patient012",
    ]


def test_a_fold_that_does_not_exist_is_refused(
    trained: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained.train("--fold", 3) == 2

    assert (
        "there is no fold 3: the dataset has folds 0 to 2. 'nnseg split DATASET --folds 4' would "
        "draw more."
    ) in capsys.readouterr().err


def test_folds_are_told_apart_in_the_record_of_the_run(trained: Place) -> None:
    for number in (0, 1):
        fold = trained.workspace / "models" / "Dataset001_Cells" / "m" / f"fold_{number}"
        record = json.loads((fold / "run.json").read_text())
        assert record["split"] == trained.written()["folds"][number]


def test_folds_that_were_trained_are_not_changed_unless_forced(
    trained: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.splits.read_text()
    try:
        assert trained.split("--folds", 2) == 2
        assert "these were trained with other folds: m fold 0" in capsys.readouterr().err
        assert trained.splits.read_text() == before

        assert trained.split("--folds", 2, "--force") == 0
        assert trained.train("--fold", 0) == 2
        assert "fold_0 was trained with other folds" in capsys.readouterr().err
    finally:
        trained.splits.write_text(before)


def test_each_trains_what_is_left(trained: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained.train("--fold", "each") == 0

    said = capsys.readouterr().err
    assert "fold 0 is trained and scored already" in said
    assert "fold 1 is trained and scored already" in said
    assert "fold 2: 4 to train, 2 to validate" in said
    model = trained.workspace / "models" / "Dataset001_Cells" / "m"
    assert (model / "fold_2" / "validation" / "summary.json").is_file()


def test_a_plan_that_is_not_frozen_wants_to_know_what_to_do_with_new_cases(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("preprocess", "-c", "2d") == 0
    place.add_cases()

    assert place.run("preprocess", "-c", "2d") == 2

    assert (
        "Run nnseg plan again, or let the new cases join this plan with --freeze-plan."
    ) in capsys.readouterr().err


def test_only_new_cases_are_read_where_the_plan_is_frozen(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split("--folds", 3) == 0
    assert place.run("preprocess", "-c", "2d") == 0
    plan, measured = place.here / "standard" / "plan.json", place.here / "fingerprint.json"
    kept = {path: path.read_bytes() for path in (plan, measured)}
    stored = {path: path.stat().st_mtime_ns for path in (plan.parent / "2d").glob("*/*")}
    folds = place.written()["folds"]
    place.add_cases()

    assert place.run("preprocess", "-c", "2d", "--freeze-plan", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "2 of 8 cases would be read" in shown
    assert "2d: 2 of 8 cases" in shown
    assert place.run("preprocess", "-c", "2d", "--freeze-plan") == 0

    assert "the plan is frozen: 2 of 8 cases are new" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in kept} == kept
    assert {path: path.stat().st_mtime_ns for path in stored} == stored
    assert len(list((plan.parent / "2d").glob("*/case.json"))) == 8
    assert place.run("preprocess", "-c", "2d") == 0  # it is known from now on
    assert {path: path.read_bytes() for path in kept} == kept

    assert place.split("--add") == 0
    assert (
        "new cases in the folds (2): phantom_006, phantom_007; to validate with"
        in capsys.readouterr().err
    )
    for old, new in zip(folds, place.written()["folds"], strict=True):
        assert set(old["train"]) <= set(new["train"])
        assert set(old["validation"]) <= set(new["validation"])

    assert place.run("plan") == 0  # all cases, a new fingerprint
    assert len(json.loads(measured.read_text())["shapes"]) == 8


def test_nothing_can_be_frozen_before_there_is_a_plan(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("preprocess", "--freeze-plan") == 2

    assert "--freeze-plan keeps what has been measured and planned" in capsys.readouterr().err


def test_cases_that_are_gone_are_named_and_can_be_taken_out(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.split("--folds", 3) == 0
    for path in place.dataset.glob("*Tr/phantom_000*"):
        path.unlink()

    assert place.train("--fold", 0, "--dry-run") == 2
    assert "names cases that the dataset does not have: phantom_000" in capsys.readouterr().err
    assert place.split("--add") == 0
    assert "gone, and taken out of the folds (1): phantom_000." in capsys.readouterr().err
    assert place.train("--fold", 0, "--dry-run") == 0


def test_a_new_case_without_a_patient_is_refused_with_the_remedy(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    table = place.dataset.parent / "patients.csv"
    rows = [f"phantom_00{number},p{number // 2}\n" for number in range(8)]
    table.write_text("case,patient\n" + "".join(rows[:6]))
    assert place.split("--folds", 3, "--groups", table) == 0
    place.add_cases()

    assert place.train("--dry-run") == 2
    said = capsys.readouterr().err
    assert "new cases need a group, as the others have" in said
    assert "nnseg split DATASET --add --groups TABLE" in said

    table.write_text("case,patient\n" + "".join(rows))
    assert place.split("--add", "--groups", table) == 0
    validation = [set(fold["validation"]) for fold in place.written()["folds"]]
    assert sum({"phantom_006", "phantom_007"} <= half for half in validation) == 1


def test_the_plan_of_another_dataset_moves(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = ("--patch-size", "32,32")
    assert place.run("plan", *patch, "--set", "batch_size=3", "--set", "trainer.epochs=7") == 0
    other = Place(tmp_path)
    other.dataset = tmp_path / "Dataset002_Others"
    shutil.copytree(place.dataset, other.dataset)
    path = other.dataset / "dataset.json"
    described = json.loads(path.read_text())
    write_json(path, described | {"labels": {"background": 0, "body": 1, "core": 2}})

    assert other.run("plan", "--from", place.here / "standard", "--plan", "moved") == 0

    moved = tmp_path / "workspace" / "datasets" / "Dataset002_Others" / "moved" / "plan.json"
    plan, source = (json.loads(p.read_text()) for p in (moved, place.here / "standard/plan.json"))
    ours, theirs = plan["configurations"]["2d"], source["configurations"]["2d"]
    for part in ("spacing", "patch_size", "batch_size", "features", "strides", "normalization"):
        assert ours[part] == theirs[part]
    assert plan["intensities"] == source["intensities"]
    assert list(plan["dataset"]["labels"]["values"]) == ["body", "core"]
    assert "epochs" not in ours["trainer"]["options"]

    write_json(path, described | {"channel_names": {"0": "CT"}})
    assert other.run("plan", "--from", place.here / "standard", "--plan", "moved") == 2
    assert "is for the channels phantom, but Dataset001_Cells has CT" in capsys.readouterr().err


def test_a_moved_plan_leaves_nothing_to_decide(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("plan", "--from", tmp_path, "--memory", "4GB") == 2
    assert "--from takes spacing, patches and networks" in capsys.readouterr().err
    assert place.run("plan", "--from", tmp_path / "nowhere") == 2
    assert "there is no plan at" in capsys.readouterr().err
