"""The real-time system: every stage that a frame passes through, from capture to the output files."""

import os

__version__ = "0.1.0"

# Some libraries report their use over the network, ONNX Runtime from the moment it is loaded. Nobody who watches a
# camera expects that. Set before any of them is imported; child processes inherit it.
os.environ.update(ORT_DISABLE_TELEMETRY="1", NNCF_CI="1")
