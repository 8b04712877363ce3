"""``nnseg plan`` with its reasons, pictures and costs; and that ``--dry-run`` writes nothing."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nnseg_core.cli.dry_run import duration
from nnseg_core.files import validate
from nnseg_core.pipeline import costs
from nnseg_core.plan import Plan
from nnseg_core.testing.command import run
from nnseg_core.testing.phantoms import write_planar_phantom


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wörk space") / "Dataset001_Cells"
    write_planar_phantom(folder, cases=6, test_cases=1)
    return folder


def listing(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Every file below, with its size and date."""
    paths = [path for folder in folders for path in folder.rglob("*")]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def test_reasons_are_a_line_each_in_a_pipe(dataset, tmp_path, capsys):
    assert run("plan", dataset, "--workspace", tmp_path, "--workers", 0, "--why") == 0

    out = capsys.readouterr().out
    assert "\ndataset: configurations: 2d. The median image has one slice, so there is no" in out
    assert "\n2d: patch size: 64 x 64. " in out
    assert "2d (plain_unet): 1 channel in, 3 classes out" in out
    assert "What 6 cases cost, about" in out


def test_a_plan_says_what_it_costs_even_unasked(dataset, tmp_path, capsys):
    assert run("plan", dataset, "--workspace", tmp_path, "--workers", 0) == 0

    out = capsys.readouterr().out
    assert "What 6 cases cost, about" in out
    assert "patch size: 64 x 64." not in out


def test_json_is_a_plan_and_with_why_more(dataset, tmp_path, capsys):
    asked = ("plan", dataset, "--workspace", tmp_path, "--workers", 0, "--json")

    assert run(*asked) == run(*asked, "--why") == 0

    text = capsys.readouterr().out
    plain, end = json.JSONDecoder().raw_decode(text)
    explained, _ = json.JSONDecoder().raw_decode(text[end:].lstrip())
    assert isinstance(validate(Plan, plain, source="stdout"), Plan)
    reasons, priced = explained.pop("reasons"), explained.pop("costs")
    assert explained == plain
    patch = next(r for r in reasons if r["choice"] == "patch_size")
    assert (patch["configuration"], patch["value"]) == ("2d", "64 x 64")
    assert priced["2d"]["disk"] > 0


def test_a_picture_of_the_network_is_drawn(dataset, tmp_path):
    picture = tmp_path / "a b" / "network.svg"

    assert run("plan", dataset, "--workspace", tmp_path, "--workers", 0, "--draw", picture) == 0

    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_picture_that_cannot_be_written_is_named_before_the_work(dataset, tmp_path, capsys):
    place = dataset / "dataset.json" / "networks.svg"

    assert run("plan", dataset, "--workspace", tmp_path, "--draw", place) == 2

    assert f"{place} cannot be written: {place.parent} is not a folder." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--why"], ["--draw", "network.svg"]], ids=lambda o: o[0])
