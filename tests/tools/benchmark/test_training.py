"""The recipes side by side, with smaller crops."""

from __future__ import annotations

import pytest

from tools.benchmark.job import Context
from tools.benchmark.training import Scope, jobs

TINY = Scope(stills=4, budget_s=0.0, settings=("data.crop=32", "data.batch=2", "run.precision=float32"))


def test_recipes_take_turns(context: Context) -> None:
    (job,) = jobs(TINY, context)
    rows = job.run().rows["training"]
    assert [row.recipe for row in rows] == ["published", "mshnet"]
    for row in rows:
        assert (row.crops, row.px) == (2, 32)
        assert row.images_per_s == pytest.approx(2000 / row.ms)
        assert row.mpx_per_s == pytest.approx(2 * 32**2 / row.ms / 1000)
        assert row.times_published == pytest.approx(rows[0].ms / row.ms)
