import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnseg_core import files
from nnseg_core.case import RawCase
from nnseg_core.checking import (
    Finding,
    check_across,
    check_case,
    check_dataset,
    check_folder,
)
from nnseg_core.dataset import CaseRef, Dataset, DatasetDescription, Labels, open_dataset
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry
from nnseg_core.testing.phantoms import write_phantom
from nnseg_io.image2d import Image2dReader
from nnseg_io.itk import ItkReader

ORGANS = Labels(values={"liver": (1,), "kidney": (2,)})
CT = DatasetDescription(name="ct", channels=("CT",), labels=ORGANS, file_ending=".raw")
MRI = DatasetDescription(name="mri", channels=("T1", "T2"), labels=ORGANS, file_ending=".raw")
SHAPE = (3, 4, 5)


class Files:
    """A reader whose files are arrays (channel, z, y, x), each with a geometry."""

    endings = (".raw",)

    def __init__(self):
        self.held = {}

    def add(self, name, voxels, **geometry):
        path = Path("folder") / name
        given = {"shape": voxels.shape[1:], "spacing": (1.0, 1.0, 1.0)} | geometry
        self.held[path] = (voxels, Geometry(**given))
        return path

    def peek(self, path):
        if path not in self.held:
            raise DatasetError(f"{path} does not exist.")
        voxels, geometry = self.held[path]
        return geometry, len(voxels)

    def read(self, paths):
        held = [self.held[path] for path in paths]
        if len({geometry.shape for _, geometry in held}) > 1:
            raise DatasetError("the channels of a case must lie on one grid.")
        if any(np.any(voxels == 666) for voxels, _ in held):
            raise DatasetError(f"{paths[0]} holds the number of the beast.")
        return np.concatenate([voxels for voxels, _ in held]).astype(np.float32), held[0][1]

    def read_label(self, path):
        voxels, geometry = self.held[path]
        return voxels[0].astype(np.int16), geometry

    def write_label(self, path, label, geometry):
        raise NotImplementedError


def noise(channels=1, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=(channels, *shape))


def mask(*values, shape=SHAPE):
    label = np.zeros((1, *shape))
    label.flat[: len(values)] = values
    return label


def check(image, label, description=CT, **on_label):
    reader = Files()
    images = tuple(
        reader.add(f"a_{channel:04d}.raw", voxels) for channel, voxels in enumerate(image)
    )
    case = CaseRef(identifier="a", images=images, label=reader.add("a.raw", label, **on_label))
    return check_case(case, description, reader)


def only(findings):
    (finding,) = findings
    return finding


def test_a_good_case_comes_back_read_without_findings():
    raw, found = check([noise()], mask(1, 2, 2))

    assert found.findings == ()
    assert isinstance(raw, RawCase)
    assert (raw.identifier, raw.image.shape, raw.label.shape) == ("a", (1, *SHAPE), SHAPE)
    assert found.voxels == {0: 57, 1: 1, 2: 2}
    assert found.geometry == raw.geometry


def test_a_finding_says_where_what_and_what_to_do():
    raw, found = check([noise()], mask(1, 255, 255))

    finding = only(found.findings)
    assert raw is None
    assert finding == Finding(
        severity="error",
        case="a",
        file=Path("folder/a.raw"),
        message="its label holds values that dataset.json does not declare: 255 (2 voxels)",
        remedy="A mask of 0 and 255 must hold 1 instead of 255.",
        code="undeclared-values",
    )
    assert str(finding) == (
        f"case a, {Path('folder/a.raw')}: its label holds values that dataset.json does not "
        "declare: 255 (2 voxels). A mask of 0 and 255 must hold 1 instead of 255."
    )


def test_findings_survive_json(tmp_path):
    findings = check([noise()], mask(-3, 9))[1].findings
    files.write_json(tmp_path / "findings.json", findings)

    assert files.load(tuple[Finding, ...], tmp_path / "findings.json") == findings


def test_a_missing_label():
    reader = Files()
    case = CaseRef(identifier="a", images=(reader.add("a_0000.raw", noise()),))

    raw, found = check_case(case, CT, reader)

    assert raw is None
    assert str(only(found.findings)) == (
        "case a: its image has no label. Add labelsTr/a.raw, or move the image elsewhere."
    )


def test_files_that_cannot_be_opened_are_all_named():
    case = CaseRef(identifier="a", images=(Path("a_0000.raw"), Path("a_0001.raw")), label=Path("b"))

    raw, found = check_case(case, MRI, Files())

    assert raw is None
    assert [f.file for f in found.findings] == [*case.images, case.label]
    assert found.findings[0].message == "does not exist"
    assert (found.geometry, found.voxels, found.digest) == (None, None, None)


