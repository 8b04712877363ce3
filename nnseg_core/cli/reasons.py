"""Reasons and networks on screen: wrapped and aligned in a terminal, a line each in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from nnseg_core.diagram import Diagram, as_lines
from nnseg_core.explanation import Reason

if TYPE_CHECKING:
    from rich.table import Table

WIDEST = 100
"""Columns of the text: longer lines are hard to read."""

NAMES = 20
"""Columns for the names of what was decided, so that all sections are aligned."""


def show_reasons(reasons: Sequence[Reason]) -> None:
    """Print reasons on stdout, those of the whole dataset first, then by configuration."""
    from rich.console import Console

    console = Console(highlight=False)
    ordered = sorted(reasons, key=lambda reason: _place(reason, reasons))
    for configuration, group in groupby(ordered, key=lambda reason: reason.configuration):
        if not console.is_terminal:
            for reason in group:
                print(
                    f"{configuration or 'dataset'}: {_name(reason)}: {reason.value}. {reason.text}"
                )
            continue
        console.print(f"\n{configuration or 'the dataset'}", style="bold cyan")
        console.print(_grid(group), width=min(console.width, WIDEST))


def show_diagrams(diagrams: Iterable[Diagram]) -> None:
    """Print networks on stdout, with plain characters where the output knows no others."""
    from rich.console import Console

    console = Console(highlight=False)
    plain = not console.encoding.lower().startswith("utf")
    for diagram in diagrams:
        title, *lines = as_lines(diagram, ascii_only=plain)
        console.print()
        for line, style in [(title, "bold cyan"), *((line, "") for line in lines)]:
            console.print(line, style=style, markup=False, soft_wrap=True)


def _place(reason: Reason, reasons: Sequence[Reason]) -> int:
    """Configurations in the order of their first reason; what concerns all comes before them."""
    if reason.configuration is None:
        return -1
    return next(i for i, r in enumerate(reasons) if r.configuration == reason.configuration)


def _grid(reasons: Iterable[Reason]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=NAMES)
    grid.add_column(overflow="fold")
    for reason in reasons:
        grid.add_row(f"  {_name(reason)}", Text.assemble((reason.value, "bold"), "\n", reason.text))
    return grid


def _name(reason: Reason) -> str:
    return reason.choice.replace("_", " ")
