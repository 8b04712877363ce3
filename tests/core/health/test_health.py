"""Every probe says what it found, and what to do where that is not well."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnseg_core import hookimpl
from nnseg_core.health import Probe, installation, machine, parts, storage
from nnseg_core.kinds import LOSS
from nnseg_core.machine import Memory
from nnseg_core.plugins import Broken, Component, Plugins, load_plugins
from nnseg_core.workspace import Workspace


def by_name(probes: object) -> dict[str, Probe]:
    return {probe.name: probe for probe in probes}  # type: ignore[attr-defined]


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins(disabled=["standard", "io", "track"])


def test_a_probe_that_is_not_well_needs_a_remedy() -> None:
    with pytest.raises(ValueError, match="probe 'disk' is a problem but names no remedy"):
        Probe(name="disk", state="problem", value="full")


def test_this_installation_fits() -> None:
    probes = by_name(installation.installation_probes())

    assert {"nnseg", "python", "system", "packages", "extras"} == set(probes)
    assert probes["packages"].state == "ok", probes["packages"].value


def test_a_package_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=99", "no-such-package>=1", "also-missing; extra == 'dev'"]
    monkeypatch.setattr(installation, "requires", lambda name: lines)

    probe = by_name(installation.installation_probes())["packages"]

    assert probe.state == "problem"
    assert "nnseg needs >=99; no-such-package is not installed" in probe.value
    assert "also-missing" not in probe.value


def test_missing_extras_cost_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: None)

    probe = by_name(installation.installation_probes())["extras"]

    assert probe.state == "warning"
    assert "without isal, which reads and writes .nii.gz faster, cc3d" in probe.value
    assert probe.remedy == "Run: python -m pip install 'nnseg[fast]'"


@pytest.mark.parametrize(
    ("free", "state"), [(64e9, "ok"), (4e9, "warning"), (1e9, "problem")], ids=str
)
def test_little_memory_is_told_with_its_limit(
    monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(int(free), "this job"))
    monkeypatch.setattr(machine, "address_space", lambda: None)

    probe = by_name(machine.machine_probes())["memory"]

    assert (probe.state, probe.value) == (state, f"{free / 1e9:.1f} GB free, limited by this job")


def test_a_limit_of_the_address_space_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Memory(16_000_000_000, "this job"))
    monkeypatch.setattr(machine, "address_space", lambda: 4_000_000_000)

    probe = by_name(machine.machine_probes())["memory"]

    assert probe.state == "warning"
    assert "4.0 GB by ulimit -v" in probe.value


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        ("4", "ok", ""),
        ("1", "warning", "leaves cores idle"),
        ("9", "warning", "makes threads wait"),
    ],
)
def test_threads_are_compared_with_the_cores(
    monkeypatch: pytest.MonkeyPatch, told: str, state: str, said: str
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)

    probe = by_name(machine.machine_probes())["OpenMP settings"]

    assert probe.state == state
    assert said in probe.value


def test_a_workspace_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    probes = by_name(storage.storage_probes(Workspace(tmp_path)))

    assert set(probes) == {"workspace", "free space", "write speed"}
    assert probes["workspace"].value == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    probes = by_name(storage.storage_probes(Workspace(tmp_path / "a" / "b")))

    assert probes["workspace"].state == "ok"
    assert "not there yet" in probes["workspace"].value
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (probe,) = storage.storage_probes(Workspace(tmp_path / "file"))

    assert probe.state == "problem"
    assert probe.remedy == "Choose another folder with --workspace or NNSEG_WORKSPACE."


@pytest.mark.parametrize(
    ("free", "state"), [(200e9, "ok"), (5e9, "warning"), (5e8, "problem")], ids=str
)
def test_little_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str
) -> None:
    monkeypatch.setattr(storage, "free_disk", lambda folder: int(free))

    probes = by_name(storage.storage_probes(Workspace(tmp_path)))

    assert probes["free space"].state == state


@pytest.mark.parametrize(("speed", "state"), [(5e8, "ok"), (1e7, "warning")])
def test_a_slow_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: float, state: str
) -> None:
    monkeypatch.setattr(storage, "write_speed", lambda folder: speed)

    probes = by_name(storage.storage_probes(Workspace(tmp_path)))

    assert probes["write speed"].state == state


def test_plugins_are_listed_with_what_they_offer() -> None:
    probes = list(parts.plugin_probes(load_plugins()))

    assert {probe.state for probe in probes} == {"ok"}
    assert any("loss dice_ce, dice" in probe.value for probe in probes)


def test_a_part_that_cannot_be_imported_is_a_problem(plugins: Plugins) -> None:
    part = Component(LOSS, "mine", "no_such_module:Mine", provider="mine (nnseg-mine 1.2)")
    plugins.components[LOSS.name, "mine"] = part

    (probe,) = parts.plugin_probes(plugins)

    assert (probe.name, probe.state) == ("mine (nnseg-mine 1.2)", "problem")
    assert "loss 'mine' from mine (nnseg-mine 1.2) cannot be imported" in probe.value


def test_a_plugin_that_was_skipped_is_a_problem(plugins: Plugins) -> None:
    plugins.broken.append(Broken("mine (nnseg-mine 1.2)", "ImportError: no torch"))

    (probe,) = parts.plugin_probes(plugins)

    assert (probe.state, probe.value) == ("problem", "skipped: ImportError: no torch")
    assert probe.remedy.endswith("set NNSEG_DISABLE_PLUGINS=mine.")


def test_a_plugin_adds_probes_of_its_own(plugins: Plugins) -> None:
    found = Probe(name="scans", state="ok", value="mounted")
    hook = SimpleNamespace(nnseg_health=hookimpl(lambda: [found]))
    plugins.manager.register(hook, name="mine")

    ((name, probes),) = parts.asked_plugins(plugins, deep=False)

    assert (name, list(probes)) == ("mine", [found])


@pytest.mark.parametrize(
    ("implementation", "said"),
    [
        (lambda: 1 / 0, "ended with ZeroDivisionError: division by zero"),
        (lambda: ["fine"], "ended with TypeError: nnseg_health gave 'fine', which is not a Probe"),
    ],
)
def test_a_plugin_that_fails_is_a_problem(
    plugins: Plugins, implementation: object, said: str
) -> None:
    hook = SimpleNamespace(nnseg_health=hookimpl(implementation))
    plugins.manager.register(hook, name="mine")

    ((_, probes),) = parts.asked_plugins(plugins, deep=False)
    (probe,) = probes

    assert (probe.state, probe.value) == ("problem", said)


def test_a_plugin_is_told_how_deep_to_look(plugins: Plugins) -> None:
    def nnseg_health(deep: bool) -> list[Probe]:
        return [Probe(name="deep", state="ok", value=str(deep))]

    plugins.manager.register(SimpleNamespace(nnseg_health=hookimpl(nnseg_health)), name="mine")

    ((_, probes),) = parts.asked_plugins(plugins, deep=True)

    assert [probe.value for probe in probes] == ["True"]


def test_two_kinds_of_openmp_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"/torch/lib/libgomp-abc.so.1", "/conda/lib/libiomp5.so"}
    monkeypatch.setattr(parts, "_openmp_libraries", lambda: loaded)

    probe = parts.openmp_probe()

    assert probe.state == "warning"
    assert probe.value.startswith("2 kinds in one process: /conda/lib/libiomp5.so")


def test_two_copies_of_one_kind_are_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"/torch/lib/libgomp-abc.so.1", "/other/libgomp.so.1"}
    monkeypatch.setattr(parts, "_openmp_libraries", lambda: loaded)
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)

    assert parts.openmp_probe().state == "ok"


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="Windows has no load")
def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.cpu_count() or 1
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0 * cores, 0, 0))

    probe = by_name(machine.machine_probes())["cores"]

    assert probe.state == "warning"
    assert "busy with other programs" in probe.value
