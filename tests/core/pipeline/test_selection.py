"""The best of two configurations, chosen as one would by hand, and used as one model."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnseg_core import files, load_model
from nnseg_core.averaging import average, decide
from nnseg_core.dataset import Labels
from nnseg_core.ensemble import Ensemble
from nnseg_core.logits import read_logits
from nnseg_core.model_folder import EnsembleRecord, open_model
from nnseg_core.pipeline.selection import copy_model
from nnseg_core.plan import ComponentRef
from nnseg_core.scoring.overlap import count_overlap
from nnseg_core.testing.command import run
from nnseg_standard.postprocessing.components import keep_largest
from nnseg_standard.preprocessing.preprocessor import StandardPreprocessor

LABELS = Labels(values={"ball": (1,), "cube": (2,)})
SHAPE = (12, 32, 32)
TINY = (
    "trainer.epochs=2",
    "trainer.optimizer=adam",
    "trainer.iterations=30",
    "trainer.learning_rate=0.03",
    "trainer.feeder=threads",
    "trainer.validation_iterations=1",
    "trainer.precision=fp32",
    "features=[4,8]",
    "augmentation=none",
    "batch_size=4",
)
SIZES = {
    "2d": ("patch_size=[16,16]", "strides=[[1,1],[2,2]]", "kernel_sizes=[[3,3],[3,3]]"),
    "3d_fullres": (
        "patch_size=[8,16,16]",
        "strides=[[1,1,1],[2,2,2]]",
        "kernel_sizes=[[3,3,3],[3,3,3]]",
    ),
}


def shapes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball, a grey cube, and crumbs of both that belong to neither."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE)
    label = np.zeros(SHAPE, dtype=np.int16)
    label[(2 * (z - 6)) ** 2 + (y - random.integers(9, 12)) ** 2 + (x - 9) ** 2 < 50] = 1
    corner = random.integers(18, 21)
    label[3:9, corner : corner + 9, 18:27] = 2
    shown = label.copy()
    for crumb in (1, 2):
        y, x = random.integers(1, 4), random.integers(22, 28)
        shown[2 * crumb : 2 * crumb + 3, y : y + 3, x : x + 3] = crumb
    image = np.array([0, 900, 400])[shown] + random.normal(0, 20, SHAPE)
    return image.round().astype(np.int16), label


def write(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


def read(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and two configurations of it trained in both of its folds."""
    folder = tmp_path_factory.mktemp("select")
    dataset = folder / "Dataset001_Shapes"
    for number in range(5):
        image, label = shapes(number)
        part = "Tr" if number < 4 else "Ts"
        write(dataset / f"images{part}" / f"case_{number}_0000.nii.gz", image)
        write(dataset / f"labels{part}" / f"case_{number}.nii.gz", label)
    described = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1, "cube": 2},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (dataset / "dataset.json").write_text(json.dumps(described))
    assert command(folder, "split", "--folds", 2) == 0
    for configuration in SIZES:
        assert train(folder, configuration, "each") == 0
    return folder


def command(folder: Path, name: str, *more: object) -> int:
    return run(name, folder / "Dataset001_Shapes", "--workspace", folder / "workspace", *more)


def train(folder: Path, configuration: str, fold: object, *more: object) -> int:
    settings = [p for s in (*TINY, *SIZES[configuration]) for p in ("--set", s)]
    usual = ("--workers", 0, "--device", "cpu", "--fold", fold)
    return command(folder, "train", configuration, *usual, *settings, *more)


def models(folder: Path) -> Path:
    return folder / "workspace" / "models" / "Dataset001_Shapes"


def select(folder: Path, *more: object) -> int:
    return command(folder, "select", "--workers", 0, "--device", "cpu", *more)


@pytest.fixture(scope="module")
def selected(folder: Path) -> Path:
    assert select(folder) == 0
    return models(folder) / "selected"


