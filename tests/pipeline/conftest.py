from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    made = zmq.Context()
    made.linger = 0
    yield made
    made.destroy(0)
