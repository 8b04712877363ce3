"""What cannot be written is named as its user named it, with what hinders it."""

import errno
import os
from pathlib import Path

import pytest

from nnseg_core.errors import DiskFull, NnsegError
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom
from nnseg_core.writing import make_folder, require_file, require_place, whole, writing

PROC = Path("/proc")
NOT_ROOT = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere"
)


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"

    with whole(path) as beside:
        beside.write_text("whole")
        assert not path.exists()

    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    with pytest.raises(ZeroDivisionError), whole(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [make_folder, require_file])
@pytest.mark.parametrize("name", ["file/x", "file/y/x"])
def test_a_file_in_the_way_of_a_folder_is_named(tmp_path, make, name):
    (tmp_path / "file").touch()

    with pytest.raises(NnsegError) as caught:
        make(tmp_path / name)

    assert str(caught.value) == (
        f"{tmp_path / name} cannot be written: {tmp_path / 'file'} is not a folder. "
        "Name a place where you may write."
    )


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(NnsegError) as caught, whole(tmp_path):
        pytest.fail("nothing is to be written")

    assert str(caught.value) == f"{tmp_path} is a folder. Name the file to write."


@pytest.mark.skipif(not PROC.is_dir(), reason="needs a folder that takes nothing from anyone")
def test_a_folder_that_takes_nothing_is_named():
    with pytest.raises(NnsegError, match="^/proc/x/y cannot be written: /proc takes nothing new"):
        make_folder(PROC / "x" / "y")


@NOT_ROOT
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(NnsegError, match="cannot be written: Permission denied. Name a place"):
            make_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_place_is_tried_without_making_it(tmp_path):
    (tmp_path / "file").touch()

    require_place(tmp_path / "new" / "folder")
    with pytest.raises(NnsegError, match="file is not a folder"):
        require_place(tmp_path / "file" / "folder")

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_told_apart(tmp_path):
    said = "file cannot be written: the disk is full"

    with pytest.raises(DiskFull, match=said), writing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_that_is_not_of_the_system_stays_as_it_is(tmp_path):
    with pytest.raises(OSError, match="^encoder error$"), writing(tmp_path):
        raise OSError("encoder error")


@pytest.mark.parametrize(
    "command",
    [
        "check DATASET --workspace file/w",
        "plan DATASET --workspace file/w",
        "preprocess DATASET --workspace file/w",
        "train DATASET 2d --workspace file/w --device cpu",
        "evaluate DATASET/labelsTr DATASET/labelsTr --output file/w",
        "demo --output file/w",
    ],
)
def test_every_command_ends_in_one_message(tmp_path, capsys, monkeypatch, command):
    write_planar_phantom(tmp_path / "DATASET", cases=5, test_cases=0)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)

    assert run(*command.split(), "--workers", 0) == 2

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "cannot be written: " in last
    assert last.endswith("file is not a folder. Name a place where you may write.")
