"""Probes of PyTorch and the devices it can use: versions, precisions, speed of a convolution."""

from __future__ import annotations

import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional

from nnseg_core.health import Probe, ok, problem, warning
from nnseg_standard.device import autocast, bfloat16_gain, name_of, pick_precision

INSTALL = "see https://pytorch.org/get-started/locally"

SLOW_THREAD = 5e9
"""FLOP/s per thread. A core of 2015 convolves several times faster; below it something is wrong."""

SLOW_MULTIPROCESSOR = 0.15e12
"""FLOP/s in fp16 per multiprocessor: half of what nnU-Net reaches over all on an A100 (47 TFLOP/s
with 108), and what PyTorch 2.9.0 falls to, four times slower than it should be."""

TENSOR_CORES = (7, 0)
"""The first CUDA capability with tensor cores, on which half precision must be the faster one."""

PLANNED_MEMORY = 7.5 * 2**30
"""Bytes of a GPU of 8 GB, for which plans are made unless told otherwise."""

INEXACT = 0.05
"""Relative error of a convolution that is not rounding: that of bf16 is 0.004."""

PATIENCE = 0.6
"""Seconds in which a convolution is repeated; the fastest counts, as others use the machine too."""


def probes(deep: bool = False) -> Iterator[Probe]:
    """What there is to know of PyTorch here. ``deep`` also compiles, which takes half a minute."""
    yield _version()
    yield from _cpu()
    for index in range(torch.cuda.device_count()):
        yield from _gpu(torch.device("cuda", index))
    if torch.mps.device_count():
        yield _speed("mps fp32", torch.device("mps"), torch.float32)
    if deep:
        yield _compiling(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _version() -> Probe:
    """The build, compared with builds that are known to be bad and with the driver that is here."""
    build = f"{torch.__version__}, for {_platform()}"
    if torch.cuda.is_available():
        return known_fault(build, torch.__version__, _cudnn_version())
    if not _has_nvidia_driver():
        return ok("PyTorch", build)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        said = f"{build}; the GPU is hidden by CUDA_VISIBLE_DEVICES={hidden}"
        return warning("PyTorch", said, "Unset CUDA_VISIBLE_DEVICES to use the GPU.")
    if torch.version.cuda is None:
        remedy = f"Install PyTorch for CUDA ({INSTALL})."
        return warning("PyTorch", f"{build}, but this machine has an NVIDIA driver", remedy)
    remedy = f"Update the driver, or install PyTorch for an older CUDA ({INSTALL})."
    return warning("PyTorch", f"{build}, but it cannot use the NVIDIA driver here", remedy)


def known_fault(build: str, version: str, cudnn_version: int) -> Probe:
    """The builds to avoid on CUDA. ``cudnn_version`` is as torch tells it: 91002 for 9.10.2.

    PyTorch 2.9 with cuDNN before 9.15 (pytorch/pytorch#166122), cuDNN 9.8 to 9.10 (#163539).
    """
    if version.startswith("2.9.") and cudnn_version < 91500:
        return warning(
            "PyTorch",
            f"{build}, in which 3D convolutions in half precision take about four times as long",
            "Install PyTorch 2.10 or later, or cuDNN 9.15 or later.",
        )
    if 90800 <= cudnn_version < 91100:
        return warning(
            "PyTorch",
            f"{build}, in which 3D convolutions in bf16 can be wrong",
            "Keep fp16, which is the default on CUDA, or install a PyTorch with cuDNN 9.11 or "
            "later.",
        )
    return ok("PyTorch", build)


def _platform() -> str:
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    if torch.version.cuda is None:
        return "CPU" if not torch.mps.device_count() else "CPU and MPS"
    return f"CUDA {torch.version.cuda}, cuDNN {_number(_cudnn_version())}"


def _cudnn_version() -> int:
    """91002 for 9.10.2; 0 where there is none."""
    return cudnn.version() or 0  # type: ignore[no-untyped-call]


def _number(version: int) -> str:
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _cpu() -> Iterator[Probe]:
    """Speed in the two precisions, and which of them ``auto`` takes."""
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    used = f"{threads} thread{'s' * (threads > 1)}"
    yield _speed(f"CPU fp32, {used}", cpu, torch.float32, floor=threads * SLOW_THREAD)
    gain, chosen = bfloat16_gain(), name_of(pick_precision(cpu))
    said = f"{gain:.1f} times as fast as fp32" if gain else "no instructions for it"
    yield _exact("CPU bf16", f"{said}; auto is {chosen}", inexactness(cpu, torch.bfloat16))


def _gpu(device: torch.device) -> Iterator[Probe]:
    """Memory, then each precision: whether it is right, and whether it is fast."""
    about = torch.cuda.get_device_properties(device)
    yield _memory(device, about.name)
    yield _speed(f"{device} fp32", device, torch.float32)
    modern = (about.major, about.minor) >= TENSOR_CORES and not torch.version.hip
    floor = SLOW_MULTIPROCESSOR * about.multi_processor_count if modern else 0.0
    for precision in (torch.float16, torch.bfloat16):
        name = f"{device} {name_of(precision)}"
        if precision is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            yield ok(name, "not supported by this GPU; auto is fp16")
        else:
            yield _speed(name, device, precision, floor)


def _memory(device: torch.device, name: str) -> Probe:
    free, total = torch.cuda.mem_get_info(device)
    said = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GB free"
    if total < PLANNED_MEMORY:
        remedy = f"Plan for it: nnseg plan --memory {total / 2**30:.0f}GB."
        return warning(f"{device}", said, remedy)
    if free < total / 2:
        return warning(f"{device}", said, "Another program uses its memory; see nvidia-smi.")
    return ok(f"{device}", said)


def _speed(name: str, device: torch.device, precision: torch.dtype, floor: float = 0.0) -> Probe:
    """How fast a 3D convolution is, and whether it is right; below ``floor`` FLOP/s is slow."""
    measured = speed(device, precision)
    said = f"{measured / 1e12:.3g} TFLOP/s in a 3D convolution"
    if measured < floor:
        return warning(
            name,
            f"{said}; more than {floor / 1e12:.2g} is usual",
            "Look whether other programs use this device; if not, try another build of PyTorch.",
        )
    return _exact(name, said, inexactness(device, precision))


def _exact(name: str, said: str, error: float) -> Probe:
    if error < INEXACT:
        return ok(name, said)
    return problem(
        name,
        f"{said}, but wrong by {100 * error:.0f} %",
        "Update PyTorch, or use another precision: --set trainer.precision=fp32.",
    )


def speed(device: torch.device, precision: torch.dtype) -> float:
    """FLOP/s of a convolution as in a 3D U-Net, forward and backward; the best of some rounds."""
    features, weight = _layer(device, size=32 if device.type == "cpu" else 64)
    seconds: list[float] = []
    begun = time.perf_counter()
    with cudnn.flags(enabled=True, benchmark=True):
        _convolve(features, weight, precision)  # cuDNN tries its kernels
        while time.perf_counter() - begun < PATIENCE or len(seconds) < 2:
            _wait_for(device)
            start = time.perf_counter()
            _convolve(features, weight, precision)
            _wait_for(device)
            seconds.append(time.perf_counter() - start)
    work = 3 * 2 * features.numel() * weight[0].numel()  # forward, twice backward; multiply, add
    return work / min(seconds)


def inexactness(device: torch.device, precision: torch.dtype) -> float:
    """Relative error of a convolution and its gradients, the largest of them; 1 if undefined."""
    layer = _layer(device, size=16)
    pairs = zip(_convolve(*layer, precision), _convolve(*layer, torch.float32), strict=True)
    errors = [float((rounded - exact).norm() / exact.norm()) for rounded, exact in pairs]
    return max(error if math.isfinite(error) else 1.0 for error in errors)


def _layer(device: torch.device, size: int) -> tuple[Tensor, Tensor]:
    """Features (batch 2, 32 channels, three axes of ``size``) and a weight from 32 to 32."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 32, size, size, size, generator=random)
    weight = torch.randn(32, 32, 3, 3, 3, generator=random) / 30  # so that fp16 does not overflow
    return features.to(device).requires_grad_(), weight.to(device).requires_grad_()


def _convolve(features: Tensor, weight: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """The convolution, and the gradients of half its square, all in float32."""
    with torch.enable_grad():
        with autocast(features.device, precision):
            convolved = functional.conv3d(features, weight, padding=1)
        gradients = torch.autograd.grad(convolved, (features, weight), convolved.detach())
    return convolved.detach().float(), *gradients


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _compiling(device: torch.device) -> Probe:
    """Try ``torch.compile`` on a block of a U-Net, forward and backward."""
    block = nn.Sequential(nn.Conv3d(2, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU())
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = torch.compile(block.to(device))
            compiled(torch.ones(1, 2, 16, 16, 16, device=device)).sum().backward()
    except Exception as error:  # a compiler's errors have no common type
        lines = str(error).strip().splitlines() or [type(error).__name__]
        remedy = "nnseg works without it; for it, install a C compiler (and Triton for a GPU)."
        return warning("torch.compile", f"does not work: {lines[0]}", remedy)
    finally:
        torch.compiler.reset()
    return ok("torch.compile", f"works; a block took {time.perf_counter() - start:.0f} s")
