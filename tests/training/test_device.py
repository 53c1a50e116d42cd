import pytest
import torch

from pipeline.errors import ConfigError
from training.device import open_device


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda"])
def test_devices(name):
    if name == "cuda" and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"^--device cuda: "):
            open_device(name, "--device")
    else:
        expected = "cuda" if torch.cuda.is_available() and name != "cpu" else "cpu"
        assert open_device(name, "--device") == torch.device(expected)


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match=r"^run\.device toaster: "):
        open_device("toaster", "run.device")
