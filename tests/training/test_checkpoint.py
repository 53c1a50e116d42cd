"""Contents that a checkpoint must have for a run to resume from it."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.errors import ConfigError
from tests.training.synthetic import write_recipe
from training import checkpoint, config
from training.checkpoint import Progress
from training.optimisation import build_optimiser
from training.trainer import build_network

SMALL = ["network.name=unet", "network.options={width: 1}"]


def parts(recipe):
    network = build_network(recipe, None)
    return network, build_network(recipe, None), build_optimiser(network, recipe.optimiser)


def restore(path, recipe):
    return checkpoint.restore(path, *parts(recipe), torch.device("cpu"))


@pytest.fixture
def recipe(tmp_path):
    return config.load(write_recipe(tmp_path / "tiny.yaml", tmp_path), SMALL)


@pytest.fixture
def state(tmp_path, recipe):
    network, averaged, optimiser = parts(recipe)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    checkpoint.save(tmp_path / "state.safetensors", network, averaged, optimiser, Progress(step=1), recipe)
    return tmp_path / "state.safetensors"


def rewrite(path, change_tensors=lambda tensors: None, change_header=lambda text: text):
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()["run"]
    change_tensors(tensors)
    save_file(tensors, path, {"run": change_header(header)})


@pytest.mark.parametrize("name", ["adamw", "adagrad"])
@pytest.mark.parametrize("step", [0, 1])
def test_what_was_saved_comes_back(tmp_path, recipe, name, step):
    recipe = config.override(recipe, [f"optimiser.name={name}"])
    network, averaged, optimiser = parts(recipe)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    if step:
        optimiser.step()
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, network, averaged, optimiser, Progress(step=step, best=0.5, held_out={"a": "3f"}), recipe)
    again = parts(recipe)
    assert checkpoint.restore(path, *again, torch.device("cpu")) == Progress(step=step, best=0.5, held_out={"a": "3f"})
    assert checkpoint.read_config(path) == recipe
    for index, slots in optimiser.state_dict()["state"].items():
        for slot, value in slots.items():
            assert torch.equal(value, again[2].state_dict()["state"][index][slot])


@pytest.mark.parametrize(
    "header", ["{", "[]", "5", "[" * 100_000, "{}", '{"progress": {}}', '{"config": {}}'], ids=lambda text: text[:20]
)
def test_an_invalid_header_is_refused(state, recipe, header):
    rewrite(state, change_header=lambda text: header)
    for read in (checkpoint.read_progress, checkpoint.read_config, lambda path: restore(path, recipe)):
        with pytest.raises(ConfigError, match=r"state\.safetensors: no checkpoint of a training run$"):
            read(state)


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        ({"colour": 1}, "Object contains unknown field `colour`"),
        ({"step": "many"}, "step: Expected `int`, got `str`"),
        ({"held_out": {"a": 3}}, r"held_out\.a: Expected `str`, got `int`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_invalid_progress_is_refused(state, progress, told):
    rewrite(state, change_header=lambda text: json.dumps(json.loads(text) | {"progress": progress}))
    with pytest.raises(ConfigError, match=rf"state\.safetensors: {told}$"):
        checkpoint.read_progress(state)


def only_weights(tensors):
    for key in [key for key in tensors if key.startswith("optimiser.")]:
        del tensors[key]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.update({"other.x": torch.ones(1)}), r"other\.x: not a tensor of a checkpoint"),
        (lambda t: t.update({"optimiser.999.step": torch.ones(())}), r"another optimiser.*: optimiser\.999\.step"),
        (lambda t: t.update({"optimiser.-1.step": torch.ones(())}), r"another optimiser.*: optimiser\.-1\.step"),
        (lambda t: t.pop("optimiser.3.exp_avg"), r"another optimiser.*: optimiser\.3\.exp_avg"),
        (lambda t: t.update({"optimiser.0.exp_avg": torch.ones(2)}), r"optimiser\.0\.exp_avg: another shape .*\(2,\)"),
        (only_weights, r"another optimiser, or an incomplete one: optimiser\.0\.exp_avg"),
    ],
)
def test_tensors_that_are_not_those_of_the_run_are_refused(state, recipe, change, told):
    rewrite(state, change)
    with pytest.raises(ConfigError, match=rf"state\.safetensors: .*{told}$"):
        restore(state, recipe)


def test_a_checkpoint_of_another_optimiser_is_refused(state, recipe):
    with pytest.raises(ConfigError, match=r"a checkpoint of another optimiser, .*: optimiser\.0\.exp_avg$"):
        restore(state, config.override(recipe, ["optimiser.name=adagrad"]))
