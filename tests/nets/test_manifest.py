import hashlib
import json
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file

import nets
from nets.manifest import FOLDER, Input, Manifest, Training, Validation, sha256
from nets.normalisation import FrameZScore
from nets.two_scales import TwoScales


def manifest(**changes):
    fields = {
        "name": "tiny",
        "architecture": "mshnet",
        "options": {"in_channels": 1},
        "sha256": "0" * 64,
        "input": Input(channels=1, normalisation=FrameZScore(min_std=2.0)),
        "threshold": 0.5,
        "training": Training(data={"a": 3}, split="s", recipe="r.yaml", seed=0, commit="c", steps=7),
        "validation": Validation(protocol="strict", split="s", metrics={"a": {"iou": 0.5, "pd": None}}),
    }
    return Manifest(**(fields | changes))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return nets.build("mshnet").eval()


@pytest.fixture
def weights(tmp_path, network):
    path = tmp_path / "tiny.safetensors"
    nets.save(path, network, manifest())
    return path


def edit(path, change):
    file = path.with_suffix(".json")
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def test_round_trip(weights, network):
    loaded, read = nets.load(str(weights))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert read == manifest(sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    for key, value in network.state_dict().items():
        ours = loaded.state_dict()[key]
        assert ours.dtype == value.dtype
        assert torch.equal(ours, value.half().float() if value.is_floating_point() else value), key
    picture = torch.randn(1, 1, 32, 40)
    with torch.no_grad():
        torch.testing.assert_close(loaded(picture), network(picture), rtol=1e-2, atol=1e-2)


def test_weights_for_two_scales_are_stored_as_those_for_one(tmp_path, weights, network):
    path = tmp_path / "twice.safetensors"
    seen = Input(channels=1, normalisation=FrameZScore(min_std=2.0), scales=2)
    nets.save(path, network, manifest(input=seen))
    assert path.read_bytes() == weights.read_bytes()
    twice, read = nets.load(str(path))
    assert read.input == seen
    picture = torch.randn(1, 1, 64, 70)
    assert torch.equal(twice(picture), TwoScales(nets.load(str(weights))[0])(picture))
    assert torch.equal(nets.load_trained(str(path))[0](picture), nets.load(str(weights))[0](picture))


def test_weights_are_stored_in_half_precision(weights, network):
    kinds = {key: tensor.dtype for key, tensor in load_file(weights).items()}
    assert {kind for key, kind in kinds.items() if "num_batches" not in key} == {torch.float16}
    assert {kind for key, kind in kinds.items() if "num_batches" in key} == {torch.int64}
    # Two bytes per weight plus the header.
    values = sum(tensor.numel() for tensor in network.state_dict().values())
    assert weights.stat().st_size < 2.01 * values + 50_000


def test_weights_in_full_precision_are_read_too(weights, network):
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
    edit(weights, lambda m: m.update(sha256=sha256(weights)))
    loaded, _ = nets.load(str(weights))
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


@pytest.mark.parametrize(("value", "told"), [(7e4, "70000"), (float("inf"), "inf"), (float("nan"), "nan")])
def test_values_beyond_half_precision_are_refused(tmp_path, value, told):
    broken = nets.build("mshnet")
    broken.stem.weight.data[3] = value
    with pytest.raises(ValueError, match=rf"stem\.weight: up to {told}, which half precision cannot hold"):
        nets.save(tmp_path / "tiny.safetensors", broken, manifest())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["tiny.safetensors", "tiny.json"])
def test_weights_and_manifest_are_written_together_or_not_at_all(tmp_path, network, taken):
    other = tmp_path / ({"tiny.safetensors", "tiny.json"} - {taken}).pop()
    other.write_text("what was there")
    (tmp_path / taken).mkdir()
    with pytest.raises(nets.WeightsError, match=f"{tmp_path / taken}: cannot be written: is a folder"):
        nets.save(tmp_path / "tiny.safetensors", network, manifest())
    assert other.read_text() == "what was there"
    assert {path.name for path in tmp_path.iterdir()} == {taken, other.name}


