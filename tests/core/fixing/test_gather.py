from __future__ import annotations

from nnseg_core.fixing.gather import ending_of, gather


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def gathered(folder, ending=".nii.gz"):
    found = gather(folder / "images", folder / "labels", ending)
    cases = {
        case.identifier: ([path.name for path in case.images], case.label.name)
        for case in found.cases
    }
    return cases, [(change.code, change.case or change.file) for change in found.changes]


def test_numbered_and_unnumbered_images(tmp_path):
    touch(tmp_path, "images/a_0000.nii.gz", "images/a_0001.nii.gz", "images/b.nii.gz")
    touch(tmp_path, "labels/a.nii.gz", "labels/b.nii.gz")

    cases, changes = gathered(tmp_path)

    assert cases == {
        "a": (["a_0000.nii.gz", "a_0001.nii.gz"], "a.nii.gz"),
        "b": (["b.nii.gz"], "b.nii.gz"),
    }
    assert changes == []


def test_a_number_that_the_label_has_too_is_no_channel(tmp_path):
    touch(tmp_path, "images/patient_0001.png", "images/patient_0002.png")
    touch(tmp_path, "labels/patient_0001.png", "labels/patient_0002.png")

    assert gathered(tmp_path, ".png")[0].keys() == {"patient_0001", "patient_0002"}


def test_what_has_no_partner_is_left_out(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png", "labels/b.png", "labels/c.png")
    touch(tmp_path, "images/._b.png", "images/notes.txt")

    cases, changes = gathered(tmp_path, ".png")

    assert cases.keys() == {"b"}
    assert changes == [("no-label", "a"), ("no-image", "c")]


def test_of_two_files_that_of_the_datasets_ending_is_taken(tmp_path):
    touch(tmp_path, "images/a.nii", "images/a.nii.gz", "labels/a.nii.gz")

    cases, changes = gathered(tmp_path)

    assert cases == {"a": (["a.nii.gz"], "a.nii.gz")}
    assert changes == [("two-files", "images/a.nii")]


def test_channels_that_do_not_begin_with_0_are_numbered_anew(tmp_path):
    touch(tmp_path, "images/a_0001.png", "images/a_0002.png", "labels/a.png")

    cases, changes = gathered(tmp_path, ".png")

    assert cases == {"a": (["a_0001.png", "a_0002.png"], "a.png")}
    assert changes == [("channel-numbers", "a")]


def test_the_longest_ending_counts_in_any_case(tmp_path):
    assert ending_of(tmp_path / "a.b.NII.GZ") == ".NII.GZ"
    assert ending_of(tmp_path / "a.nii") == ".nii"
    assert ending_of(tmp_path / "a.txt") == ""
