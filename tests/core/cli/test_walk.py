"""One dataset through every command, as a user would type them, on a small phantom."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnseg_core import load_model
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom

TINY = (
    "trainer.epochs=2",
    "trainer.iterations=2",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "planner.patch_size=[32,32]",
    "batch_size=2",
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name has a space and a letter beyond ASCII."""
    folder = tmp_path_factory.mktemp("wörk space")
    write_planar_phantom(folder / "Dataset001_Cells", cases=6, test_cases=2)
    return folder


def train(folder: Path, name: str, *more: object) -> Path:
    settings = [part for setting in TINY for part in ("--set", setting)]
    code = run(
        *("train", folder / "Dataset001_Cells", "2d", "--workspace", folder / "workspace"),
        *("--name", name, "--workers", 0, "--device", "cpu", *settings, *more),
    )
    assert code == 0
    return folder / "workspace" / "models" / "Dataset001_Cells" / name


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return train(folder, "first")


def test_training_leaves_a_model_scores_and_pictures(model: Path) -> None:
    fold = model / "fold_0"

    assert {path.name for path in fold.iterdir()} >= {
        *("weights.safetensors", "run.json", "metrics.csv", "metrics.jsonl", "progress.png"),
        "validation",
    }
    left = {path.suffix or path.name for path in (fold / "validation").iterdir()}
    assert left == {".png", ".json", ".csv", "logits"}
    record = json.loads((fold / "run.json").read_text())
    assert record["settings"]["trainer.epochs"] == 2
    assert set(record["packages"]) >= {"torch", "numpy", "nnseg"}
    assert all(len(key) == 64 for key in record["case_keys"].values())


def test_the_last_line_of_a_training_is_the_model_folder(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(folder, "first")  # finished already: nothing is trained again

    assert capsys.readouterr().out.strip().splitlines()[-1] == str(model)


def test_one_seed_gives_bit_equal_weights(folder: Path, model: Path) -> None:
    again = train(folder, "second")

    first, second = (m / "fold_0" / "weights.safetensors" for m in (model, again))
    assert first.read_bytes() == second.read_bytes()


def test_another_seed_gives_other_weights(folder: Path, model: Path) -> None:
    other = train(folder, "other", "--seed", 1)

    first, second = (m / "fold_0" / "weights.safetensors" for m in (model, other))
    assert first.read_bytes() != second.read_bytes()


def test_folds_of_one_model_have_one_plan(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        *("train", folder / "Dataset001_Cells", "2d", "--workspace", folder / "workspace"),
        *("--name", "first", "--fold", 1, "--set", "trainer.epochs=3"),
    )

    assert code == 2
    assert "holds folds that were trained with other settings" in capsys.readouterr().err


def test_predictions_lie_on_the_images_and_can_be_scored(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, masks = folder / "Dataset001_Cells", folder / "masks"

    assert run("predict", model, dataset / "imagesTs", masks, "--probabilities") == 0
    images = ("--images", dataset / "imagesTs")
    assert run("evaluate", masks, dataset / "labelsTs", *images, "--workers", 0) == 0

    mask = np.asarray(Image.open(masks / "phantom_006.png"))
    assert mask.shape == (64, 64)
    with np.load(masks / "phantom_006_probabilities.npz", allow_pickle=False) as file:
        np.testing.assert_allclose(file["probability"].sum(axis=0), 1, atol=1e-5)
        np.testing.assert_array_equal(file["probability"].argmax(axis=0)[0], mask)
    summary = json.loads((masks / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == 2
    assert (masks / "phantom_006_overlay.png").is_file()
    assert "cell" in capsys.readouterr().out


def test_continue_leaves_masks_that_are_there(folder: Path, model: Path) -> None:
    dataset, masks = folder / "Dataset001_Cells", folder / "continued"
    masks.mkdir()
    (masks / "phantom_006.png").write_bytes(b"mine")

    assert run("predict", model, dataset / "imagesTs", masks, "--continue") == 0

    assert (masks / "phantom_006.png").read_bytes() == b"mine"
    assert (masks / "phantom_007.png").is_file()


def test_python_gives_the_mask_of_the_command_line(folder: Path, model: Path) -> None:
    path = folder / "Dataset001_Cells" / "imagesTs" / "phantom_006_0000.png"
    loaded = load_model(model, device="cpu")

    from_file = loaded.predict(path)
    pixels = np.asarray(Image.open(path), dtype=np.float32)
    from_array = loaded.predict(pixels, spacing=(1.0, 1.0), probabilities=True)

    np.testing.assert_array_equal(from_file.label, from_array.label)
    assert from_array.label.shape == (1, 64, 64)
    assert from_array.probability is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nowhere", "x", "y"), "nowhere is not a model folder"),
        (("train", "nowhere", "2d"), "dataset.json does not exist"),
        (("plan",), "give a dataset folder, or --fingerprint with --dataset-json"),
        (("plan", "nowhere", "--memory", "much"), "--memory much: write it like 16GB"),
        (("plugins", "trianer"), "no kind is named 'trianer'"),
        (("evaluate", "nowhere", "nothing"), "there is no folder nowhere"),
        (("evaluate", str(Path(__file__).parent), "nothing"), "no dataset.json beside nothing"),
        (("plan", "nowhere", "--plan", "../mine"), "--plan '../mine': it names a folder"),
        (("plan", "nowhere", "--plan", ""), "--plan '': it names a folder"),
        (("plan", "nowhere", "--memory", "nan"), "--memory nan: it must be more than 0"),
        (("train", "nowhere", "2d", "--name", "a/b"), "--name 'a/b': it names a folder"),
    ],
)
def test_mistakes_end_in_one_message_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNSEG_WORKSPACE", str(tmp_path / "workspace"))

    code = run(*arguments)

    error = capsys.readouterr().err
    assert code == 2
    assert "error: " in error
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.epoch=3", "has no option 'epoch'. Did you mean 'epochs'?"),
        ("trainer.epochs=many", "option 'epochs' of trainer 'standard'"),
        ("trainer=quikc", "no trainer is named 'quikc'. Did you mean 'quick'?"),
        ("batch_sise=3", "batch_sise"),
        ("patch_size=[33,32]", "make it a multiple of"),
        ('normalization=["nonorm"]', "it belongs to a plan. Make one with nnseg plan --set norm"),
        ("predictor.mirror_axes=[2]", "predictor.mirror_axes is [2], but the patch has 2 axes"),
        ("trainer.batch_size=0", "batch_size must be above 0, not 0"),
        ("trainer.foreground_share=7", "foreground_share must be from 0 to 1, not 7"),
    ],
)
def test_a_wrong_setting_is_found_before_any_work(
    folder: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        *("train", folder / "Dataset001_Cells", "2d", "--workspace", folder / "workspace"),
        *("--name", "wrong", "--workers", 0, "--set", setting),
    )

    assert code == 2
    assert message in capsys.readouterr().err
    assert not (folder / "workspace" / "models" / "Dataset001_Cells" / "wrong").exists()


