from itertools import product

import msgspec
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

from tests.nets.test_registry import SMALL, small_network
from tests.training.losses.maps import logit, logits_and_masks, plane, turned
from training.losses.config import LossConfig
from training.losses.location import centroid_location, published_location
from training.losses.overlap import batch_soft_iou, picture_soft_iou, soft_dice
from training.losses.scale import WEIGHTS, scale_iou
from training.losses.total import hard_negatives, total_loss

OVERLAPS = [LossConfig(overlap=name) for name in ("iou", "batch_iou", "picture_iou", "dice")]
SCALES = [LossConfig(overlap="scale", scale=name, detach=detach) for name, detach in product(WEIGHTS, (True, False))]
LOCATIONS = [LossConfig(location=name) for name in ("published", "centroid")]
ALL = [*OVERLAPS, *SCALES, *LOCATIONS, LossConfig(hard_weight=0.2)]


def name_of(config):
    return "-".join(
        [config.overlap, config.scale, "detached" * config.detach, config.location, "hard" * bool(config.hard_weight)]
    )


def reference(logits, heads, mask, cross_entropy):
    """Reference: cross-entropy and soft IoU (half over the batch, half per picture), averaged over all maps."""
    losses = []
    for one in [logits, *heads]:
        pooled = F.max_pool2d(mask, mask.shape[-1] // one.shape[-1])
        entropy = F.binary_cross_entropy_with_logits(one.float(), pooled)
        iou = (batch_soft_iou(one, pooled) + picture_soft_iou(one, pooled)) / 2
        losses.append(cross_entropy * entropy + (1 - cross_entropy) * iou)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("cross_entropy", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_default_is_cross_entropy_and_soft_iou_to_the_last_bit(cross_entropy, dtype):
    torch.manual_seed(0)
    for _ in range(5):
        logits = 4 * torch.randn(3, 1, 32, 32).to(dtype)
        heads = [3 * torch.randn(3, 1, 32 >> j, 32 >> j).to(dtype) for j in range(4)]
        mask = (torch.rand(3, 1, 32, 32) > 0.99).float()
        config = LossConfig(cross_entropy=cross_entropy)
        assert torch.equal(total_loss(logits, heads, mask, config), reference(logits, heads, mask, cross_entropy))


def test_default_by_hand():
    # p = 0.5, 0.5, 0.8; g = 1, 0, 1: I = 1.3, U = 2.5, both with one pixel added.
    logits, mask = plane(0.0, 0.0, logit(0.8)), plane(1.0, 0.0, 1.0)
    entropy = (2 * torch.tensor(2.0).log().item() - torch.tensor(0.8).log().item()) / 3
    assert total_loss(logits, [], mask, LossConfig(cross_entropy=1.0)).item() == pytest.approx(entropy)
    assert total_loss(logits, [], mask, LossConfig()).item() == pytest.approx(0.3 * entropy + 0.7 * (1 - 2.3 / 3.5))


def test_heads_are_scored_on_the_pooled_mask():
    logits, heads = torch.randn(1, 1, 4, 4), [torch.randn(1, 1, 4, 4), torch.randn(1, 1, 2, 2)]
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 3, 0] = 1  # one target pixel makes its whole cell a target at stride two
    small = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    parts = [(logits, mask), (heads[0], mask), (heads[1], small)]
    expected = sum(total_loss(one, [], true, LossConfig()) for one, true in parts) / 3
    torch.testing.assert_close(total_loss(logits, heads, mask, LossConfig()), expected)


@pytest.mark.parametrize("height, width", [(33, 47), (40, 48), (48, 34)])
def test_head_output_beyond_the_picture_is_ignored(height, width):
    torch.manual_seed(5)
    heads = [torch.randn(1, 1, 48 >> j, 48 >> j) for j in range(4)]
    logits, mask = torch.randn(1, 1, 48, 48), torch.zeros(1, 1, 48, 48)
    mask[..., 20:23, 20:23] = mask[..., 29:33, 30:34] = 1  # the second in coarse pixels crossing the edge
    beyond = torch.ones(1, 1, 48, 48, dtype=torch.bool)
    beyond[..., :height, :width] = False
    mask[beyond] = 0
    inner = (..., slice(height), slice(width))
    for config in (LossConfig(), LossConfig(hard_weight=0.2, location="centroid")):
        cut = [total_loss(logits[inner], some, mask[inner], config) for some in (heads, [])]
        whole = [total_loss(logits, some, mask, config, ignored=beyond) for some in (heads, [])]
        torch.testing.assert_close(5 * cut[0] - cut[1], 5 * whole[0] - whole[1])  # four times the mean of the heads


@pytest.fixture(scope="module", params=sorted(SMALL))
def network(request):
    return small_network(request.param).train()


def squares(height, width):
    """Two pictures of noise with a bright square, and their masks."""
    torch.manual_seed(6)
    mask = torch.zeros(2, 1, height, width)
    mask[:, :, 20:24, 9:12] = 1
    return torch.randn(2, 1, height, width) + 4 * mask, mask


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_every_loss_trains_every_parameter_of_every_network(network, config):
    picture, mask = squares(32, 32)
    network.zero_grad()
    total_loss(*network(picture), mask, config).backward()
    assert [name for name, p in network.named_parameters() if not p.grad.any() or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("size", [(37, 45), (50, 50)])
def test_networks_train_on_pictures_of_any_size(network, size):
    picture, mask = squares(*size)
    network.zero_grad()
    total_loss(*network(picture), mask, LossConfig()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_the_recipe_chooses_the_terms():
    torch.manual_seed(1)
    logits, mask = torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    mask[:, 0, 4:7, 5:8] = 1
    scale = scale_iou(logits, mask, "variance", detach=False)
    published = LossConfig(cross_entropy=0, overlap="scale", scale="variance", detach=False, location="published")
    cases = [
        (published, scale + published_location(logits, mask)),
        (LossConfig(cross_entropy=0, overlap="dice"), soft_dice(logits, mask)),
        (LossConfig(cross_entropy=0, overlap="batch_iou"), batch_soft_iou(logits, mask)),
        (LossConfig(cross_entropy=0, overlap="picture_iou"), picture_soft_iou(logits, mask)),
        (
            LossConfig(cross_entropy=0, overlap="dice", location="centroid", location_weight=0.2),
            soft_dice(logits, mask) + 0.2 * centroid_location(logits, mask),
        ),
    ]
    for config, expected in cases:
        torch.testing.assert_close(total_loss(logits, [], mask, config), expected)


def test_warm_up_uses_plain_iou_without_location_or_hard_negatives():
    torch.manual_seed(2)
    logits, mask = torch.randn(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[:, 0, 4:7, 5:8] = 1
    config = LossConfig(cross_entropy=0, overlap="scale", location="centroid", hard_weight=0.1)
    plain = scale_iou(logits, mask, None)
    after = scale_iou(logits, mask, "diff") + centroid_location(logits, mask) + 0.1 * hard_negatives(logits, mask, 0.01)
    torch.testing.assert_close(total_loss(logits, [], mask, config, warm=False), plain)
    torch.testing.assert_close(total_loss(logits, [], mask, config, warm=True), after)
    assert (plain - after).abs() > 0.01


@pytest.mark.parametrize("config", OVERLAPS + [c for c in SCALES if c.detach], ids=name_of)
@settings(max_examples=15)
@given(maps=logits_and_masks())
def test_gradient_pulls_targets_up_and_background_down(config, maps):
    logits, mask = maps
    logits.requires_grad_()
    total_loss(logits, [], mask, config).backward()
    assert (logits.grad[mask == 1] < 0).all()
    assert (logits.grad[mask == 0] > 0).all()


@pytest.mark.parametrize("config", [c for c in ALL if c.location != "published"], ids=name_of)
@settings(max_examples=15)
@given(maps=logits_and_masks())
def test_mirror_images_and_turns_cost_the_same(config, maps):
    logits, _ = maps
    mask = torch.zeros_like(logits)
    mask[0, 0, 2:4, 1:4] = mask[1, 0, 8, 3] = mask[1, 0, 3:5, 9] = 1
    losses = [total_loss(z, [], g, config).item() for z, g in zip(turned(logits), turned(mask), strict=True)]
    assert losses == pytest.approx([losses[0]] * 8, abs=1e-6)


@pytest.mark.parametrize("config", ALL, ids=name_of)
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extremes_stay_finite(config, value, dtype):
    one = torch.zeros(1, 1, 64, 64)
    one[0, 0, 0, 0] = 1  # the corner has a vector of length zero in the published term
    for mask in (torch.zeros_like(one), one, torch.ones_like(one)):
        logits = torch.full((1, 1, 64, 64), value, dtype=dtype, requires_grad=True)
        head = torch.full((1, 1, 8, 8), value, dtype=dtype, requires_grad=True)
        loss = total_loss(logits, [head], mask, config)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        assert torch.isfinite(head.grad).all()


@pytest.mark.parametrize("config", ALL, ids=name_of)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(config, dtype):
    torch.manual_seed(3)
    logits, mask = torch.randn(2, 1, 300, 300), torch.zeros(2, 1, 300, 300)  # areas above 65504, the largest float16
    mask[0, 0, 200:204, 250:255] = 1
    mask[1] = 1
    expected = total_loss(logits, [], mask, config)
    with torch.autocast("cpu", dtype):
        loss = total_loss(logits, [], mask, config)
    assert torch.equal(loss, expected)


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_half_precision_logits_are_summed_in_float32(config):
    torch.manual_seed(4)
    logits, mask = torch.randn(1, 1, 300, 300).half(), torch.zeros(1, 1, 300, 300)
    mask[0, 0, 200:204, 250:255] = 1
    assert torch.equal(total_loss(logits, [], mask, config), total_loss(logits.float(), [], mask, config))


@pytest.mark.parametrize("config", [c for c in ALL if c.location != "published"], ids=name_of)
def test_empty_pictures_are_pushed_down_not_ignored(config):
    config = msgspec.structs.replace(config, cross_entropy=0.0)
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    total_loss(logits, [], torch.zeros(2, 1, 8, 8), config).backward()
    assert (logits.grad > 0).all()


@pytest.mark.parametrize(
    "tree, place",
    [
        ({"overlap": "jaccard"}, "overlap"),
        ({"scale": "signed"}, "scale"),
        ({"location": "true"}, "location"),
        ({"cross_entropy": 1.1}, "cross_entropy"),
        ({"location_weight": -1}, "location_weight"),
        ({"warm_up": 2}, "warm_up"),
        ({"smooth": 1}, "smooth"),
    ],
)
def test_impossible_recipes_are_refused(tree, place):
    with pytest.raises(msgspec.ValidationError, match=place):
        msgspec.convert(tree, LossConfig)


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_ignored_pixels_do_not_contribute(config):
    torch.manual_seed(1)
    logits = (2 * torch.randn(2, 1, 32, 32)).requires_grad_()
    heads = [torch.randn(2, 1, 32 >> j, 32 >> j).requires_grad_() for j in range(4)]
    mask, ignored = torch.zeros(2, 1, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 4:7, 4:7] = 1
    ignored[:, :, 16:24, 8:16] = True
    total_loss(logits, heads, mask, config, ignored=ignored).backward()
    for scores in (logits, *heads):
        step = 32 // scores.shape[-1]
        inside = scores.grad[:, :, 16 // step : 24 // step, 8 // step : 16 // step]
        assert inside.abs().max() < 1e-9
        assert scores.grad.abs().max() > 1e-6
    with torch.no_grad():
        before = total_loss(logits, heads, mask, config, ignored=ignored)
        logits[:, :, 16:24, 8:16] = 9.0
        assert torch.equal(total_loss(logits, heads, mask, config, ignored=ignored), before)
        assert not torch.equal(total_loss(logits, heads, mask, config), before)


def test_a_coarse_pixel_with_a_target_and_its_rim_is_target():
    mask, ignored = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 8:11, 8:11] = 1
    ignored[..., 7:12, 7:12] = True
    ignored &= mask == 0
    logits, head = torch.full((1, 1, 32, 32), -9.0), torch.zeros(1, 1, 4, 4, requires_grad=True)
    total_loss(logits, [head], mask, LossConfig(cross_entropy=1.0), ignored=ignored).backward()
    # The target lies in coarse pixel [1, 1] of 16; only the ignored rim reaches [0, 0], [0, 1] and [1, 0].
    assert (head.grad[0, 0] < 0).nonzero().tolist() == [[1, 1]]
    assert (head.grad[0, 0] == 0).nonzero().tolist() == [[0, 0], [0, 1], [1, 0]]


def test_hard_negatives_by_hand():
    logits, mask = torch.full((1, 1, 10, 10), -4.0), torch.zeros(1, 1, 10, 10)
    mask[..., :2, 0] = 1
    logits[..., :5, :4] = 9.0  # neither targets nor pixels within 3 px of one count, however high
    logits[..., 5, 5:7] = torch.tensor([2.0, 1.0])
    # 1 % and 2 % of 100 pixels are one and two pixels.
    one, two = (hard_negatives(logits, mask, share) for share in (0.01, 0.02))
    assert one.item() == pytest.approx(2.126928, abs=1e-5)  # ln(1 + e^2)
    assert two.item() == pytest.approx((2.126928 + 1.313262) / 2, abs=1e-5)
    far = torch.ones(1, 1, 10, 10, dtype=torch.bool)
    far[..., :5, :4] = False
    whole = F.binary_cross_entropy_with_logits(logits[far], mask[far])
    assert hard_negatives(logits, mask, 1.0).item() == pytest.approx(0.8 * whole.item(), rel=1e-5)
    assert hard_negatives(logits, torch.ones_like(mask), 0.5).item() < 1e-12
    extra = total_loss(logits, [], mask, LossConfig(hard_weight=0.5, hard_share=0.01)) - total_loss(
        logits, [], mask, LossConfig()
    )
    assert extra.item() == pytest.approx(0.5 * 2.126928, abs=1e-5)
