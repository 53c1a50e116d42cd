"""Configuration section ``detect``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from pipeline.detect.masks import Masks
from pipeline.messages import MAX_OBJECTS
from pipeline.moving.config import MovingConfig

Probability = Annotated[float, Meta(gt=0, lt=1)]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
AUTO = "auto"


class DetectConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the detection stage.

    Attributes:
        weights: Name of shipped weights, or path of a ``.safetensors`` file with its ``.json`` next to it. ``auto`` is
            replaced according to the device when the configuration is loaded, see ``pipeline.detect.defaults``.
        backend: Inference backend; ``onnx``, ``openvino`` and ``tensorrt`` need optional packages. ``auto`` selects
            the fastest one available whose maps agree with those of ``torch``.
        device: ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Arithmetic precision. ``bf16`` is faster if the hardware supports it, but not bit-equal to ``fp32``;
            ``int8`` and ``fp16`` need an artefact. With ``auto``, the lowest precision allowed. None means the most
            exact one of a named backend; with ``auto``, int8 on a CPU, and fp32 on a GPU, where the faster candidates
            take minutes to compile.
        artefact: Name of a shipped artefact, or manifest of one made from these weights by ``tools.export``; runs
            instead of the weights. None: ``auto`` uses one that is stored next to the weights.
        threads: CPU threads of the network; None means all cores.
        batch_size: Frames per batch on a GPU: from any sources if all are lossless, else one of each. A CPU processes
            them one by one.
        window_ms: Longest time to wait for a full batch, ms.
        tile: Side of a tile in px; larger pictures are cut into tiles.
        tile_overlap: Minimum overlap of neighbouring tiles in px.
        mirrored: Mirror every frame differently from the previous one, see ``pipeline.detect.mirroring``.
        threshold: Probability threshold of a detection; None means the one that the weights were validated with.
        low_ratio: Lowest score of weak detections, as a share of the threshold; 1 disables them.
        min_area: Smallest area in px of a detection of the network. Not applied to detections of motion, where little
            more than the peak exceeds the threshold.
        max_area: Largest area of a detection in px.
        max_detections: Maximum number of detections per frame; those with the highest scores are kept.
        masks: Polygons in which nothing is detected, by name of the source (``*`` for all), with corners x, y in px.
        moving: Settings of motion detection, which complements the network.
    """

    weights: str = AUTO
    backend: Literal["auto", "torch", "compiled", "onnx", "openvino", "tensorrt"] = "auto"
    device: str = "auto"
    precision: Precision | None = None
    artefact: str | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    batch_size: Annotated[int, Meta(ge=1, le=256)] = 1
    window_ms: Annotated[float, Meta(ge=0, le=1000)] = 5.0
    tile: Annotated[int, Meta(ge=64, le=16384)] = 1024
    tile_overlap: Annotated[int, Meta(ge=0, le=4096)] = 64
    mirrored: bool = True
    threshold: Probability | None = None
    low_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.5
    min_area: Annotated[int, Meta(ge=1)] = 1
    max_area: Annotated[int, Meta(ge=1)] = 2000
    max_detections: Annotated[int, Meta(ge=1, le=MAX_OBJECTS)] = 200
    masks: Masks = {}
    moving: MovingConfig = MovingConfig()

    def __post_init__(self) -> None:
        if self.tile_overlap > self.tile // 2:
            raise ValueError(f"tile_overlap {self.tile_overlap} is more than half of tile {self.tile}")
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area} is more than max_area {self.max_area}")
