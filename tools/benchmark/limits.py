"""What the hardware can do at most, measured: matrix products and copies in memory."""

from __future__ import annotations

import torch
from msgspec import Struct

from tools.benchmark.timing import interleave


class Limits(Struct, frozen=True, kw_only=True):
    """Of one device, each the best of several rounds: a limit is what the device can do undisturbed.

    Attributes:
        device: ``cpu`` with its threads, or the GPU.
        fp32_gflops, bf16_gflops: billions of operations per second in products of large matrices. On a GPU fp32 is
            without TF32.
        copy_gb_per_s: 1e9 bytes per second, read and written ones counted, when a large array is copied.
    """

    device: str
    fp32_gflops: float
    bf16_gflops: float
    copy_gb_per_s: float

    def flops_per_s(self, precision: str) -> float | None:
        """Rate for a precision, fp16 taken as bf16; none where it was not measured."""
        rate = {"fp32": self.fp32_gflops, "bf16": self.bf16_gflops, "fp16": self.bf16_gflops}.get(precision)
        return None if rate is None else rate * 1e9


ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2}


def measure(device: str, threads: int, side: int, copied_mb: int, budget_s: float) -> Limits:
    """Measure a device.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the CPU.
        side: of the square matrices.
        copied_mb: 1e6 bytes; several times the caches.
        budget_s: seconds to spend.
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
