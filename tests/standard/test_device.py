import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from nnseg_core.errors import PlanError
from nnseg_core.machine import usable_cores
from nnseg_core.plan import Topology
from nnseg_standard import device
from nnseg_standard.device import autocast, pick_device, pick_precision

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """A machine with the given accelerators."""

    def build(cuda=0, mps=0):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.mps, "device_count", lambda: mps)

    return build


@pytest.fixture
def cpu_speed(monkeypatch):
    """A CPU that convolves in bfloat16 in the given share of the time."""

    def build(share, instructions=True):
        seconds = {torch.float32: 1.0, torch.bfloat16: share}
        monkeypatch.setattr(device, "_has_bfloat16_instructions", lambda: instructions)
        monkeypatch.setattr(device, "_convolution_seconds", seconds.__getitem__)

    device.bfloat16_gain.cache_clear()
    yield build
    device.bfloat16_gain.cache_clear()


@pytest.mark.parametrize(
    ("accelerators", "expected"),
    [({}, "cpu"), ({"mps": 1}, "mps"), ({"cuda": 2}, "cuda:0"), ({"cuda": 1, "mps": 1}, "cuda:0")],
)
def test_auto_takes_the_fastest_there_is(machine, accelerators, expected):
    machine(**accelerators)

    assert pick_device("auto") == torch.device(expected)


def test_a_device_is_picked_by_name(machine):
    machine(cuda=2)

    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda:1", "mps", "gpu", "meta", ""])
def test_a_device_that_is_missing_is_refused_with_those_there_are(machine, name):
    machine(cuda=1)

    with pytest.raises(PlanError) as error:
        pick_device(name)

    assert str(error.value) == f"there is no device {name!r}. Use one of: auto, cpu, cuda:0."


@pytest.mark.parametrize(("share", "expected"), [(0.5, torch.bfloat16), (0.9, torch.float32)])
def test_a_cpu_uses_bfloat16_where_it_is_clearly_faster(cpu_speed, share, expected):
    cpu_speed(share)

    assert pick_precision(CPU) is expected


def test_a_cpu_without_bfloat16_instructions_is_not_timed(cpu_speed):
    cpu_speed(share=0.1, instructions=False)

    assert pick_precision(CPU) is torch.float32


def test_a_cpu_is_timed_once(cpu_speed):
    cpu_speed(share=0.5)
    assert pick_precision(CPU) is torch.bfloat16

    cpu_speed(share=2.0)
    assert pick_precision(CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("share", "instructions", "sentence"),
    [
        (0.5, True, "this CPU is 2.0 times as fast in bf16, so bf16 is used"),
        (1.0, True, "this CPU is 1.0 times as fast in bf16, so fp32 is used"),
        (0.5, False, "this CPU has no instructions for bf16, so fp32 is used"),
    ],
)
def test_the_log_says_once_why(cpu_speed, caplog, share, instructions, sentence):
    caplog.set_level("INFO")
    cpu_speed(share, instructions)

    pick_precision(CPU)
    pick_precision(CPU)

    assert caplog.messages == [f"precision: {sentence}"]


def test_a_cpu_is_tried_in_less_than_half_a_second():
    device.bfloat16_gain.cache_clear()
    start = time.thread_time()

    device.bfloat16_gain()

    assert time.thread_time() - start < 0.5
    device.bfloat16_gain.cache_clear()


def test_timing_a_convolution_works_where_gradients_are_off():
    with torch.inference_mode():
        assert device._convolution_seconds(torch.bfloat16) >= 0
    with torch.no_grad():
        assert device._convolution_seconds(torch.float32) >= 0


def test_accelerators_have_a_usual_precision():
    assert pick_precision(torch.device("cuda")) is torch.float16
    assert pick_precision(torch.device("mps")) is torch.float32


def test_a_precision_is_picked_by_name():
    assert pick_precision(CPU, "fp32") is torch.float32
    assert pick_precision(CPU, "bf16") is torch.bfloat16
    assert pick_precision(torch.device("cuda"), "fp16") is torch.float16


def test_unusable_precisions_are_refused():
    with pytest.raises(PlanError, match="no precision 'half'. Use one of: auto, fp32, fp16, bf16."):
        pick_precision(CPU, "half")

    for kind in ("cpu", "mps"):
        with pytest.raises(PlanError, match=f"'fp16' needs a GPU with CUDA. On {kind} use one of"):
            pick_precision(torch.device(kind), "fp16")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_autocast_convolves_in_the_precision(precision):
    with autocast(CPU, precision):
        assert torch.nn.Conv3d(1, 1, 1)(torch.ones(1, 1, 2, 2, 2)).dtype is precision


@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_threads_that_use_one_core_leave_the_others_to_this_thread():
    """In a process of its own: here PyTorch has long been told how many cores there are."""
    program = (
        "import threading, nnseg_standard.device as device, torch\n"
        "def work():\n"
        "    torch.set_num_threads(1)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()\n"
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "2"


def test_a_thread_that_uses_one_core_keeps_to_it_whatever_others_set():
    """A thread that has never asked how many cores there are would take over what others set."""
    ready, go_on, used = threading.Event(), threading.Event(), []

    def work():
        device.use_one_core()
        ready.set()
        go_on.wait(10)
        used.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(10)
    torch.set_num_threads(torch.get_num_threads())  # as a thread does that has used one, and ends
    go_on.set()
    thread.join()
    assert used == [1]


@pytest.mark.parametrize(
    ("patch", "strides", "kernel", "fails"),
    [
        ((8, 16, 16), ((1, 1, 1), (2, 2, 2), (2, 2, 2)), (3, 3, 3), True),
        ((8, 16, 16), ((1, 1, 1), (2, 2, 2), (1, 2, 2)), (3, 3, 3), False),
        ((12, 16, 16), ((1, 1, 1), (2, 2, 2), (2, 2, 2)), (3, 3, 3), False),  # 3 deep
        ((2, 16, 16), ((1, 1, 1), (2, 2, 2), (1, 2, 2)), (3, 3, 3), True),
        ((2, 16, 16), ((1, 1, 1), (1, 2, 2), (1, 2, 2)), (1, 3, 3), False),
        ((8, 8), ((1, 1), (2, 2), (2, 2)), (3, 3), False),
    ],
)
def test_bfloat16_fails_where_features_are_two_deep(patch, strides, kernel, fails):
    topology = Topology(
        patch_size=patch, features=(4, 8, 8), strides=strides, kernel_sizes=(kernel,) * 3
    )
    assert device.bfloat16_fails(topology) is fails
