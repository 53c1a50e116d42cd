"""The capture stage: reads one source, timestamps its frames, and applies the drop policy at the pipeline's entry.

A reader thread waits for the medium, so that a hanging source blocks neither the queue nor shutdown. The stage's
own thread takes the frames over, numbers them, and offers them to the queue, which applies the source's policy.
With the lossless policy, a file is read only as fast as its frames are consumed. With a policy that drops frames,
a file is played at its own frame rate; read at full speed, its newest frame would always be its last.

A restarted stage continues from its journal: a file at the first frame not known to have been delivered, a live
source with the next number and the same media clock.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections import deque

import zmq

from pipeline.accounting import CRASH, FREE_SLOT, Ledger
from pipeline.capture.source import Grab, Source
from pipeline.control_link import Aborted, Link, StageState, State
from pipeline.errors import PipelineError, SourceError, one_line
from pipeline.journal import SLOTS, Row
from pipeline.messages import EndOfSource, Packet
from pipeline.queues import Policy, Sender
from pipeline.wall_clock import utc

POLL_MS = 100
WAKE_BYTES = 4096
READ_AHEAD = 2
ORIGIN = FREE_SLOT
"""Journal slot of a live source: monotonic time in ns at media time 0."""
LINGER_S = 1.0
LONGEST_PAUSE_S = 5.0
"""Longest wait for the media time of the next frame of a recording that is played. Frames of a video are closer to each
other; a longer gap is a jump of its timestamps, or a time in which nothing was recorded."""


def resume(ledger: Ledger, source: Source, policy: Policy) -> None:
    """Prepare the ledger of a stage that died, or closed its queue when asked to leave, for the restarted stage.

    Frames in flight are read again from a lossless file. For other sources it is unknown which of them were
    delivered; only their number is known at the end of the run, so they are counted as lost.
    """
    ledger.reopen()
    if policy is Policy.LOSSLESS and source.replays:
        ledger.expect_redelivery()
    else:
        ledger.lose(CRASH, ledger.account().in_flight)


class Reader(threading.Thread):
    """Reads a source to its end and wakes the stage's thread for every frame.

    A replayable medium that is not paced is played in real time: each frame is delivered, and timestamped as captured,
    when its media time is due, but at most ``LONGEST_PAUSE_S`` after the previous one. Where timestamps jump, forwards
    by more than that or backwards, playing goes on from the new time.

    Args:
        source: source, not yet opened.
        wake_sender: non-blocking socket that wakes the stage's thread. Not a ZeroMQ socket, because its context could
            not be terminated while the reader hangs.
        paced: read only after ``allow`` (lossless policy).
        skip: number of frames at the start of the medium that were captured before.

    Attributes:
        pictures: frames not yet taken over by the stage's thread.
        error: the exception that ended reading, if it failed.
    """

    def __init__(self, source: Source, wake_sender: socket.socket, paced: bool, skip: int = 0) -> None:
        super().__init__(name=f"read {source.name}", daemon=True)
        self._source, self._wake_sender, self._paced, self._skip = source, wake_sender, paced, skip
        self._allowed = threading.Semaphore(READ_AHEAD)
        self._stopped = threading.Event()
        self._pts, self._origin = math.inf, 0.0  # latest media time; monotonic time in s at media time 0
        self.pictures: deque[Grab] = deque()
        self.error: Exception | None = None

    def run(self) -> None:
        """Read until the end of the medium, an error, or ``stop``."""
        try:
            with contextlib.closing(self._source):
                self._read()
        except Exception as error:
            self.error = error

    def _read(self) -> None:
        plays = self._source.replays and not self._paced
        self._source.open()
        while self._skip and not self._stopped.is_set() and self._source.grab() is not None:
            self._skip -= 1
        while not self._stopped.is_set():
            if self._paced and not self._allowed.acquire(timeout=POLL_MS / 1000):
                continue
            grab = self._source.grab()
            if grab is None:
                break
            if plays:
                if self._stopped.wait(self._time_until_due(grab.pts)):
                    break
                grab = grab._replace(mono_ns=time.monotonic_ns(), wall_ns=time.time_ns())
            self.pictures.append(grab)
            with contextlib.suppress(BlockingIOError):  # the socket is full, so the stage wakes up anyway
                self._wake_sender.send(b"!")

    def _time_until_due(self, pts: float) -> float:
        """Return the seconds to wait before the frame with this media time, and move the origin where time jumps."""
        now = time.monotonic()
        if pts < self._pts:
            self._origin = now - pts
        self._pts = pts
        self._origin -= max(0.0, self._origin + pts - now - LONGEST_PAUSE_S)
        return max(0.0, self._origin + pts - now)

    def allow(self) -> None:
        """Permit reading one more frame."""
        self._allowed.release()

    def stop(self) -> None:
        """Stop reading and close the source."""
        self._stopped.set()
        self._source.close()


class CaptureLoop:
    """Runs one source to its end.

    Args:
        name: name of the stage in the graph.
        source: source, not yet opened.
        source_id: id of the source.
        session: name of this run.
        policy: queue policy of this source.
        output: queue to the next stage, with the same policy.
        link: connection to the supervisor.
        row: row of the journal, if the stage may be restarted.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        source_id: str,
        session: str,
        policy: Policy,
        output: Sender,
        link: Link,
        row: Row | None = None,
    ) -> None:
        self._name, self._source, self._id, self._session = name, source, source_id, session
        self._lossless, self._output, self._link = policy is Policy.LOSSLESS, output, link
        self._row: Row = row if row is not None else [0] * SLOTS
        account = output.account(source_id)
        self._first = self._captured = self._released = account.entered - account.in_flight
        self._error, self._exit_code, self._begun = "", 0, ""
        self._wake_receiver, self._wake_sender = socket.socketpair()
        for end in (self._wake_receiver, self._wake_sender):
            end.setblocking(False)
        self._reader = Reader(source, self._wake_sender, self._lossless, self._first if source.replays else 0)
        self._poller = zmq.Poller()
        for waited_for in (self._wake_receiver, output.socket, link.socket):
            self._poller.register(waited_for, zmq.POLLIN)

    def run(self) -> None:
        """Run to the end. Raises nothing; errors are reported to the supervisor."""
        state: State = "drained"
        try:
            self._send_state("running")
            self._end(self._capture())
        except Aborted:
            state = "aborted"
        except Exception as error:
            state, self._error, self._exit_code = "failed", one_line(error), 5
        finally:
            self._reader.stop()
            if self._reader.is_alive():
                self._reader.join(LINGER_S)
            self._wake_receiver.close()
            self._wake_sender.close()
            self._output.close()
            self._send_state(state)
            self._link.close()

    def _capture(self) -> Exception | None:
        """Move frames from the reader to the queue until the medium ends or a stop is ordered.

        Returns:
            What ended the source, if it failed. Unexpected errors count as well: in-band like any failure, they end
            this source and no other.
        """
        try:
            self._reader.start()
            while self._reader.is_alive() or self._reader.pictures:
                self._poller.poll(POLL_MS)
                with contextlib.suppress(BlockingIOError):
                    self._wake_receiver.recv(WAKE_BYTES)
                while self._reader.pictures:
                    grab = self._continue_numbering(self._reader.pictures.popleft())
                    self._begun = self._begun or utc(grab.wall_ns / 1e9 - grab.pts)
                    self._output.offer(grab.packet(self._session, self._id, self._captured))
                    self._captured += 1
                self._service_connections()
                if self._link.stopping:
                    return None
        except Aborted:
            raise
        except Exception as error:
            return error
        return self._reader.error

    def _continue_numbering(self, grab: Grab) -> Grab:
        """Return a live frame with frame index and media time continued from before the restart."""
        if not self._source.live:
            return grab
        if not self._first:
            self._row[ORIGIN] = self._row[ORIGIN] or grab.mono_ns - round(grab.pts * 1e9)
            return grab
        return grab._replace(frame=self._first + grab.frame, pts=(grab.mono_ns - self._row[ORIGIN]) / 1e9)

    def _end(self, error: Exception | None) -> None:
        """Send the remaining frames and the end of the source, and wait until the queue is idle.

        Args:
            error: what ended the source, if it failed.
        """
        self._reader.stop()
        if isinstance(error, PipelineError):
            self._error, self._exit_code = one_line(error), error.exit_code
        elif error is not None:
            self._error, self._exit_code = f"{self._source.name}: {one_line(error)}", SourceError.exit_code
        reason = "failed" if self._error else "stopped" if self._link.stopping else "finished"
        account = self._output.account(self._id)
        end = EndOfSource(
            session=self._session,
            source=self._id,
            reason=reason,  # type: ignore[arg-type]
            error=self._error,
            captured=account.entered,
            dropped=dict(account.dropped),
        )
        self._output.offer(Packet(end))
        while not self._output.idle:
            self._poller.poll(POLL_MS)
            self._service_connections()

    def _service_connections(self) -> None:
        """Do the periodic work: receive orders, exchange credits, permit reads, send the heartbeat."""
        self._link.read_orders()
        self._output.pump()
        if self._lossless:
            taken = self._captured - self._output.waiting(self._id)
            for _ in range(taken - self._released):
                self._reader.allow()
            self._released = max(self._released, taken)
        # Without heartbeats the supervisor restarts the process, which alone helps against a hanging driver.
        if self._link.due and not self._source.hangs:
            self._send_state("running")

    def _facts(self) -> dict[str, str]:
        """Return what the run's record, status and metrics say about the medium.

        Includes the time of media time 0 unless the medium is replayable.
        """
        source = self._source
        facts = {"address": source.name, "state": source.state, "reconnects": str(source.reconnects)}
        begun = "" if source.replays else self._begun
        return facts | {key: word for key, word in (("begun", begun), ("notice", source.notice)) if word}

    def _send_state(self, state: State) -> None:
        self._link.send_state(
            StageState(
                stage=self._name,
                state=state,
                error=self._error,
                exit_code=self._exit_code,
                queues={self._id: self._output.account(self._id)},
                length=self._source.length,
                rejected=self._output.rejected,
                facts=self._facts(),
            )
        )
