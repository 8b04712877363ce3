"""What was changed in a copy, for the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was in the original.

    ``code`` is that of the finding that it mends; ``file`` is the name in the copy, or in the
    original where it was left out.
    """

    code: str
    message: str
    case: str | None = None
    file: str | None = None
