"""The network of a configuration, drawn: a row per resolution, as text and as a picture (SVG)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape

from nnseg_core.contracts import Architecture
from nnseg_core.plan import Configuration, Topology

BAR = 12
"""Characters of a bar that stands for all of the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A resolution of a U-Net: on the way down, and the same on the way up.

    ``size`` is in voxels; ``stride`` led here from the level above. ``memory`` is the share of
    what all convolutions put out, 0 to 1.
    """

    features: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    kernel: tuple[int, ...]
    memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """A network to draw, with its title and what goes in and comes out, in words."""

    title: str
    inputs: str
    outputs: str
    levels: tuple[Level, ...]


def levels(
    configuration: Configuration, architecture: Architecture, outputs: int
) -> tuple[Level, ...]:
    """The resolutions of a network, from full resolution down."""
    topology = configuration.topology
    size, found = topology.patch_size, []
    shares = memory_shares(architecture, topology, outputs)
    rows = zip(topology.features, topology.strides, topology.kernel_sizes, shares, strict=True)
    for features, stride, kernel, share in rows:
        size = tuple(voxels // step for voxels, step in zip(size, stride, strict=True))
        found.append(
            Level(features=features, size=size, stride=stride, kernel=kernel, memory=share)
        )
    return tuple(found)


def memory_shares(
    architecture: Architecture, topology: Topology, outputs: int
) -> tuple[float, ...]:
    """The share of each level in what ``architecture.memory`` counts.

    A level's elements are proportional to its features, so its share is what doubling them adds.
    The output head, which has features of its own, belongs to the first level.
    """
    whole = architecture.memory(topology, outputs)
    deeper = [
        (architecture.memory(_doubled(topology, level), outputs) - whole) / whole
        for level in range(1, len(topology.features))
    ]
    return (1 - sum(deeper), *deeper)


def _doubled(topology: Topology, level: int) -> Topology:
    features = [
        2 * count if index == level else count for index, count in enumerate(topology.features)
    ]
    return replace(topology, features=tuple(features))


def as_lines(diagram: Diagram, ascii_only: bool = False) -> Iterator[str]:
    """The U as text: a line per level under a heading, at most 100 columns for up to 8 levels."""
    line, block = ("-", "#") if ascii_only else ("─", "█")
    depth = len(diagram.levels)
    rows = [("stage", "size", "kernel", "stride", _arms(diagram, depth, line)[0], "memory")]
    for number, (level, arms) in enumerate(
        zip(diagram.levels, _arms(diagram, depth, line)[1:], strict=True), start=1
    ):
        bar = block * round(BAR * level.memory)
        stride = "" if number == 1 else _by(level.stride)
        share = f"{_percent(level.memory):>4} % {bar}"
        rows.append((str(number), _by(level.size), _by(level.kernel), stride, arms, share))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    yield f"{diagram.title}: {diagram.inputs} in, {diagram.outputs} out"
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[5]]).rstrip()


def _arms(diagram: Diagram, depth: int, line: str) -> list[str]:
    """The features on the way down and up, each level further in, after a heading."""
    widest = max(len(str(level.features)) for level in diagram.levels)
    width = max(4 * depth + 2 * widest, 20)
    drawn = ["encoder".ljust(width - 7) + "decoder"]
    for index, level in enumerate(diagram.levels):
        inner = width - 4 * index
        features = str(level.features)
        if index == depth - 1:
            drawn.append(features.center(width))
            continue
        skip = line * (inner - 2 * len(features) - 2)
        drawn.append(f"{features} {skip} {features}".center(width))
    return drawn


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"


def _by(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


ROW, BOX, HEIGHT, STEP, GAP, MARGIN = 78, 148, 46, 26, 130, 24
"""Pixels: from row to row, width and height of a box, how much further in each level lies, the
room between the arms at the lowest level, and around all."""

BAR_ROOM = 190
"""Pixels on the right for the bars of memory."""

STYLE = """
  .paper { fill: #ffffff } .box { fill: #e8f0fa; stroke: #2f5f9e }
  .up { fill: #eaf5ea; stroke: #3c7a3c } .bar { fill: #c9772b }
  .line { stroke: #6a737d; fill: none } .head { fill: #6a737d }
  text { font: 12px system-ui, sans-serif; fill: #1b1f24 }
  .title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14181d } .box { fill: #1d3352; stroke: #7fb0ee }
    .up { fill: #1e3a22; stroke: #7cc282 } .bar { fill: #e09a52 }
    .line { stroke: #9aa4af } .head { fill: #9aa4af }
    text { fill: #e6e9ec } .small { fill: #a9b3bd }
  }
"""
"""Dark text on a light page, or light on dark where the viewer asks for it: never without paper."""


def as_svg(diagrams: Sequence[Diagram]) -> str:
    """A picture of networks, one below the other, that any browser shows."""
    width = max(_width(diagram) for diagram in diagrams)
    shapes, top = [], MARGIN
    for diagram in diagrams:
        shapes += _panel(diagram, top)
        top += _panel_height(diagram)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" '
            f'viewBox="0 0 {width} {top}" role="img">',
            f"<title>{escape('; '.join(diagram.title for diagram in diagrams))}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{top}"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def _width(diagram: Diagram) -> int:
    return 2 * MARGIN + _span(diagram) + BAR_ROOM


def _span(diagram: Diagram) -> int:
    """From the left edge of the first encoder box to the right edge of the last decoder box."""
    return 2 * (BOX + STEP * (len(diagram.levels) - 1)) + GAP


def _panel_height(diagram: Diagram) -> int:
    return 74 + ROW * len(diagram.levels)


def _panel(diagram: Diagram, top: int) -> list[str]:
    right = MARGIN + _span(diagram)
    shapes = [
        _text(MARGIN, top + 14, diagram.title, "title"),
        _text(MARGIN, top + 36, f"{diagram.inputs} in"),
        _text(right, top + 36, f"{diagram.outputs} out", anchor="end"),
        _text(right + 24, top + 36, "share of the memory", "small"),
    ]
    first = top + 48
    for index, level in enumerate(diagram.levels):
        y = first + ROW * index
        last = index == len(diagram.levels) - 1
        shapes += _bottom(diagram, level, y) if last else _row(diagram, index, y)
        length = max(2, round(80 * level.memory))
        shapes += [
            f'<rect class="bar" x="{right + 24}" y="{y + 16}" width="{length}" height="14"/>',
            _text(right + 32 + length, y + 28, f"{_percent(level.memory)} %"),
        ]
    return shapes


def _row(diagram: Diagram, index: int, y: int) -> list[str]:
    """A level with both arms, the skip connection between them, and the steps to the next."""
    level, below = diagram.levels[index], diagram.levels[index + 1]
    left = MARGIN + STEP * index
    right = MARGIN + _span(diagram) - STEP * index - BOX
    middle = y + HEIGHT // 2
    down, up = left + BOX // 2, right + BOX // 2
    foot = y + ROW
    return [
        *_box(level, left, y, "box"),
        *_box(level, right, y, "up"),
        _arrow(left + BOX, middle, right - 2, middle),
        _arrow(down, y + HEIGHT, down, foot - 2),
        _text(down + 8, y + HEIGHT + 20, f"stride {_by(below.stride)}", "small"),
        _arrow(up, foot, up, y + HEIGHT + 2),
    ]


def _bottom(diagram: Diagram, level: Level, y: int) -> list[str]:
    """The lowest level: one box from arm to arm."""
    inset = STEP * (len(diagram.levels) - 1)
    return _box(level, MARGIN + inset, y, "box", _span(diagram) - 2 * inset)


def _box(level: Level, x: int, y: int, style: str, width: int = BOX) -> list[str]:
    middle = x + width // 2
    return [
        f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="5"/>',
        _text(
            middle, y + 19, f"{level.features} x {' x '.join(map(str, level.size))}", "", "middle"
        ),
        _text(middle, y + 36, f"kernel {_by(level.kernel)}", "small", "middle"),
    ]


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    """A line with a head, in one of the four directions."""
    back = (6 if to_x < x else -6) if to_y == y else 0
    rise = (6 if to_y < y else -6) if to_x == x else 0
    across_x, across_y = (4, 0) if rise else (0, 4)
    head = (
        f"M{to_x} {to_y} L{to_x + back + across_x} {to_y + rise + across_y} "
        f"L{to_x + back - across_x} {to_y + rise - across_y} Z"
    )
    return (
        f'<path class="line" d="M{x} {y} L{to_x + back} {to_y + rise}"/>'
        f'<path class="head" d="{head}"/>'
    )


def _text(x: int, y: int, words: str, style: str = "", anchor: str = "start") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
