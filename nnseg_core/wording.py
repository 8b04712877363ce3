"""Words that messages of every part have in common."""

from __future__ import annotations

from collections.abc import Iterable


def some(names: Iterable[str], shown: int = 5) -> str:
    """Names, or the first few of them and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
