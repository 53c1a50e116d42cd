import cv2
import msgspec
import numpy as np
import pytest
import torch

from nets.normalisation import FrameZScore, frame_statistics, normalise
from tests.training.synthetic import write_set
from training.config import AugmentConfig, DataConfig, SourceConfig
from training.crops import cut_crops, draw_batch
from training.data import Sample, read_sample
from training.placement import place
from training.pool import Pool

PLAIN = AugmentConfig(gamma=0.0, blur=0.0, noise=0.0, jpeg=0.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[np.uint8, np.uint16], ids=["8bit", "16bit"])
def samples(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    return [read_sample(folder, name) for name in write_set(folder, pictures=4, dtype=request.param)]


@pytest.fixture(scope="module")
def pool(samples):
    return Pool([samples], CPU)


def pool_of(*pictures, masks=None, ignored=None):
    none = [np.zeros(picture.shape, np.uint8) for picture in pictures]
    columns = zip(pictures, masks or none, ignored or none, strict=True)
    return Pool([[Sample(f"p{k}", *planes) for k, planes in enumerate(columns)]], CPU)


def config(**changes):
    return DataConfig(**({"sources": [SourceConfig(folder="tiny")], "crop": 32, "augment": PLAIN} | changes))


def crops(pool, rng, size=1, scale=1.0, **changes):
    recipe = config(sources=[SourceConfig(folder="tiny", scale=(scale, scale))], **changes)
    placement = place(pool, recipe, rng, size, margin=0)
    return placement.picture, cut_crops(pool, placement, recipe, margin=0)


def views(plane):
    """Return the eight rotations and mirror images."""
    return [np.rot90(p, k) for p in (plane, plane[:, ::-1]) for k in range(4)]


def counts(crop, sample):
    return np.rint(crop.numpy().astype(np.float64) * np.iinfo(sample.picture.dtype).max)


def test_crops_without_augmentation_are_pieces_of_their_pictures_with_their_masks(samples, pool):
    chosen, cut = crops(pool, np.random.default_rng(0), size=6)
    for index, crop, mask in zip(chosen, cut.pictures, cut.masks, strict=True):
        sample = samples[index]
        pieces = [
            (picture, truth)
            for top in range(33)
            for left in range(33)
            for picture, truth in zip(
                views(sample.picture[top : top + 32, left : left + 32]),
                views(sample.mask[top : top + 32, left : left + 32]),
                strict=True,
            )
        ]
        assert any(np.array_equal(counts(crop, sample), p) and np.array_equal(mask.numpy(), t > 0) for p, t in pieces)


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.7])
def test_ignore_masks_follow_their_pictures(scale):
    picture = np.full((96, 96), 40, np.uint8)
    picture[30:60, 40:52] = 200
    pool, rng = pool_of(picture, ignored=[(picture == 200).astype(np.uint8)]), np.random.default_rng(4)
    _, cut = crops(pool, rng, size=20, scale=scale)
    level = np.rint(cut.pictures.numpy() * 255)
    assert not cut.masks.any()
    assert cut.ignored[level >= 120].all()
    assert not cut.ignored[level == 40].any()
    assert cut.ignored.flatten(1).any(1).sum() > 2
    batch = draw_batch(pool, config(crop=96, batch=1), FrameZScore(), rng, 1)
    assert torch.equal(batch.ignored, batch.pictures > 0)


@pytest.mark.parametrize("edge", [32, 64, 96])
def test_pixels_within_four_of_a_cut_edge_are_ignored(edge):
    """The level encodes the column: left and right edges of the frame are not ignored, cut edges are."""
    ramp = np.tile(np.arange(64, dtype=np.uint8) + 100, (64, 1))
    pool = pool_of(ramp, masks=[np.full_like(ramp, 255)])
    norm, rng = FrameZScore(), np.random.default_rng(8)
    std = float(ramp.std())
    for _ in range(20):
        batch = draw_batch(pool, config(crop=edge), norm, rng, 1)
        assert torch.equal(batch.ignored, batch.masks < 1)
        level = batch.pictures[0, 0] * std + float(ramp.mean())
        taught = batch.masks[0, 0] > 0
        lines = level if (level[0, 0] - level[0, -1]).abs() > 1 else level.T  # the ramp runs along the rows
        seen = (taught if lines is level else taught.T).any(0)
        first, last = (round(float(lines[0, i])) - 100 for i in (0, -1))
        for end, column in ((0, first), (-1, last)):
            cut = column not in (0, 63) if edge < 64 else edge > 64 and end == (-1 if first == 0 else 0)
            near = seen[:4] if end == 0 else seen[-4:]
            assert near.tolist() == [not cut] * 4


