"""What became of one case: a value, or the error that it ended with."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from nnseg_core import machine
from nnseg_core.desk import Desk
from nnseg_core.errors import CasesFailed, DiskFull, NnsegError, refusal

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """What became of one item: a value, or the error that it ended with."""

    item: T
    value: R | None = None
    error: Exception | None = None


class MemoryRanOut(NnsegError):
    """A case for which there was not enough memory, perhaps only because of others beside it."""

    exit_code = 1


def attempt(function: Callable[[T], R], item: T, desk: Desk) -> Outcome[T, R]:
    """Apply ``function``, and keep whatever it raises."""
    desk.stage = "starting"
    try:
        return Outcome(item, value=function(item))
    except MemoryError as error:
        return Outcome(item, error=_memory_ran_out(item, error, desk))
    except NnsegError as error:
        return Outcome(item, error=error)
    except OSError as error:
        refused = refusal(error)
        return Outcome(item, error=error if refused is None else refused)
    except Exception as error:  # reported by the caller with the item's name
        error.add_note(f"case {name(item)}, while {desk.stage}\n{traceback.format_exc()}")
        return Outcome(item, error=error)


def values(outcomes: Iterator[Outcome[T, R]]) -> Iterator[tuple[T, R]]:
    """Items with their values; all failures together are raised once every item has been tried.

    Raises ``CasesFailed`` naming every case that was set aside, ``NnsegError`` where all have one
    and the same reason, the error itself where it is a defect, and ``DiskFull`` at once.
    """
    failures: list[Outcome[T, R]] = []
    done = 0
    for outcome in outcomes:
        if isinstance(outcome.error, DiskFull):
            raise outcome.error
        if outcome.error is not None:
            failures.append(outcome)
        else:
            done += 1
            yield outcome.item, outcome.value  # type: ignore[misc]
    if failures:
        _raise_all(failures, done)


def name(item: object) -> str:
    """The identifier of a case; other items stand for themselves."""
    found = item[0] if isinstance(item, tuple) and item else item
    return str(getattr(found, "identifier", found))


def _memory_ran_out(item: object, error: MemoryError, desk: Desk) -> MemoryRanOut:
    limit = machine.address_space()
    allowed = (
        f" Each process may reserve {machine.in_words(limit)} (ulimit -v, RLIMIT_AS): raise that."
        if limit is not None
        else " Close other programs, or give the job more."
    )
    return MemoryRanOut(
        f"case {name(item)}: memory ran out while {desk.stage} ({error or 'no size was told'})."
        f"{allowed}"
    )


def _raise_all(failures: Sequence[Outcome[T, R]], done: int) -> None:
    errors = [outcome.error for outcome in failures if outcome.error is not None]
    listed = "\n".join(f"  {_line(outcome)}" for outcome in failures)
    said = f"{len(failures)} of {len(failures) + done} cases were set aside:\n{listed}"
    defect = next((error for error in errors if not isinstance(error, NnsegError)), None)
    if defect is not None:
        defect.add_note(said)
        raise defect
    if done == 0 and len({str(error) for error in errors}) == 1:
        raise errors[0]  # one mistake that all cases share, such as one in the plan
    others = f"The other {done} are done. " if done else ""
    raise CasesFailed(
        f"{said}\n{others}The same command tries these again; or take them out of the dataset."
    )


def _line(outcome: Outcome[T, R]) -> str:
    text, case = str(outcome.error) or type(outcome.error).__name__, name(outcome.item)
    return text if case in text else f"case {case}: {text}"
