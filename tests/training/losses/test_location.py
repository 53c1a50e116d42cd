import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.losses.maps import blob, logits_and_masks, logits_of, turned
from training.losses.location import centroid_location, nearest_components, published_location


def centroid(probability, mask):
    return centroid_location(logits_of(probability), mask).item()


def published(probability, mask):
    return published_location(logits_of(probability), mask).item()


class TestCentroid:
    @pytest.mark.parametrize("reach", [0, 1, 3])
    def test_in_place_costs_nothing(self, reach):
        assert centroid(blob(30, 20, reach), blob(30, 20, reach)) == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("reach", [0, 1, 3])
    @pytest.mark.parametrize("shift", [1, 2, 3])
    def test_distance_by_hand(self, shift, reach):
        loss = centroid(blob(30 + shift, 20, reach), blob(30, 20, reach))
        assert loss == pytest.approx(1 - 1 / (1 + (shift / 3) ** 2), abs=1e-5)

    def test_half_the_mass_in_place_counts_as_fully_found(self):
        assert centroid(blob(30, 20, value=0.5), blob(30, 20)) == pytest.approx(0, abs=1e-6)
        assert centroid(blob(30, 20, value=0.2), blob(30, 20)) == pytest.approx(0.6, abs=1e-5)

    @given(dx=st.integers(-3, 3), dy=st.integers(-3, 3))
    def test_loss_does_not_depend_on_direction(self, dx, dy):
        mask = blob(32, 32)
        losses = [centroid(blob(32 + x, 32 + y), mask) for x, y in ((dx, dy), (-dx, dy), (dy, dx), (-dy, -dx))]
        assert losses == pytest.approx([losses[0]] * 4, abs=1e-6)

    def test_loss_does_not_depend_on_position(self):
        losses = [
            centroid(blob(x + 2, y + 1, size=256), blob(x, y, size=256)) for x, y in ((4, 4), (40, 200), (250, 251))
        ]
        assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)

    def test_mirror_images_and_turns_cost_the_same(self):
        probability = torch.maximum(blob(12, 30, value=0.8), blob(43, 18, 2, value=0.6))
        mask = torch.maximum(blob(13, 28), blob(45, 17, 2))
        losses = [centroid(p, g) for p, g in zip(turned(probability), turned(mask), strict=True)]
        assert losses[0] > 0.1
        assert losses == pytest.approx([losses[0]] * 8, abs=1e-6)

    @settings(max_examples=25)
    @given(maps=logits_and_masks(size=32, most=0.05))
    def test_mirror_symmetry_with_pixels_equally_near_to_two_targets(self, maps):
        losses = [centroid_location(z, g).item() for z, g in zip(*map(turned, maps), strict=True)]
        assert losses == pytest.approx([losses[0]] * 8, abs=1e-6)

    def test_a_missed_target_of_two_costs_half(self):
        mask = torch.maximum(blob(12, 30), blob(43, 18))
        assert centroid(blob(12, 30), mask) == pytest.approx(0.5, abs=1e-5)
        # One blob midway, at the common centroid, misses both targets.
        assert centroid(torch.maximum(blob(27, 24), blob(28, 24)), mask) == pytest.approx(1, abs=1e-5)

    def test_mass_between_neighbours_goes_to_the_nearest(self):
        mask = torch.maximum(blob(20, 20), blob(25, 20))
        probability = torch.maximum(blob(20, 20), blob(25, 20))
        assert centroid(probability, mask) == pytest.approx(0, abs=1e-6)

    def test_targets_weigh_the_same_in_all_pictures_and_empty_ones_are_skipped(self):
        mask = torch.cat([torch.zeros(1, 1, 64, 64), torch.maximum(blob(12, 30), blob(43, 18)), blob(30, 30)])
        probability = torch.cat([blob(5, 5), torch.maximum(blob(12, 30), blob(43, 18)), torch.zeros(1, 1, 64, 64)])
        assert centroid(probability, mask) == pytest.approx(1 / 3, abs=1e-5)
        logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
        loss = centroid_location(logits, torch.zeros(2, 1, 8, 8))
        loss.backward()
        assert loss.item() == 0
        assert (logits.grad == 0).all()

    def test_descent_moves_the_mass_onto_the_target(self):
        mask = blob(20, 20)
        logits = logits_of(0.8 * blob(22, 19) + 0.001).requires_grad_()
        before = centroid_location(logits, mask)
        before.backward()
        # Mass decreases on the far side of the prediction and increases towards and beyond the true centroid.
        assert logits.grad[0, 0, 19, 23] > 0 > logits.grad[0, 0, 20, 20]
        assert (logits.grad[0, 0, :, 30:] == 0).all()
        assert centroid_location(logits.detach() - 20 * logits.grad, mask) < before

    def test_the_amount_of_prediction_has_no_gradient(self):
        logits = logits_of(0.2 * blob(20, 20)).requires_grad_()
        loss = centroid_location(logits, blob(20, 20))
        loss.backward()
        assert loss > 0.5
        assert logits.grad.abs().max() < 1e-6

    def test_the_gradient_stays_bounded_as_the_mass_vanishes(self):
        pulls = []
        for value in (1e-2, 1e-4, 1e-8, 1e-20):
            probability = (value * blob(21, 20)).requires_grad_()
            centroid_location(torch.logit(probability, eps=1e-30), blob(20, 20)).backward()
            pulls.append(probability.grad.abs().max().item())
        assert all(pull < 1 for pull in pulls)


