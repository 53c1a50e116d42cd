"""Every reader of untrusted bytes accepts valid inputs and rejects broken ones with an error of one line."""

from __future__ import annotations

import json

import pytest

from nets.manifest import WeightsError
from tools.fuzz.engine import attempt, inputs
from tools.fuzz.targets import CORPUS, TARGETS, corpus

RUNS = {"wire": 8000, "control": 8000, "scene": 8000, "labels": 4000, "container": 4000}
SLOW = {"manifest": 150, "weights": 150, "video": 200, "address": 200, "config": 400, "recipe": 400, "setting": 400}
ACCEPTED_ONCE = {"secret_in_a_value", "colons"}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_good_and_mutations_do_no_harm(name):
    target = TARGETS[name]
    assert any(attempt(target, seed) for seed in target.seeds())
    draw = inputs(target, corpus(target), seed=0)
    accepted = sum(attempt(target, draw()) for _ in range((RUNS | SLOW).get(name, 1500)))
    assert accepted


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CORPUS.rglob("*") if path.is_file()),
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_inputs_that_once_broke_a_reader_are_refused(path):
    assert attempt(TARGETS[path.parent.name], path.read_bytes()) == (path.name in ACCEPTED_ONCE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"options": {"width": 4096}}, "the network takes"),  # took minutes and all memory
        ({"options": {"in_channels": "1\n2"}}, "takes 1 2 channels"),
        ({"options": {"x": [[[]]] * 3}}, "Expected `int`, got `array`"),
        ({"options": {"x": [1, 2]}}, "unexpected keyword"),
    ],
)
def test_a_manifest_cannot_ask_for_more_than_the_weights_hold(change, says):
    target = TARGETS["manifest"]
    manifest = json.loads(target.seeds()[0])
    with pytest.raises(WeightsError, match=says):
        target.check(json.dumps(manifest | change).encode())


def test_a_manifest_nested_too_deep_is_refused():
    target = TARGETS["manifest"]
    text = target.seeds()[0].decode()
    assert not attempt(target, text.replace('"width": 1', '"width": ' + "[" * 3000 + "]" * 3000).encode())


def test_yaml_that_grows_without_end_is_refused():
    levels = (f"a{k + 1}: &a{k + 1} {{<<: [*a{k}, *a{k}]}}\n" for k in range(40))
    assert not attempt(TARGETS["config"], "".join(["a0: &a0 {k: 1}\n", *levels]).encode())


def test_yaml_nested_too_deep_is_refused():
    assert not attempt(TARGETS["config"], b"[" * 1500)
