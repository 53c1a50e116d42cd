"""Measured peak performance of the hardware: matrix products and memory copies."""

from __future__ import annotations

import torch
from msgspec import Struct

from tools.benchmark.timing import interleave


class Limits(Struct, frozen=True, kw_only=True):
    """Peak performance of one device. Each figure is the best of several rounds, as the device is then undisturbed.

    Attributes:
        device: ``cpu`` with its threads, or name of the GPU.
        fp32_gflops, bf16_gflops: 1e9 operations per second in products of large matrices. On a GPU, fp32 is without
            TF32.
        copy_gb_per_s: 1e9 bytes per second, reads plus writes, when a large array is copied.
    """

    device: str
    fp32_gflops: float
    bf16_gflops: float
    copy_gb_per_s: float

    def flops_per_s(self, precision: str) -> float | None:
        """Return the arithmetic rate of a precision, taking fp16 as bf16; None if it was not measured."""
        rate = {"fp32": self.fp32_gflops, "bf16": self.bf16_gflops, "fp16": self.bf16_gflops}.get(precision)
        return None if rate is None else rate * 1e9


ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2}


def measure(device: str, threads: int, side: int, copied_mb: int, budget_s: float) -> Limits:
    """Measure the peak performance of a device.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: number of CPU threads.
        side: side of the square matrices.
        copied_mb: size of the copied array in 1e6 bytes; several times the caches.
        budget_s: time to spend in s.
    """
    torch.set_num_threads(threads)
    single = torch.rand(side, side, device=device)
    half = single.bfloat16()
    source = torch.zeros(copied_mb * 1_000_000, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def multiply(matrix: torch.Tensor) -> None:
        torch.matmul(matrix, matrix)
        wait()

    def copy() -> None:
        target.copy_(source)
        wait()

    with torch.inference_mode():
        seconds = interleave(
            {"fp32": lambda: multiply(single), "bf16": lambda: multiply(half), "copy": copy}, budget_s, least=5
        )
    best = {name: min(values) for name, values in seconds.items()}
    return Limits(
        device=torch.cuda.get_device_name() if device == "cuda" else f"cpu, threads: {threads}",
        fp32_gflops=2 * side**3 / best["fp32"] / 1e9,
        bf16_gflops=2 * side**3 / best["bf16"] / 1e9,
        copy_gb_per_s=2 * copied_mb / 1000 / best["copy"],
    )
