"""A network source read in a thread, and failures of its server."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.capture.factory import open_source
from pipeline.errors import SourceError
from tests.conftest import wait_until

# Detects a loss quickly, but allows for slow opening on a busy machine.
QUICK = CaptureConfig(
    open_timeout_s=15, read_timeout_s=0.7, reconnect=ReconnectConfig(initial_s=0.05, max_s=0.2, give_up_s=60)
)
# Failures of a server: what breaks it, then what restores it.
DIES = ("kill", "start")
FREEZES = ("freeze", "thaw")
FREEZES_AND_IS_RESTARTED = ("freeze", "kill", "start")


class Reading:
    """A source read in a separate thread."""

    def __init__(self, source):
        self.source, self.grabs, self.error = source, [], None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.source.open()
            while (grab := self.source.grab()) is not None:
                self.grabs.append(grab)
        except SourceError as error:
            self.error = error

    def wait_for(self, count):
        wait_until(lambda: len(self.grabs) >= count or not self.thread.is_alive(), seconds=60)
        assert self.error is None, str(self.error)

    def close(self):
        self.source.close()
        self.thread.join(20)
        assert not self.thread.is_alive()
        wait_until(lambda: self.source.state == "closed")


@contextmanager
def reading(url, config=QUICK):
    it = Reading(open_source(url, config))
    try:
        yield it
    finally:
        it.close()


def error_of(url, config=QUICK):
    source = open_source(url, config)
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    return str(caught.value)


def check_grabs(it):
    """Check that frames of the test servers are numbered without gaps and ordered in time."""
    assert [grab.frame for grab in it.grabs] == list(range(len(it.grabs)))
    times = [grab.pts for grab in it.grabs]
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert all(grab.picture.shape == (128, 160) and grab.picture.dtype == np.uint8 for grab in it.grabs)


def survives(server, url, inject, *remedy):
    """The source notices that its server is gone and reads on when it is back."""
    with server, reading(url) as it:
        it.wait_for(10)
        getattr(server, inject)()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
        for step in remedy:
            getattr(server, step)()
        it.wait_for(seen + 10)
        wait_until(lambda: it.source.state == "open")
        assert it.source.reconnects >= 1
        check_grabs(it)
