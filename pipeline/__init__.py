"""The real-time system: every stage that a frame passes through, from capture to the output files."""

__version__ = "0.1.0"
