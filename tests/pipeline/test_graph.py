from __future__ import annotations

import resource
from pathlib import Path

import pytest
import zmq

from pipeline.config import Config, load
from pipeline.errors import ConfigError
from pipeline.graph import free_ports, plan
from pipeline.supervisor import Supervisor


def test_free_ports_are_distinct() -> None:
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
def test_second_credit_only_if_all_sources_are_lossless(
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
def test_one_source_may_fill_a_batch_only_if_all_are_lossless(
    addresses: list[str], settings: list[str], credits: int, per_source: int | None
) -> None:
    sources = list(zip("abcdefghi", addresses, strict=False))
    config = load(None, ["detect.device=cuda", "detect.batch_size=8", *settings])
    plans = {one.role: one for one in plan(config, sources, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"})}
    assert (plans["detect"].credits, plans["preprocess"].per_source) == (credits, per_source)
    assert plans["preprocess"].credits == plans["track"].credits == config.queue.granted(per_source is None)


@pytest.mark.parametrize(("address", "most"), [("a.mp4", 46), ("test://sea?live=1", 76)])
def test_too_many_sources_for_the_open_file_limit_are_refused(address: str, most: int) -> None:
    def laid_out(count: int) -> int:
        sources = [(f"s{i}", address) for i in range(count)]
        return len(plan(Config(), sources, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"}))

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (524, limit[1]))
    try:
        assert laid_out(most) == most + 4
        with pytest.raises(ConfigError, match=rf"{most + 1} sources need \d+ open files, 524 are allowed"):
            laid_out(most + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_socket_limit_is_raised_to_the_open_file_limit() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1400:
        pytest.skip("no more than 1400 files may be open")
    with Supervisor(Config(), [("a", "a.mp4")], None) as supervisor:
        sockets = [supervisor._context.socket(zmq.PAIR) for _ in range(1100)]
        try:
            assert len({socket.fd for socket in sockets}) == 1100
        finally:
            for socket in sockets:
                socket.close()


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
