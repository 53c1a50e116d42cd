"""Selection of the torch device."""

from __future__ import annotations

import torch

from pipeline.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")


def open_device(name: str, field: str) -> torch.device:
    """Return the device of that name; ``auto`` selects cuda if available, else the CPU.

    Args:
        name: ``auto``, or a torch device.
        field: Configuration key or command line option that names the device, for the error message.

    Raises:
        ConfigError: The device does not exist on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{field} {name}: {str(error).splitlines()[0]}") from None
    return device


def exact_float32() -> None:
    """Disable TF32, which cuDNN uses for float32 convolutions by default."""
    torch.backends.cudnn.allow_tf32 = False
