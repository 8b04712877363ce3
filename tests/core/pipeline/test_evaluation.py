"""Scoring folders of masks: bad ones are set aside."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from nnseg_core.dataset import DatasetDescription, Labels
from nnseg_core.errors import CasesFailed, NnsegError
from nnseg_core.pipeline.evaluation import evaluate, write_scores
from nnseg_core.testing.command import run as command
from nnseg_io.itk import ItkReader

DESCRIPTION = DatasetDescription(
    name="made up",
    channels=("CT",),
    labels=Labels(values={"a": (1,)}),
    file_ending=".nii.gz",
)


def save(folder, **masks):
    folder.mkdir(exist_ok=True)
    for name, (value, depth) in masks.items():
        mask = np.zeros((depth, 4, 4), dtype=np.uint8)
        mask[:, 1:3, 1:3] = value
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), str(folder / f"{name}.nii.gz"))
    return folder


def run(tmp_path):
    return evaluate(ItkReader(), DESCRIPTION, tmp_path / "masks", tmp_path / "references")


def test_good_cases_are_scored_beside_bad_ones(tmp_path):
    save(tmp_path / "references", good=(1, 4), undeclared=(7, 4), damaged=(1, 4))
    masks = save(tmp_path / "masks", good=(1, 4), undeclared=(1, 4), damaged=(1, 4))
    (masks / "damaged.nii.gz").write_bytes(b"")

    scores, failed = run(tmp_path)

    assert [case.identifier for case in scores.cases] == ["good"]
    assert isinstance(failed, CasesFailed)
    assert "2 of 3 cases were set aside" in str(failed)
    assert "damaged.nii.gz is empty" in str(failed)


def test_without_bad_cases_nothing_is_said(tmp_path):
    save(tmp_path / "references", good=(1, 4))
    save(tmp_path / "masks", good=(1, 4))

    assert run(tmp_path)[1] is None


def test_no_scores_at_all_are_an_error(tmp_path):
    save(tmp_path / "references", one=(7, 4))
    save(tmp_path / "masks", one=(1, 4))

    with pytest.raises(NnsegError, match="one"):
        run(tmp_path)


def test_cases_without_any_annotated_label_leave_a_table_without_rows(tmp_path):
    save(tmp_path / "references", one=(1, 4))
    save(tmp_path / "masks", one=(1, 4))
    unmarked = replace(DESCRIPTION, annotated={"one": ()})

    scores, _ = evaluate(ItkReader(), unmarked, tmp_path / "masks", tmp_path / "references")
    write_scores(tmp_path, scores, unmarked.labels)

    heading, *rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert heading.startswith("case,label,outcome,dice,iou,")
    assert rows == []


def test_where_nothing_is_scored_no_folder_is_left(tmp_path, capsys):
    save(tmp_path / "masks", one=(1, 4))
    (tmp_path / "references").mkdir()
    labels = {"background": 0, "a": 1}
    described = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(described))

    folders = (tmp_path / "masks", tmp_path / "references")
    assert command("evaluate", *folders, "--output", tmp_path / "new") == 2

    assert "holds no" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path, capsys):
    assert command("evaluate", tmp_path / "nowhere", tmp_path) == 2

    assert f"there is no folder {tmp_path / 'nowhere'}." in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
