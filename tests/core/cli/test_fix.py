"""``nnseg fix``: what is in the copy, and that a training on it works."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_phantom, write_planar_phantom

TINY = (
    "trainer.epochs=1",
    "trainer.iterations=2",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "planner.patch_size=[64,64]",
    "predictor.mirror_axes=[]",
    "batch_size=2",
)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(import_module("nnseg_core.pipeline.examine"), "SAMPLES", 1000)
    monkeypatch.setenv("NNSEG_WORKSPACE", str(tmp_path / "workspace"))


def wild(folder: Path, cases: int = 5) -> Path:
    """Two plain folders: RGBA pictures, and masks of 0 and 255."""
    write_planar_phantom(folder / "before", cases=cases, test_cases=0)
    for part in ("images", "masks"):
        (folder / "Wild" / part).mkdir(parents=True)
    for path in (folder / "before" / "imagesTr").iterdir():
        name = path.name.replace("_0000", "")
        Image.open(path).convert("RGBA").save(folder / "Wild" / "images" / name)
        mask = np.asarray(Image.open(folder / "before" / "labelsTr" / name))
        white = np.where(mask > 0, 255, 0).astype(np.uint8)
        Image.fromarray(white).save(folder / "Wild" / "masks" / name)
    return folder / "Wild"


def train(dataset: Path) -> Path:
    settings = [part for setting in TINY for part in ("--set", setting)]
    code = run("train", dataset, "2d", "--name", "m", "--workers", 0, "--device", "cpu", *settings)
    assert code == 0
    return dataset.parent / "workspace" / "models" / dataset.name / "m"


def changes(folder: Path) -> list[dict[str, str]]:
    log = json.loads((folder / "changes.json").read_text(encoding="utf-8"))
    found: list[dict[str, str]] = log["changes"]
    return found


def test_plain_folders_become_a_dataset_whose_predictions_hold_the_users_values(
    tmp_path: Path,
) -> None:
    raw, mended = wild(tmp_path), tmp_path / "Mended"

    code = run("fix", raw, mended, "--names", "0=background,1=cell", "--workers", 0)

    assert code == 0
    about = json.loads((mended / "dataset.json").read_text())
    assert about == {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "cell": 255},
        "file_ending": ".png",
        "numTraining": 5,
    }
    assert not any(path.is_symlink() for path in mended.rglob("*"))
    assert run("predict", train(mended), mended / "imagesTr", tmp_path / "masks") == 0
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "masks").glob("*.png"))]
    assert len(masks) == 5
    assert set(np.unique(masks)) <= {0, 255}


def test_a_volume_whose_label_lay_elsewhere_can_be_trained_on(tmp_path: Path) -> None:
    import SimpleITK

    write_phantom(tmp_path / "D", cases=5, test_cases=0)
    path = tmp_path / "D" / "labelsTr" / "phantom_001.nii.gz"
    label = SimpleITK.ReadImage(str(path))
    padded = SimpleITK.ConstantPad(label, (3, 2, 1), (0, 4, 2))
    SimpleITK.WriteImage(padded, str(path))

    assert run("fix", tmp_path / "D", tmp_path / "Mended", "--workers", 0) == 0

    again = SimpleITK.ReadImage(str(tmp_path / "Mended" / "labelsTr" / "phantom_001.nii.gz"))
    arrays = [SimpleITK.GetArrayFromImage(image) for image in (label, again)]
    np.testing.assert_array_equal(*arrays)
    (change,) = changes(tmp_path / "Mended")
    assert change == {
        "code": "grid-shape",
        "message": "resampled onto its image by position, nearest neighbour; 100% of its volume "
        "left",
        "case": "phantom_001",
        "file": "labelsTr/phantom_001.nii.gz",
    }
    assert (train(tmp_path / "Mended") / "fold_0" / "weights.safetensors").is_file()


def test_names_of_values_are_found_where_there_is_only_one(tmp_path: Path) -> None:
    assert run("fix", wild(tmp_path), tmp_path / "Mended", "--workers", 0) == 0

    about = json.loads((tmp_path / "Mended" / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "foreground": 255}


def test_names_of_several_values_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_planar_phantom(tmp_path / "D", cases=2, test_cases=0)
    (tmp_path / "D" / "dataset.json").unlink()

    assert run("fix", tmp_path / "D", tmp_path / "M", "--workers", 0) == 2

    assert "Name them with --names 0=background,1=name1,2=name2." in capsys.readouterr().err
    assert not (tmp_path / "M").exists()
    named = ("--names", "0=background,1=cell,2=nucleus", "--channels", "microscope")
    assert run("fix", tmp_path / "D", tmp_path / "M", "--workers", 0, *named) == 0
    about = json.loads((tmp_path / "M" / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "microscope"}
    assert about["labels"] == {"background": 0, "cell": 1, "nucleus": 2}


def test_folders_of_any_name(tmp_path: Path) -> None:
    raw = wild(tmp_path)
    (raw / "images").rename(raw / "slides")
    (raw / "masks").rename(tmp_path / "drawn")

    folders = ("--images", "slides", "--labels", tmp_path / "drawn")
    assert run("fix", raw, tmp_path / "M", "--workers", 0, *folders) == 0

    assert len(list((tmp_path / "M" / "imagesTr").iterdir())) == 5


def test_a_dry_run_says_the_same_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = wild(tmp_path)
    before = {path for path in tmp_path.rglob("*")}

    assert run("fix", raw, tmp_path / "M", "--dry-run", "--workers", 0) == 0
    dry = capsys.readouterr()
    assert {path for path in tmp_path.rglob("*")} == before

    assert run("fix", raw, tmp_path / "M", "--workers", 0) == 0
    assert capsys.readouterr().out == f"{dry.out}{tmp_path / 'M'}\n"
    assert "transparency taken out" in dry.out
    assert "dry run: nothing was written" in dry.err


@pytest.mark.parametrize(
    ("output", "message"),
    [("used", "used is there already. Name a new folder"), ("Wild/new", "which is only read")],
)
def test_the_copy_goes_to_a_new_folder_elsewhere(
    output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = wild(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()

    assert run("fix", raw, tmp_path / output) == 2

    assert message in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["mine"]
    assert not (raw / "new").exists()


@pytest.mark.parametrize("output", ["file/copy", "file/deep/copy"])
def test_a_copy_that_cannot_be_written_is_one_message(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, file = wild(tmp_path), tmp_path / "file"
    file.touch()

    assert run("fix", raw, tmp_path / output, "--workers", 0) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / output} cannot be written: {file} is not a folder. "
        "Name a place where you may write.\n"
    )


@pytest.mark.parametrize("names", ["background", "0=background,x=cell", "0=a,1=a"])
def test_names_are_values_and_names(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fix", tmp_path, tmp_path / "M", "--names", names) == 2
    assert "write VALUE=NAME, such as 0=background,1=nucleus." in capsys.readouterr().err


def test_an_unusable_case_stays_until_it_is_told_to_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = wild(tmp_path)
    (raw / "images" / "phantom_002.png").write_bytes(b"")

    assert run("fix", raw, tmp_path / "kept", "--workers", 0) == 2
    said = capsys.readouterr().err
    assert "is empty (0 bytes)" in said
    assert f"errors left in {tmp_path / 'kept'}: 1. Mend these by hand, or leave out" in said

    assert run("fix", raw, tmp_path / "out", "--leave-out-broken", "--workers", 0) == 0
    names = {path.name for path in (tmp_path / "out").rglob("*002*")}
    assert names == set()
    assert [c["case"] for c in changes(tmp_path / "out") if c["code"] == "left-out"] == [
        "phantom_002"
    ]
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["numTraining"] == 4


def test_files_that_are_right_are_copied_byte_by_byte(tmp_path: Path) -> None:
    write_phantom(tmp_path / "D", cases=2, test_cases=0)

    assert run("fix", tmp_path / "D", tmp_path / "M", "--workers", 0) == 0

    for path in sorted((tmp_path / "D").glob("*Tr/*")):
        assert (tmp_path / "M" / path.relative_to(tmp_path / "D")).read_bytes() == (
            path.read_bytes()
        )
    assert changes(tmp_path / "M") == []


def test_a_listed_dataset_becomes_folders(tmp_path: Path) -> None:
    write_planar_phantom(tmp_path / "D", cases=2, test_cases=0)
    about = json.loads((tmp_path / "D" / "dataset.json").read_text())
    about["dataset"] = {
        "one": {"images": ["imagesTr/phantom_000_0000.png"], "label": "labelsTr/phantom_000.png"}
    }
    (tmp_path / "D" / "dataset.json").write_text(json.dumps(about))

    assert run("fix", tmp_path / "D", tmp_path / "M", "--workers", 0) == 0

    assert [path.name for path in (tmp_path / "M" / "imagesTr").iterdir()] == ["one_0000.png"]
    assert "dataset" not in json.loads((tmp_path / "M" / "dataset.json").read_text())


def test_pictures_as_found_in_the_wild(data_folder: Path, tmp_path: Path) -> None:
    raw = data_folder / "nuclei_raw"

    code = run("fix", raw, tmp_path / "M", "--names", "0=background,1=nucleus", "--workers", 0)

    assert code == 0
    before = np.asarray(Image.open(raw / "images" / "nuclei_003.png"))
    after = np.asarray(Image.open(tmp_path / "M" / "imagesTr" / "nuclei_003_0000.png"))
    np.testing.assert_array_equal(after, before[..., :3])
    assert run("preprocess", tmp_path / "M", "--workers", 0) == 0


def test_a_patient_whose_files_lie_on_different_grids(data_folder: Path, tmp_path: Path) -> None:
    source, folder = data_folder / "problems" / "grids_differ", tmp_path / "D"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate(("FLAIR", "T1W", "T2W")):
        shutil.copy(
            source / f"study1_{name}.nii.gz", folder / "imagesTr" / f"p_{number:04d}.nii.gz"
        )
    shutil.copy(source / "gt.nii.gz", folder / "labelsTr" / "p.nii.gz")
    about = {
        "channel_names": {"0": "FLAIR", "1": "T1", "2": "T2"},
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))

    assert run("check", folder, "--workers", 0) == 2
    assert run("fix", folder, tmp_path / "M", "--workers", 0) == 0

    log = {change["file"]: change["message"] for change in changes(tmp_path / "M")}
    assert log.keys() == {*(f"imagesTr/p_000{n}.nii.gz" for n in (1, 2)), "labelsTr/p.nii.gz"}
    assert "nearest neighbour" in log["labelsTr/p.nii.gz"]
    assert run("check", tmp_path / "M", "--workers", 0) == 0


def test_decoys_are_left_out(data_folder: Path, tmp_path: Path) -> None:
    decoys, folder = data_folder / "problems" / "hippocampus_decoys", tmp_path / "D"
    write_phantom(folder, cases=3, test_cases=0)
    shutil.copy(
        decoys / "image_hippocampus_118.nii.gz", folder / "imagesTr/hippocampus_118_0000.nii.gz"
    )
    for number in ("010", "281"):
        name = f"hippocampus_{number}.nii.gz"
        shutil.copy(decoys / f"label_{name}", folder / "labelsTr" / name)

    assert run("check", folder, "--workers", 0) == 2
    assert run("fix", folder, tmp_path / "M", "--workers", 0) == 0

    assert [(change["code"], change["case"]) for change in changes(tmp_path / "M")] == [
        ("no-label", "hippocampus_118"),
        ("no-image", "hippocampus_010"),
        ("no-image", "hippocampus_281"),
    ]
