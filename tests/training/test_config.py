import pytest

from pipeline.errors import ConfigError
from tests.conftest import ROOT
from tests.training.synthetic import write_recipe
from training import config


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path / "tiny.yaml", tmp_path)


def test_the_shipped_recipes_are_valid():
    files = sorted((ROOT / "configs" / "train").glob("*.yaml"))
    assert files
    for file in files:
        recipe = config.load(file)
        assert recipe.network.options["in_channels"] == recipe.normalisation.channels, file


def test_settings_override_the_file(recipe):
    changed = config.load(recipe, ["run.seed=7", "optimiser.lr=3.0e-4", "data.augment.jpeg_quality=[50, 60]"])
    assert (changed.run.seed, changed.optimiser.lr, changed.data.augment.jpeg_quality) == (7, 3e-4, (50, 60))
    assert changed.data.crop == config.load(recipe).data.crop == 32


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("run.stepz=3", "run: .*unknown field `stepz`"),
        ("run.steps=0", "run.steps: .*>= 1"),
        ("run.steps=many", "run.steps: Expected `int`"),
        ("data.crop=40", "data.crop: .*multiple of 16"),
        ("data.sources=[]", "data.sources: .*length >= 1"),
        ("data.augment.blur=1.5", "data.augment.blur: .*<= 1"),
        ("run.precision=float16", "run.precision: Invalid enum value 'float16'"),
        ("normalisation.windows=[9]", "network.options.in_channels is 1, but the normalisation gives 2"),
        ("normalisation.windows=[16]", "normalisation: windows: 16 is even"),
        ("normalisation.min_std=0", "normalisation.min_std: .*>= 1e-06"),
        ("normalisation.min_std=-1", "normalisation.min_std: .*>= 1e-06"),
        ("normalisation.clip=-2", "normalisation.clip: .*> 0"),
        ("data.sources=[{folder: a, scale: [2.0, 0.5]}]", r"data\.sources\[0\]: scale is a range from 2 down to 0\.5"),
        ("data.augment.blur_sigma=[2, .5]", r"data\.augment: blur_sigma is a range from 2 down to 0\.5"),
        ("data.augment.jpeg_quality=[90, 30]", "data.augment: jpeg_quality is a range from 90 down to 30"),
        ("data.sources=[{folder: a, weight: .inf}]", r"data\.sources\[0\]\.weight: .*<= 1000000000"),
        ("data.augment.noise_std=.nan", "data.augment.noise_std: .*>= 0"),
        ("loss.hard_weight=.inf", "loss.hard_weight: .*<= 1000000000"),
        (
            "network.options={in_channels: true}",
            r"network\.options\.in_channels: Expected `int \| str \| array`, got `bool`",
        ),
        ("run.seed", "expected SECTION.NAME=VALUE"),
        ("=3", "expected SECTION.NAME=VALUE"),
        ("run.seed.x=3", "seed is not a section"),
        ("run.seed=[", "not a valid YAML value"),
    ],
)
def test_wrong_settings_are_refused_with_their_path(recipe, setting, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(recipe, [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {root: x}", r"tiny\.yaml: data: .*missing required field `sources`"),
        ("data: {sources: [{folder: a, weight: -1}]}", r"tiny\.yaml: data\.sources\[0\]\.weight: .*> 0"),
        ("- a\n- b\n", r"tiny\.yaml: expected keys and values"),
        ("a: [", r"tiny\.yaml: not valid YAML"),
        ("", r"tiny\.yaml: expected keys and values"),
    ],
)
def test_wrong_files_are_refused_with_their_path(recipe, text, message):
    recipe.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(recipe)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        config.load(tmp_path / "none.yaml")
