"""Connections of a socket, with real peers."""

from __future__ import annotations

import time

import pytest
import zmq

from pipeline.connections import Connections

MESSAGE_S = 10


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(0)


def peer_of(context, socket):
    peer = context.socket(zmq.DEALER)
    peer.connect(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    peer.send(b"")
    assert socket.poll(MESSAGE_S * 1000)
    return peer, socket.recv_multipart(copy=False)[-1]


@pytest.fixture
def socket(context):
    return context.socket(zmq.ROUTER)


def test_a_served_peer_that_vanishes_is_noticed_once(context, socket):
    connections = Connections(socket)
    socket.bind("tcp://127.0.0.1:*")
    peer, part = peer_of(context, socket)
    assert not connections.receiver_vanished(alone=True)
    connections.serve(part)
    assert connections.served
    peer.close(0)
    deadline = time.monotonic() + MESSAGE_S
    while not (vanished := connections.receiver_vanished(alone=True)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert vanished
    assert not connections.served
    assert not connections.receiver_vanished(alone=True)
    connections.close()


def test_the_end_of_the_last_peer_is_not_taken_for_that_of_its_successor(context, socket):
    """The successor's connection may reuse the descriptor before the end of the last one has been read."""
    connections = Connections(socket)
    socket.bind("tcp://127.0.0.1:*")
    first, part = peer_of(context, socket)
    connections.serve(part)
    assert not connections.receiver_vanished(alone=True)
    first.close(0)
    time.sleep(0.2)
    _, part = peer_of(context, socket)
    connections.serve(part)
    assert not connections.receiver_vanished(alone=True)
    assert connections.served
    connections.close()
