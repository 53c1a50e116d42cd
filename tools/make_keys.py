"""Make the keys of one machine, for remote capture over a network.

    python -m tools.make_keys DIR --name NAME

DIR is made if missing, for its user alone. Copy ``DIR/NAME.key`` (never ``NAME.key_secret``) to the folder
``trusted`` of every machine that is to talk to this one, and theirs to ``DIR/trusted``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.keys import TRUSTED, create, fingerprint, identity


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; 0 when the keys are made, 2 with one line on stderr when not."""
    parser = argparse.ArgumentParser(prog="make_keys", description="Make the keys of one machine for remote capture.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to put them")
    parser.add_argument("--name", required=True, help="what the others will call this machine")
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
