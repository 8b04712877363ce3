"""Names of cases that look as if they were of one patient.

``patient012_1`` and ``patient012_2``, ``s3-left`` and ``s3-right``, ``p07_t0`` and ``p07_t1``: what
stays when the ending is taken off is taken for the patient. A plain counter is no ending:
``hippocampus_001`` is a patient by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = (
    *("left", "right", "l", "r", "lt", "rt", "pre", "post", "baseline", "followup", "follow", "fu"),
    *("bl", "before", "after", "early", "late", "prior", "current", "ed", "es"),
)
"""Sides, times and phases of the heart that end a name."""

NUMBERED = (
    *("t", "tp", "time", "timepoint", "v", "visit", "scan", "s", "ses", "session", "run", "fu"),
    *("frame", "phase", "series", "year", "y", "month", "m", "week", "w", "day", "d", "rep"),
    *("img", "image", "slice", "part", "acq", "roi"),
)
"""What a number at the end of a name may count within a patient."""

LARGEST = 10
"""Cases that a patient may have: more of one beginning are a site or a study."""

_WORD = re.compile(rf"(.*\w)[_\-. ](?:{'|'.join(WORDS)})", re.IGNORECASE)
_NUMBERED = re.compile(rf"(.*\d.*|.{{2,}})[_\-. ](?:{'|'.join(NUMBERED)})[_\-]?\d{{1,4}}", re.I)
_COUNTED = re.compile(r"(.*\d.*)[_\-. ]\d{1,2}")
_LETTER = re.compile(r"(.*\d)[_\-. ]?[a-dA-D]")


def patient_of(identifier: str) -> str:
    """The beginning of a name that stands for the patient; the whole name where it has no ending.

    Two endings are taken off where there are two: ``p07_t1_left`` is of ``p07``.
    """
    return _without_ending(_without_ending(identifier, _WORD), _NUMBERED, _COUNTED, _LETTER)


def suspected_patients(identifiers: Iterable[str]) -> dict[str, list[str]]:
    """Patients that seem to have several cases, by what their names have in common.

    None where all names have one beginning, or a beginning has too many for one patient.
    """
    patients: dict[str, list[str]] = {}
    for identifier in sorted(identifiers):
        patients.setdefault(patient_of(identifier), []).append(identifier)
    several = {name: cases for name, cases in patients.items() if len(cases) > 1}
    if len(patients) < 2 or any(len(cases) > LARGEST for cases in several.values()):
        return {}
    return several


def _without_ending(identifier: str, *endings: re.Pattern[str]) -> str:
    for ending in endings:
        if match := ending.fullmatch(identifier):
            return match[1]
    return identifier
