"""Names that look like one patient, and those that only look like a counter."""

from __future__ import annotations

import pytest

from nnseg_core.splits import suspected_patients
from nnseg_core.splits.patients import patient_of


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("patient012_1", "patient012"),
        ("patient012-2", "patient012"),
        ("patient001_frame01", "patient001"),
        ("s3_left", "s3"),
        ("case07_t0", "case07"),
        ("sub-04_ses-02", "sub-04"),
        ("p07_t1_left", "p07"),
        ("ID12a", "ID12"),
        ("smith_R", "smith"),
        ("hippocampus_001", "hippocampus_001"),
        ("liver_0", "liver_0"),
        ("BraTS2021_00001", "BraTS2021_00001"),
        ("case_00000", "case_00000"),
        ("la_003", "la_003"),
    ],
)
def test_the_patient_is_what_stays_without_the_ending(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_patients_with_several_cases_are_suspected() -> None:
    names = ["patient012_1", "patient012_2", "patient013_1", "p5_left", "p5_right"]

    assert suspected_patients(names) == {
        "p5": ["p5_left", "p5_right"],
        "patient012": ["patient012_1", "patient012_2"],
    }


@pytest.mark.parametrize(
    "names",
    [
        [f"phantom_{number:03d}" for number in range(30)],
        [f"study1_{number:02d}" for number in range(30)],  # one beginning: a study
        [f"site{site}_{number:02d}" for site in (1, 2) for number in range(12)],
        [f"KITS19_{number}" for number in range(9)],
        ["a", "b"],
    ],
)
def test_counters_studies_and_sites_are_not_suspected(names: list[str]) -> None:
    assert suspected_patients(names) == {}