def reference(folder: Path, case: str) -> np.ndarray:
    return read(folder / "Dataset001_Shapes" / "labelsTr" / f"{case}.nii.gz")


def validated(folder: Path, model: str) -> dict[str, Path]:
    """The out-of-fold masks of a model by case."""
    found = (models(folder) / model).glob("fold_*/validation/case_*.nii.gz")
    return {path.name.removesuffix(".nii.gz"): path for path in sorted(found)}


def by_hand(folder: Path) -> dict[str, dict[str, float]]:
    """Mean Dice per label of both models and of their mean, computed at full size."""
    masks = {name: {c: read(p) for c, p in validated(folder, name).items()} for name in NAMES}
    for pair in combinations(NAMES, 2):
        masks[" + ".join(pair)] = {case: averaged(folder, pair, case) for case in masks[pair[0]]}
    scores = {}
    for name, predicted in masks.items():
        cases = [count_overlap(m, reference(folder, c), LABELS) for c, m in predicted.items()]
        scores[name] = {
            label: float(np.nanmean([case[label].dice for case in cases], dtype=float))
            for label in LABELS.values
        }
    return scores


NAMES = ("2d-standard", "3d_fullres-standard")


def averaged(folder: Path, pair: tuple[str, ...], case: str) -> np.ndarray:
    paths = [
        validated(folder, name)[case].parent / "logits" / f"{case}.logits.b2nd" for name in pair
    ]
    restored = [
        StandardPreprocessor().restore(read_logits(path), LABELS, probabilities=True).probability
        for path in paths
    ]
    return np.mean(restored, axis=0).argmax(axis=0)


def test_it_picks_what_exhaustive_evaluation_picks(folder: Path, selected: Path) -> None:
    expected = by_hand(folder)
    means = {name: np.mean(list(dice.values())) for name, dice in expected.items()}

    found = json.loads((selected / "selection.json").read_text())

    assert max(means.values()) > 0.2, "the networks have learnt something"
    assert {" + ".join(c["members"]): c["dice"] for c in found["candidates"]} == {
        name: pytest.approx(dice, abs=1e-12) for name, dice in expected.items()
    }
    assert " + ".join(found["best"]["members"]) == max(means, key=lambda name: means[name])


def test_postprocessing_is_kept_where_it_helps(folder: Path, selected: Path) -> None:
    found = json.loads((selected / "selection.json").read_text())
    best, after = found["best"]["dice"], found["postprocessed"]["dice"]
    kept = found["postprocessor"]["options"].get("objects", [])

    assert found["postprocessor"]["name"] == "largest"
    for name in LABELS.values:
        assert (after[name] > best[name]) == (name in kept)
    for case in ("case_0", "case_3"):
        mask = read(selected / "validation" / f"{case}.nii.gz")
        for name in kept:
            value = LABELS.values[name]
            np.testing.assert_array_equal(mask, keep_largest(mask, value))
    scores = json.loads((selected / "validation" / "summary.json").read_text())
    assert scores["foreground_mean"]["Dice"] == pytest.approx(found["postprocessed"]["mean"])


@pytest.fixture(scope="module")
def pair(folder: Path) -> Path:
    """Both models as an ensemble, whichever is the best."""
    target = folder / "pair"
    for name in NAMES:
        copy_model(open_model(models(folder) / name), target / "members" / name, ("0", "1"))
    nothing = ComponentRef(name="none")
    record = EnsembleRecord(members=NAMES, postprocessor=nothing, provider="none from standard")
    files.write_json(target / "model.json", record)
    return target


