"""The configuration schema, and how the configuration of a run is put together.

The order of precedence, lowest first: defaults, YAML file (which may extend another one), ``--set`` on the command
line. Unknown keys, wrong types and values out of range are refused with their path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.capture.config import CaptureConfig
from pipeline.cores import usable_cores
from pipeline.detect.config import DetectConfig
from pipeline.detect.defaults import apply_device_defaults
from pipeline.detect.masks import ALL
from pipeline.errors import ConfigError
from pipeline.health.config import HealthConfig
from pipeline.preprocess.config import PreprocessConfig
from pipeline.queues import Policy
from pipeline.restart import SupervisorConfig
from pipeline.settings import convert_to, read_yaml, with_setting
from pipeline.sinks.config import SinkConfig
from pipeline.track.config import TrackConfig

Where = Literal["thread", "process"]
CORES_PER_LANE = 4
"""A guess: two threads of preprocess do the work of 1.5, since Python runs one at a time, and more add ever less."""


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class Placement(_Section, frozen=True):
    """Where each stage runs: a thread of the main process, or a process of its own.

    Attributes:
        lanes: number of copies of preprocess, detect and track, among which the sources are divided. More than one help
            only as processes. None means one per ``CORES_PER_LANE`` cores, at most one per source.
        capture: ``auto`` puts live sources into processes, since a driver that hangs can only be killed there.
        detect: a process by default, so that the network does not wait for the GIL of other stages.
    """

    lanes: Annotated[int, Meta(ge=1, le=64)] | None = 1
    capture: Literal["auto", "thread", "process"] = "auto"
    preprocess: Where = "thread"
    detect: Where = "process"
    track: Where = "thread"
    sinks: Where = "thread"

    def lanes_for(self, sources: int) -> int:
        """Return the number of lanes for a number of sources: none is without a source."""
        return min(sources, self.lanes or max(1, usable_cores() // CORES_PER_LANE))


class QueueConfig(_Section, frozen=True):
    """The queues between stages.

    Attributes:
        policy: what to do with frames that arrive faster than they are processed. None means lossless for files and
            bounded for live sources. Unless it is lossless, files are played at their own frame rate.
        staleness_s: maximum age of a frame that the bounded policy still processes, in seconds since capture.
        credits: frames in transit between two stages. None means 2 if all sources are lossless and 1 otherwise: every
            frame that waits in front of a stage adds its processing time to the age of all later ones.
        transport: between processes: ``ipc`` (Unix sockets in a private folder) or ``tcp`` on loopback.
        drain_s: time in seconds that a stopped run may take to finish the frames already captured.
    """

    policy: Policy | None = None
    staleness_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    credits: Annotated[int, Meta(ge=1, le=64)] | None = None
    transport: Literal["ipc", "tcp"] = "ipc"
    drain_s: Annotated[float, Meta(gt=0, le=3600)] = 20.0

    def policy_for(self, live: bool) -> Policy:
        """Return the drop policy of a source."""
        return self.policy or (Policy.BOUNDED if live else Policy.LOSSLESS)

    def granted(self, lossless: bool) -> int:
        """Return the credits between two stages; ``lossless`` says whether all sources are lossless."""
        return self.credits or (2 if lossless else 1)


class Config(_Section, frozen=True):
    """All settings of a run. ``configs/reference.yaml`` explains every key."""

    placement: Placement = Placement()
    queue: QueueConfig = QueueConfig()
    supervisor: SupervisorConfig = SupervisorConfig()
    capture: CaptureConfig = CaptureConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    detect: DetectConfig = DetectConfig()
    track: TrackConfig = TrackConfig()
    sinks: SinkConfig = SinkConfig()
    health: HealthConfig = HealthConfig()


def load(path: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """Load the configuration of a run.

    Args:
        path: YAML file, or None for the defaults.
        settings: overrides of the form ``key.path=value`` with values in YAML; later ones take precedence.

    Raises:
        ConfigError: a file or a setting is invalid. The message names it, the path of the key and the problem.
    """
    tree = _read(path, ()) if path is not None else {}
    if path is not None:
        convert_to(Config, tree, str(path))
    for setting in settings:
        tree = _merge(tree, with_setting({}, setting))
    config = convert_to(Config, tree, ", ".join(["--set", *settings]) if settings else str(path))
    return msgspec.structs.replace(config, detect=apply_device_defaults(config.detect))


def check_sources(config: Config, sources: Iterable[str]) -> None:
    """Check that all settings of single sources name sources of the run.

    Raises:
        ConfigError: a source does not exist; the message names the setting, the unknown and the existing sources.
    """
    known, black_hot = list(sources), config.preprocess.black_hot
    named = {
        "detect.masks": config.detect.masks.keys() - {ALL},
        "preprocess.black_hot": set() if isinstance(black_hot, bool) else set(black_hot),
    }
    for setting, names in named.items():
        if unknown := names - set(known):
            listed = ", ".join(sorted(unknown))
            raise ConfigError(f"{setting}: no source is named {listed}; there is {', '.join(known)}")


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Read a file and merge its settings over those of the file that it extends."""
    path = path.resolve()
    if path in seen:
        raise ConfigError(f"{path}: extends itself")
    tree = read_yaml(path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(tree).__name__}")
    base = tree.pop("extends", None)
    if base is None:
        return dict(tree)
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{path}: extends: expected a file name")
    return _merge(_read(path.parent / base, (*seen, path)), tree)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
