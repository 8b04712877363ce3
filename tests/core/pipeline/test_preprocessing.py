"""From files to the store: the same for any number of workers, each case read once, none lost."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnseg_core import parallel
from nnseg_core.case import PreprocessedCase, RawCase
from nnseg_core.dataset import open_dataset
from nnseg_core.errors import CasesFailed, DatasetError, DiskFull
from nnseg_core.pipeline import make_plan, preprocess
from nnseg_core.pipeline.examined import decoded_key
from nnseg_core.plan import ComponentRef, Configuration, Plan
from nnseg_core.plugins import load_plugins
from nnseg_core.project import Project
from nnseg_core.store import CaseStore
from nnseg_core.testing.phantoms import write_phantom
from nnseg_core.workspace import Workspace
from nnseg_io.itk import ItkReader
from nnseg_standard.preprocessing.preprocessor import StandardPreprocessor

PLANNER = ComponentRef(
    name="standard", options={"spacing": [2.0, 1.5, 1.5], "patch_size": [16, 32, 32]}
)

MORTAL = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from nnseg_standard.preprocessing.preprocessor import StandardPreprocessor

@dataclass(frozen=True)
class Mortal(StandardPreprocessor):
    marker: str = ""
    times: int = 1

    def run(self, case, plan, configuration):
        killed = len(list(Path(self.marker).iterdir()))
        if case.identifier == "phantom_001" and killed < self.times:
            (Path(self.marker) / str(killed)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(case, plan, configuration)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wörk space") / "Dataset001_Phantom"
    write_phantom(folder, cases=4, test_cases=1)
    return folder


@pytest.fixture
def project(dataset: Path, tmp_path: Path) -> Project:
    return Project(
        dataset=open_dataset(dataset), workspace=Workspace(tmp_path), plugins=load_plugins()
    )


def run(project: Project, preprocessor: ComponentRef | None = None) -> CaseStore:
    plan = make_plan(project, PLANNER, "standard")
    configuration = plan.configurations["3d_fullres"]
    if preprocessor is not None:
        configuration = replace(configuration, preprocessor=preprocessor)
    plan = replace(plan, configurations={"3d_fullres": configuration})
    return preprocess(project, plan, "standard", "3d_fullres")


def contents(store: CaseStore) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.folder)): path.read_bytes()
        for path in store.folder.rglob("*")
        if path.is_file()
    }


def mortal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> tuple[ComponentRef, frozenset[str]]:
    """A preprocessor that kills its process at one case, that many times."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    (tmp_path / "deaths").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    options = {"marker": str(tmp_path / "deaths"), "times": times}
    return ComponentRef(name="mortal:Mortal", options=options), frozenset({"mortal:Mortal"})


