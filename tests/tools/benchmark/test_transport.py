"""All transports between real threads and processes."""

from __future__ import annotations

import pytest

from tools.benchmark import carriers
from tools.benchmark.job import Context
from tools.benchmark.transport import Scope, jobs

TINY = Scope(sizes=((64, 48),), types=("uint8", "uint16"), times=3, budget_s=0.0)
OURS = ["queue inproc", "queue ipc, slots", "queue ipc, socket", "queue tcp"]


def test_all_transports_deliver(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "imagezmq", None)
    (job,) = jobs(TINY, context)
    found = job.run()
    rows = found.rows["transport"]
    ways = ["memcpy", *OURS, "multiprocessing.Queue"]
    assert [(row.picture, row.way) for row in rows] == [(f"64x48 {t}", w) for t in ("uint8", "uint16") for w in ways]
    for row in rows:
        assert row.gb_per_s == pytest.approx(64 * 48 * (1 + row.picture.endswith("16")) / row.us / 1000)
    assert [row.times_memcpy for row in rows if row.way == "memcpy"] == [1, 1]
    assert found.missing == ["imagezmq is not installed (pip install imagezmq)"]


def test_imagezmq_delivers(context: Context) -> None:
    pytest.importorskip("imagezmq", reason="pip install imagezmq")
    import numpy as np

    with carriers.image_zmq() as carry:
        carry(np.zeros((48, 64), np.uint16), 3)
