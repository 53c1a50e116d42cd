"""Initial weights and teachers of a run."""

import msgspec
import pytest
import torch

import nets
from nets.normalisation import FrameZScore
from pipeline.errors import ConfigError
from tests.detect.conftest import written
from tests.training.running import trainer
from training import checkpoint
from training.train import main


def test_a_run_starts_from_published_weights(tmp_path, recipe):
    settings = [
        "network.options={in_channels: 3}",
        "normalisation.windows=[17, 49]",
        "network.pretrained=mshnet-irstd1k",
    ]
    start, published = trainer(recipe, tmp_path / "run", settings).network, nets.load_trained("mshnet-irstd1k")[0]
    for key, value in published.state_dict().items():
        assert torch.equal(value, start.state_dict()[key]), key


@pytest.mark.parametrize("fate", ["gone", "replaced"])
def test_a_run_resumes_without_the_weights_that_it_started_from(tmp_path, recipe, fate):
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    network, manifest = nets.load_trained("mshnet-irstd1k")
    sha256 = nets.save(start, network, manifest).sha256
    settings = ["network.options={in_channels: 3}", "normalisation.windows=[17, 49]", f"network.pretrained={start}"]
    words = [word for setting in [*settings, "run.steps=1"] for word in ("--set", setting)]
    assert main(["--config", str(recipe), "--out", str(out), *words]) == 0
    start.unlink()
    if fate == "replaced":
        nets.save(start, *nets.load_trained("edge"))
    assert main(["--resume", str(out), "--set", "run.steps=2"]) == 0
    progress = checkpoint.read_progress(out / "state.safetensors")
    assert (progress.step, progress.pretrained) == (2, sha256)


def taught_by(weights):
    """Return a setting that makes these weights the teacher of the recipe's crops."""
    return f"data.sources=[{{folder: tiny, validation: 0.4, teacher: {weights}}}]"


def as_edge(**options):
    """Return settings of a network like the shipped ``edge`` with additional options."""
    manifest = nets.read_manifest("edge")
    wanted = {"network.options": manifest.options | options, "normalisation": manifest.input.normalisation}
    return [
        "network.name=edge_unet",
        *(f"{key}={msgspec.json.encode(value).decode()}" for key, value in wanted.items()),
    ]


def test_a_run_takes_what_fits_from_weights_of_a_network_with_other_options(tmp_path, recipe):
    settings = as_edge(fine=4)
    fresh = trainer(recipe, tmp_path / "run", settings).network.state_dict()
    settings += ["network.pretrained=edge", "network.partial=true"]
    start, published = trainer(recipe, tmp_path / "run", settings).network.state_dict(), nets.load_trained("edge")[0]
    taken = {key for key, value in published.state_dict().items() if torch.equal(value, start[key])}
    assert set(published.state_dict()) - taken == {"head.weight", "head.bias"}
    assert all(torch.equal(start[key], fresh[key]) for key in set(start) - taken)


def test_a_new_change_channel_does_not_change_the_initial_output(tmp_path, recipe):
    path = written(tmp_path / "single.safetensors", FrameZScore(windows=(9,)))
    settings = ["network.options={in_channels: 3}", "normalisation.windows=[9]", "normalisation.change=true"]
    settings += [f"network.pretrained={path}", "network.partial=true"]
    second = trainer(recipe, tmp_path / "second", settings)
    picture = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = second.network.eval()(picture), nets.load_trained(path)[0](picture[:, :2])
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(ConfigError, match="differs in its options from the recipe"):
        trainer(recipe, tmp_path / "third", [*settings, "network.partial=false"])


def test_a_student_approaches_its_teacher(tmp_path, recipe):
    settings = [*as_edge(), taught_by("edge"), "loss.taught=1.0", "run.steps=30", "optimiser.lr=3.0e-3"]
    run = trainer(recipe, tmp_path / "run", settings)
    losses = []
    while run.part_done() < 1:
        losses.append(float(run.step()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["network.pretrained=nothing"], "network.pretrained: no shipped weights named 'nothing'"),
        (["network.pretrained=mshnet"], "network.pretrained: mshnet differs in its options from the recipe"),
        ([taught_by("nothing")], "data.sources: teacher: no shipped weights named 'nothing'"),
        ([taught_by("mshnet")], "data.sources: teacher: mshnet differs in its normalisation from the recipe"),
    ],
)
def test_unsuitable_initial_weights_are_refused(tmp_path, recipe, capsys, settings, complaint):
    chosen = [argument for setting in settings for argument in ("--set", setting)]
    assert main(["--config", str(recipe), "--out", str(tmp_path / "run"), *chosen]) == 2
    assert complaint in capsys.readouterr().err
