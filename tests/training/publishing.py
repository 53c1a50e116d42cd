"""A small training run, and a shortcut to publish its weights."""

from tests.training.synthetic import write_recipe, write_set
from training import train
from training.publish import main


def small_run(root):
    """Train four steps on a set with targets and one of twelve 16-bit pictures; the recipe lies beside the run."""
    write_set(root / "tiny")
    write_set(root / "deep", dtype="uint16", seed=1)
    recipe = write_recipe(root / "tiny.yaml", root, ("tiny", "deep"))
    assert train.main(["--config", str(recipe), "--out", str(root / "run"), "--set", "run.seed=3"]) == 0
    return root / "run"


def publish(run, out, *more):
    recipe = run.parent / "tiny.yaml"
    arguments = ["--run", str(run), "--name", "mine", "--out", str(out), "--config", str(recipe), "--threads", "1"]
    return main([*arguments, *more])
