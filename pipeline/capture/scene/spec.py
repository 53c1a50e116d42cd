"""Scene parameters: the ``test://`` URL syntax, value ranges and the defaults of each scene."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct

SCHEME = "test://"
SceneName = Literal["sky", "sea", "ground", "crossing", "demo"]
NAMES: tuple[SceneName, ...] = ("sky", "sea", "ground", "crossing", "demo")
MOTIONS = ("still", "pan", "jitter", "vibration", "handheld")
SHAKES = frozenset(("jitter", "vibration", "handheld"))

_DEFAULTS: dict[str, dict[str, Any]] = {
    "sky": {"targets": 4, "camera": "pan"},
    "sea": {"targets": 4, "camera": "vibration"},
    "ground": {"targets": 4, "camera": "handheld"},
    "crossing": {"targets": 8, "camera": "pan+handheld+jitter", "jitter_px": 0.3, "noise": 32.0, "snr": 5.0},
    "demo": {"targets": 6, "camera": "pan+handheld", "snr": 18.0, "dead": 0.0},
}


class SceneSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scene with all its parameters. Equal specs render equal pictures.

    Attributes:
        name: one of ``NAMES``.
        width: picture width in px.
        height: picture height in px.
        fps: frames per second; also drives waves and camera shake.
        frames: number of frames.
        seed: seed of all random numbers.
        targets: number of targets per 300 frames; longer scenes get new targets.
        snr: signal-to-noise ratio of the dimmest target: peak contrast above the local background, with the target
            centred on a pixel, divided by the temporal noise sigma (read and shot noise) at that background level. In
            ``crossing`` and ``demo`` the other targets are up to twice as bright, elsewhere all are equal.
        size: target width in px, 0 for a point. In ``demo`` every other target is at least 9 px wide.
        camera: motions joined by ``+``: ``still`` alone, or any of ``pan`` (back and forth over a sector of
            at most two pictures or 1024 px), ``jitter`` (white noise), ``vibration`` (a 7.3 Hz sinusoid) and
            ``handheld`` (slow sway with rotation).
        jitter_px: sigma of the jitter and amplitude of the vibration in px; handheld sways eight times as far.
        pan_px: speed of the pan in px/frame, negative to the left.
        noise: temporal noise sigma in 14-bit counts at level ``sensor.REFERENCE``; 0 disables noise, and target
            contrasts are then computed with the default noise.
        fpn: rms of the fixed pattern noise between pixels in 14-bit counts.
        dead: fraction of stuck pixels.
        bit_depth: bit depth of the output; pixels are always uint16, full scale is ``2**bit_depth - 1``.
    """

    name: SceneName
    width: Annotated[int, Meta(ge=32, le=2048)] = 320
    height: Annotated[int, Meta(ge=32, le=2048)] = 256
    fps: Annotated[float, Meta(ge=1, le=1000)] = 25.0
    frames: Annotated[int, Meta(ge=1, le=20_000)] = 300
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    targets: Annotated[int, Meta(ge=0, le=64)] = 4
    snr: Annotated[float, Meta(ge=0, le=1000)] = 8.0
    size: Annotated[float, Meta(ge=0, le=128)] = 0.0
    camera: str = "still"
    jitter_px: Annotated[float, Meta(ge=0, le=10)] = 0.5
    pan_px: Annotated[float, Meta(ge=-20, le=20)] = 0.6
    noise: Annotated[float, Meta(ge=0, le=2000)] = 16.0
    fpn: Annotated[float, Meta(ge=0, le=2000)] = 5.0
    dead: Annotated[float, Meta(ge=0, le=0.2)] = 0.0001
    bit_depth: Annotated[int, Meta(ge=9, le=16)] = 14

    def __post_init__(self) -> None:
        motions = self.camera.split("+")
        if unknown := sorted(set(motions) - set(MOTIONS)):
            raise ValueError(f"camera: unknown motion {unknown[0]!r} (known: {', '.join(MOTIONS)})")
        if len(set(motions)) < len(motions) or ("still" in motions and len(motions) > 1):
            raise ValueError(f"camera: {self.camera!r} is contradictory")
        if self.size > min(self.width, self.height) / 4:
            raise ValueError(f"size: {self.size:g} px is over a quarter of the {self.width}x{self.height} picture")

    @property
    def motions(self) -> frozenset[str]:
        """Motions of the camera; empty if it stands still."""
        return frozenset(self.camera.split("+")) - {"still"}

    @classmethod
    def from_url(cls, url: str) -> SceneSpec:
        """Parse ``test://NAME?param=value&...``; omitted parameters get the defaults of the scene.

        Raises:
            ValueError: not a scene URL, unknown scene or parameter, wrong type, value out of range or without effect;
                one line that names it.
        """
        if not url.startswith(SCHEME):
            raise ValueError(f"{url}: a scene starts with {SCHEME}")
        name, _, query = url.removeprefix(SCHEME).partition("?")
        if name not in NAMES:
            raise ValueError(f"{url}: unknown scene {name!r} (known: {', '.join(NAMES)})")
        given: dict[str, str] = {}
        # Not parse_qs, which turns the plus signs of camera=pan+jitter into blanks.
        for item in filter(None, query.split("&")):
            key, equals, value = item.partition("=")
            if not equals or key == "name" or key not in cls.__struct_fields__:
                raise ValueError(f"{url}: unknown parameter {key!r} (known: {', '.join(cls.__struct_fields__[1:])})")
            if key in given:
                raise ValueError(f"{url}: parameter {key!r} is given twice")
            given[key] = unquote(value)
        try:
            spec = msgspec.convert({"name": name, **_DEFAULTS[name], **given}, cls, strict=False)
        except (msgspec.ValidationError, UnicodeError) as error:
            raise ValueError(f"{url}: {error}") from None
        if "pan_px" in given and "pan" not in spec.motions:
            raise ValueError(f"{url}: pan_px has no effect without camera=pan")
        if "jitter_px" in given and not spec.motions & SHAKES:
            raise ValueError(f"{url}: jitter_px has no effect without camera={', '.join(sorted(SHAKES))}")
        return spec
