"""Probes: what ``nnseg doctor`` looks at, one fact each, with what to do where it is not well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Probe", "State", "ok", "problem", "warning"]

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One fact about this machine or installation.

    ``problem`` is what makes nnseg fail or give wrong results, ``warning`` what makes it slower
    or may fail later. ``remedy`` is one sentence that says what to do now.
    """

    name: str
    state: State
    value: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.state != "ok" and not self.remedy:
            raise ValueError(f"probe {self.name!r} is a {self.state} but names no remedy")


def ok(name: str, value: object) -> Probe:
    """All is well."""
    return Probe(name=name, state="ok", value=str(value))


def warning(name: str, value: object, remedy: str) -> Probe:
    """It works, but slowly, or not for long."""
    return Probe(name=name, state="warning", value=str(value), remedy=remedy)


def problem(name: str, value: object, remedy: str) -> Probe:
    """It does not work."""
    return Probe(name=name, state="problem", value=str(value), remedy=remedy)
