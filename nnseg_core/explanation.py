"""Why a plan is as it is: a reason for each choice, beside the plan that it explains."""

from __future__ import annotations

from dataclasses import dataclass

from nnseg_core.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one thing was decided, in sentences with the numbers that decided it.

    ``choice`` is the field of the plan or of its configuration that was decided, such as ``axes``
    or ``patch_size``; ``configuration`` is None for what concerns all of them. ``value`` is what
    was decided, as people read it.
    """

    choice: str
    value: str
    text: str
    configuration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A plan and the reasons for it. They hold for this plan only."""

    plan: Plan
    reasons: tuple[Reason, ...]