def test_the_selected_model_equals_the_manual_ensemble(
    folder: Path, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder / "Dataset001_Shapes" / "imagesTs"
    parts = [folder / f"masks_{name}" for name in NAMES]
    for name, part in zip(NAMES, parts, strict=True):
        assert run("predict", models(folder) / name, images, part, "--probabilities") == 0

    assert run("predict", pair, images, folder / "by_model") == 0
    assert run("ensemble", *parts, folder / "by_hand", "--model", pair) == 0

    probabilities = [np.load(part / "case_4_probabilities.npz")["probability"] for part in parts]
    by_model = read(folder / "by_model" / "case_4.nii.gz")
    np.testing.assert_array_equal(by_model, np.mean(probabilities, axis=0).argmax(axis=0))
    np.testing.assert_array_equal(by_model, read(folder / "by_hand" / "case_4.nii.gz"))
    assert by_model.any()


def test_slabs_give_the_mean_of_the_whole(folder: Path, pair: Path) -> None:
    path = folder / "Dataset001_Shapes" / "imagesTs" / "case_4_0000.nii.gz"
    ensemble = load_model(pair, "cpu")

    found = ensemble.predict(path, probabilities=True)
    alone = [load_model(models(folder) / n, "cpu").predict(path, probabilities=True) for n in NAMES]

    mean = np.mean([segmentation.probability for segmentation in alone], axis=0)
    assert isinstance(ensemble, Ensemble)
    np.testing.assert_array_equal(found.probability, mean)
    np.testing.assert_array_equal(found.label, decide(mean, LABELS))


def test_preprocessors_without_slabs_are_averaged_whole(folder: Path) -> None:
    class Whole:
        restore = StandardPreprocessor().restore

    paths = [
        validated(folder, name)["case_0"].parent / "logits" / "case_0.logits.b2nd" for name in NAMES
    ]
    slabs = [(StandardPreprocessor(), read_logits(path)) for path in paths]
    whole = [(Whole(), read_logits(path)) for path in paths]

    expected, found = average(slabs, LABELS), average(whole, LABELS)  # type: ignore[arg-type]

    np.testing.assert_array_equal(found.label, expected.label)


def test_what_is_missing_is_said_as_commands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "2d", 0, "--name", "half", "--seed", 1) == 0
    capsys.readouterr()
    try:
        assert select(folder, "--model", "half") == 2
        error = capsys.readouterr().err
        assert select(folder, "--name", "other", "--no-ensembles") == 0
        noted = capsys.readouterr().err
    finally:
        shutil.rmtree(models(folder) / "half")

    assert "half: fold 1 is not trained. Run:\n  nnseg train" in error
    assert "2d --fold 1 --name half --augmentation none --seed 1 --set trainer.epochs=2" in error
    assert "not compared: half: fold 1 is not trained" in noted