@pytest.mark.parametrize(("turned", "orientations"), [(True, 8), (False, 1), ("transposed", 2)])
def test_crops_are_turned_and_mirrored_as_configured(turned, orientations):
    """The corners of the picture differ, so they identify the orientation; pasted targets follow it."""
    picture = np.full((64, 64), 20, np.uint8)
    picture[:8, :8], picture[:8, -8:], picture[-8:, :8] = 200, 150, 100
    picture[30:32, 30:33] = 250
    mask = np.where(picture == 250, 255, 0).astype(np.uint8)
    pool = pool_of(picture, masks=[mask])
    augment = AugmentConfig(paste=1.0, gamma=0.0, blur=0.0, noise=0.0, jpeg=0.0)
    recipe = config(crop=64, augment=augment, sources=[SourceConfig(folder="tiny", turned=turned)])
    rng, seen, shapes = np.random.default_rng(9), set(), set()
    for _ in range(60):
        batch = draw_batch(pool, recipe, FrameZScore(), rng, 1)
        view = batch.pictures[0, 0]
        seen.add(tuple(torch.round(view[y, x], decimals=1).item() for y in (2, -3) for x in (2, -3)))
        _, _, boxes, _ = cv2.connectedComponentsWithStats(batch.masks[0, 0].numpy().astype(np.uint8))
        shapes |= {(w, h) for _, _, w, h, area in boxes[1:].tolist() if area == 6}  # the target and its pasted copy
    assert len(seen) == orientations
    assert shapes == ({(3, 2), (2, 3)} if turned else {(3, 2)})


def test_crops_placed_on_a_target_contain_it(pool):
    _, cut = crops(pool, np.random.default_rng(1), size=50, on_target=1.0)
    assert cut.masks.flatten(1).any(1).all()


@pytest.mark.parametrize("scale", [0.5, 0.7, 2.0])
def test_targets_survive_any_magnification(samples, pool, scale):
    chosen, cut = crops(pool, np.random.default_rng(2), size=20, scale=scale, on_target=1.0)
    assert cut.pictures.shape == cut.masks.shape == (20, 32, 32)
    assert cut.masks.dtype == torch.bool
    for index, crop, mask in zip(chosen, cut.pictures, cut.masks, strict=True):
        picture = samples[index].picture
        bright = (picture.mean() + picture.std()) / np.iinfo(picture.dtype).max
        assert crop[mask].mean() > bright  # the mask still matches the squares


