from __future__ import annotations

import resource
from pathlib import Path

import pytest
import zmq

from pipeline.config import Config, load
from pipeline.errors import ConfigError
from pipeline.graph import StagePlan, free_ports, plan
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


def laid_out(sources: int, *settings: str) -> dict[str, StagePlan]:
    """Return the plans of a run of so many scenes ``a``, ``b``, ... by name."""
    named = [(name, "test://sky") for name in "abcdefghi"[:sources]]
    plans = plan(load(None, settings), named, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"})
    return {one.name: one for one in plans}


def test_lanes_divide_the_sources_and_meet_in_the_sinks() -> None:
    plans = laid_out(5, "placement.lanes=2", "placement.detect=thread", "queue.transport=tcp")
    captures = {one.output: one.sources for one in plans.values() if one.role == "capture"}
    for lane, members in enumerate([("a", "c", "e"), ("b", "d")]):
        chain = [plans[f"{role}.{lane}"] for role in ("preprocess", "detect", "track")]
        assert all(one.sources == members for one in chain)
        assert tuple(source for endpoint in chain[0].inputs for source in captures[endpoint]) == members
        assert [one.inputs for one in chain[1:]] == [(one.output,) for one in chain[:-1]]
    assert plans["sinks"].inputs == (plans["track.0"].output, plans["track.1"].output)
    assert plans["sinks"].sources == tuple("abcde")
    outputs = [one.output for one in plans.values()]
    assert len(set(outputs)) == len(plans) == 5 + 2 * 3 + 1


def test_stages_of_a_single_lane_have_no_number() -> None:
    assert list(laid_out(1, "placement.lanes=8")) == ["sinks", "track", "detect", "preprocess", "capture.a"]


@pytest.mark.parametrize(("cores", "sources", "lanes"), [(2, 9, 1), (8, 9, 2), (9, 9, 2), (64, 9, 9), (16, 3, 3)])
def test_automatic_lanes_follow_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, sources: int, lanes: int
) -> None:
    monkeypatch.setattr("pipeline.config.usable_cores", lambda: cores)
    monkeypatch.setattr("pipeline.graph.usable_cores", lambda: cores)
    plans = laid_out(sources, "placement.lanes=null")
    threads = {one.config.detect.threads for one in plans.values() if one.role == "detect"}
    assert len([one for one in plans.values() if one.role == "detect"]) == lanes
    assert threads == {None if lanes == 1 else cores // lanes}, "the networks of all lanes share the cores"


def test_configured_threads_are_those_of_every_lane() -> None:
    plans = laid_out(4, "placement.lanes=4", "detect.threads=3")
    assert {one.config.detect.threads for one in plans.values()} == {3}


def test_batch_holds_one_frame_of_each_live_source_of_its_lane() -> None:
    settings = ["detect.device=cuda", "detect.batch_size=8", "queue.policy=latest", "placement.lanes=2"]
    plans = laid_out(5, *settings)
    assert (plans["detect.0"].credits, plans["detect.1"].credits) == (3, 2)


@pytest.mark.parametrize(("address", "most"), [("a.mp4", 46), ("test://sea?live=1", 76)])
def test_too_many_sources_for_the_open_file_limit_are_refused(address: str, most: int) -> None:
    def planned(count: int) -> int:
        sources = [(f"s{i}", address) for i in range(count)]
        return len(plan(Config(), sources, None, "s", Path("/tmp/x"), {"thread": "t", "process": "p"}))

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (524, limit[1]))
    try:
        assert planned(most) == most + 4
        with pytest.raises(ConfigError, match=rf"{most + 1} sources need \d+ open files, 524 are allowed"):
            planned(most + 1)
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
