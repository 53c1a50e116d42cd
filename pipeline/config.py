"""The schema of the configuration, and how a run's configuration comes about.

Defaults, then the YAML file (which may extend another), then ``--set`` on the command line. Whatever is
not in the schema, of the wrong type or impossible is refused with its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.capture.config import CaptureConfig
from pipeline.detect.config import DetectConfig
from pipeline.detect.defaults import apply_device_defaults
from pipeline.errors import ConfigError
from pipeline.health.config import HealthConfig
from pipeline.preprocess.ego_motion import EgoMotionConfig
from pipeline.queues import Policy
from pipeline.restart import SupervisorConfig
from pipeline.settings import convert_to, read_yaml, with_setting
from pipeline.sinks.config import SinkConfig
from pipeline.track.config import TrackConfig

Where = Literal["thread", "process"]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections share."""


class Placement(_Section, frozen=True):
    """Where each stage runs: a thread of the main process, or a process of its own.

    Attributes:
        capture: ``auto`` puts live sources into processes, since a hanging driver can only be killed there.
        detect: in a process, so that the network need not wait for Python that runs in other stages.
    """

    capture: Literal["auto", "thread", "process"] = "auto"
    preprocess: Where = "thread"
    detect: Where = "process"
    track: Where = "thread"
    sinks: Where = "thread"


class QueueConfig(_Section, frozen=True):
    """The queues between stages.

    Attributes:
        policy: what to do with frames that come faster than they are processed; none means lossless for
            files and bounded for live sources. Files come at their own pace unless it is lossless.
        staleness_s: oldest frame that the bounded policy still processes, seconds since capture.
        credits: frames under way between two stages; none means 2 where all sources are lossless, and else 1: what
            waits before a stage adds its processing time to the age of all that comes after.
        transport: between processes: ``ipc`` (Unix sockets in a private folder) or ``tcp`` on loopback.
        drain_s: how long a stopped run may take to finish what it has captured.
    """

    policy: Policy | None = None
    staleness_s: Annotated[float, Meta(gt=0, le=60)] = 0.5
    credits: Annotated[int, Meta(ge=1, le=64)] | None = None
    transport: Literal["ipc", "tcp"] = "ipc"
    drain_s: Annotated[float, Meta(gt=0, le=3600)] = 20.0

    def policy_for(self, live: bool) -> Policy:
        """The policy of a source."""
        return self.policy or (Policy.BOUNDED if live else Policy.LOSSLESS)

    def granted(self, lossless: bool) -> int:
        """Frames under way between two stages, where all sources are lossless or any is not."""
        return self.credits or (2 if lossless else 1)


class PreprocessConfig(_Section, frozen=True):
    """What is measured on a frame before the network sees it."""

    ego_motion: EgoMotionConfig = EgoMotionConfig()


class Config(_Section, frozen=True):
    """All settings of a run; every key is explained in ``configs/reference.yaml``."""

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
    """The configuration of a run.

    Args:
        path: YAML file, or None for the defaults.
        settings: ``key.path=value``, values in YAML; later ones win.

    Raises:
        ConfigError: names the file or setting, the key's path and what is wrong with it.
    """
    tree = _read(path, ()) if path is not None else {}
    if path is not None:
        convert_to(Config, tree, str(path))
    for setting in settings:
        tree = _merge(tree, with_setting({}, setting))
    config = convert_to(Config, tree, ", ".join(["--set", *settings]) if settings else str(path))
    return msgspec.structs.replace(config, detect=apply_device_defaults(config.detect))


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The tree in a file, laid over that of the file it extends."""
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
