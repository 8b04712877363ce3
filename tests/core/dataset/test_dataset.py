"""Reading nnU-Net's dataset folder in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nnseg_core.dataset import Labels, describe, find_images, open_dataset
from nnseg_core.errors import DatasetError

RAW = {
    "channel_names": {"0": "CT", "1": "PET"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def write_dataset(folder: Path, **changes: Any) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    (folder / "dataset.json").write_text(json.dumps({**RAW, **changes}))
    for case in ("b", "a"):
        for channel in (0, 1):
            (folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz").touch()
        (folder / "labelsTr" / f"{case}.nii.gz").touch()
    return folder


def test_cases_are_sorted_with_channels_in_order(tmp_path: Path) -> None:
    dataset = open_dataset(write_dataset(tmp_path / "Dataset001_X"))

    assert [case.identifier for case in dataset.cases] == ["a", "b"]
    assert [path.name for path in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert dataset.cases[0].label == tmp_path / "Dataset001_X" / "labelsTr" / "a.nii.gz"
    assert dataset.description.name == "Dataset001_X"


def test_the_dataset_key_replaces_the_folders(tmp_path: Path) -> None:
    listed = {"only": {"images": ["imagesTr/b_0000.nii.gz"], "label": "labelsTr/b.nii.gz"}}
    dataset = open_dataset(write_dataset(tmp_path / "D", dataset=listed))

    (case,) = dataset.cases
    assert case.identifier == "only"
    assert case.label == (tmp_path / "D" / "labelsTr" / "b.nii.gz").resolve()


def test_version_1_files_are_read() -> None:
    raw = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "heart"}}

    description = describe(raw, "Task02_Heart", Path("dataset.json"))

    assert description.channels == ("MRI",)
    assert description.labels.values == {"heart": (1,)}
    assert description.file_ending == ".nii.gz"


def test_one_list_makes_all_labels_regions() -> None:
    raw = RAW | {
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }

    labels = describe(raw, "D", Path("dataset.json")).labels

    assert labels.is_regions
    assert (labels.outputs, labels.foreground, labels.ignore, labels.declared) == (2, (1, 2), 3, 4)


def test_classes_have_an_output_each_and_one_for_background() -> None:
    labels = Labels(values={"a": (1,), "b": (5,)})

    assert (labels.outputs, labels.foreground, labels.is_regions) == (3, (1, 5), False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"liver": 1}}, 'labels in dataset.json need "background": 0.'),
        (
            {"labels": {"Background": 0, "liver": 1}},
            """need "background": 0; they have 'Background': 0.""",
        ),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "each label needs a value of its own"),
        ({"labels": {"background": 0, "a": 0}}, "0 is background's; they have [0]"),
        ({"labels": {"background": 0, "a": -1}}, "between 0 and 32767, not at -1"),
        ({"labels": {"background": 0, "a": 70000}}, "between 0 and 32767, not at 70000"),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "the ignore label has value 1, which"),
        ({"labels": {"background": 0, "a": 1, "ignore": 0}}, "the ignore label has value 0, which"),
        ({"labels": ["background"]}, "it is ['background']."),
        ({"labels": {"²": "square"}}, 'need "background": 0'),
        ({"regions_class_order": "12"}, "regions_class_order in dataset.json must be a list"),
        ({"regions_class_order": ["a"]}, "must hold integers; it is ['a']"),
        ({"numTraining": "2"}, "numTraining in dataset.json must be an integer; it is '2'"),
        ({"numTraining": True}, "numTraining in dataset.json must be an integer; it is True"),
        ({"overwrite_image_reader_writer": ["a"]}, "_writer in dataset.json must be text"),
        (
            {"labels": {"background": 0, "liver": "1"}},
            "label 'liver' in dataset.json must be an int",
        ),
        (
            {"labels": {"background": 0, "liver": 1.0}},
            "label 'liver' in dataset.json must be an int",
        ),
        ({"labels": {"background": 0}}, "labels need at least one name beside background"),
        ({"labels": []}, "needs 'labels', an object such as"),
        ({"channel_names": {"1": "CT"}}, 'must be numbered "0", "1", … without gaps'),
        ({"file_ending": "nii.gz"}, 'needs "file_ending", with its dot'),
        (
            {"labels": {"background": 0, "w": [1, 2]}, "regions_class_order": [1, 2]},
            "1 regions need as many entries in regions_class_order, but it has 2",
        ),
        (
            {"labels": {"background": 0, "a": [1, 2], "b": [2, 3]}},
            "regions 'a' (1, 2) and 'b' (2, 3) in dataset.json overlap",
        ),
        (
            {"labels": {"background": 0, "a": 1, "b": ["A", 2]}},
            "region 'b' in dataset.json names 'A', which is no label that it can hold. "
            "There are: a.",
        ),
        (
            {"labels": {"background": 0, "core": 1, "whole": ["cores", 2]}},
            "Did you mean 'core'?",
        ),
        (
            {"labels": {"background": 0, "a": ["b", 1], "b": ["a", 2]}},
            "is part of itself: 'a' of 'b' of 'a'.",
        ),
        (
            {"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": ["a"]},
            "must name every region once: a, b; it is ['a'].",
        ),
        (
            {"labels": {"background": 0, "a": [1, 2]}, "regions_class_order": ["aa"]},
            "it has 'aa'",
        ),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 1]}}, "the ignore label has value 1"),
        ({"annotated": ["liver"]}, "annotated in dataset.json must be an object in braces"),
        ({"annotated": {"c1": "liver"}}, "must give a list of label names for each case"),
        (
            {"annotated": {"c1": ["livr"]}},
            "names 'livr' for 'c1', which is no label. Did you mean 'liver'?",
        ),
    ],
)
def test_a_mistake_in_dataset_json_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        describe({**RAW, **changes}, "D", Path("dataset.json"))

    assert message in str(caught.value)


def test_a_typing_error_in_a_key_is_recognised() -> None:
    raw = {key: value for key, value in RAW.items() if key != "channel_names"}

    with pytest.raises(DatasetError, match="it has 'chanel_names', a typing error?"):
        describe({**raw, "chanel_names": {"0": "CT"}}, "D", Path("dataset.json"))


def test_a_name_must_be_text(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name in .* must be text; it is 5"):
        open_dataset(write_dataset(tmp_path / "D", name=5))


@pytest.mark.parametrize(
    "entry", [None, {}, {"images": "a.nii"}, {"images": [1]}, {"images": ["a.nii"], "label": 3}]
)
def test_a_listed_case_needs_paths(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(DatasetError, match="case 'x' under \"dataset\" in .* needs"):
        open_dataset(write_dataset(tmp_path / "D", dataset={"x": entry}))


def test_unreadable_json_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0,},}')

    with pytest.raises(DatasetError, match=r"not readable as JSON: .* line 1 column"):
        open_dataset(tmp_path)


def test_a_missing_folder_and_an_empty_one_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json does not exist"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(RAW))
    with pytest.raises(DatasetError, match=r"imagesTr/CASE_0000\.nii\.gz"):
        open_dataset(tmp_path)


def test_files_of_other_endings_are_no_images(tmp_path: Path) -> None:
    for name in ("a_0000.png", "a_0000.nii.gz", "a_000.png", "notes.txt"):
        (tmp_path / name).touch()

    assert find_images(tmp_path, ".png") == {"a": (tmp_path / "a_0000.png",)}