def test_every_file_that_cannot_be_read_is_named():
    image = [noise(seed=1), noise(seed=2), noise(seed=3)]
    image[0][0, 0, 0, 0] = image[2][0, 0, 0, 0] = 666

    _, found = check(
        image,
        mask(1),
        DatasetDescription(name="x", channels=("a", "b", "c"), labels=ORGANS, file_ending=".raw"),
    )

    assert [f.file.name for f in found.findings] == ["a_0000.raw", "a_0002.raw"]
    assert {f.message for f in found.findings} == {"holds the number of the beast"}


def test_a_nifti_file_in_both_endings_is_not_read(tmp_path):
    write_phantom(tmp_path, cases=2, test_cases=0)
    dataset = open_dataset(tmp_path)
    twin = tmp_path / "labelsTr" / "phantom_001.nii"
    shutil.copy(dataset.cases[0].label, twin)

    finding = only(check_dataset(dataset, ItkReader()))

    assert (finding.severity, finding.case, finding.file) == (
        "error",
        "phantom_001",
        twin.with_suffix(".nii.gz"),
    )
    assert finding.message == (
        "phantom_001.nii lies in the same folder, and ITK may read either of the two, "
        "whichever it is asked for"
    )


def test_wrong_numbers_of_channels():
    _, missing = check([noise()], mask(1), MRI)
    rgb = DatasetDescription(
        name="rgb", channels=("R", "G", "B"), labels=ORGANS, file_ending=".raw"
    )
    reader, flat = Files(), {"origin": (0.0, 0.0), "direction": (1.0, 0.0, 0.0, 1.0)}
    case = CaseRef(
        identifier="a",
        images=(reader.add("a_0000.raw", noise(4, shape=(1, 4, 5)), **flat),),
        label=reader.add("a.raw", mask(1, shape=(1, 4, 5)), **flat),
    )
    _, alpha = check_case(case, rgb, reader)

    assert only(missing.findings).message == "it has 1 channels, but dataset.json names 2: T1, T2"
    assert only(alpha.findings).remedy == "Save it without transparency."
    assert (only(alpha.findings).code, only(alpha.findings).fixable) == ("alpha", True)


def test_channels_numbered_with_a_gap():
    reader = Files()
    images = tuple(
        reader.add(f"a_{number}.raw", noise(seed=int(number))) for number in ("0000", "0002")
    )
    case = CaseRef(identifier="a", images=images, label=reader.add("a.raw", mask(1)))

    finding = only(check_case(case, MRI, reader)[1].findings)

    assert (finding.severity, finding.message) == ("error", "its channels are numbered 0000, 0002")
    assert finding.remedy == "Number them 0000, 0001, in the order of channel_names."


def test_channels_of_different_shape_are_one_finding():
    _, found = check([noise(), noise(shape=(3, 4, 6))], mask(1), MRI)

    finding = only(found.findings)
    assert finding.file.name == "a_0001.raw"
    assert finding.message == "it has 3 x 4 x 6 voxels (z, y, x), but a_0000.raw has 3 x 4 x 5"
    assert finding.remedy == "Resample it onto the grid of a_0000.raw."


def test_a_label_of_another_shape():
    raw, found = check([noise()], mask(1, shape=(3, 4, 6)))

    assert raw is None
    assert only(found.findings).remedy == (
        "Resample it onto the grid of a_0000.raw, with nearest neighbours."
    )


@pytest.mark.parametrize(("step", "severity"), [(1.0 + 1e-6, None), (1.01, None), (1.03, "error")])
def test_spacing_may_differ_by_less_than_a_tenth_of_a_voxel_over_the_image(step, severity):
    raw, found = check([noise()], mask(1), spacing=(1.0, step, step))

    assert [f.severity for f in found.findings] == ([severity] if severity else [])
    assert (raw is None) == (severity == "error")


@pytest.mark.parametrize(
    ("placed", "message"),
    [
        ({"origin": (1e-6, 0.0, 0.05)}, None),
        ({"origin": (0.0, 30.0, 40.0)}, "by origin and direction it lies up to 50 mm away"),
        (
            {"direction": (-1.0, 0, 0, 0, 1, 0, 0, 0, 1)},
            "by origin and direction it lies up to 8 mm",
        ),
    ],
)
def test_another_origin_or_direction_is_a_warning(placed, message):
    raw, found = check([noise()], mask(1), **placed)

    assert raw is not None
    assert [f.severity for f in found.findings] == (["warning"] if message else [])
    assert all(f.message.startswith(message) for f in found.findings)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(value):
    image = noise()
    image[0, 1, 2, 3] = value

    finding = only(check([image], mask(1))[1].findings)

    assert (finding.severity, finding.message) == (
        "error",
        "its image holds NaN or infinite voxels",
    )


