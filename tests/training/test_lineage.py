"""Whether pictures that are held out may be known from what weights were made from."""

import shutil

import pytest
from msgspec.structs import replace

import nets
from tests.training.publishing import publish, small_run
from tests.training.synthetic import write_recipe
from training import train
from training.config import SourceConfig
from training.data import Split
from training.lineage import describe, leaks, merge, of_split
from training.publish import main


def split(**held):
    """Return the split of sets of eight pictures, of which some numbers are held out."""
    sources = {name: SourceConfig(folder=name) for name in held}
    validation = {name: [(sources[name], f"p{k}") for k in numbers] for name, numbers in held.items() if numbers}
    return Split([], validation, {name: 8 - len(numbers) for name, numbers in held.items()})


def test_what_was_held_out_throughout_stays_unknown():
    mine, same, more, none, elsewhere = split(a=[0, 1]), split(a=[1, 0]), split(a=[2, 3]), split(a=[]), split(b=[5])
    assert leaks(mine, {}) == leaks(mine, of_split(same)) == leaks(mine, of_split(elsewhere)) == []
    assert leaks(mine, of_split(more)) == leaks(mine, of_split(none)) == ["a"]
    assert leaks(none, of_split(mine)) == []
    assert leaks(mine, merge(of_split(mine), of_split(more), of_split(elsewhere))) == ["a"]
    assert leaks(mine, merge(of_split(elsewhere), of_split(mine), of_split(same))) == []
    assert leaks(more, merge(of_split(mine), of_split(more), of_split(more))) == ["a"]
    assert describe(mine, {}) == ""
    assert describe(mine, of_split(none)).endswith("may have been trained on them in a")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run that holds out pictures of both sets; ``all.safetensors`` beside it knows every picture of one."""
    done = small_run(tmp_path_factory.mktemp("lineage"))
    every = "data.sources=[{folder: tiny}, {folder: deep, validation: 0.4}]"
    start(done, "all", every)
    assert publish(done.parent / "all", done.parent, "--name", "all") == 0
    return done


def start(run, name, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    return train.main(["--config", str(run.parent / "tiny.yaml"), "--out", str(run.parent / name), *words])


def published(run, of, name, *more):
    """Publish a run and return its manifest."""
    assert publish(run.parent / of, run.parent, "--name", name, *more) == 0
    return nets.read_manifest(str(run.parent / f"{name}.safetensors"))


WARNING = "tiny: held-out pictures may be known"
DOUBT = "; but what these weights were made from may have been trained on them in tiny"


def test_weights_of_a_single_run_are_beyond_doubt(run, capsys):
    manifest = published(run, "run", "one")
    assert set(manifest.training.held_out) == {"tiny", "deep"}
    assert DOUBT not in manifest.training.split + manifest.validation.split
    settings = f"network.pretrained={run.parent / 'one.safetensors'}"
    capsys.readouterr()
    start(run, "two", settings)
    assert WARNING not in capsys.readouterr().out
    assert DOUBT not in published(run, "two", "two").validation.split


def test_doubt_is_passed_on_from_weights_to_weights(run, capsys):
    first = f"network.pretrained={run.parent / 'all.safetensors'}"
    start(run, "child", first)
    assert train.main(["--resume", str(run.parent / "child"), "--set", "run.steps=5"]) == 0
    assert capsys.readouterr().out.count(WARNING) == 2
    child = published(run, "child", "child")
    assert child.training.held_out["tiny"] == "" != child.training.held_out["deep"]
    start(run, "grandchild", f"network.pretrained={run.parent / 'child.safetensors'}")
    assert WARNING in capsys.readouterr().out
    for manifest in (child, published(run, "grandchild", "grandchild")):
        for text in (manifest.training.split, manifest.validation.split):
            assert text.endswith(DOUBT)


def test_blended_weights_teachers_and_earlier_parts_of_a_run_count(run, capsys):
    known = run.parent / "all.safetensors"
    assert published(run, "run", "blend", "--blend", str(known)).validation.split.endswith(DOUBT)

    taught = f"[{{folder: tiny, validation: 0.4}}, {{folder: deep, validation: 0.4, teacher: {known}}}]"
    start(run, "taught", f"data.sources={taught}")
    assert WARNING in capsys.readouterr().out
    assert published(run, "taught", "taught").validation.split.endswith(DOUBT)

    shutil.copytree(run.parent / "all", run.parent / "turned")
    later = "data.sources=[{folder: tiny, validation: 0.4}, {folder: deep, validation: 0.4}]"
    assert train.main(["--resume", str(run.parent / "turned"), "--set", later, "--set", "run.steps=5"]) == 0
    assert WARNING in capsys.readouterr().out
    assert published(run, "turned", "turned").validation.split.endswith(DOUBT)


def test_weights_without_a_record_may_know_every_picture_of_their_sets(run, capsys):
    network, manifest = nets.load(str(run.parent / "all.safetensors"))
    training = replace(manifest.training, held_out=None)
    old = replace(manifest, training=training)
    nets.save(run.parent / "old.safetensors", network, old)
    start(run, "from_old", f"network.pretrained={run.parent / 'old.safetensors'}")
    out = capsys.readouterr().out
    assert WARNING in out and "deep: held-out pictures may be known" in out


def test_a_twin_with_other_initial_weights_is_described_as_such(run, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", run.parent, ("tiny", "deep"))
    every = ["--set", "data.sources=[{folder: tiny}, {folder: deep}]", "--set", "run.seed=3"]
    assert train.main(["--config", str(recipe), "--out", str(tmp_path / "every"), *every]) == 0
    start(run, "from_all", f"network.pretrained={run.parent / 'all.safetensors'}", "run.seed=3")
    words = ["--run", str(tmp_path / "every"), "--name", "mine", "--out", str(tmp_path), "--config", str(recipe)]
    assert main([*words, "--threads", "1", "--twin", str(run.parent / "from_all")]) == 0
    told = nets.read_manifest(str(tmp_path / "mine.safetensors")).validation.split
    sha256 = nets.read_manifest(str(run.parent / "all.safetensors")).sha256
    assert f"of a twin run (4 steps, started from sha256 {sha256}), the same but" in told
    assert told.endswith(DOUBT)
