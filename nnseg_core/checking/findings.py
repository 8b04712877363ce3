"""What a check of a dataset finds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

FIXABLE = frozenset(
    {
        *("alpha", "channel-numbers", "grid-place", "grid-shape", "grid-spacing", "joined"),
        *("mask-255", "no-image", "no-label", "not-finite", "num-training", "other-ending"),
        *("sheared", "stray-image", "two-files", "zero-spacing"),
    }
)
"""Codes of findings that ``nnseg fix`` mends, or whose case it leaves out of the copy."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a dataset, or looks wrong, and what to do about it.

    An ``error`` makes training impossible or would teach the wrong thing; a ``warning`` wants a
    look. ``message`` is a clause about the case or file, ``remedy`` a sentence; ``case`` and
    ``file`` are None where it concerns more than one. ``code`` names the kind of finding, the same
    in every case. ``str()`` is all of it in one line.
    """

    severity: Literal["error", "warning"]
    message: str
    remedy: str
    case: str | None = None
    file: Path | None = None
    code: str = "unreadable"

    @property
    def fixable(self) -> bool:
        """Whether ``nnseg fix`` can mend it in a copy."""
        return self.code in FIXABLE

    def __str__(self) -> str:
        place = [f"case {self.case}" if self.case else "", str(self.file or "")]
        return f"{', '.join(filter(None, place)) or 'dataset'}: {self.message}. {self.remedy}"


error = partial(Finding, "error")
warning = partial(Finding, "warning")


def grouped(findings: Iterable[Finding]) -> list[tuple[Finding, ...]]:
    """Findings of one kind together, errors first, otherwise in the order they were found."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.severity != "error"):
        groups.setdefault(_kind(finding), []).append(finding)
    return [tuple(group) for group in groups.values()]


def as_dictionary(finding: Finding) -> dict[str, Any]:
    """A finding as JSON can hold it."""
    return {
        "severity": finding.severity,
        "code": finding.code,
        "message": finding.message,
        "remedy": finding.remedy,
        "case": finding.case,
        "file": None if finding.file is None else str(finding.file),
        "fixable": finding.fixable,
    }


def _kind(finding: Finding) -> tuple[str, str, str]:
    """Files are unreadable for many reasons: those of one kind differ in numbers only."""
    reason = re.sub(r"\d+", "#", finding.message) if finding.code == "unreadable" else ""
    return finding.severity, finding.code, reason
