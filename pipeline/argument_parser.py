"""Command-line arguments: a parser that keeps credentials out of its error messages, and the option for settings."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pipeline.capture.address import redact


class RedactingParser(argparse.ArgumentParser):
    """Argument parser that masks credentials in the arguments that an error message quotes."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the masked message; end the program with exit code 2."""
        super().error(redact(message))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--set KEY.PATH=VALUE``, which overrides one setting of the pipeline and may be given several times."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY.PATH=VALUE",
        help="override one setting, see configs/reference.yaml; may be repeated",
    )
