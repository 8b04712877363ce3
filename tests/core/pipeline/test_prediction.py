"""Prediction of folders: masks beside bad cases, and memory that does not grow with the image."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK

from nnseg_core import load_model
from nnseg_core.errors import CasesFailed, DatasetError
from nnseg_core.pipeline.prediction import find_inputs, predict
from nnseg_core.stages import Stopwatch

STAGES = {"read", "preprocess", "network", "export", "write"}


def save(path, *shape):
    values = np.random.default_rng(len(path.name)).normal(0, 100, shape).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, make_model):
    return load_model(make_model(tmp_path_factory.mktemp("model"), (16, 16, 16), (4, 8), 3), "cpu")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, depth in (("a", 16), ("b", 40), ("c", 24)):
        save(folder / f"{name}_0000.nii.gz", depth, 20, 16)
    return folder


def run(model, images, output, **options):
    return [
        case.identifier
        for case, _ in predict(model, find_inputs([images], ".nii.gz"), output, **options)
    ]


def test_masks_lie_on_disk_when_their_cases_are_yielded(model, images, tmp_path):
    output = tmp_path / "masks"

    for case, segmentation in predict(model, find_inputs([images], ".nii.gz"), output):
        mask = SimpleITK.ReadImage(str(output / f"{case.identifier}.nii.gz"))
        assert np.array_equal(SimpleITK.GetArrayFromImage(mask), segmentation.label)

    assert sorted(path.name for path in output.iterdir()) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


def test_a_case_does_not_depend_on_its_neighbours(model, images, tmp_path):
    alone = model.predict(images / "b_0000.nii.gz")

    together = dict(predict(model, find_inputs([images], ".nii.gz"), tmp_path / "masks"))

    assert any(np.array_equal(s.label, alone.label) for s in together.values())


def test_bad_cases_are_set_aside_and_listed(model, images, tmp_path):
    save(images / "d_0000.nii.gz", 16, 16, 16)
    save(images / "d_0001.nii.gz", 16, 16, 16)
    damaged = images / "b_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    done = []

    with pytest.raises(CasesFailed) as failed:
        for case, _ in predict(model, find_inputs([images], ".nii.gz"), tmp_path / "masks"):
            done.append(case.identifier)

    assert done == ["a", "c"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.nii.gz", "c.nii.gz"]
    assert "2 of 4 cases were set aside:" in str(failed.value)
    assert "b_0000.nii.gz" in str(failed.value)
    assert "case 'd' has 2 image files, but the model needs 1" in str(failed.value)


def test_no_image_at_all_is_told_at_once(tmp_path):
    with pytest.raises(DatasetError, match="no images named CASE_0000.nii.gz"):
        find_inputs([tmp_path], ".nii.gz")


def test_stages_are_timed_and_tiles_are_counted(model, images, tmp_path):
    watch, told = Stopwatch(), []

    def report(step, done, total, case=""):
        told.append((step, done, total, case))

    run(model, images, tmp_path / "masks", stopwatch=watch, report=report)

    assert set(watch.seconds) == STAGES
    assert all(seconds > 0 for seconds in watch.seconds.values())
    assert [t for t in told if t[0] == "predict"] == [
        ("predict", n, 3, name) for n, name in enumerate("abc", start=1)
    ]
    assert [t for t in told if t[0] == "tiles"] == [  # two in a batch
        ("tiles", 2, 2, ""),
        *(("tiles", n, 8, "") for n in (2, 4, 6, 8)),
        *(("tiles", n, 4, "") for n in (2, 4)),
    ]


def test_probabilities_come_from_the_same_logits(model, images, tmp_path):
    run(model, images, tmp_path / "masks", probabilities=True)

    with np.load(tmp_path / "masks" / "b_probabilities.npz", allow_pickle=False) as saved:
        probability = saved["probability"]
    mask = SimpleITK.ReadImage(str(tmp_path / "masks" / "b.nii.gz"))
    assert probability.shape == (3, 40, 20, 16)
    assert np.array_equal(probability.argmax(axis=0), SimpleITK.GetArrayFromImage(mask))


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from nnseg_core import load_model
from nnseg_core.pipeline.prediction import find_inputs, predict

model, image, output = map(Path, sys.argv[1:])
for _ in predict(load_model(model, "cpu"), find_inputs([image], ".nii.gz"), output):
    pass
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="tells no peak memory")
def test_memory_does_not_grow_with_the_length_of_an_image(tmp_path, make_model):
    folder = make_model(tmp_path / "model", (32, 32, 32), (4, 8), classes=60)

    def peak(slices):
        image = save(tmp_path / f"{slices}_0000.nii.gz", slices, 96, 96)
        command = [sys.executable, "-c", MEASURE, folder, image, tmp_path / "masks"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    short, long = 64, 448
    grown = peak(long) - peak(short)

    voxels = (long - short) * 96 * 96
    assert grown < voxels * 20  # int16, a few float32 images and the mask; all logits are 240
