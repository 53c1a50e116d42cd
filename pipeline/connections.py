"""The connections of a bound socket, and which of them is its receiver's (ipc and tcp; inproc tells of none)."""

from __future__ import annotations

import zmq
from zmq.utils.monitor import recv_monitor_message

_NONE = -1


class Connections:
    """Connections are known by the number of their file, which another may have as soon as one is closed.

    Args:
        socket: not bound yet.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._open: set[int] = set()
        self._served = _NONE

    @property
    def served(self) -> bool:
        """Whether the connection of the receiver is there."""
        return self._served in self._open

    def serve(self, part: zmq.Frame) -> None:
        """Take the connection by which a part came for the receiver's."""
        self._served = int(part.get(zmq.SRCFD))

    def receiver_vanished(self, alone: bool) -> bool:
        """Whether a connection has closed since the last call that leaves no receiver: how one that vanishes is known.

        Args:
            alone: others may be connected that are not served; the receiver's connection alone counts.
        """
        closed = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._open.add(event["value"])
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self._open.discard(event["value"])
                closed = True
                if event["value"] == self._served:
                    self._served = _NONE
        return closed and (not self._open or (alone and self._served == _NONE))

    def close(self) -> None:
        """Watch no longer; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)
