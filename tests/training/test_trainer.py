"""What a training run does with its parts: averages, loss warm-up, scores, ignored areas, and the best weights."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tests.training.running import ALONE, trainer
from training import checkpoint, config
from training import trainer as module
from training.data import names
from training.publish import validate
from training.trainer import BEST, STATE


def test_averages_follow_the_weights_after_each_step(tmp_path, recipe):
    run = trainer(recipe, tmp_path / "run", ["optimiser.ema=0.8"])
    weights = [last(run.network)]
    for _ in range(2):
        run.step()
        weights.append(last(run.network))
    average = 0.1 * weights[0] + 0.9 * weights[1]  # decay 1 / 10, then 2 / 11
    average = 2 / 11 * average + 9 / 11 * weights[2]
    torch.testing.assert_close(last(run.averaged.network), average, rtol=1e-5, atol=1e-7)


def last(network):
    return list(network.parameters())[-2].detach().clone()


def test_the_loss_is_warm_from_its_share_of_the_run_on(tmp_path, recipe, monkeypatch):
    warm = []

    def total_loss(logits, heads, masks, settings, is_warm, ignored):
        warm.append(is_warm)
        return real(logits, heads, masks, settings, is_warm, ignored)

    real = module.total_loss
    monkeypatch.setattr(module, "total_loss", total_loss)
    run = trainer(recipe, tmp_path / "run", ["run.steps=4", "loss.warm_up=0.5"])
    for _ in range(4):
        run.step()
    assert warm == [False, False, True, True]


def sure(network, logit):
    """Let a network give this logit everywhere."""
    *_, weight, bias = network.parameters()
    with torch.no_grad():
        weight.zero_()
        bias.fill_(logit)


def test_scores_are_those_of_the_averaged_weights(tmp_path, recipe):
    run = trainer(recipe, tmp_path / "run")
    (samples,) = run.validation.values()
    sure(run.averaged.network, -20)
    sure(run.network, 20)
    assert run._score(samples)[0].intersection == 0
    sure(run.averaged.network, 20)
    sure(run.network, -20)
    assert run._score(samples)[0].intersection > 0


def test_false_pixels_in_ignored_areas_do_not_count(tmp_path, recipe):
    source = "data.sources=[{folder: tiny, validation: 0.4, ignored: ignored}]"
    settings = config.load(recipe, [source])
    (tmp_path / "tiny" / "ignored").mkdir()
    for name in names(tmp_path / "tiny", "img_idx/train.txt"):
        mask = cv2.imread(str(tmp_path / "tiny" / "masks" / f"{name}.png"), 0)
        cv2.imwrite(str(tmp_path / "tiny" / "ignored" / f"{name}.png"), np.where(mask > 0, 0, 255).astype(np.uint8))
    run = trainer(recipe, tmp_path / "run", [source])
    (samples,) = run.validation.values()
    sure(run.averaged.network, 20)
    assert run._score(samples)[0].iou == 1
    assert validate(run.averaged.network, settings, [0.5], None, ALONE.device)["tiny"][0].iou == 1


@pytest.mark.parametrize("best", [0.5, 2.0])
def test_the_best_weights_are_never_newer_than_the_checkpoint(tmp_path, recipe, monkeypatch, best):
    """A run that dies after a validation; before it, the best score was below and above every score."""
    run = trainer(recipe, tmp_path / "run", ["run.validate_minutes=1.0e-9", "run.checkpoint_minutes=1000"])
    run.progress.best = best - 1
    ticks = iter(range(1000))
    run.clock = lambda: float(next(ticks))
    step = run.step
    monkeypatch.setattr(run, "step", lambda: step() if run.progress.step == 0 else pytest.fail("dies"))
    with pytest.raises(pytest.fail.Exception, match="dies"):
        run.run()
    improved = best < 1
    assert (run.out / BEST).exists() == (run.out / STATE).exists() == improved
    if improved:
        progress = checkpoint.read_progress(run.out / STATE)
        assert (progress.step, progress.best) == (1, run.progress.best)