def test_a_full_disk_keeps_the_weights_that_were_there(weights, network):
    before = {path: path.read_bytes() for path in weights.parent.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[weights]) // 2, hard))
    try:
        with pytest.raises(nets.WeightsError, match=r"tiny\.safetensors: cannot be written: File too large"):
            nets.save(weights, network, manifest(name="other"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in weights.parent.iterdir()} == before


def test_saved_weights_are_world_readable(weights):
    assert weights.stat().st_mode & 0o777 == 0o644


def test_shipped_weights_match_their_manifests():
    shipped = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    assert shipped, "no weights shipped"
    for name in shipped:
        network, read = nets.load(name)
        assert read.name == name
        assert network(torch.zeros(1, read.input.channels, 32, 32)).shape == (1, 1, 32, 32)


def test_unknown_name():
    with pytest.raises(nets.WeightsError, match=r"no shipped weights named 'nonesuch'; there are: "):
        nets.load("nonesuch")


def test_missing_file(tmp_path):
    path = tmp_path / "gone.safetensors"
    with pytest.raises(nets.WeightsError, match=f"{path}: no such weights file"):
        nets.load(str(path))


def test_no_manifest(weights):
    weights.with_suffix(".json").unlink()
    with pytest.raises(nets.WeightsError, match=r"tiny\.json: No such file"):
        nets.load(str(weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("threshold"), "missing required field `threshold`"),
        (lambda m: m.update(threshold=1.5), r"\$\.threshold"),
        (lambda m: m.update(threshold="high"), r"\$\.threshold"),
        (lambda m: m.update(colour="red"), "unknown field `colour`"),
        (lambda m: m.update(sha256="abc"), r"\$\.sha256"),
        (lambda m: m["input"].update(channels=2), r"channels is 2, but normalisation gives 1 - at `\$\.input`"),
        (lambda m: m["input"].update(channels=0), r"\$\.input\.channels"),
        (lambda m: m["input"]["normalisation"].update(kind="minmax"), r"\$\.input\.normalisation\.kind"),
        (lambda m: m["input"]["normalisation"].update(min_std=0), r"\$\.input\.normalisation\.min_std"),
        (lambda m: m["input"]["normalisation"].update(clip=-1), r"\$\.input\.normalisation\.clip"),
        (lambda m: m["input"]["normalisation"].update(windows=[16]), r"16 is even.* - at `\$\.input\.normalisation`"),
        (lambda m: m.update(options={"in_channels": True}), r"got `bool` - at `\$\.options"),
        (lambda m: m["training"].update(steps="many"), r"\$\.training\.steps"),
    ],
)
def test_malformed_field_is_named(weights, change, message):
    edit(weights, change)
    with pytest.raises(nets.WeightsError, match=rf"tiny\.json: .*{message}"):
        nets.read_manifest(str(weights))


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"[1, 2]"])
def test_invalid_manifest_content(weights, content):
    weights.with_suffix(".json").write_bytes(content)
    with pytest.raises(nets.WeightsError, match=r"tiny\.json: "):
        nets.load(str(weights))


def test_one_flipped_bit_in_the_weights(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(nets.WeightsError, match="sha256 differs from its manifest"):
        nets.load(str(weights))


def test_unknown_architecture(weights):
    edit(weights, lambda m: m.update(architecture="resnet"))
    with pytest.raises(nets.WeightsError, match="unknown architecture 'resnet'; known: mshnet"):
        nets.load(str(weights))


@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\x80\x04K\x01."])
def test_not_safetensors(weights, content):
    weights.write_bytes(content)
    edit(weights, lambda m: m.update(sha256=sha256(weights)))
    with pytest.raises(nets.WeightsError, match="not a safetensors file"):
        nets.load(str(weights))


def test_tensors_of_another_width(weights):
    tensors = load_file(weights)
    tensors["stem.weight"] = torch.zeros(16, 3, 1, 1)
    save_file(tensors, weights)
    edit(weights, lambda m: m.update(sha256=sha256(weights)))
    with pytest.raises(nets.WeightsError, match=r"does not fit architecture 'mshnet': .*stem\.weight"):
        nets.load(str(weights))


def test_options_that_the_architecture_does_not_have(weights):
    edit(weights, lambda m: m.update(options={"depth": 9}))
    with pytest.raises(nets.WeightsError, match=r"does not fit architecture 'mshnet': .*depth"):
        nets.load(str(weights))


def test_options_that_contradict_the_input(weights):
    edit(weights, lambda m: m.update(options={"in_channels": 3}))
    with pytest.raises(nets.WeightsError, match=r"tiny\.json: the network takes 3 channels, but its input has 1"):
        nets.load(str(weights))


def test_errors_are_one_line(weights):
    tensors = load_file(weights)
    save_file({f"{key}.x": value for key, value in tensors.items()}, weights)
    edit(weights, lambda m: m.update(sha256=sha256(weights)))
    with pytest.raises(nets.WeightsError) as caught:
        nets.load(str(weights))
    assert "\n" not in str(caught.value)
