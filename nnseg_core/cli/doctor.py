"""``nnseg doctor``: look at this machine and this installation, and say what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import WorkspacePath

if TYPE_CHECKING:
    from nnseg_core.health import Probe
    from nnseg_core.plugins import Plugins
    from nnseg_core.workspace import Workspace

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    context: typer.Context,
    deep: Annotated[
        bool, typer.Option("--deep", help="Try torch.compile too, which may take a minute.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    workspace: WorkspacePath = None,
) -> None:
    """Look at this machine and this installation: versions, devices, speed, memory, disk, plugins.

    Needs no network, changes nothing, takes some seconds. Exit code 1 if there is a problem.
    """
    from nnseg_core.workspace import find_workspace

    found = examination(context.obj, find_workspace(workspace), deep)
    probes = _collect_as_json(found) if as_json else _show(found)
    if any(probe.state == "problem" for probe in probes):
        raise typer.Exit(1)


def examination(
    plugins: Plugins, workspace: Workspace, deep: bool = False
) -> Iterator[tuple[str, Iterable[Probe]]]:
    """What to look at, group by group; each probe is made when it is asked for."""
    from nnseg_core.health.installation import installation_probes
    from nnseg_core.health.machine import machine_probes
    from nnseg_core.health.parts import asked_plugins, openmp_probe, plugin_probes
    from nnseg_core.health.storage import storage_probes

    yield "installation", installation_probes()
    yield "machine", machine_probes()
    yield "workspace", storage_probes(workspace)
    yield from asked_plugins(plugins, deep)
    yield "plugins", plugin_probes(plugins)
    yield "loaded together", [openmp_probe()]  # last, when everything has been imported


def _show(found: Iterator[tuple[str, Iterable[Probe]]]) -> list[Probe]:
    """Print each probe as it is known, and a sentence at the end."""
    from rich.console import Console

    from nnseg_core.cli.display import WIDEST

    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:  # in a pipe or a file no line is broken
        console.width = WIDEST
    probes: list[Probe] = []
    for group, seen in found:
        console.print(f"\n[bold]{group}[/bold]")
        for probe in seen:
            console.print(_row(probe))
            probes.append(probe)
    console.print(f"\n{verdict(probes)}")
    return probes


def _row(probe: Probe) -> object:
    """Name, state and value in columns; under them what to do."""
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 2))
    row.add_column(width=STATE_WIDTH)
    row.add_column(width=NAME_WIDTH)
    row.add_column()
    row.add_row(Text(probe.state, STYLES[probe.state]), Text(probe.name), Text(probe.value))
    if probe.remedy:
        row.add_row("", "", Text(f"-> {probe.remedy}", "bold"))
    return row


STATE_WIDTH, NAME_WIDTH = 7, 19
"""Columns: the longest state, and the longest name of nnseg's own probes."""


def verdict(probes: Iterable[Probe]) -> str:
    """One sentence on all of them."""
    counts = Counter(probe.state for probe in probes)
    if not counts["problem"] and not counts["warning"]:
        return "All is well."
    said = [f"{counts[s]} {s}{'s' * (counts[s] > 1)}" for s in ("problem", "warning") if counts[s]]
    return f"{' and '.join(said)}; after each -> is what to do."


def _collect_as_json(found: Iterator[tuple[str, Iterable[Probe]]]) -> list[Probe]:
    listed = [(group, probe) for group, seen in found for probe in seen]
    print(json.dumps([{"group": group, **asdict(probe)} for group, probe in listed], indent=2))
    return [probe for _, probe in listed]
