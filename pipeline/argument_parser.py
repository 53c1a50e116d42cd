"""Wrong usage of a command, told without credentials."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pipeline.capture.address import redact


class RedactingParser(argparse.ArgumentParser):
    """Masks the words of the command line that an error repeats."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        super().error(redact(message))
