from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.graph import free_ports, plan


def test_ports_are_different() -> None:
    for _ in range(20):
        assert len(set(free_ports(50))) == 50


@pytest.mark.parametrize(
    ("addresses", "settings", "credits"),
    [
        (["test://sky", "a.mp4"], [], 2),
        (["test://sky", "test://sea?live=1"], [], 1),
        (["test://sky"], ["queue.policy=latest"], 1),
        (["test://sea?live=1"], ["queue.policy=lossless"], 2),
        (["test://sea?live=1"], ["queue.credits=3"], 3),
    ],
)
def test_frames_wait_before_stages_only_where_none_is_dropped(
    addresses: list[str], settings: list[str], credits: int
) -> None:
    sources = list(zip("ab", addresses, strict=False))
    plans = plan(load(None, settings), sources, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"})
    assert {one.credits for one in plans if one.role != "capture"} == {credits}


@pytest.mark.parametrize(
    ("addresses", "settings", "credits", "per_source"),
    [
        (["a.mp4"], [], 8, None),
        (["a.mp4", "test://sky"], ["detect.device=cpu"], 2, None),
        (["test://sea?live=1"], [], 1, 1),
        (["test://sea?live=1", "test://sky?live=1", "a.mp4"], [], 3, 1),
        (["test://sea?live=1"] * 9, [], 8, 1),
        (["test://sea?live=1"] * 9, ["detect.device=cpu"], 1, 1),
        (["test://sea?live=1"] * 2, ["queue.credits=3"], 3, 3),
    ],
)
def test_a_batch_is_filled_by_one_source_only_where_no_frame_is_dropped(
    addresses: list[str], settings: list[str], credits: int, per_source: int | None
) -> None:
    sources = list(zip("abcdefghi", addresses, strict=False))
    config = load(None, ["detect.device=cuda", "detect.batch_size=8", *settings])
    plans = {one.role: one for one in plan(config, sources, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"})}
    assert (plans["detect"].credits, plans["preprocess"].per_source) == (credits, per_source)
    assert plans["preprocess"].credits == plans["track"].credits == config.queue.granted(per_source is None)


@pytest.mark.parametrize(
    ("address", "settings", "waits"),
    [
        ("a.mp4", [], True),
        ("a.mp4", ["queue.policy=latest"], False),
        ("test://sea?live=1", [], False),
        ("test://sea?live=1", ["queue.policy=lossless"], False),
    ],
)
def test_only_a_lossless_file_waits_for_the_stages(address: str, settings: list[str], waits: bool) -> None:
    control = {"thread": "t", "process": "p"}
    *_, capture = plan(load(None, settings), [("a", address)], None, "s", Path("/tmp/x"), control)
    assert capture.waits is waits