def test_a_missing_fold_is_trained_by_the_command_as_the_others_were(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = models(folder) / NAMES[0]
    begun = ("--from", source, "--source-fold", 1, "--seed", 3, "--set", "planner.spacing=[1,1,1]")
    few = ("--set", "trainer.epochs=1", "--set", "trainer.iterations=2", "--fold", "each")
    usual = ("--workers", 0, "--device", "cpu")
    try:
        for name in ("whole", "half"):
            assert command(folder, "train", "2d", *begun, *few, *usual, "--name", name) == 0
        shutil.rmtree(models(folder) / "half" / "fold_1")
        capsys.readouterr()
        assert select(folder, "--model", "half") == 2
        said = capsys.readouterr().err.partition("Run:")[2].splitlines()[1]
        assert run(*shlex.split(said)[1:], *usual) == 0
        weights = [
            (models(folder) / name / "fold_1" / "weights.safetensors").read_bytes()
            for name in ("whole", "half")
        ]
    finally:
        for name in ("whole", "half"):
            shutil.rmtree(models(folder) / name, ignore_errors=True)

    assert f"--from {source} --source-fold 1 --seed 3" in said
    assert "--set 'planner.spacing=[1, 1, 1]'" in said
    assert weights[0] == weights[1]


def test_missing_logits_are_predicted_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((models(folder) / NAMES[0]).glob("fold_*/validation/logits/case_0.*"))
    before = np.asarray(read_logits(path).logits)
    path.unlink()

    assert select(folder, "--name", "again") == 0

    np.testing.assert_array_equal(np.asarray(read_logits(path).logits), before)
    assert "logits: 1/1 (case_0)" in capsys.readouterr().err


def test_a_selected_model_is_shown_by_status(
    folder: Path, selected: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", "--workspace", folder / "workspace") == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert any(row[:4] == ["selected", "-", "trained", "-"] for row in rows)


def test_a_trained_model_is_not_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(folder, "--name", NAMES[0]) == 2

    assert "is a trained model. Choose another name" in capsys.readouterr().err


def test_folders_need_the_same_cases(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, cases in (("a", "xy"), ("b", "x")):
        (folder / name).mkdir()
        for case in cases:
            (folder / name / f"{case}_probabilities.npz").touch()

    assert run("ensemble", folder / "a", folder / "b", folder / "c") == 2

    assert f"{folder / 'b'} lacks y" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["fit", "using", "model", "set"])
def test_masks_are_postprocessed_in_folders(
    folder: Path, selected: Path, way: str, tmp_path: Path
) -> None:
    masks, labels = tmp_path / "masks", folder / "Dataset001_Shapes" / "labelsTr"
    masks.mkdir()
    for case, path in validated(folder, NAMES[1]).items():
        shutil.copy(path, masks / f"{case}.nii.gz")
    described = ("--dataset-json", labels.parent / "dataset.json", "--workers", 0)
    fitted = tmp_path / "fitted"
    assert run("postprocess", masks, fitted, "--fit", labels, *described) == 0
    objects = json.loads((fitted / "postprocessing.json").read_text())["options"]["objects"]
    options: dict[str, Callable[[], tuple[object, ...]]] = {
        "fit": lambda: ("--fit", labels, *described),
        "using": lambda: ("--using", fitted / "postprocessing.json", *described),
        "set": lambda: ("--set", f"postprocessor.objects={json.dumps(objects)}", *described),
        "model": lambda: ("--model", selected, "--workers", 0),
    }

    assert run("postprocess", masks, tmp_path / "out", *options[way]()) == 0

    mask = read(tmp_path / "out" / "case_0.nii.gz")
    if way != "model":
        np.testing.assert_array_equal(mask, read(fitted / "case_0.nii.gz"))
    before = read(masks / "case_0.nii.gz")
    assert (mask != before).any()
    np.testing.assert_array_equal(mask[mask > 0], before[mask > 0])


@pytest.mark.parametrize(
    ("output", "said"),
    [("out", "a_probabilities.npz cannot be read"), ("b", "would replace the predictions in")],
)
def test_an_ensemble_that_cannot_be_made_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, said: str
) -> None:
    labels = tmp_path / "dataset.json"
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}}
    labels.write_text(json.dumps({**described, "numTraining": 1, "file_ending": ".nii.gz"}))
    for name in "ab":
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "a_probabilities.npz", probability=np.zeros((2, 1, 4, 4)))
        write(tmp_path / name / "a.nii.gz", np.zeros((1, 4, 4), np.uint8))
    whole = (tmp_path / "b" / "a_probabilities.npz").read_bytes()
    (tmp_path / "b" / "a_probabilities.npz").write_bytes(whole[: len(whole) // 2])

    assert run("ensemble", tmp_path / "a", tmp_path / "b", tmp_path / output) == 2

    assert said in capsys.readouterr().err
    assert not [*tmp_path.glob("out/*")]


def test_folds_are_named_as_for_a_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert select(folder, "--name", "of_both", "--model", NAMES[0], "--fold", "0,1") == 0
    assert "out of folds 0, 1" in capsys.readouterr().out
    assert select(folder, "--fold", "0,7") == 2
    assert "there is no fold 7. There are: 0, 1." in capsys.readouterr().err


def test_without_models_nothing_is_said_of_folds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("select", folder / "Dataset001_Shapes", "--workspace", tmp_path) == 2
    assert "has no trained model. There are: none yet." in capsys.readouterr().err
