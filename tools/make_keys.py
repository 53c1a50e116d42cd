"""Create the key pair of one machine, for remote capture over a network.

    python -m tools.make_keys DIR --name NAME

DIR is created if missing, accessible to the current user only. Copy ``DIR/NAME.key`` (never ``NAME.key_secret``) to the
``trusted`` folder of every machine that should connect to this one, and their ``.key`` files to ``DIR/trusted``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.keys import TRUSTED, create, fingerprint, identity


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return 0 when the keys are made, else 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="make_keys", description="Create the key pair of one machine for remote capture."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder for the keys, created if missing")
    parser.add_argument("--name", required=True, help="name by which other machines will know this one")
    args = parser.parse_args(argv)
    try:
        public = create(args.folder, args.name)
    except PipelineError as error:
        print(f"make_keys: error: {error}", file=sys.stderr)
        return error.exit_code
    mark = fingerprint(identity(args.folder).public)
    print(f"{args.name} has the key {mark}")
    print(f"copy {public} to the folder {TRUSTED} of the others, and theirs to {args.folder / TRUSTED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
