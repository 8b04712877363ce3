"""Compare nnseg with nnU-Net: ``compare.py --peer-python PATH [--rows a,c] [--quick]``.

Both sides run whole, in turn, on the same machine; medians count. Ratios are nnU-Net's best way
to ours. Writes results.json and results.md, and with ``--page`` puts the table into a page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import meter
from rows import HIPPOCAMPUS, LESIONS, ROWS, Bar, Row, Setting, Variant

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"

UNITS = {
    "wall": ("wall time", "s"),
    "cpu": ("CPU time", "s"),
    "memory": ("memory of the largest process", "MB"),
    "call wall": ("wall time of the work alone", "s"),
    "call cpu": ("CPU time of the call", "s"),
    "call memory": ("memory beside its input", "MB"),
}


def main() -> int:
    """Run the rows asked for; 1 if a bar was missed or results differ."""
    options = _options()
    setting = _prepare(options)
    done = _known(setting.work / "results.json") if options.keep else {}
    for key in options.rows:
        done[key] = compare(ROWS[key], setting, options.rounds)
        print("\n".join(table({key: done[key]})), flush=True)
        _write(setting.work, done)
    if options.page:
        text = "\n".join([*_about(options.rounds), "", *table(done)])
        options.page.write_text(insert(options.page.read_text(encoding="utf-8"), text))
    return 1 if any(failed(row) for row in done.values()) else 0


def compare(row: Row, setting: Setting, rounds: int) -> dict[str, Any]:
    """Measure a row and judge it. A side that fails, or results that differ, fail the row."""
    print(f"{row.key}: {row.title}", flush=True)
    outcome: dict[str, Any] = {"title": row.title, "bars": [], "agrees": False}
    try:
        outcome["all"] = measure(row, setting, rounds)
        medians = {name: _medians(measures) for name, measures in outcome["all"].items()}
        outcome["bars"] = judge(row.bars, medians)
        outcome["agreement"] = row.agree(setting)
    except (AssertionError, RuntimeError) as error:
        return {**outcome, "agreement": str(error)}
    return {**outcome, "agrees": True}


def measure(row: Row, setting: Setting, rounds: int) -> dict[str, list[meter.Measures]]:
    """Run all variants of a row in turn, ``rounds`` times; what each took, by variant."""
    variants = row.variants(setting)
    seen: dict[str, list[meter.Measures]] = {variant.name: [] for variant in variants}
    for number in range(1, rounds + 1):
        for variant in variants:
            seen[variant.name].append(_once(row, variant, setting))
            print(f"  round {number}, {variant.name}: {seen[variant.name][-1]}", flush=True)
    return seen


def _once(row: Row, variant: Variant, setting: Setting) -> meter.Measures:
    """Commands one after the other: times add up, of memory the largest counts."""
    variant.prepare()
    total: meter.Measures = {}
    log_path = setting.work / f"{row.key}.{variant.name}.log".replace(" ", "_").replace(",", "")
    with log_path.open("w+", encoding="utf-8") as log:
        for command in variant.commands:
            measured = meter.run(command, variant.environment, log)
            for name, value in measured.items():
                join = max if name.endswith("memory") else sum
                total[name] = join((total.get(name, 0.0), value))
    return {name: round(value, 4) for name, value in total.items()}


def _medians(measures: Sequence[meter.Measures]) -> meter.Measures:
    return {name: median(measured[name] for measured in measures) for name in measures[0]}


def judge(bars: Sequence[Bar], variants: Mapping[str, meter.Measures]) -> list[dict[str, Any]]:
    """Ours, nnU-Net's best, their ratio, and whether it is what was asked."""
    judged = []
    for bar in bars:
        ours = variants[bar.variant].get(bar.measure)
        others = [
            measured[bar.measure]
            for name, measured in variants.items()
            if not name.startswith("nnseg") and bar.measure in measured
        ]
        if ours is None or not others:  # this platform does not tell
            continue
        ratio = min(others) / ours
        judged.append(
            {
                "measure": bar.measure,
                "variant": bar.variant,
                "ours": ours,
                "theirs": min(others),
                "ratio": ratio,
                "required": bar.required,
                "passed": bar.required is None or ratio >= bar.required,
            }
        )
    return judged


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a bar was missed, or the results differ."""
    return not row["agrees"] or not row["bars"] or not all(bar["passed"] for bar in row["bars"])


def table(done: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown: a line per bar, and under it how well the results agree."""
    lines = [
        "| | What | Measured | nnU-Net | nnseg | Ratio | Asked | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for key, row in sorted(done.items()):
        for number, bar in enumerate(row["bars"]):
            first = number == 0
            name, unit = UNITS[bar["measure"]]
            of = "" if bar["variant"] == "nnseg" else f", {bar['variant'].removeprefix('nnseg ')}"
            asked = "" if bar["required"] is None else f"{bar['required']:g}"
            verdict = "" if bar["required"] is None else "pass" if bar["passed"] else "**fail**"
            lines.append(
                f"| {key if first else ''} | {row['title'] if first else ''} | {name}{of} "
                f"| {_figure(bar['theirs'])} {unit} | {_figure(bar['ours'])} {unit} "
                f"| {bar['ratio']:.1f} | {asked} | {verdict} |"
            )
        sign = "" if row["agrees"] else "**fail**"
        lines.append(f"| | | results: {row['agreement']} | | | | | {sign} |")
    return lines


def insert(page: str, text: str) -> str:
    """The page with ``text`` between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, marked, after = rest.partition(END)
    if not marked:
        raise ValueError(f"the page lacks {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _about(rounds: int) -> list[str]:
    import torch

    kind = "AMX" if torch.cpu._is_amx_tile_supported() else "AVX-512 bfloat16"
    brain = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} processor cores "
        f"({platform.machine()}, {kind if brain else 'no bfloat16 instructions'}), "
        f"{platform.system()}, Python {platform.python_version()}, torch "
        f"{torch.__version__.partition('+')[0]}; "
        + ("one round." if rounds == 1 else f"medians of {rounds} interleaved rounds."),
    ]


def _write(work: Path, done: Mapping[str, Any]) -> None:
    (work / "results.json").write_text(json.dumps(done, indent=1), encoding="utf-8")
    (work / "results.md").write_text("\n".join(table(done)) + "\n", encoding="utf-8")


def _known(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _prepare(options: argparse.Namespace) -> Setting:
    raw = options.work / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in (HIPPOCAMPUS, LESIONS):
        if not (raw / name).exists():
            (raw / name).symlink_to((options.data / name).resolve())
    return Setting(
        data=options.data.resolve(),
        work=options.work.resolve(),
        peer_python=options.peer_python.absolute(),
        steps=20 if options.quick and options.steps is None else options.steps or 100,
        given_model=options.model,
    )


def _options() -> argparse.Namespace:
    told = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--peer-python", type=Path, required=True, help="Python of nnU-Net's environment.")
    add(
        "--data",
        type=Path,
        default=told("NNSEG_TEST_DATA"),
        help=f"Folder with {HIPPOCAMPUS} and {LESIONS}; or NNSEG_TEST_DATA.",
    )
    add("--work", type=Path, default=Path("peer"), help="Folder for all that is made.")
    add("--rows", type=_rows, default=tuple(ROWS), help="Rows to run: a,c for some.")
    add("--rounds", type=int, help="Rounds; 3, or 1 with --quick.")
    add("--quick", action="store_true", help="One round, and 20 training steps.")
    add("--steps", type=int, help="Training steps of row e; 100, or 20 with --quick.")
    add("--model", type=Path, help="A model of ours to predict with; else one is trained.")
    add("--keep", action="store_true", help="Keep the rows of an earlier run in the results.")
    add("--page", type=Path, nargs="?", const=PAGE, help="Put the table into this page.")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give the folder of the datasets by --data or NNSEG_TEST_DATA")
    options.data = Path(options.data)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _rows(text: str) -> tuple[str, ...]:
    keys = tuple(text.split(","))
    if unknown := [key for key in keys if key not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    return keys


if __name__ == "__main__":
    sys.exit(main())
