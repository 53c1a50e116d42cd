"""Description of the machine that the benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil
import torch
from msgspec import Struct

from pipeline.cores import usable_cores

PACKAGES = (
    *("torch", "openvino", "onnxruntime", "tensorrt", "numpy", "opencv-python", "pyzmq", "kornia"),
    *("trackers", "imagezmq"),
)

SIMD_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")

BUSY = 0.3
"""Load per core above which a machine counts as busy."""


class Machine(Struct, frozen=True, kw_only=True):
    """A machine at one moment.

    Attributes:
        cpu: model of the CPU.
        cores: cores of the machine.
        usable_cores: cores that this process may run on.
        load: load average of the last minute before the benchmark started; it shows how much the benchmark was
            disturbed.
        memory_gb: memory of the machine in 1e9 bytes.
        gpu: model of the GPU, if there is one that torch can use.
        system, python: versions.
        packages: versions of the installed packages.
    """

    cpu: str
    cores: int
    usable_cores: int
    load: float
    memory_gb: float
    gpu: str | None
    system: str
    python: str
    packages: dict[str, str]

    @property
    def busy(self) -> bool:
        """Whether other programs would disturb the benchmark."""
        return self.load > BUSY * self.cores

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.usable_cores} of {self.cores} cores usable, load {self.load:.1f} before the start; "
            f"{self.gpu or 'no GPU'}; {self.memory_gb:.0f} GB; {self.system}, Python {self.python}, "
            + ", ".join(f"{name} {version}" for name, version in self.packages.items())
        )


def describe() -> Machine:
    """Describe this machine now."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        load=os.getloadavg()[0],
        memory_gb=psutil.virtual_memory().total / 1e9,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=platform.platform(terse=True),
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    known = [flag for flag in SIMD_FLAGS if flag in flags]
    return f"{names[0] if names else platform.machine()} ({' '.join(known) or 'no AVX'})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