def test_an_empty_image_is_an_error_and_a_constant_channel_a_warning():
    raw, empty = check([np.zeros((1, *SHAPE))], mask(1))
    _, constant = check([noise(), np.full((1, *SHAPE), 7.0)], mask(1), MRI)

    assert raw is None
    assert only(empty.findings).message == "its image is empty: every voxel is 0"
    assert only(constant.findings).severity == "warning"
    assert only(constant.findings).message == "channel 1 of its image is 7 everywhere"


def test_the_ignore_label_is_declared():
    labels = Labels(values={"liver": (1,)}, ignore=2)
    ignoring = DatasetDescription(name="x", channels=("CT",), labels=labels, file_ending=".raw")

    assert check([noise()], mask(1, 2), ignoring)[1].findings == ()


def cases(labels, **each):
    """Checks of one case per label, as if they were called a, b, c, ..."""
    found = []
    for number, label in enumerate(labels):
        reader, name = Files(), "abcdef"[number]
        image = reader.add("i", each.get("image", [noise(seed=n) for n in range(6)])[number])
        grid = {"spacing": each["spacings"][number]} if "spacings" in each else {}
        reader.held[image] = (
            reader.held[image][0],
            Geometry(shape=SHAPE, **({"spacing": (1.0, 1.0, 1.0)} | grid)),
        )
        case = CaseRef(identifier=name, images=(image,), label=reader.add("l", label, **grid))
        found.append(check_case(case, CT, reader)[1])
    return found


def dataset(folder=Path("folder"), description=CT, names=()):
    return Dataset(
        folder=folder,
        description=description,
        cases=tuple(
            CaseRef(
                identifier=name,
                images=(folder / "imagesTr" / f"{name}_0000.raw",),
                label=folder / "labelsTr" / f"{name}.raw",
            )
            for name in names
        ),
    )


def test_a_label_that_occurs_nowhere_is_a_warning():
    finding = only(check_across(cases([mask(1), mask(1, 1)]), dataset()))

    assert (finding.severity, finding.message) == (
        "warning",
        "label 'kidney' (2) occurs in no case",
    )


def test_a_case_without_foreground_is_fine_but_a_dataset_without_is_not():
    assert check_across(cases([mask(1, 2), mask()]), dataset()) == ()

    finding = only(check_across(cases([mask(), mask()]), dataset()))
    assert (finding.severity, finding.case) == ("error", None)
    assert finding.message == "no case has any foreground: all labels are background"


def test_the_same_image_under_two_names_is_a_warning():
    images = [noise(seed=1), noise(seed=2), noise(seed=1)]

    finding = only(check_across(cases([mask(1, 2)] * 3, image=images), dataset()))

    assert (finding.severity, finding.case) == ("warning", "c")
    assert finding.message == "its image has the same voxels as that of case a"


def test_a_spacing_far_from_the_others_is_a_warning():
    usual = (5.0, 1.0, 1.0)

    axes = check_across(
        cases([mask(1, 2)] * 4, spacings=[usual, usual, (1.0, 1.0, 5.0), (6.0, 0.8, 0.8)]),
        dataset(),
    )

    assert only(axes).case == "c"
    assert only(axes).message == (
        "its voxels are 1 x 1 x 5 mm (z, y, x), far from the median of 5 x 1 x 1 mm"
    )


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_a_label_without_image_and_an_image_without_channel_number(tmp_path):
    touch(tmp_path, "imagesTr/a_0000.raw", "imagesTr/b.raw", "imagesTr/._a_0000.raw")
    touch(tmp_path, "labelsTr/a.raw", "labelsTr/b.raw", "labelsTr/notes.txt")

    label, image = check_folder(dataset(tmp_path, names=["a"]))

    assert (label.severity, label.file) == ("error", tmp_path / "labelsTr" / "b.raw")
    assert str(label).endswith(
        "there is no image for this label. Add imagesTr/b_0000.raw, or move the label elsewhere."
    )
    assert (image.severity, image.file) == ("warning", tmp_path / "imagesTr" / "b.raw")
    assert image.remedy == "Name it b_0000.raw if it is channel 0 of case b."


def test_cases_that_were_left_out_of_a_list_are_no_strays(tmp_path):
    touch(tmp_path / "imagesTr", "a_0000.raw", "b_0000.raw")
    touch(tmp_path / "labelsTr", "a.raw", "b.raw")
    listed = CaseRef(
        identifier="one",
        images=(tmp_path / "imagesTr" / "a_0000.raw",),
        label=tmp_path / "labelsTr" / "a.raw",
    )

    assert check_folder(Dataset(folder=tmp_path, description=CT, cases=(listed,))) == ()


