"""Which names are annotated in which case, where not all of them are in every case.

``dataset.json`` says so by case or by a pattern of cases: ``{"site_b_*": ["liver"]}``. What a case
does not list may be there without being marked. A case that nothing is said of has them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

T = TypeVar("T")

Annotated = Mapping[str, tuple[str, ...]]


def annotated_in(case: str, annotated: Annotated, names: Sequence[str]) -> tuple[str, ...]:
    """The names that are annotated in a case, in the order of ``names``.

    The case by its own name goes before patterns.
    """
    found = next((annotated[key] for key in _keys_of(case, annotated)), tuple(names))
    return tuple(name for name in names if name in found)


def partly_annotated(
    cases: Iterable[str], annotated: Annotated, names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The names that are annotated, by case, of those cases that lack some."""
    known = {case: annotated_in(case, annotated, names) for case in cases}
    return {case: found for case, found in known.items() if len(found) < len(names)}


def mistakes(cases: Sequence[str], annotated: Annotated) -> tuple[str, ...]:
    """What is wrong with the keys: those of no case, and patterns that contradict each other."""
    return (*_of_no_case(cases, annotated), *_contradictions(cases, annotated))


def of_cases(cases: Sequence[str], annotated: Mapping[str, T]) -> dict[str, T]:
    """The entries that are of one of these cases."""
    return {
        key: listed
        for key, listed in annotated.items()
        if key in cases or any(fnmatchcase(case, key) for case in cases)
    }


def _of_no_case(cases: Sequence[str], annotated: Annotated) -> Iterable[str]:
    import difflib

    fitting = of_cases(cases, annotated)
    for key in annotated:
        if key not in fitting:
            near = difflib.get_close_matches(key, cases, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else f" One is {cases[0]!r}."
            yield f'"annotated" names {key!r}, which is no case, nor a pattern of any.{guess}'


def _contradictions(cases: Sequence[str], annotated: Annotated) -> Iterable[str]:
    for case in cases:
        keys = _keys_of(case, annotated)
        for key in keys[1:] if keys[:1] != [case] else ():
            if set(annotated[key]) != set(annotated[keys[0]]):
                yield (
                    f'"annotated" says two things of case {case!r}: by {keys[0]!r} and by {key!r}. '
                    "Give it an entry of its own, or narrow a pattern."
                )
                return  # it is the same two patterns in most other cases


def _keys_of(case: str, annotated: Annotated) -> list[str]:
    """The case itself, where it is listed, then the patterns that it fits."""
    patterns = [key for key in annotated if key != case and fnmatchcase(case, key)]
    return [case, *patterns] if case in annotated else patterns
