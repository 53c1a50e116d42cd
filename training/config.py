"""Schema of a training recipe. Unknown keys, wrong types and impossible values are rejected with their key path."""

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
# The upper limit is far above any sensible value; it only keeps values finite.
Positive = Annotated[float, Meta(gt=0, le=1e9)]
NonNegative = Annotated[float, Meta(ge=0, le=1e9)]
Count = Annotated[int, Meta(ge=1)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections. Rejects ranges whose lower end exceeds the upper end."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} is a range from {value[0]:g} down to {value[1]:g}")


class NetworkConfig(_Section, frozen=True):
    """The network to train.

    Attributes:
        name: Architecture, as known to ``nets.build``.
        options: Options of that architecture.
        pretrained: Name or path of the weights to start from; None starts from random weights.
        partial: Accept pretrained weights of a network with other options, or of one without the change channel.
            Tensors that match by name and shape are loaded, the others are initialised randomly. If a convolution has
            more input channels than before, its kernels for the new channels start at zero, so that a network with
            the change channel added initially computes the same output as before.
    """

    name: str = "mshnet"
    options: Options = {}
    pretrained: str | None = None
    partial: bool = False


class SourceConfig(_Section, frozen=True):
    """One data set.

    Attributes:
        folder: Folder below ``data.root``, or an absolute path. A folder may be listed several times if all entries
            hold out the same pictures.
        split: Text file with one picture name per line, relative to the folder; None takes every picture.
        images: Sub-folder of the pictures.
        masks: Sub-folder of the masks, whose values are 0 and the maximum of their bit depth; None means that no
            picture contains a target.
        ignored: Sub-folder of ignore masks. Ignored pixels enter neither the loss nor the metrics.
        changes: Sub-folder of change pictures, for networks with a change channel; None means that changes are unknown.
        weight: Share of the training crops, relative to the other sets.
        scale: Range of the random magnification of crops, drawn log-uniformly.
        masks_by: How masks are resampled. ``area``: a pixel is target if more than half of it is covered. ``nearest``:
            it takes the value of the pixel under its centre, which is how the legacy protocol halves masks.
        turned: Rotate and mirror crops at random. Switch this off if all masks are offset to the same side of their
            targets, because the side cannot be recognised in a rotated picture. ``transposed`` only swaps rows and
            columns at random, for masks that are offset by the same amount horizontally and vertically.
        simulated: Probability of a simulated target in a crop. Use 0 if masks are offset, since simulated ones are not.
        teacher: Name or path of teacher weights whose logits are learned besides the masks (``loss.taught``).
        validation: Fraction held out, chosen by a hash of the name; or a text file of names, relative to the folder.
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
    """Augmentation of crops: pasted targets, then gamma, blur, noise and JPEG in the order of a camera.

    Attributes:
        paste, blur, noise, jpeg: Probabilities of these augmentations.
        gamma: Intensities are raised to exp(u), with u uniform in [-gamma, gamma].
        blur_sigma: Range of the standard deviation of the Gaussian blur, px.
        noise_std: Largest standard deviation of the noise, in standard deviations of the frame.
        jpeg_quality: Range of the JPEG quality; used for 8-bit pictures only.
        gain: The standard deviation used for normalisation is multiplied by exp(u), with u uniform in [-gain, gain].
        offset: The mean used for normalisation is shifted by u standard deviations, with u uniform in
            [-offset, offset].
        unseen: Probability that a change picture is zeroed (unknown), as in the first frames of a video.
        change_gain: Change pictures are multiplied by exp(u), with u uniform in [-change_gain, change_gain].
        hover: Probability that the change at all targets of a crop is multiplied by a factor in 0..1, so that a network
            does not come to rely on targets moving.
        lend: Probability that a crop with unknown changes gets the change picture of another crop, without its targets.
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
    """Data sets and how crops are drawn from them.

    Attributes:
        sources: The data sets.
        root: Folder of the data sets.
        crop: Side of the square crops, px, a multiple of 16.
        batch: Crops per step, summed over all processes.
        on_target: Probability that a crop of a picture with targets is placed on one of them.
        on_change: Probability that any other crop is placed on one of the largest changes that are not targets, such as
            shaking edges, leaves or glitter; only where changes are known.
        augment: Augmentation of the crops.
    """

    sources: Annotated[list[SourceConfig], Meta(min_length=1)]
    root: str = "data"
    crop: Annotated[int, Meta(ge=32, multiple_of=16)] = 128
    batch: Count = 8
    on_target: Probability = 0.7
    on_change: Probability = 0.0
    augment: AugmentConfig = AugmentConfig()


class OptimiserConfig(_Section, frozen=True):
    """Optimiser with linear warm-up and cosine decay of the learning rate over the run's progress (0 to 1).

    Attributes:
        lr, lr_end: Learning rate after the warm-up and at the end; equal values mean no decay.
        warm_up: Length of the warm-up as a fraction of the run, 0 to 1.
        clip_norm: Gradient norm above which gradients are clipped.
        ema: Decay of the exponential moving average of the weights, approached gradually.
    """

    name: Literal["adamw", "adagrad"] = "adamw"
    lr: Positive = 1e-3
    lr_end: NonNegative = 1e-5
    weight_decay: NonNegative = 0.01
    warm_up: Annotated[float, Meta(ge=0, lt=1)] = 0.03
    clip_norm: Positive = 1.0
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999


class RunConfig(_Section, frozen=True):
    """Length of the run, and intervals of validation, checkpoints and log lines.

    Attributes:
        steps: Number of optimiser steps after which the run ends.
        max_minutes: Time budget, minutes. With a budget, the progress is the larger of the fractions of steps and time
            used, so that the learning rate reaches its end when the first of the two runs out.
        validate_minutes, checkpoint_minutes: Training time between two validations or checkpoints, minutes.
        log_steps: Optimiser steps between two log lines.
        validate_pictures: Maximum number of pictures per set in validations during training, evenly spaced in its list.
        precision: Arithmetic of the forward pass; the loss is always computed in float32.
        device: ``auto``, or a torch device.
        threads: CPU threads; 0 leaves the choice to torch.
        seed: Seed of all random choices.
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
    """A complete training recipe."""

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
    """Load a recipe from a YAML file and apply ``key.path=value`` overrides, whose values are YAML.

    Raises:
        ConfigError: The recipe is invalid; the message names the file or setting, the key path and the problem.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return override(convert(tree, str(path)), settings)


def override(recipe: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """Return the recipe with ``key.path=value`` overrides applied, whose values are YAML; raises ConfigError."""
    tree = msgspec.to_builtins(recipe)
    for setting in settings:
        tree = with_setting(tree, setting)
    return convert(tree, " ".join(["--set", *settings]))


def convert(tree: Any, origin: str) -> TrainConfig:
    """Validate plain values as a recipe; raises ConfigError with the path of the invalid field."""
    return convert_to(TrainConfig, tree, origin)