def test_the_store_does_not_depend_on_workers(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = contents(run(project))
    monkeypatch.setattr(parallel, "WORTH_WORKERS", 0)
    notes: list[str] = []

    other = replace(
        project,
        workspace=Workspace(tmp_path / "other"),
        workers=2,
        note=notes.append,
        crew=parallel.Crew(),
    )

    assert contents(run(other)) == alone
    assert len(alone) == 4 * 4
    assert len(notes) == 1
    assert notes[0].startswith("2 workers: the largest case needs about 20")
    assert not other.crew.started


def test_each_case_is_decoded_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = [], ItkReader.read

    def counting(reader: ItkReader, paths: list[Path]) -> object:
        read.append(paths[0].name)
        return original(reader, paths)

    monkeypatch.setattr(ItkReader, "read", counting)

    run(project)

    assert sorted(read) == [f"phantom_00{case}_0000.nii.gz" for case in range(4)]
    assert project.crew.desk.shelf == {}


def test_a_file_that_has_changed_is_another_decoded_case(dataset: Path, tmp_path: Path) -> None:
    case = open_dataset(dataset).cases[0]
    copy = replace(case, images=(tmp_path / "a.nii.gz",))
    copy.images[0].write_bytes(case.images[0].read_bytes())
    before = decoded_key(copy)

    os.utime(copy.images[0], (1, 1))

    assert decoded_key(copy) != before


def test_nothing_is_written_into_the_dataset(project: Project, dataset: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in dataset.rglob("*"))

    run(project)

    assert sorted(path.stat().st_mtime_ns for path in dataset.rglob("*")) == before


def test_a_bad_case_is_set_aside_and_tried_again_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = StandardPreprocessor.run

    def refusing(
        self: StandardPreprocessor, case: RawCase, plan: Plan, configuration: Configuration
    ) -> PreprocessedCase:
        if case.identifier == "phantom_002":
            raise DatasetError("case phantom_002 is upside down.")
        return original(self, case, plan, configuration)

    with monkeypatch.context() as patched:
        patched.setattr(StandardPreprocessor, "run", refusing)
        with pytest.raises(CasesFailed) as error:
            run(project)
    store = CaseStore(
        folder=project.workspace.store(project.name, plan="standard", configuration="3d_fullres")
    )

    assert str(error.value).startswith(
        "1 of 4 cases were set aside:\n  case phantom_002 is upside down.\nThe other 3 are done."
    )
    assert store.identifiers() == ("phantom_000", "phantom_001", "phantom_003")
    assert len(run(project).identifiers()) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize("times", [1, 9])
def test_a_worker_that_is_killed_costs_its_case_at_most(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(parallel, "WORTH_WORKERS", 0)
    preprocessor, typed = mortal(tmp_path, monkeypatch, times)
    project = replace(project, workers=2, typed=typed)
    store = CaseStore(
        folder=project.workspace.store(project.name, plan="standard", configuration="3d_fullres")
    )

    if times == 1:
        run(project, preprocessor)
    else:
        with pytest.raises(
            CasesFailed,
            match="case phantom_001: its worker process was killed by SIGKILL while preprocessing",
        ):
            run(project, preprocessor)

    assert len(store.identifiers()) == (4 if times == 1 else 3)
    assert len(list((tmp_path / "deaths").iterdir())) == min(times, 2)


def test_a_full_disk_ends_preprocessing_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(store: CaseStore, case: PreprocessedCase, *more: object, **options: object) -> None:
        tried.append(case.identifier)
        raise OSError(28, "No space left on device", str(store.folder))

    monkeypatch.setattr(CaseStore, "write", full)

    with pytest.raises(DiskFull, match="3d_fullres cannot be written: the disk is full"):
        run(project)
    assert tried == ["phantom_000"]


LIMITED = """
import resource, sys
import blosc2, scipy.ndimage, nnseg_core.pipeline, nnseg_io.itk, nnseg_standard.planning.planner
from pathlib import Path
from nnseg_core.cli import main

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
sys.argv = ["nnseg", *sys.argv[1:]]
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
@pytest.mark.parametrize("workers", [0, 2])
def test_too_little_address_space_is_named(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "Dataset002_Large"
    write_phantom(folder, cases=2, test_cases=1)
    enlarge(folder, "phantom_001", 300)

    done = subprocess.run(
        [
            *(sys.executable, "-c", LIMITED, "preprocess", folder),
            *("--workspace", tmp_path / "w", "--workers", str(workers)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode in (1, 2), done.stderr
    assert "case phantom_001: memory ran out while " in done.stderr
    assert "(ulimit -v, RLIMIT_AS): raise that" in done.stderr
    assert "Traceback" not in done.stderr


def enlarge(folder: Path, case: str, size: int) -> None:
    import SimpleITK

    for path in (
        folder / "imagesTr" / f"{case}_0000.nii.gz",
        folder / "labelsTr" / f"{case}.nii.gz",
    ):
        kind = np.float32 if "images" in str(path) else np.uint8
        image = SimpleITK.GetImageFromArray(np.ones((size, size, size), dtype=kind))
        SimpleITK.WriteImage(image, str(path), useCompression=True)


NO_SEMAPHORES = """
import _multiprocessing
del _multiprocessing.SemLock  # as where /dev/shm is missing
from nnseg_core.parallel import map_cases, values
assert dict(values(map_cases(abs, [-1, -2], 2))) == {-1: 1, -2: 2}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="semaphores have no folder there")
def test_workers_need_no_shared_memory() -> None:
    subprocess.run([sys.executable, "-c", NO_SEMAPHORES], check=True)