def test_masks_by_the_nearest_pixel_are_those_of_the_legacy_protocol():
    """Crops are the whole picture, halved, with the margin outside the frame."""
    rng = np.random.default_rng(3)
    mask = (rng.random((128, 128)) < 0.2).astype(np.uint8) * 255
    pool = pool_of(mask // 2, masks=[mask])
    for masks_by, same in (("nearest", True), ("area", False)):
        source = SourceConfig(folder="tiny", scale=(0.5, 0.5), turned=False, masks_by=masks_by)
        batch = draw_batch(pool, config(sources=[source], crop=64), FrameZScore(windows=[17]), rng, 2)
        assert np.array_equal(batch.masks[1, 0].numpy() > 0, mask[1::2, 1::2] > 0) is same


@pytest.mark.parametrize("edge", [96, 160])
def test_a_frame_smaller_than_the_crop_is_filled_by_reflection(samples, pool, edge):
    (index,), cut = crops(pool, np.random.default_rng(5), crop=edge)
    filled = np.pad(samples[index].picture, (0, edge - 64), mode="reflect")
    assert any(np.array_equal(counts(cut.pictures[0], samples[index]), view) for view in views(filled))


def test_a_batch_depends_only_on_its_generator(pool):
    augmented = config(augment=AugmentConfig(paste=1.0, blur=1.0, noise=1.0, jpeg=1.0, gain=0.2, offset=0.2))
    one, same = (draw_batch(pool, augmented, FrameZScore(), np.random.default_rng([7, 1]), 3) for _ in range(2))
    assert torch.equal(one.pictures, same.pictures)
    assert torch.equal(one.masks, same.masks)
    assert one.names == same.names
    other = draw_batch(pool, augmented, FrameZScore(), np.random.default_rng([7, 2]), 3)
    assert not torch.equal(one.pictures, other.pictures)


def test_a_batch_is_what_the_network_sees_in_live_use(samples, pool):
    norm = FrameZScore(windows=(9,))
    batch = draw_batch(pool, config(crop=64), norm, np.random.default_rng(0), 3)
    assert batch.pictures.shape == (3, 2, 64, 64)
    assert batch.masks.shape == (3, 1, 64, 64)
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    for name, picture in zip(batch.names, batch.pictures, strict=True):
        sample = next(s for s in samples if f"tiny/{s.name}" == name)
        z = (sample.picture - sample.picture.mean()) / sample.picture.std()
        assert any(np.allclose(picture[0], np.clip(view, -10, 10), atol=1e-3) for view in views(z))


def test_neighbourhoods_reach_beyond_the_crop(samples, pool):
    """Local z-scores of a crop equal those of the whole frame."""
    norm = FrameZScore(windows=(5, 9))
    batch = draw_batch(pool, config(on_target=0.0), norm, np.random.default_rng(3), 6)
    assert batch.pictures.shape == (6, 3, 32, 32)
    checked = 0
    for name, picture in zip(batch.names, batch.pictures, strict=True):
        sample = next(s for s in samples if f"tiny/{s.name}" == name)
        mean, std = frame_statistics(sample.picture)
        whole = normalise(
            torch.from_numpy(sample.picture.astype(np.float32))[None, None],
            torch.tensor([mean]), torch.tensor([1 / std]), norm,
        )[0]  # fmt: skip
        for top in range(4, 64 - 36 + 1):
            for left in range(4, 64 - 36 + 1):
                piece = whole[:, top : top + 32, left : left + 32]
                turned = [torch.rot90(p, k, (1, 2)) for p in (piece, piece.flip(2)) for k in range(4)]
                checked += any(torch.allclose(picture, view, atol=1e-3) for view in turned)
    assert checked


def test_sets_are_drawn_by_their_weights(samples):
    empty = [Sample(f"e{s.name}", s.picture, np.zeros_like(s.mask), s.ignored) for s in samples]
    sources = [SourceConfig(folder="a", weight=3.0), SourceConfig(folder="b", weight=1.0)]
    pool, rng = Pool([samples, empty[:3]], CPU), np.random.default_rng(6)
    batch = draw_batch(pool, config(sources=sources, crop=64), FrameZScore(), rng, 400)
    assert sum(name.startswith("a/") for name in batch.names) / 400 == pytest.approx(0.75, abs=0.07)
    for name, mask in zip(batch.names, batch.masks, strict=True):
        assert mask.any() == name.startswith("a/p")
    assert set(batch.names) == {f"a/p{k}" for k in range(4)} | {f"b/ep{k}" for k in range(3)}


def changing(seed=0):
    """Return a pool of one picture that equals its change picture."""
    change = np.random.default_rng(seed).integers(0, 100, (96, 96), dtype=np.uint8)
    none = np.zeros_like(change)
    return Pool([[Sample("p", change, none, none, change)]], CPU)


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.5])
def test_change_pictures_are_turned_and_magnified_with_their_picture(scale):
    _, cut = crops(changing(), np.random.default_rng(1), size=8, scale=scale)
    assert cut.changes.shape == (8, 1, 32, 32)
    np.testing.assert_allclose(cut.changes[:, 0].numpy(), cut.pictures.numpy() * 255, atol=1e-3)


