import pytest

from pipeline.capture.scene import SceneSpec
from pipeline.capture.scene.spec import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_scene_has_defaults(name):
    spec = SceneSpec.from_url(f"test://{name}")
    assert (spec.name, spec.width, spec.height, spec.frames, spec.fps) == (name, 320, 256, 300, 25.0)


def test_crossing_is_the_benchmark():
    spec = SceneSpec.from_url("test://crossing")
    assert spec.targets == 8
    assert spec.snr == 5
    assert "pan" in spec.motions


def test_parameters_replace_defaults():
    spec = SceneSpec.from_url("test://sky?width=64&fps=12.5&camera=pan+jitter&pan_px=-1.5&seed=9223372036854775807")
    assert (spec.width, spec.fps, spec.pan_px, spec.seed) == (64, 12.5, -1.5, 2**63 - 1)
    assert spec.motions == {"pan", "jitter"}


def test_plus_signs_may_be_escaped():
    assert SceneSpec.from_url("test://sky?camera=pan%2Bjitter").motions == {"pan", "jitter"}


def test_still_is_no_motion():
    assert SceneSpec.from_url("test://sky?camera=still").motions == frozenset()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sky", "test://"),
        ("test://", "''"),
        ("test://moon", "'moon'"),
        ("test://sky/", "'sky/'"),
        ("test://sky?colour=1", "'colour'"),
        ("test://sky?name=sea", "'name'"),
        ("test://sky?width", "'width'"),
        ("test://sky?seed=1&seed=2", "'seed'"),
        ("test://sky?width=wide", "width"),
        ("test://sky?width=31", "width"),
        ("test://sky?width=5000", "width"),
        ("test://sky?width=64.5", "width"),
        ("test://sky?frames=0", "frames"),
        ("test://sky?fps=0", "fps"),
        ("test://sky?seed=-1", "seed"),
        ("test://sky?snr=nan", "snr"),
        ("test://sky?snr=-1", "snr"),
        ("test://sky?noise=inf", "noise"),
        ("test://sky?dead=0.5", "dead"),
        ("test://sky?bit_depth=8", "bit_depth"),
        ("test://sky?bit_depth=17", "bit_depth"),
        ("test://sky?size=70", "size"),
        ("test://sky?targets=", "targets"),
        ("test://sky?camera=", "camera"),
        ("test://sky?camera=dolly", "'dolly'"),
        ("test://sky?camera=pan+pan", "camera"),
        ("test://sky?camera=still+pan", "camera"),
        ("test://sky?camera=still&pan_px=2", "pan_px"),
        ("test://sky?camera=pan&jitter_px=2", "jitter_px"),
    ],
)
def test_invalid_urls_are_refused_with_a_specific_message(url, named):
    with pytest.raises(ValueError) as caught:
        SceneSpec.from_url(url)
    message = str(caught.value)
    assert named in message
    assert url in message
    assert "\n" not in message
