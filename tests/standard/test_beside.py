import threading

import pytest

from nnseg_standard.beside import Beside


def failing() -> None:
    raise OSError("disk full")


def test_work_is_done_in_another_thread_in_the_order_given():
    done: list[tuple[int, bool]] = []
    here = threading.get_ident()

    with Beside() as beside:
        for number in range(5):
            beside.start(lambda number=number: done.append((number, threading.get_ident() == here)))

    assert done == [(number, False) for number in range(5)]


def test_the_caller_goes_on_while_work_is_under_way():
    gate = threading.Event()

    with Beside() as beside:
        beside.start(lambda: assert_opened(gate))
        gate.set()  # a caller that waited would never come here


def assert_opened(gate: threading.Event) -> None:
    assert gate.wait(10)


@pytest.mark.parametrize("next_call", ["start", "finish"])
def test_an_error_is_raised_once_by_the_next_call(next_call: str):
    beside = Beside()
    beside.start(failing)

    with pytest.raises(OSError, match="disk full"):
        beside.start(failing) if next_call == "start" else beside.finish()

    beside.finish()


def test_an_error_of_the_last_work_ends_the_block():
    with pytest.raises(OSError, match="disk full"), Beside() as beside:
        beside.start(failing)


def test_an_error_of_the_block_comes_first_and_tells_of_the_other():
    with pytest.raises(KeyError) as caught, Beside() as beside:
        beside.start(failing)
        raise KeyError("broken")

    assert caught.value.__notes__ == ["Work beside the training failed too: disk full"]


def test_no_thread_is_left():
    before = threading.active_count()

    with Beside() as beside:
        beside.start(lambda: None)

    assert threading.active_count() == before
