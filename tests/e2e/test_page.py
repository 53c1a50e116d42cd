"""The live page of a whole run."""

from __future__ import annotations

import json
import signal
import urllib.request

from tests.e2e.harness import FAST, LONG, SMALL, assert_nothing_left, run_program, start


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def test_run_tells_the_address_of_its_page_and_serves_it(runtime):
    run = start(LONG, *FAST, "--set=sinks.page.port=0", "--set=placement.sinks=process", runtime=runtime)
    words = run.stderr.readline().split()
    assert words[:3] == ["run_stream.py:", "live", "page:"]
    picture = b""
    while not picture:
        picture = fetch(f"{words[3]}picture/demo")
    assert picture.startswith(b"\xff\xd8")
    assert json.loads(fetch(f"{words[3]}sources"))[0]["state"] == "live"
    run.send_signal(signal.SIGINT)
    output, errors = run.communicate(timeout=100)
    assert (run.returncode, errors) == (130, ""), output
    assert_nothing_left(run.pid, runtime)


def test_page_that_cannot_be_served_is_one_line_and_loses_nothing(runtime):
    run = run_program(SMALL, "--set=sinks.page.port=0", "--set=sinks.page.host=0.0.0.0", runtime=runtime)
    assert run.returncode == 2
    assert run.stderr.startswith("run_stream.py: error: sinks.page: 0.0.0.0: a page that other machines can open needs")
    assert run.stderr.count("\n") == 1