def test_num_training_that_differs_is_a_warning():
    told = DatasetDescription(
        name="x", channels=("CT",), labels=ORGANS, file_ending=".raw", training_cases=3
    )

    finding = only(check_folder(dataset(description=told, names=["a", "b"])))

    assert finding.severity == "warning"
    assert finding.message == "numTraining in dataset.json is 3, but there are 2 training cases"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Labels(values={"a": (1,), "b": (3,)}), "label values are 1, 3, not 1 to 2"),
        (
            Labels(values={"a": (2,)}, ignore=1),
            "label values are 2, 1, not 1 to 2 with ignore as the highest",
        ),
        (
            Labels(values={"a": (1, 2), "b": (2,)}, paint_order=(2, 1)),
            "regions_class_order paints region 'b' with 1, which is none of its values (2)",
        ),
    ],
)
def test_labels_that_others_would_refuse_or_mistake_are_warnings(labels, message):
    description = DatasetDescription(name="x", channels=("CT",), labels=labels, file_ending=".raw")

    finding = only(check_folder(dataset(description=description)))

    assert (finding.severity, finding.message) == ("warning", message)
    assert finding.file == Path("folder/dataset.json")


def test_real_datasets_are_clean(data_folder):
    nuclei = open_dataset(data_folder / "Dataset018_Nuclei")
    seen = []

    assert check_dataset(nuclei, Image2dReader(), on_case=seen.append) == ()
    assert seen == list(nuclei.cases)


def test_pictures_as_found_in_the_wild(data_folder, tmp_path):
    raw = data_folder / "nuclei_raw"
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    for path in sorted((raw / "images").iterdir())[:2]:
        shutil.copy(path, tmp_path / "imagesTr" / f"{path.stem}_0000.png")
        shutil.copy(raw / "masks" / path.name, tmp_path / "labelsTr")
    about = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "file_ending": ".png",
        "numTraining": 2,
    }
    labels = {"labels": {"background": 0, "nucleus": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(about | labels))

    found = check_dataset(open_dataset(tmp_path), Image2dReader())

    assert [(f.severity, f.case, f.remedy) for f in found] == [
        ("error", "nuclei_000", "Save it without transparency."),
        ("error", "nuclei_000", "A mask of 0 and 255 must hold 1 instead of 255."),
        ("error", "nuclei_001", "Save it without transparency."),
        ("error", "nuclei_001", "A mask of 0 and 255 must hold 1 instead of 255."),
        (
            "warning",
            None,
            "Take it out of dataset.json, or look for the cases that should have it.",
        ),
    ]


def test_a_patient_whose_files_lie_on_different_grids(data_folder):
    folder = data_folder / "problems" / "grids_differ"
    images = tuple(folder / f"study1_{name}.nii.gz" for name in ("FLAIR", "T1W", "T2W"))
    case = CaseRef(identifier="study1", images=images, label=folder / "gt.nii.gz")
    lesions = Labels(values={"lesion": (1,)})
    description = DatasetDescription(
        name="ms", channels=("FLAIR", "T1", "T2"), labels=lesions, file_ending=".nii.gz"
    )

    raw, found = check_case(case, description, ItkReader())

    assert raw is None
    assert {f.file for f in found.findings} == {images[1], images[2], case.label}
    assert all("but study1_FLAIR.nii.gz has" in f.message for f in found.findings)


def test_decoys_are_found(data_folder, tmp_path):
    source, decoys = data_folder / "Dataset004_Hippocampus", data_folder / "problems"
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
        for path in sorted((source / part).iterdir())[:3]:
            shutil.copy(path, tmp_path / part)
    shutil.copy(source / "dataset.json", tmp_path)
    for path in (decoys / "hippocampus_decoys").iterdir():
        kind, _, name = path.name.partition("_")
        name = name.replace(".nii.gz", "_0000.nii.gz") if kind == "image" else name
        shutil.copy(path, tmp_path / f"{kind}sTr" / name)

    found = check_dataset(open_dataset(tmp_path), ItkReader())

    assert [(f.severity, f.case, f.file and f.file.name) for f in found] == [
        ("warning", None, "dataset.json"),
        ("error", None, "hippocampus_010.nii.gz"),
        ("error", None, "hippocampus_281.nii.gz"),
        ("error", "hippocampus_118", None),
    ]
    assert found[0].message.startswith("numTraining in dataset.json is 160, but there are 4")
