"""Throughput of the whole pipeline on a recording, compared with the network alone on the same frames."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct
from msgspec.structs import replace

from pipeline.capture.scene import SceneSpec
from pipeline.config import Config
from tools.benchmark.bare import BareNetwork, grabs
from tools.benchmark.job import Findings
from tools.benchmark.observed import observe
from tools.render_scene import render


class Efficiency(Struct, frozen=True, kw_only=True):
    """Throughput on a recording under the lossless policy.

    Attributes:
        size: width x height.
        sinks: outputs that are written.
        backend: backend with its precision.
        batch: batch size.
        frames_per_s: throughput of the whole pipeline, from the end of the first batch to the last result; median over
            the repeats.
        network_frames_per_s: throughput of the network alone with the same batch size, threads and backend; median over
            the repeats.
        efficiency: ratio of the two.
    """

    size: str
    sinks: str
    backend: str
    batch: int
    frames_per_s: float
    network_frames_per_s: float
    efficiency: float


def efficiency(size: tuple[int, int], frames: int, repeats: int, config: Config, folder: Path) -> Findings:
    """Measure the pipeline with and without overlay and the network alone, in turns.

    Args:
        size: width and height.
        frames: length of the recording, an MP4 of the demo scene.
        repeats: number of repeats of each measurement.
        config: configuration of the run.
        folder: folder for temporary files.

    Raises:
        PipelineError: the run or the network cannot be used, or there are fewer frames than two batches.
    """
    width, height = size
    rates: defaultdict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory(dir=folder) as base:
        scene = SceneSpec(name="demo", width=width, height=height, frames=frames, targets=6, snr=18.0)
        render(scene, Path(base) / "scene", "mp4")
        video = str(Path(base) / "scene" / "video.mp4")
        pictures = [grab.picture for grab in grabs(video, config)]
        network = BareNetwork(config)
        for turn in range(repeats):
            for sinks, overlay in (("text and overlay", True), ("text", False)):
                chosen = replace(config, sinks=replace(config.sinks, overlay=overlay))
                rates[sinks].append(observe(chosen, [video], Path(base) / f"{turn}{overlay}").rate)
            rates["network"].append(1 / statistics.mean(network.seconds(pictures)))
    bare = statistics.median(rates.pop("network"))
    rows = [
        Efficiency(
            size=f"{width}x{height}",
            sinks=sinks,
            backend=network.name,
            batch=config.detect.batch_size,
            frames_per_s=statistics.median(values),
            network_frames_per_s=bare,
            efficiency=statistics.median(values) / bare,
        )
        for sinks, values in rates.items()
    ]
    return Findings({"efficiency": rows})
