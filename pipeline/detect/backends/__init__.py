"""What runs the network, one file each; they are compared with the reference, and the fastest is chosen."""

from pipeline.detect.backends.base import Backend, Maps, network_input
from pipeline.detect.backends.choice import available, make_backend, select

__all__ = ["Backend", "Maps", "available", "make_backend", "network_input", "select"]
