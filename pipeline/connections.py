"""Tracks the connections of a socket and which belongs to its receiver (ipc and tcp only: inproc has no events)."""

from __future__ import annotations

import zmq
from zmq.utils.monitor import recv_monitor_message

_NONE = -1


class Connections:
    """Open connections of a socket.

    A connection is identified by its file descriptor, which may be reused as soon as the connection is closed.

    Args:
        socket: ZeroMQ socket that is not bound yet.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._open: set[int] = set()
        self._served = _NONE
        self._closed = False

    @property
    def served(self) -> bool:
        """Whether the connection of the receiver is open."""
        return self._served in self._open

    def serve(self, part: zmq.Frame) -> None:
        """Regard the connection on which ``part`` arrived as the one of the receiver."""
        self._read_events()  # the descriptor may be that of a connection whose end has not been read yet
        self._served = int(part.get(zmq.SRCFD))

    def receiver_vanished(self, alone: bool) -> bool:
        """Whether a connection was closed since the last call and no receiver is left.

        This detects a receiver that disappears without saying so.

        Args:
            alone: peers that are not served may also be connected, so only the connection of the receiver counts.
        """
        self._read_events()
        closed, self._closed = self._closed, False
        return closed and (not self._open or (alone and self._served == _NONE))

    def close(self) -> None:
        """Stop monitoring. To be called before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _read_events(self) -> None:
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._open.add(event["value"])
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self._open.discard(event["value"])
                self._closed = True
                if event["value"] == self._served:
                    self._served = _NONE
