"""Detect and track small infrared targets in videos, camera feeds and network streams.

    python run_stream.py SOURCE [SOURCE ...] [--config FILE] [--set key.path=value ...] [--out DIR]
                         [--display] [--policy lossless|latest|bounded]

Exit code: 0 everything was processed and the pipeline drained; 2 wrong usage or configuration; 3 a source cannot be
opened or read; 4 weights or backend cannot be loaded; 5 a stage failed and used up its restarts; 130 interrupted, after
draining.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # until there is something to drain, also during imports

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from pipeline.argument_parser import RedactingParser, add_settings
from pipeline.capture.address import redact
from pipeline.errors import PipelineError, one_line
from pipeline.opencv import require_opencv
from pipeline.process import exit_program, open_streams

BUILT_IN_SCENE = "test://demo"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. Wrong usage ends the program with exit code 2."""
    parser = RedactingParser(prog="run_stream.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="video file, folder or glob of images, camera index or /dev/videoN, rtsp:// udp:// srt:// http(s):// "
        f"zmq+tcp://host:port address, or test://NAME?param=value for a rendered scene (default: {BUILT_IN_SCENE})",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file; see configs/reference.yaml")
    add_settings(parser)
    parser.add_argument("--out", type=_folder, metavar="DIR", help="folder for tracks, overlay video and run.json")
    parser.add_argument("--display", action="store_true", help="show the overlay live in a window")
    parser.add_argument(
        "--policy",
        choices=("lossless", "latest", "bounded"),
        help="what to do with frames that arrive faster than they are processed "
        "(default: lossless for files, bounded for live sources)",
    )
    parser.add_argument("--verbose", action="store_true", help="show tracebacks, and the stages that failed")
    return parser.parse_args(argv)


def _folder(name: str) -> Path:
    if not name:  # as from an unset shell variable; Path("") would be the current folder
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(name)


def main(argv: Sequence[str]) -> int:
    """Run the pipeline; report a failure as one line on standard error and return the exit code."""
    args = parse(argv)
    settings = list(args.settings)
    if args.policy:
        settings.append(f"queue.policy={args.policy}")
    if args.display:
        settings.append("sinks.display=true")
    try:
        require_opencv()
        from pipeline.app import run

        return run(args.sources or [BUILT_IN_SCENE], args.config, settings, args.out, verbose=args.verbose)
    except PipelineError as error:
        if args.verbose:
            sys.stderr.writelines(f"{redact(line)}\n" for line in traceback.format_exc().splitlines())
        sys.stderr.write(f"run_stream.py: error: {redact(one_line(error))}\n")
        return error.exit_code


if __name__ == "__main__":
    open_streams()
    exit_program(main(sys.argv[1:]))