def test_showing_a_plan_that_was_edited_keeps_it(option, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("plan", dataset, "--workspace", tmp_path, "--workers", 0)
    assert run(*asked) == 0
    path = tmp_path / "datasets" / dataset.name / "standard" / "plan.json"
    written = json.loads(path.read_text())
    written["configurations"]["2d"]["batch_size"] = 3
    path.write_text(json.dumps(written))
    before = path.read_bytes()
    capsys.readouterr()

    assert run(*asked, *option) == 0

    assert path.read_bytes() == before
    captured = capsys.readouterr()
    assert "the plan that is there is shown as it stands" in captured.err
    explained = "2d: batch size: 3. Set by you; the planner decided" in captured.out
    assert explained == (option == ["--why"])

    assert run(*asked, *option, "--set", "batch_size=4") == 0  # says what to decide

    assert json.loads(path.read_text())["configurations"]["2d"]["batch_size"] == 4


def test_a_workspace_that_cannot_be_written_is_named_before_any_image_is_read(
    dataset, tmp_path, capsys, monkeypatch
):
    def read(*given):
        pytest.fail("an image was read")

    monkeypatch.setattr(import_module("nnseg_core.pipeline.examine"), "check_case", read)
    (tmp_path / "file").touch()

    assert run("plan", dataset, "--workspace", tmp_path / "file" / "w", "--workers", 0) == 2

    assert "file is not a folder. Name a place where you may write." in capsys.readouterr().err


def test_a_planner_without_reasons_says_so(dataset, tmp_path, capsys, monkeypatch):
    (tmp_path / "own_planner.py").write_text(
        "from dataclasses import dataclass, replace\n"
        "from nnseg_standard.planning.planner import StandardPlanner\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Own(StandardPlanner):\n"
        "    def plan(self, *given):\n"
        "        return replace(self, spacing=(1.0, 2.0, 2.0)).explain(*given).plan\n"
    )
    monkeypatch.chdir(tmp_path)

    code = run(
        *("plan", dataset, "--workspace", tmp_path, "--workers", 0, "--why"),
        *("--planner", "own_planner:Own"),
    )

    assert code == 0
    captured = capsys.readouterr()
    assert "planner 'own_planner:Own' gives no reasons for its choices." in captured.err
    assert "2d (plain_unet): 1 channel in" in captured.out


@pytest.mark.parametrize("command", [("preprocess",), ("train", "2d")], ids=lambda c: c[0])
def test_a_dry_run_of_nothing_writes_nothing(command, dataset, tmp_path, capsys):
    name, *more = command
    before = listing(dataset)

    assert run(name, dataset, *more, "--workspace", tmp_path / "new", "--dry-run") == 0

    assert listing(dataset) == before
    assert not (tmp_path / "new").exists()
    captured = capsys.readouterr()
    assert "6 cases: would be read" in captured.out
    assert "would be made" in captured.out
    assert "2d: 6 of 6 cases" in captured.out
    assert "The images have not been read" in captured.err


def test_a_dry_run_knows_what_is_there(dataset, tmp_path, capsys):
    asked = ("--workspace", tmp_path, "--workers", 0)
    run("preprocess", dataset, *asked)
    stored = sorted((tmp_path / "datasets" / dataset.name / "standard" / "2d").iterdir())
    for path in sorted(stored[0].iterdir()):
        path.unlink()
    before = listing(dataset, tmp_path)
    capsys.readouterr()

    assert run("preprocess", dataset, *asked, "--dry-run") == 0
    assert run("train", dataset, "2d", "--fold", 1, *asked, "--dry-run") == 0

    assert listing(dataset, tmp_path) == before
    out = capsys.readouterr().out
    assert out.count("6 cases: as they were") == 2
    assert out.count("is there") >= 2
    assert out.count("2d: 1 of 6 cases") == 2
    assert "fold 1: 5 cases to learn from, 1 to validate with; 1000 epochs of 250 steps" in out
    assert "2d-standard (new)" in out


def test_a_dry_run_knows_how_far_a_training_is(dataset, tmp_path, capsys):
    run("preprocess", dataset, "--workspace", tmp_path, "--workers", 0)
    fold = tmp_path / "models" / dataset.name / "2d-standard" / "fold_0"
    fold.mkdir(parents=True)
    rows = [json.dumps({"epoch": epoch, "seconds": 36.0}) + "\n" for epoch in range(900)]
    (fold / "metrics.jsonl").write_text("".join(rows) + '{"epoch": 900')

    assert run("train", dataset, "2d", "--workspace", tmp_path, "--workers", 0, "--dry-run") == 0

    out = capsys.readouterr().out
    assert "100 epochs of 250 steps" in out
    assert "60 min" in out
    assert "goes on after epoch 900" in out
    assert "The time is what epochs of this model have taken." in out


def test_a_full_disk_ends_preprocessing_before_it_begins(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(costs, "free_disk", lambda folder: 10_000)

    code = run("preprocess", dataset, "--workspace", tmp_path, "--workers", 0)

    assert code == 2
    assert "but only 0 MB are free there" in capsys.readouterr().err
    assert not (tmp_path / "datasets" / dataset.name / "standard" / "2d").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "1 s"),
        (89, "89 s"),
        (720, "12 min"),
        (3.4 * 3600, "3.4 h"),
        (2.5 * 86400, "2.5 days"),
        (160 * 86400, "160 days"),
    ],
)
def test_durations_are_in_words(seconds, words):
    assert duration(seconds) == words
