"""What is annotated in which case: by name first, then by pattern."""

import json

import pytest

from nnseg_core.dataset import open_dataset
from nnseg_core.dataset.annotated import annotated_in, mistakes, partly_annotated
from nnseg_core.errors import DatasetError

NAMES = ("liver", "spleen", "kidney")
ANNOTATED = {"a_*": ("kidney", "liver"), "a_3": ("spleen",), "b_1": NAMES}


def test_a_case_has_what_its_entry_or_pattern_lists_or_everything():
    assert annotated_in("a_1", ANNOTATED, NAMES) == ("liver", "kidney")
    assert annotated_in("a_3", ANNOTATED, NAMES) == ("spleen",)
    assert annotated_in("c", ANNOTATED, NAMES) == NAMES


def test_only_cases_that_lack_something_are_partly_annotated():
    found = partly_annotated(["a_1", "b_1", "c"], ANNOTATED, NAMES)

    assert found == {"a_1": ("liver", "kidney")}


def test_brackets_in_a_name_are_no_pattern_where_a_case_has_it():
    assert annotated_in("x[1]", {"x[1]": ("liver",)}, NAMES) == ("liver",)


@pytest.mark.parametrize(
    ("annotated", "message"),
    [
        (
            {"a_11": ("liver",)},
            "names 'a_11', which is no case, nor a pattern of any. Did you mean",
        ),
        ({"z*": ("liver",)}, "'z*', which is no case, nor a pattern of any. One is 'a_1'."),
        (
            {"a*": ("liver",), "*1": ("spleen",)},
            "says two things of case 'a_1': by 'a*' and by '*1'",
        ),
    ],
)
def test_keys_that_fit_nothing_or_contradict_each_other_are_named(annotated, message):
    (found,) = mistakes(["a_1", "a_2"], annotated)

    assert message in found


def test_a_case_of_its_own_settles_contradictions():
    annotated = {"a*": ("liver",), "*1": ("spleen",), "a_1": ("liver",)}

    assert mistakes(["a_1", "a_2"], annotated) == ()


def test_a_dataset_with_such_a_key_cannot_be_opened(tmp_path):
    described = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1},
        "file_ending": ".png",
        "annotated": {"cas_1": []},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    for part, name in (("imagesTr", "case_1_0000.png"), ("labelsTr", "case_1.png")):
        (tmp_path / part).mkdir()
        (tmp_path / part / name).touch()

    with pytest.raises(DatasetError, match=r"dataset.json: \"annotated\" .* mean 'case_1'\?"):
        open_dataset(tmp_path)