def test_a_plan_with_a_wrong_setting_is_not_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        *("plan", folder / "Dataset001_Cells", "--workspace", folder / "workspace"),
        *("--plan", "wrong", "--workers", 0, "--set", "trainer.epoch=3"),
    )

    assert code == 2
    assert "Did you mean 'epochs'?" in capsys.readouterr().err
    assert not (folder / "workspace" / "datasets" / "Dataset001_Cells" / "wrong").exists()


def test_a_seed_below_zero_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", folder / "Dataset001_Cells", "2d", "--seed", -1) == 2
    assert "--seed" in capsys.readouterr().err


def test_a_file_in_place_of_a_folder_is_named(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "file"
    file.touch()

    dataset = folder / "Dataset001_Cells"
    for arguments in (
        ("check", dataset, "--workers", 0, "--workspace", file),
        ("predict", model, dataset / "imagesTs", file),
        ("predict", model, dataset / "imagesTs", file / "masks"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert f"error: {file}" in error
        assert "Traceback" not in error


def test_no_mask_takes_the_place_of_its_image(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = folder / "unnumbered" / "scan.png"
    image.parent.mkdir()
    shutil.copy(folder / "Dataset001_Cells" / "imagesTs" / "phantom_006_0000.png", image)
    before = image.read_bytes()

    assert run("predict", model, image.parent, image.parent) == 2

    assert "scan.png would replace it" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_a_channel_without_those_before_it_is_refused(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = folder / "gap" / "scan_0001.png"
    image.parent.mkdir()
    shutil.copy(folder / "Dataset001_Cells" / "imagesTs" / "phantom_006_0000.png", image)

    assert run("predict", model, image.parent, folder / "none") == 2

    assert "numbered from 0: scan_0000.png" in capsys.readouterr().err


def test_a_part_that_the_user_chose_is_not_blamed_on_the_model(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder / "Dataset001_Cells" / "imagesTs"

    assert run("predict", model, images, folder / "none", "--set", "predictor=tile") == 2

    error = capsys.readouterr().err
    assert "error: no predictor is named 'tile'. Did you mean 'tiles'?" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "should be an object in braces"),
        ('{"configuration": "2d"}', "providers: is missing"),
        ('{"configuration": "3d", "providers": {}}', "names configuration '3d', but plan.json"),
    ],
)
def test_an_edited_model_json_is_named(
    folder: Path, model: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about = model / "model.json"
    before = about.read_text()
    about.write_text(text)
    try:
        code = run("predict", model, folder / "Dataset001_Cells" / "imagesTs", folder / "none")
    finally:
        about.write_text(before)

    assert code == 2
    assert message in capsys.readouterr().err


def test_a_reference_of_0_and_255_is_refused(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references, masks = folder / "references", folder / "Dataset001_Cells" / "labelsTs"
    references.mkdir()
    pixels = np.asarray(Image.open(masks / "phantom_006.png"))
    Image.fromarray(np.where(pixels > 0, 255, 0).astype(np.uint8)).save(
        references / "phantom_006.png"
    )
    described = ("--dataset-json", folder / "Dataset001_Cells" / "dataset.json")

    assert run("evaluate", masks, references, *described, "--workers", 0) == 2

    assert "A mask of 0 and 255 must hold 1 instead of 255." in capsys.readouterr().err


def test_a_stray_file_is_noticed_though_no_other_file_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = folder / "Dataset001_Cells"
    check = ("check", dataset, "--workspace", folder / "workspace", "--workers", 0)
    assert run(*check) == 0
    stray = dataset / "labelsTr" / "lonely.png"
    stray.touch()
    try:
        code = run(*check)
    finally:
        stray.unlink()

    assert code == 2
    assert "there is no image for this label" in capsys.readouterr().err


@pytest.mark.parametrize("half", ["train", "validation"])
def test_a_fold_without_cases_is_refused(
    folder: Path, model: Path, half: str, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = folder / "workspace" / "datasets" / "Dataset001_Cells" / "splits.json"
    before = splits.read_text()
    splits.write_text(json.dumps([json.loads(before)["folds"][0] | {half: []}]))
    try:
        code = run(
            *("train", folder / "Dataset001_Cells", "2d", "--name", "half", "--workers", 0),
            *("--workspace", folder / "workspace"),
        )
    finally:
        splits.write_text(before)

    assert code == 2
    assert "needs cases to train on and cases to validate with" in capsys.readouterr().err


def test_a_configuration_that_was_not_planned_says_which_were(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        *("train", folder / "Dataset001_Cells", "3d_fullres"),
        *("--workspace", folder / "workspace", "--workers", 0),
    )

    assert code == 2
    assert "has no configuration '3d_fullres'. It has: 2d." in capsys.readouterr().err


def test_a_plan_is_printed_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = folder / "json"

    assert run("plan", folder / "Dataset001_Cells", "--json", "--workspace", workspace) == 0

    plan = json.loads(capsys.readouterr().out)
    assert set(plan["configurations"]["2d"]) >= {
        *("patch_size", "batch_size", "spacing", "median_shape", "strides"),
        *("kernel_sizes", "features", "normalization", "batch_dice"),
    }


def test_an_edited_plan_is_used_and_a_changed_dataset_noticed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, dataset = folder / "edited", folder / "Dataset001_Cells" / "dataset.json"
    run("plan", dataset.parent, "--workspace", workspace)
    before = dataset.read_text()
    dataset.write_text(before.replace('"cell"', '"Cell"'))
    try:
        code = run("train", dataset.parent, "2d", "--workspace", workspace, "--workers", 0)
    finally:
        dataset.write_text(before)

    assert code == 2
    assert "has changed since the plan" in capsys.readouterr().err


def test_planner_options_do_not_silently_miss_a_plan_that_is_there(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        *("train", folder / "Dataset001_Cells", "2d", "--workspace", folder / "workspace"),
        *("--name", "more", "--workers", 0, "--memory", "2GB"),
    )

    assert code == 2
    assert "was made with other options of the planner" in capsys.readouterr().err
