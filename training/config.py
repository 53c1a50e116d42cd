"""The schema of a training recipe. Unknown keys, wrong types and impossible values are refused with their path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nets.normalisation import FrameZScore
from nets.registry import Options
from pipeline.errors import ConfigError
from pipeline.settings import convert_to, read_yaml, with_setting
from training.losses.config import LossConfig

Probability = Annotated[float, Meta(ge=0, le=1)]
# Far above all that is meant, but finite.
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NonNegative = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections share: ranges go upwards."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} is a range from {value[0]:g} down to {value[1]:g}")


class NetworkConfig(_Section, frozen=True):
    """What is trained.

    Attributes:
        name: known to ``nets.build``.
        options: of that network.
        pretrained: name or path of weights to start from; none starts from random ones.
        partial: whether these may be of a network with other options, or of one that saw no changes; what fits by name
            and shape is taken, the rest starts from random values. Where a convolution sees more channels than it did,
            what it makes of the new ones starts from zero: a network that is shown changes begins as what it was.
    """

    name: str = "mshnet"
    options: Options = {}
    pretrained: str | None = None
    partial: bool = False


class SourceConfig(_Section, frozen=True):
    """One data set.

    Attributes:
        folder: below ``data.root``, or an absolute path. Listed several times, it must hold out the same pictures.
        split: text file with one name a line, below the folder; none takes every picture.
        images: sub-folder of the pictures.
        masks: sub-folder of the masks, 0 and the largest value of their bit depth; none says that no picture holds a
            target.
        ignored: sub-folder of masks of the pixels of which nobody can tell; they count in no loss and no figure.
        changes: sub-folder of change pictures, for networks that want them; none says that nothing is known of changes.
        weight: share of the training crops, relative to the other sets.
        scale: range of the random magnification (log-uniform) of the crops.
        masks_by: how masks are magnified. ``area``: a pixel is target where most of it is. ``nearest``: as the pixel
            under its centre is, which is how the legacy protocol halves them.
        turned: whether crops are turned and mirrored at random. Not where all masks are off to the same side of their
            targets: which side that is cannot be told of a turned picture. ``transposed`` swaps rows and columns at
            random and no more, for masks that are off as much to the one side as up or down.
        simulated: probability of a simulated target in a crop. Not where masks are off: simulated ones never are.
        teacher: name or path of weights whose maps of these crops are learned beside the masks (``loss.taught``).
        validation: fraction kept out of training, by a hash of the name; or a text file of names, below the folder.
    """

    folder: str
    split: str | None = "img_idx/train.txt"
    images: str = "images"
    masks: str | None = "masks"
    ignored: str | None = None
    changes: str | None = None
    weight: Positive = 1.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    masks_by: Literal["area", "nearest"] = "area"
    turned: bool | Literal["transposed"] = True
    simulated: Probability = 0.0
    teacher: Annotated[str, Meta(min_length=1)] | None = None
    validation: Annotated[float, Meta(ge=0, lt=1)] | Annotated[str, Meta(min_length=1)] = 0.0


class AugmentConfig(_Section, frozen=True):
    """Disturbances of a crop: more targets, then in the order of a camera display curve, optics, noise, coder.

    Attributes:
        paste, blur, noise, jpeg: probabilities.
        gamma: the picture's response is raised to exp(u), u uniform in [-gamma, gamma].
        blur_sigma: pixels.
        noise_std: largest noise in standard deviations of the frame.
        jpeg_quality: range of the coder's quality; 8-bit pictures only.
        gain: the frame's standard deviation that the crop is normalised with is multiplied by exp(u).
        offset: and its mean moved by u standard deviations, u uniform between minus and plus the value.
        unseen: probability that nothing is known of changes, as in the first frames of a video.
        change_gain: what has changed is multiplied by exp(u), u uniform between minus and plus the value.
        hover: probability that at a crop's targets it is multiplied by a number from 0 to 1 as well: a network must not
            come to need that what it can see moves.
        lend: probability that a crop of which nothing is known of changes gets those of another, but for its targets.
    """

    paste: Probability = 0.0
    gamma: NonNegative = 0.4
    blur: Probability = 0.2
    blur_sigma: tuple[Positive, Positive] = (0.3, 1.0)
    noise: Probability = 0.3
    noise_std: NonNegative = 0.15
    jpeg: Probability = 0.3
    jpeg_quality: tuple[Annotated[int, Meta(ge=1, le=100)], Annotated[int, Meta(ge=1, le=100)]] = (30, 90)
    gain: NonNegative = 0.0
    offset: NonNegative = 0.0
    unseen: Probability = 0.0
    change_gain: NonNegative = 0.0
    hover: Probability = 0.0
    lend: Probability = 0.0


class DataConfig(_Section, frozen=True):
    """Where the pictures come from and how crops are drawn.

    Attributes:
        root: folder of the data sets.
        crop: edge of the square crops, pixels, a multiple of 16.
        batch: crops per step, of all processes together.
        on_target: probability that a crop of a picture with targets is placed to hold one of them.
        on_change: and that any other crop is placed to hold one of the greatest changes that are none, where they are
            known: edges that shake, leaves, glitter.
    """

    sources: Annotated[list[SourceConfig], Meta(min_length=1)]
    root: str = "data"
    crop: Annotated[int, Meta(ge=32, multiple_of=16)] = 128
    batch: Count = 8
    on_target: Probability = 0.7
    on_change: Probability = 0.0
    augment: AugmentConfig = AugmentConfig()


class OptimiserConfig(_Section, frozen=True):
    """Linear warm-up and cosine decay over the run's progress (0 to 1).

    Attributes:
        lr, lr_end: learning rate after the warm-up and at the end; the same for no decay.
        warm_up: part of the run, 0 to 1.
        clip_norm: largest gradient norm.
        ema: decay of the averaged weights, reached gradually.
    """

    name: Literal["adamw", "adagrad"] = "adamw"
    lr: Positive = 1e-3
    lr_end: NonNegative = 1e-5
    weight_decay: NonNegative = 0.01
    warm_up: Annotated[float, Meta(ge=0, lt=1)] = 0.03
    clip_norm: Positive = 1.0
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999


class RunConfig(_Section, frozen=True):
    """How long, and what is written when.

    Attributes:
        steps: optimiser steps; the run ends there.
        max_minutes: time budget; the run's progress is then the larger of steps done and time used, so the
            learning rate ends its cosine when the first of the two runs out.
        validate_minutes, checkpoint_minutes: training time between two of them.
        validate_pictures: most pictures per set in the validations during training, evenly spread over its list.
        precision: arithmetic of the network's forward pass; the loss is always float32.
        threads: CPU threads; 0 leaves the choice to torch.
    """

    steps: Count = 20000
    max_minutes: Positive | None = None
    validate_minutes: Positive = 10.0
    checkpoint_minutes: Positive = 5.0
    log_steps: Count = 20
    validate_pictures: Count = 30
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    device: str = "auto"
    threads: Annotated[int, Meta(ge=0)] = 0
    seed: Annotated[int, Meta(ge=0)] = 0


class TrainConfig(_Section, frozen=True):
    """A whole recipe."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    normalisation: FrameZScore = FrameZScore()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        takes, gives = self.network.options.get("in_channels", 1), self.normalisation.channels
        if takes != gives:
            raise ValueError(f"network.options.in_channels is {takes}, but the normalisation gives {gives}")


def load(path: Path, settings: Sequence[str] = ()) -> TrainConfig:
    """The recipe in a YAML file with ``key.path=value`` settings laid over it, values in YAML.

    Raises:
        ConfigError: names the file or setting, the key's path and what is wrong with it.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return override(convert(tree, str(path)), settings)


def override(recipe: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """The recipe with ``key.path=value`` settings laid over it, values in YAML; raises ConfigError."""
    tree = msgspec.to_builtins(recipe)
    for setting in settings:
        tree = with_setting(tree, setting)
    return convert(tree, " ".join(["--set", *settings]))


def convert(tree: Any, origin: str) -> TrainConfig:
    """A checked recipe from plain values; raises ConfigError with the path of the field at fault."""
    return convert_to(TrainConfig, tree, origin)
