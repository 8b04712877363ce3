"""Where to compute, and how precisely: a device by name, a floating-point type for autocast."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch.nn import functional

from nnseg_core.errors import PlanError
from nnseg_core.plan import Topology
from nnseg_core.ranks import Ranks
from nnseg_core.team import current

log = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WORTHWHILE = 1.2
"""How much faster bfloat16 must be on a CPU: far from 1, so that chance does not decide."""

# A thread asks how many cores it may use when it first computes, and gets what any thread has set
# last. This one asks now, before others set theirs to 1: sums would be split another way, and a
# training that is repeated would differ in the last digits.
torch.get_num_threads()


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, else MPS, else the CPU; other names are torch's: ``cpu``, ``cuda:1``.

    Of several ranks on a machine each has a GPU of its own, by ``auto`` as by ``cuda``.

    Raises ``PlanError`` for a device that this machine or this build of torch does not have.
    """
    present = available_devices()
    name = of_this_rank(name, current().ranks, torch.cuda.device_count())
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda:0", "mps", "cpu") if kind in present))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or _full_name(device) not in present:
        raise PlanError(f"there is no device {name!r}. Use one of: auto, {', '.join(present)}.")
    return device


def of_this_rank(name: str, ranks: Ranks, gpus: int) -> str:
    """The GPU of a rank where ``name`` leaves it open, by its number on its machine.

    A scheduler may show each process only its own. Raises ``PlanError`` where several would share.
    """
    if ranks.count == 1 or gpus == 0 or not (name == "auto" or name.startswith("cuda")):
        return name
    if name.startswith("cuda:") and ranks.beside > 1:
        raise PlanError(f"{ranks.beside} processes cannot share {name}. Use --device cuda.")
    if name.startswith("cuda:") or (gpus == 1 and ranks.bound):
        return name
    if ranks.beside > gpus:
        raise PlanError(
            f"{ranks.beside} processes were launched on this machine, but it has {gpus} GPUs. "
            f"Launch one for each: torchrun --nproc-per-node {gpus}, or srun --ntasks-per-node."
        )
    return f"cuda:{ranks.local}"


def available_devices() -> tuple[str, ...]:
    """The devices that this machine has and this build of torch can use."""
    cuda = (f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return ("cpu", *cuda, *(["mps"] if torch.mps.device_count() else []))


def pick_precision(device: torch.device, name: str = "auto") -> torch.dtype:
    """What autocast computes in; float32 means that autocast stays off.

    ``auto`` is float16 on CUDA (as nnU-Net, with a gradient scaler), float32 on MPS, and on a CPU
    bfloat16 where that is clearly faster. Raises ``PlanError`` for what ``device`` cannot do.
    """
    if name == "auto":
        return _usual_precision(device)
    if name not in PRECISIONS:
        raise PlanError(
            f"there is no precision {name!r}. Use one of: auto, {', '.join(PRECISIONS)}."
        )
    if name == "fp16" and device.type != "cuda":  # elsewhere no gradient scaler is relied on
        raise PlanError(
            f"precision 'fp16' needs a GPU with CUDA. On {device.type} use one of: auto, fp32, "
            "bf16."
        )
    return PRECISIONS[name]


def bfloat16_fails(topology: Topology) -> bool:
    """Whether a CPU would get gradients of this U-Net wrong in bfloat16.

    Where features are exactly 2 deep, torch 2.13 leaves a part of the weight gradient of a
    3 x 3 x 3 convolution as it was in memory, NaN included (measured; 1, 3 and more are right, and
    so are all sizes of the other axes).
    """
    depth = topology.patch_size[0]
    for stride, kernel in zip(topology.strides, topology.kernel_sizes, strict=True):
        depth //= stride[0]
        if len(kernel) == 3 and depth == 2 and kernel[0] > 1:
            return True
    return False


def name_of(precision: torch.dtype) -> str:
    """The name that ``pick_precision`` knows it by."""
    return next(name for name, known in PRECISIONS.items() if known is precision)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which to run a network at ``precision``."""
    return torch.autocast(device.type, precision, enabled=precision is not torch.float32)


def use_one_core() -> None:
    """Let PyTorch use no other cores from this thread, for as long as the thread lives."""
    torch.get_num_threads()  # a thread that has never asked would ask later, and forget the 1
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use no other cores from this thread; the setting holds for the thread only."""
    before = torch.get_num_threads()
    use_one_core()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _full_name(device: torch.device) -> str:
    """``cuda`` alone means the first one; CPU and MPS have no number."""
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


def _usual_precision(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and bfloat16_gain() > WORTHWHILE:
        return torch.bfloat16
    return torch.float32


@cache
def bfloat16_gain() -> float:
    """How many times faster this CPU convolves in bfloat16; 0 where it lacks the instructions.

    The best of several rounds counts, in seconds of this thread's own work and with no other
    thread to wait for, so that a busy machine does not change the answer. Tried once per process.
    """
    if not _has_bfloat16_instructions():
        log.info("precision: this CPU has no instructions for bf16, so fp32 is used")
        return 0.0
    precisions = (torch.float32, torch.bfloat16)
    with one_thread():
        rounds = [[_convolution_seconds(precision) for precision in precisions] for _ in range(8)]
    single, brain = map(min, zip(*rounds, strict=True))
    gain = float(single / max(brain, 1e-9))  # a coarse clock may have seen nothing
    used = "bf16" if gain > WORTHWHILE else "fp32"
    log.info("precision: this CPU is %.1f times as fast in bf16, so %s is used", gain, used)
    return gain


def _has_bfloat16_instructions() -> bool:
    """What the CPU says of itself; torch tells by private names that a version may lack."""
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    told = any(getattr(torch.cpu, test, lambda: False)() for test in tests)
    return told and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _convolution_seconds(precision: torch.dtype) -> float:
    """A convolution as in the middle of a U-Net, forward and backward.

    Two samples, because torch takes a slow way in float32 where one sample is small.
    """
    with torch.inference_mode(False), torch.enable_grad():
        features = torch.ones(2, 32, 16, 16, 16, requires_grad=True)
        weight = torch.ones(32, 32, 3, 3, 3, requires_grad=True)
        start = time.thread_time()
        with autocast(torch.device("cpu"), precision):
            convolved = functional.conv3d(features, weight, padding=1)
        torch.autograd.grad(convolved.sum(), (features, weight))
    return time.thread_time() - start
