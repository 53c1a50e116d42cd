"""Runs one stage in its own process: ``python -m pipeline.worker PARENT_PID NAME``, with its plan on standard input.

The name only serves to identify the stage in the process list. The plan is read from standard input so that no password
shows up there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading

import msgspec
import zmq

from pipeline.opencv import require_opencv
from pipeline.process import die_with, exit_program, open_streams


def main() -> None:
    """Run the stage and exit.

    SIGINT, SIGTERM and SIGHUP, which terminals and service managers send to all processes of a run, are left to the
    supervisor. SIGTERM is obeyed only after the supervisor has closed the pipe of the plan, which no other process can
    do. The stage then exits before the next frame, and the process ends by that signal. If the supervisor dies, this
    process dies too.
    """
    parent = int(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)
    require_opencv()
    from pipeline import stage_runner
    from pipeline.graph import StagePlan

    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=StagePlan)
    asked = threading.Event()

    def on_sigterm(*_: object) -> None:
        if select.select([sys.stdin], [], [], 0)[0]:
            asked.set()

    signal.signal(signal.SIGTERM, on_sigterm)
    on_sigterm()  # the signal may have arrived before the handler was installed
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.linger = 0
    stage_runner.run(plan, context, lambda: asked.is_set() or os.getppid() != parent)
    context.term()
    if asked.is_set():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    exit_program(0)


if __name__ == "__main__":
    open_streams()
    main()
