"""Serve a source of this machine to another one: the camera side of ``zmq+tcp://host:port``.

    python -m pipeline.serve SOURCE --bind tcp://0.0.0.0:5577 (--keys DIR | --insecure)
                             [--policy lossless|latest|bounded] [--config FILE] [--set key.path=value ...]

The other side is ``run_stream.py zmq+tcp://host:5577``. Frames that it does not accept in time are dropped here, under
the policy of the queue, before they are sent. One viewer is served at a time; a second one is refused with a message. A
viewer that disconnects may reconnect. A file waits for a viewer and ends when it was transferred completely. Under a
``--policy`` that drops frames it is played like a camera, whether or not a viewer is connected.

Exit code: 0 transferred to the end; 2 wrong usage or configuration; 3 the source cannot be opened or read;
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import zmq

from pipeline import config as configuration
from pipeline import keys
from pipeline.argument_parser import RedactingParser, add_settings
from pipeline.capture.address import redact, source_ids
from pipeline.capture.factory import is_live, open_source
from pipeline.capture.stage import CaptureLoop
from pipeline.config import Config
from pipeline.control_link import Link, StageState, Stop, Switchboard
from pipeline.errors import INTERRUPTED, ConfigError, PipelineError, one_line
from pipeline.loopback import is_loopback
from pipeline.messages import EndOfSource, Packet
from pipeline.opencv import require_opencv
from pipeline.process import exit_program, on_stop, open_streams
from pipeline.queues import Policy, Sender
from pipeline.report import format_counts

MAX_UNREAD = 1000
"""Limit of unread control messages from a peer (receive high-water mark)."""
_POLL_S = 0.1
_STAGE, _CONTROL = "capture", "inproc://control"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the source; report a failure as one line on standard error and return the exit code."""
    args = _parse(argv)
    logging.basicConfig(format="serve: %(message)s", level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Masked())
    settings = [*args.settings, *([f"queue.policy={args.policy}"] if args.policy else [])]
    stops: list[None] = []
    on_stop(lambda: stops.append(None))
    try:
        require_opencv()
        config = configuration.load(args.config, settings)
        _check(args.bind, args.keys, args.insecure)
        state = serve(args.source, args.bind, config, args.keys, lambda: len(stops))
    except PipelineError as error:
        sys.stderr.write(f"serve: error: {redact(one_line(error))}\n")
        return error.exit_code
    for account in state.queues.values():
        print(
            f"captured {account.entered}, seen {account.delivered}, "
            f"dropped {format_counts(account.dropped)}, lost {format_counts(account.lost)}"
        )
    if notice := state.facts.get("notice"):
        sys.stderr.write(f"serve: warning: {redact(notice)}\n")
    if state.error:
        sys.stderr.write(f"serve: error: {redact(state.error)}\n")
    return INTERRUPTED if stops else state.exit_code


def serve(address: str, endpoint: str, config: Config, own: Path | None, stops: Callable[[], int]) -> StageState:
    """Serve a source until it was transferred to its end.

    Args:
        address: address of the source.
        endpoint: ``tcp://host:port`` to bind; port ``*`` means any free port.
        config: configuration; the sections capture and queue are used.
        own: folder of keys; None serves every client without encryption.
        stops: returns the number of stop requests so far. After the first, frames already captured are still sent as
            long as a viewer is connected, for at most ``queue.drain_s``. After the second they are not.

    Returns:
        The last state of the capture stage, with its account.

    Raises:
        PipelineError: the source, the keys or the endpoint cannot be used.
    """
    source = open_source(address, config.capture)
    (id_,) = source_ids([address])
    policy = config.queue.policy_for(is_live(address))
    session = uuid.uuid4().hex
    busy = EndOfSource(session=session, source=id_, reason="failed", error="busy with another viewer")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with ExitStack() as resources:
        resources.callback(context.destroy, 0)
        identity = keys.identity(own) if own is not None else None
        if own is not None:
            resources.enter_context(keys.authenticator(context, own))
        try:
            queue = Sender(
                context,
                endpoint,
                policies={id_: policy},
                staleness_s=config.queue.staleness_s,
                configure=partial(_configure, ipv6="[" in endpoint, own=identity),
                refusal=Packet(busy),
            )
        except zmq.ZMQError as error:
            raise ConfigError(f"--bind {endpoint}: {error.strerror}") from None
        board = Switchboard(context, [_CONTROL])
        link = Link(context, _CONTROL, _STAGE)
        loop = CaptureLoop(_STAGE, source, id_, session, policy, queue, link)
        thread = threading.Thread(target=loop.run, name=_STAGE, daemon=True)
        thread.start()
        print(f"serving {redact(source.name)} at {queue.endpoint}", flush=True)

        state, stop_at = StageState(stage=_STAGE, state="starting"), 0.0
        while thread.is_alive():
            state = (board.receive_states(_POLL_S) or [state])[-1]
            if stops() and not stop_at:
                stop_at = time.monotonic()
            if stop_at or (state.error and not queue.has_receiver):
                late = time.monotonic() - stop_at > config.queue.drain_s
                board.order(_STAGE, Stop(gentle=queue.has_receiver and not late and stops() < 2))
        return (board.receive_states(_POLL_S) or [state])[-1]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = RedactingParser(prog="serve", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("source", metavar="SOURCE", help="a source as for run_stream.py")
    parser.add_argument("--bind", required=True, metavar="tcp://HOST:PORT", help="0.0.0.0 for all networks")
    security = parser.add_mutually_exclusive_group()
    security.add_argument("--keys", type=Path, metavar="DIR", help="see python -m tools.make_keys")
    security.add_argument(
        "--insecure", action="store_true", help="serve any client that can reach the port, unencrypted"
    )
    parser.add_argument("--policy", choices=[policy.value for policy in Policy], help="see run_stream.py")
    parser.add_argument("--config", type=Path, metavar="FILE", help="capture and queue settings are used")
    add_settings(parser)
    return parser.parse_args(argv)


def _check(endpoint: str, own: Path | None, insecure: bool) -> None:
    """Check the endpoint, and that keys are used on a network.

    Raises:
        ConfigError: the endpoint is not a TCP endpoint, or it is on a network and there are no keys.
    """
    parts = re.fullmatch(r"tcp://(\[[^\]]+\]|[^:\[\]/]+):(\*|\d{1,5})", endpoint)
    if parts is None:
        raise ConfigError(f"--bind {endpoint}: expected tcp://HOST:PORT")
    if own is None and not insecure and not is_loopback(parts[1].strip("[]")):
        raise ConfigError(
            f"--bind {endpoint}: on a network it needs keys: python -m tools.make_keys keys --name NAME, "
            "then --keys keys (or --insecure, which serves any client)"
        )


def _configure(socket: zmq.Socket[bytes], ipv6: bool, own: keys.Identity | None) -> None:
    socket.rcvhwm = MAX_UNREAD
    socket.ipv6 = ipv6
    if own is not None:
        keys.secure_server(socket, own)


class _Masked(logging.Filter):
    """Log filter that masks credentials in every line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


if __name__ == "__main__":
    open_streams()
    exit_program(main())