def test_changes_are_in_the_input_unless_they_are_unseen():
    norm, recipe = FrameZScore(change=True), config(augment=msgspec.structs.replace(PLAIN, unseen=0.5))
    batch = draw_batch(changing(), recipe, norm, np.random.default_rng(3), 40)
    seen = batch.pictures[:, 1].flatten(1).any(1)
    assert 8 < seen.sum() < 32
    mean, std = frame_statistics(
        changing().windows(np.array([0]), np.array([0]), np.array([0]), 96)[0, 0].mul(255).round().byte().numpy()
    )
    shown, change = batch.pictures[seen].unbind(1)
    torch.testing.assert_close(change * 48, shown * std + mean, atol=1e-2, rtol=0)


def test_changes_are_scaled_at_random():
    norm = FrameZScore(change=True)
    recipes = [config(augment=msgspec.structs.replace(PLAIN, change_gain=gain)) for gain in (0.0, 0.4)]
    plain, varied = (
        draw_batch(changing(), recipe, norm, np.random.default_rng(3), 40).pictures[:, 1] for recipe in recipes
    )
    shares = varied.flatten(1).sum(1) / plain.flatten(1).sum(1)
    torch.testing.assert_close(varied, plain * shares.view(-1, 1, 1))
    assert np.exp(-0.4) <= shares.min() < 0.8 and 1.25 < shares.max() <= np.exp(0.4)


def test_hover_attenuates_changes_at_targets_only():
    change, mask = np.full((96, 96), 90, np.uint8), np.zeros((96, 96), np.uint8)
    mask[40:43, 50:53] = 1
    pool = Pool([[Sample("p", change, mask, np.zeros_like(mask), change)]], CPU)
    norm, recipe = FrameZScore(change=True), config(augment=msgspec.structs.replace(PLAIN, hover=0.5), on_target=1.0)
    batch = draw_batch(pool, recipe, norm, np.random.default_rng(3), 60)
    far = torch.nn.functional.max_pool2d(batch.masks, 11, 1, 5) == 0
    usual = 90 / 48
    assert (batch.pictures[:, 1:][far] == usual).all()
    shown = zip(batch.pictures[:, 1], batch.masks[:, 0], strict=True)
    on_target = [change[target > 0] for change, target in shown if target.any()]
    assert all((values == values[0]).all() for values in on_target)
    values = torch.stack([values[0] for values in on_target])
    assert 0.3 < (values == usual).float().mean() < 0.7
    assert values.min() < 0.3 * usual


def test_stills_get_the_changes_of_other_crops_without_targets():
    change, mask = np.full((96, 96), 96, np.uint8), np.zeros((96, 96), np.uint8)
    mask[40:43, 50:53] = 1
    none = np.zeros_like(mask)
    pool = Pool([[Sample("moving", change, mask, none, change)], [Sample("still", none + 50, none, none)]], CPU)
    recipe = config(augment=msgspec.structs.replace(PLAIN, lend=0.5), on_target=1.0)
    recipe = msgspec.structs.replace(recipe, sources=[SourceConfig(folder="m"), SourceConfig(folder="s")])
    batch = draw_batch(pool, recipe, FrameZScore(change=True), np.random.default_rng(3), 200)
    still = np.array([name == "s/still" for name in batch.names])
    shown = batch.pictures[:, 1]
    assert (shown[~still] == 2).all()
    assert ((shown[still] == 0) | (shown[still] == 2)).all()
    lent = shown[still].flatten(1).any(1).float().mean()
    assert 0.1 < lent < 0.4  # half of the crops borrow changes, and half of the lenders have some
    holes = 1 - shown[still].flatten(1).div(2).mean(1)
    assert ((holes > 0) & (holes < 0.2)).sum() > 10


def test_crops_are_placed_on_the_largest_changes():
    change, none = np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.uint8)
    change[10, 290], change[150, 20] = 200, 90
    pool = Pool([[Sample("p", none + 50, none, none, change)]], CPU)
    for share, least, most in ((0.0, 0, 8), (1.0, 60, 60)):
        _, cut = crops(pool, np.random.default_rng(2), size=60, on_change=share)
        assert least <= int(cut.changes.flatten(1).any(1).sum()) <= most
