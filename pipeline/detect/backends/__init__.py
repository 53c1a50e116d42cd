"""Inference backends, one module each, the check against the reference backend and the selection of the fastest."""

from pipeline.detect.backends.base import Backend, Maps, network_input
from pipeline.detect.backends.choice import available, make_backend, select

__all__ = ["Backend", "Maps", "available", "make_backend", "network_input", "select"]
