"""Settings of the detection stage."""

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
        weights: name of shipped weights, or path of a ``.safetensors`` file with its ``.json`` beside it; ``auto`` is
            settled by the device when the configuration is loaded, see ``pipeline.detect.defaults``.
        backend: what runs the network; ``onnx``, ``openvino`` and ``tensorrt`` need optional packages. ``auto`` takes
            the fastest one here whose maps agree with those of ``torch``.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``bf16`` is faster where the hardware has it, and not bit-equal to ``fp32``; ``int8`` and ``fp16``
            need an artefact. With ``auto`` the lowest that may be taken. None is the exactest of a named backend; with
            ``auto`` int8 on a CPU, fp32 on a GPU, where what is faster has to be compiled for minutes.
        artefact: manifest of a network that ``tools.export`` made of these weights, to run instead of them; or name
            of a shipped one. None: ``auto`` takes one that lies beside the weights.
        threads: of the CPU for the network; none means all cores.
        batch_size: frames that a GPU gets at once, of any sources where all are lossless, else one of each; a CPU gets
            them one by one.
        window_ms: how long to wait for a full batch.
        tile: side in px; larger pictures are cut into tiles.
        tile_overlap: px that neighbouring tiles share at least.
        threshold: probability of a detection; none means what the weights were validated with.
        low_ratio: weak detections down to this share of the threshold are passed on too; 1 for none.
        min_area: px, of what the network finds; of what moves, little more than its peak stands out.
        max_area: px.
        max_detections: per frame, the best are kept.
        masks: by name of the source, or ``*`` for all: polygons, corners x, y in px, in which nothing is detected.
        moving: finding what moves, beside the network.
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
