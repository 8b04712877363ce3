"""``nnseg check`` on a small dataset: groups, JSON, the contact sheet."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_phantom, write_planar_phantom


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(import_module("nnseg_core.pipeline.examine"), "SAMPLES", 1000)
    monkeypatch.setenv("NNSEG_WORKSPACE", str(tmp_path / "workspace"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    write_planar_phantom(tmp_path / "Cells", cases=14, test_cases=0)
    return tmp_path / "Cells"


def test_one_finding_in_many_cases_is_one_row(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (pictures / "labelsTr").iterdir():
        path.unlink()

    assert run("check", pictures, "--workers", 0) == 2

    error = capsys.readouterr().err
    (row,) = (line for line in error.splitlines() if "its image has no label" in line)
    assert "14: phantom_000, phantom_001, phantom_002, …" in row
    assert f"errors found in {pictures}: 14. Mend them first." in error
    assert "'nnseg fix' mends 14 of them in a copy." in error


def test_all_mistakes_are_reported_in_one_pass(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = pictures / "imagesTr", pictures / "labelsTr"
    (images / "phantom_000_0000.png").write_bytes(b"")
    (images / "phantom_001_0000.png").write_text("nothing")
    (labels / "phantom_002.png").unlink()
    shutil.copy(labels / "phantom_003.png", labels / "stray.png")
    Image.new("L", (64, 64), 9).save(labels / "phantom_004.png")

    assert run("check", pictures, "--json", "--workers", 0) == 2

    found = json.loads(capsys.readouterr().out)
    assert [(f["code"], f["case"], f["fixable"]) for f in found] == [
        ("no-image", None, True),
        ("unreadable", "phantom_000", False),
        ("unreadable", "phantom_001", False),
        ("no-label", "phantom_002", True),
        ("undeclared-values", "phantom_004", False),
    ]
    assert set(found[0]) == {*("severity", "code", "message", "remedy", "case", "file", "fixable")}
    assert found[0]["file"] == str(labels / "stray.png")


def test_json_of_a_good_dataset_is_an_empty_list(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", pictures, "--json", "--workers", 0) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_every_mistake_in_dataset_json_is_a_finding_of_its_own(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"channel_names": {"1": "x"}, "labels": {"a": 1}, "file_ending": "png"}
    (pictures / "dataset.json").write_text(json.dumps(wrong))

    assert run("check", pictures, "--json") == 2

    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [f["code"] for f in found] == ["dataset-json"] * 3
    assert "channel_names in" in found[0]["message"]
    assert "background" in found[1]["message"]
    assert "file_ending" in found[2]["message"]
    assert all(f["message"] in said.err for f in found)


def test_a_sheet_shows_twelve_cases(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "new folder" / "sheet.png"

    assert run("check", pictures, "--sheet", sheet, "--workers", 0) == 0

    assert f"sheet of 12 cases: {sheet}" in capsys.readouterr().err
    with Image.open(sheet) as picture:
        assert picture.width > 1000
    assert list(sheet.parent.iterdir()) == [sheet]


def test_a_sheet_that_cannot_be_written_is_named_before_the_work(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    places = {
        pictures: f"{pictures} is a folder. Name the file to write.",
        tmp_path / "file" / "s.png": "s.png cannot be written: "
        f"{tmp_path / 'file'} is not a folder. Name a place where you may write.",
    }

    for place, message in places.items():
        assert run("check", pictures, "--sheet", place, "--workers", 0) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1, "nothing was examined before"


def test_a_sheet_is_drawn_of_what_can_be_read_though_there_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "D", cases=3, test_cases=0)
    (tmp_path / "D" / "imagesTr" / "phantom_001_0000.nii.gz").write_bytes(b"")
    (tmp_path / "D" / "labelsTr" / "phantom_002.nii.gz").unlink()

    assert run("check", tmp_path / "D", "--sheet", tmp_path / "s.png", "--workers", 0) == 2

    assert "sheet of 2 cases" in capsys.readouterr().err
    assert (tmp_path / "s.png").is_file()


def test_where_nothing_can_be_read_no_sheet_is_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (pictures / "imagesTr").iterdir():
        path.write_bytes(b"")

    assert run("check", pictures, "--sheet", tmp_path / "s.png", "--workers", 0) == 2

    assert "no case can be read, so no sheet is drawn" in capsys.readouterr().err
    assert not (tmp_path / "s.png").exists()
