"""Where networks run."""

from __future__ import annotations

import torch

from pipeline.errors import ConfigError

DEVICES = ("auto", "cpu", "cuda")


def open_device(name: str, field: str) -> torch.device:
    """The device of that name; ``auto`` is cuda where there is one.

    Args:
        name: ``auto``, or a torch device.
        field: of the configuration or command line that names it, for the error.

    Raises:
        ConfigError: it does not exist here.
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
    """Switch off TF32, which cuDNN takes for float32 convolutions by itself."""
    torch.backends.cudnn.allow_tf32 = False
