"""Argument parser that keeps credentials out of its error messages."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pipeline.capture.address import redact


class RedactingParser(argparse.ArgumentParser):
    """Argument parser that masks credentials in the arguments that an error message quotes."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the masked message; end the program with exit code 2."""
        super().error(redact(message))
