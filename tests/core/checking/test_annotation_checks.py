"""Findings about what is annotated where."""

from pathlib import Path

from nnseg_core.checking import check_across
from nnseg_core.checking.case import CaseCheck
from nnseg_core.dataset import CaseRef, Dataset, DatasetDescription, Labels

CLASSES = Labels(values={"liver": (1,), "spleen": (2,)}, ignore=9)


def findings(voxels, labels=CLASSES, annotated=None):
    cases = {f"c{number}": found for number, found in enumerate(voxels)}
    description = DatasetDescription(
        name="D", channels=("CT",), labels=labels, file_ending=".raw", annotated=annotated or {}
    )
    dataset = Dataset(
        folder=Path("D"),
        description=description,
        cases=tuple(CaseRef(identifier=case, images=()) for case in cases),
    )
    checks = [
        CaseCheck(identifier=case, findings=(), geometry=None, voxels=found, digest=None)
        for case, found in cases.items()
    ]
    return [f for f in check_across(checks, dataset) if f.code != "absent-label"]


def test_voxels_of_what_is_not_annotated_are_told_of():
    (finding,) = findings([{0: 5, 1: 3, 2: 4}, {1: 1, 2: 1}], annotated={"c0": ("liver",)})

    assert (finding.severity, finding.case, finding.code) == ("warning", "c0", "not-annotated")
    assert "it has 4 voxels of 'spleen'" in finding.message


def test_voxels_of_a_larger_region_are_not_those_of_its_parts():
    regions = Labels(values={"whole": (1, 2), "core": (2,)}, paint_order=(1, 2))

    assert findings([{0: 5, 1: 3, 2: 4}, {1: 1}], regions, {"c0": ("whole",)}) == []


def test_a_case_that_is_all_ignored_is_told_of():
    (finding,) = findings([{9: 5}, {1: 1, 2: 1}])

    assert (finding.case, finding.code) == ("c0", "all-ignored")


def test_a_common_label_that_some_of_many_cases_lack_is_told_of_once():
    both, one = {0: 5, 1: 3, 2: 4}, {0: 5, 1: 3}

    (finding,) = findings([both] * 18 + [one] * 2)

    assert finding.message == "label 'spleen' is in 18 of 20 cases, but not in c18, c19"
    assert "annotated" in finding.remedy


def test_few_cases_rare_labels_and_what_is_declared_make_no_noise():
    both, one = {0: 5, 1: 3, 2: 4}, {0: 5, 1: 3}

    assert findings([both] * 17 + [one] * 2) == []
    assert findings([both] * 15 + [one] * 5) == []
    assert findings([both] * 18 + [one] * 2, annotated={"c18": ("liver",), "c19": ("liver",)}) == []
