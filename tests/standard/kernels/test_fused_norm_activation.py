"""The fused kernels against plain PyTorch: on a GPU, or in Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from nnseg_standard.kernels.norm_activation import norm_activation

pytest.importorskip("triton", reason="Triton is not installed")

from nnseg_standard.kernels import fused_norm_activation as fused

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

SHAPES = [
    (1, 1, 7, 3, 5),
    (2, 3, 13, 9),
    (3, 5, 1, 2, 1),
    (2, 33, 5, 11),
    (1, 64, 3, 4, 5),
    (2, 320, 2, 1, 3),
]


def both(shape, dtype=torch.float32, slope=0.01, offset=0.0, layout=torch.contiguous_format):
    """Results and gradients of the fused kernels, and in float32 of plain PyTorch."""
    torch.manual_seed(0)
    features = (torch.randn(shape) + offset).to(DEVICE, dtype, memory_format=layout)
    weight, bias = torch.randn(2, shape[1], device=DEVICE)
    gradient = torch.randn(shape, device=DEVICE).to(dtype)
    return (
        run(fused.fused_norm_activation, (features, weight, bias), slope, gradient),
        run(norm_activation, (features.float(), weight, bias), slope, gradient.float()),
    )


def run(kernel, inputs, slope, gradient):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    activated = kernel(*leaves, 1e-5, slope)
    return [activated.detach(), *torch.autograd.grad(activated, leaves, gradient)]


def assert_close(ours, expected, relative):
    """The greatest difference, as a share of the greatest value, per array."""
    for one, other in zip(ours, expected, strict=True):
        assert (one.float() - other).abs().max() <= relative * other.abs().max()


@pytest.mark.parametrize("slope", [0.01, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients_are_those_of_torch(shape, slope):
    ours, expected = both(shape, slope=slope)

    assert_close(ours, expected, 1e-5)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
def test_half_precision_is_rounded_once(dtype, relative):
    ours, expected = both((2, 5, 7, 9, 3), dtype=dtype)

    assert [tensor.dtype for tensor in ours] == [dtype, dtype, torch.float32, torch.float32]
    assert_close(ours[:2], expected[:2], relative / 2)
    assert_close(ours[2:], expected[2:], 1e-5)  # sums are in float32


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_however_many_parts_the_voxels_are_split_into(parts, monkeypatch):
    monkeypatch.setattr(fused, "TILE", 32)
    monkeypatch.setattr(fused, "PARTS", parts)

    ours, expected = both((2, 3, 5, 5, 7))

    assert_close(ours, expected, 1e-5)


def test_no_part_is_empty(monkeypatch):
    monkeypatch.setattr(fused, "PARTS", 4)
    monkeypatch.setattr(fused, "TILE", 16)

    tiling = fused.Tiling.of(torch.empty(1, 5 * 16, 1))

    assert (tiling.part_voxels, tiling.parts) == (32, 3)


def test_values_far_from_zero_keep_their_variance(monkeypatch):
    monkeypatch.setattr(fused, "TILE", 64)

    (activated, *_), _ = both((1, 1, 8, 8, 8), offset=4096.0)

    torch.manual_seed(0)
    features = (torch.randn(1, 1, 8, 8, 8) + 4096.0).to(DEVICE)
    weight, bias = torch.randn(2, 1, device=DEVICE)
    exact = norm_activation(features.double(), weight.double(), bias.double(), 1e-5, 0.01)
    assert_close([activated], [exact.float()], 1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_out_last_in_memory_from_any_layout(channels):
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        (activated, gradient, *_), _ = both((2, channels, 3, 4, 5), layout=layout)

        assert activated.stride()[1] == gradient.stride()[1] == 1
        assert activated.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_result_may_be_changed_in_place_as_torchs_may():
    features = torch.randn(1, 2, 4, 4, device=DEVICE, requires_grad=True)
    one, zero = torch.ones(2, device=DEVICE), torch.zeros(2, device=DEVICE)

    changed = fused.fused_norm_activation(features, one, zero, 1e-5, 0.01).mul_(2)

    changed.sum().backward()
    assert features.grad is not None


def test_a_single_voxel_is_refused():
    one, zero = torch.ones(2, device=DEVICE), torch.zeros(2, device=DEVICE)

    with pytest.raises(ValueError, match=r"more than 1 voxel, got \(1, 2, 1, 1\)"):
        fused.fused_norm_activation(torch.zeros(1, 2, 1, 1), one, zero, 1e-5, 0.01)


COMPILE = """
import warnings
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from nnseg_standard.kernels import triton_norm_activation as kernels

warnings.simplefilter("ignore")
sizes = dict(CHANNELS=33, TILE_VOXELS=64, TILE_CHANNELS=16, TILE_PARTS=512)
kinds = dict(voxels="i32", part_voxels="i32", parts="i32", slope="fp32", epsilon="fp32")
halves = ("matrix", "gradient", "result", "activated")
for name in ("measure_parts", "join_parts", "normalise", "sum_gradients", "differentiate"):
    kernel = getattr(kernels, name)
    constants = {each: size for each, size in sizes.items() if each in kernel.arg_names}
    signature = {
        each: "constexpr" if each in constants
        else kinds.get(each, "*fp16" if each in halves else "*fp32")
        for each in kernel.arg_names
    }
    compiled = compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))
    print(name, len(compiled.asm["cubin"]) > 0)
"""


def test_kernels_compile_for_a_gpu_even_where_there_is_none(tmp_path):
    pytest.importorskip("triton.backends.nvidia", reason="Triton without its NVIDIA compiler")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[:-1] == [
        f"{name} True"
        for name in ("measure_parts", "join_parts", "normalise", "sum_gradients", "differentiate")
    ]