def test_pixels_belong_to_the_nearest_component_of_their_picture():
    target = torch.zeros(3, 1, 12, 12, dtype=torch.bool)
    target[0, 0, 2, 2] = target[0, 0, 3, 3] = True  # touch by a corner: one component
    target[0, 0, 2, 8] = True
    target[2, 0, 5, 5] = True
    shares, count = shares_of(target)
    assert count == 3
    assert not shares[:, 1].any()
    assert not shares[2, :2].any() and not shares[:2, 2].any()
    first, second = (0, 1) if shares[0, 0, 2, 2] else (1, 0)
    assert shares[first, 0, 2, 2] == shares[first, 0, 3, 3] == shares[second, 0, 2, 8] == 1
    assert shares[first, 0, 2, 4] == shares[second, 0, 2, 6] == 1
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    assert torch.equal(shares[2, 2], ((x - 5) ** 2 + (y - 5) ** 2 <= 9).float())


def test_pixels_equally_near_to_several_targets_are_shared():
    target = torch.zeros(1, 1, 5, 9, dtype=torch.bool)
    target[0, 0, 2, 2] = target[0, 0, 2, 6] = True
    shares, _ = shares_of(target)
    assert shares[:, 0, 2].tolist() == [[1, 1, 1, 1, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0.5, 1, 1, 1, 1]]


def shares_of(target):
    """Return the share of every pixel for each component, (components, N, H, W), and the number of components."""
    pixel, owner, share, count = nearest_components(target)
    shares = torch.zeros(count, target.numel()).index_put((owner, pixel), share, accumulate=True)
    return shares.view(count, len(target), *target.shape[-2:]), count


class TestPublished:
    """Behaviour of the released code's term; each test is a reason for using the centroid term instead."""

    def test_by_hand(self):
        # One pixel at (4, 2) of 8 x 8, predicted with probability 0.5: a vector of half the length, the same angle.
        mask, probability = blob(4, 2, 0, size=8), blob(4, 2, 0, size=8, value=0.5)
        length = ((0.5 / 64) ** 2 + (0.25 / 64) ** 2) ** 0.5
        expected = 1 - ((length / 2) ** 2 + 1e-8) ** 0.5 / (length**2 + 1e-8) ** 0.5
        assert published(probability, mask) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("reach", [0, 1, 2])
    def test_twice_the_mass_at_half_the_coordinates_counts_as_found(self, reach):
        assert published(blob(60, 60, reach, 256), blob(120, 120, reach, 256, value=0.5)) < 2e-4
        assert centroid(blob(60, 60, reach, 256), blob(120, 120, reach, 256)) == pytest.approx(1, abs=1e-5)

    def test_half_the_mass_in_place_counts_as_misplaced(self):
        assert published(blob(120, 120, 2, 256, value=0.5), blob(120, 120, 2, 256)) > 0.4

    def test_one_blob_midway_counts_as_two_targets_found(self):
        two = torch.maximum(blob(60, 120, 0, 256), blob(180, 120, 0, 256))
        midway = torch.maximum(blob(120, 120, 0, 256), blob(121, 120, 0, 256))
        assert published(midway, two) < 1e-3

    def test_mirror_images_cost_differently(self):
        probability, mask = blob(40, 100, size=256), blob(44, 97, size=256)
        losses = [published(p, g) for p, g in zip(turned(probability), turned(mask), strict=True)]
        assert max(losses) > 2 * min(losses)

    @pytest.mark.parametrize("place, times", [(40, 3), (120, 25), (220, 50)])
    def test_a_shift_perpendicular_to_the_radius_hardly_counts(self, place, times):
        mask = blob(place, place, size=256)
        along = published(blob(place + 2, place + 2, size=256), mask)
        across = published(blob(place + 2, place - 2, size=256), mask)
        assert along > times * across

    def test_half_of_an_empty_picture_is_pushed_up(self):
        logits = torch.zeros(1, 1, 256, 256, requires_grad=True)
        loss = published_location(logits, torch.zeros(1, 1, 256, 256))
        loss.backward()
        assert loss.item() == pytest.approx(1.25, abs=0.01)
        assert 0.45 < (logits.grad < 0).float().mean() < 0.55
