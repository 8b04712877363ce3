"""What the doctor is told of PyTorch and its devices."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnseg_standard import health
from nnseg_standard.health import inexactness, known_fault, probes, speed

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("version", "cudnn", "state"),
    [
        ("2.8.0", 90700, "ok"),
        ("2.8.0", 91002, "warning"),
        ("2.9.0", 91300, "warning"),
        ("2.9.1", 91501, "ok"),
        ("2.10.0", 91501, "ok"),
    ],
)
def test_builds_that_are_known_to_be_bad_are_named(version: str, cudnn: int, state: str) -> None:
    assert known_fault("build", version, cudnn).state == state


def test_the_slow_build_says_what_to_install() -> None:
    probe = known_fault("2.9.0, for CUDA 12.8", "2.9.0", 91002)

    assert "3D convolutions in half precision take about four times as long" in probe.value
    assert probe.remedy == "Install PyTorch 2.10 or later, or cuDNN 9.15 or later."


def test_cudnn_is_told_as_people_write_it() -> None:
    assert health._number(91002) == "9.10.2"


def test_a_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    found = list(probes())

    assert found[0].name == "PyTorch"
    assert found[1].name.startswith("CPU fp32, ")
    assert "TFLOP/s in a 3D convolution" in found[1].value
    assert found[2].name == "CPU bf16"
    assert found[2].value.endswith(("auto is bf16", "auto is fp32"))


def test_rounding_is_told_from_wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inexactness(CPU, torch.float32) == 0
    assert 1e-4 < inexactness(CPU, torch.bfloat16) < health.INEXACT


def test_a_wrong_convolution_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "speed", lambda device, precision: 1e12)
    monkeypatch.setattr(health, "inexactness", lambda device, precision: 0.3)

    probe = health._speed("cuda:0 bf16", CPU, torch.bfloat16)

    assert probe.state == "problem"
    assert probe.value == "1 TFLOP/s in a 3D convolution, but wrong by 30 %"


def test_an_undefined_convolution_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    undefined = (torch.tensor(float("nan")),)
    monkeypatch.setattr(health, "_convolve", lambda *layer: undefined)

    assert inexactness(CPU, torch.bfloat16) == 1


def test_a_slow_device_is_told_with_what_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "speed", lambda device, precision: 1e9)

    probe = health._speed("CPU fp32, 2 threads", CPU, torch.float32, floor=1e10)

    assert probe.state == "warning"
    assert probe.value == "0.001 TFLOP/s in a 3D convolution; more than 0.01 is usual"


def test_speed_is_counted_in_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(health.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(health, "_convolve", lambda *layer: ())

    forward = 2 * (2 * 32 * 32**3) * 32 * 27  # multiply and add; outputs x inputs x kernel

    assert speed(CPU, torch.float32) == 3 * forward


@pytest.mark.parametrize(
    ("free", "total", "state"), [(70, 80, "ok"), (20, 80, "warning"), (3.9, 4, "warning")]
)
def test_the_memory_of_a_gpu_is_told(
    monkeypatch: pytest.MonkeyPatch, free: float, total: float, state: str
) -> None:
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (free * 2**30, total * 2**30), raising=False
    )

    probe = health._memory(torch.device("cuda", 0), "NVIDIA X")

    assert probe.state == state
    assert probe.value == f"NVIDIA X, {free:.1f} of {total:.1f} GB free"


def test_each_precision_of_a_gpu_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    about = SimpleNamespace(name="NVIDIA X", major=8, minor=0, multi_processor_count=108)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**36))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(health, "speed", lambda device, precision: 12e12)
    monkeypatch.setattr(health, "inexactness", lambda device, precision: 0.001)

    found = {probe.name: probe for probe in health._gpu(torch.device("cuda", 0))}

    assert list(found) == ["cuda:0", "cuda:0 fp32", "cuda:0 fp16", "cuda:0 bf16"]
    assert found["cuda:0 fp32"].state == "ok"
    assert found["cuda:0 fp16"].value.endswith("; more than 16 is usual")


def test_a_gpu_that_this_build_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(health, "_has_nvidia_driver", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    probe = health._version()

    assert probe.state == "warning"
    assert "but this machine has an NVIDIA driver" in probe.value
    assert probe.remedy.startswith("Install PyTorch for CUDA")


def test_a_hidden_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(health, "_has_nvidia_driver", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")

    assert health._version().remedy == "Unset CUDA_VISIBLE_DEVICES to use the GPU."


def test_a_compiler_that_fails_is_a_warning_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: object) -> None:
        raise RuntimeError("no C compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", fail)

    probe = health._compiling(CPU)

    assert (probe.state, probe.value) == ("warning", "does not work: no C compiler")
