import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import nets
from nets.layers.sgem import HEAD_CHANNELS, HEADS, LinearSgem, LiteralSgem, averaging_matrix, linear_attention, positive
from tests.nets.cost import count


@pytest.fixture(params=[LiteralSgem, LinearSgem])
def sgem(request):
    torch.manual_seed(0)
    return request.param(8).eval().requires_grad_(False)


def features(height, width, channels=8):
    return torch.randn(2, channels, height, width), torch.randn(2, 2 * channels, height // 2, width // 2)


def test_the_literal_network_costs_what_is_published():
    parameters, macs, published = count("sgem_unet", in_channels=3)
    assert parameters == 8_683_778 == pytest.approx(8.69e6, rel=0.001)
    assert macs == pytest.approx(15.798e9, abs=1e6) == pytest.approx(15.92e9, rel=0.02)
    assert published == pytest.approx(15.964e9, abs=1e6) == pytest.approx(15.92e9, rel=0.02)


@pytest.mark.parametrize("attention", ["literal", "linear"])
def test_attention_is_cheaper_than_the_skip_it_replaces(attention):
    _, macs, _ = count("sgem_unet", attention=attention)
    _, plain, _ = count("unet")
    assert macs < plain


def test_linear_attention_grows_with_the_pixels_and_no_faster():
    small, large = (count("sgem_unet", size, attention="linear")[1] for size in (256, 512))
    assert large == 4 * small


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 8),
    st.integers(1, 8),
    st.integers(0, 2**31),
    st.floats(0.1, 5),
)
def test_linear_attention_equals_the_matrix_product(queries, keys, depth, width, seed, spread):
    draw = torch.Generator().manual_seed(seed)
    query, key = (positive(spread * torch.randn(2, 3, n, depth, generator=draw)) for n in (queries, keys))
    value = torch.randn(2, 3, keys, width, generator=draw)
    matrix = query @ key.mT
    weight = matrix.sum(dim=-1, keepdim=True)
    assume(bool((weight > 1e-12).all()))  # below that the quotient is not defined in single precision
    matrix = matrix / weight
    torch.testing.assert_close(linear_attention(query, key, value), matrix @ value, rtol=1e-5, atol=1e-5)
    # Applied to the identity, the attention is its own matrix.
    implied = linear_attention(query, key, torch.eye(keys).expand(2, 3, keys, keys))
    assert (implied >= 0).all()
    torch.testing.assert_close(implied.sum(dim=-1), torch.ones(2, 3, queries), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_far_below_zero_do_not_divide_by_zero(dtype):
    nothing = positive(torch.full((1, 4, 2), -200.0, dtype=dtype))
    assert linear_attention(nothing, nothing, torch.ones(1, 4, 2, dtype=dtype)).isfinite().all()


def test_linear_attention_of_a_large_picture_fits_half_precision():
    ones = torch.full((1, 160 * 160, 2), 4.0, dtype=torch.float16)  # their products sum to 409600, beyond 65504
    torch.testing.assert_close(linear_attention(ones[:, :8], ones, ones), ones[:, :8])


def test_linear_sgem_is_attention_over_all_pixels():
    torch.manual_seed(0)
    sgem = LinearSgem(8).eval().requires_grad_(False)
    sgem.gamma.fill_(0.7)
    skip, deep = features(6, 10)
    up = sgem.up(deep)
    inner = torch.zeros(2, HEADS * HEAD_CHANNELS, 6, 10)
    for head in range(HEADS):
        part = slice(head * HEAD_CHANNELS, (head + 1) * HEAD_CHANNELS)
        query, key = positive(sgem.query(skip)[:, part]), positive(sgem.key(up)[:, part])
        weights = torch.einsum("ncyx,ncvu->nyxvu", query, key)
        weights = weights / weights.sum(dim=(-2, -1), keepdim=True)
        inner[:, part] = torch.einsum("nyxvu,ncvu->ncyx", weights, sgem.value(up)[:, part])
    torch.testing.assert_close(sgem(skip, deep), up + 0.7 * sgem.project(inner), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_grid_is_averaged_as_by_adaptive_pooling(height, width):
    plane = torch.arange(height * width, dtype=torch.float32).sin().view(height, width)
    grid = averaging_matrix(height, plane) @ plane @ averaging_matrix(width, plane).T
    torch.testing.assert_close(grid, F.adaptive_avg_pool2d(plane[None], 32)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (64, 64), (40, 70)])
def test_rows_of_the_literal_matrix_sum_to_one(size):
    torch.manual_seed(0)
    sgem = LiteralSgem(8).requires_grad_(False)
    matrix = sgem.matrix(*features(*size))
    assert matrix.shape == (2, 8, size[0], size[0])
    torch.testing.assert_close(matrix.sum(dim=-1), torch.ones(2, 8, size[0]))
    assert matrix.std(dim=-1).min() > 0  # a broken product would give a uniform matrix


def test_the_literal_matrix_mixes_rows_and_leaves_columns_apart():
    torch.manual_seed(0)
    sgem = LiteralSgem(8).eval().requires_grad_(False)
    sgem.gamma.fill_(0.5)
    skip, deep = features(8, 12)
    up, matrix = sgem.up(deep), sgem.matrix(skip, deep)
    expected = up + 0.5 * torch.einsum("nchr,ncrw->nchw", matrix, up)
    torch.testing.assert_close(sgem(skip, deep), expected)


def test_a_bias_before_the_softmax_would_be_dead():
    """Checks why the convolution after the outer product has no bias."""
    torch.manual_seed(0)
    products, weight = torch.randn(2, 1, 6, 6, dtype=torch.double), torch.randn(4, 1, 1, 1, dtype=torch.double)
    bias = torch.randn(4, dtype=torch.double, requires_grad=True)
    matrix = torch.softmax(torch.nn.functional.conv2d(products, weight, bias), dim=-1)
    (matrix * torch.randn_like(matrix)).sum().backward()
    torch.testing.assert_close(bias.grad, torch.zeros(4, dtype=torch.double), rtol=0, atol=1e-14)
    assert LiteralSgem(4).scale.bias is None


def test_gamma_zero_is_the_plain_path(sgem):
    skip, deep = features(8, 12)
    torch.testing.assert_close(sgem(skip, deep), sgem.up(deep), rtol=0, atol=0)
    sgem.gamma.fill_(1.0)
    assert not torch.allclose(sgem(skip, deep), sgem.up(deep))


@pytest.mark.parametrize("attention", ["literal", "linear"])
@pytest.mark.parametrize("size", [(128, 128), (256, 192), (640, 512)])
def test_any_size_from_128_to_640(attention, size):
    network = nets.build("sgem_unet", width=2, attention=attention).eval().requires_grad_(False)
    network.joins[2].gamma.fill_(1.0)
    logits = network(torch.randn(1, 1, *size))
    assert logits.shape == (1, 1, *size)
    assert logits.isfinite().all()


def test_unknown_attention_is_refused():
    with pytest.raises(ValueError, match="SgemUNet: unknown attention 'full'; known: literal, linear"):
        nets.build("sgem_unet", attention="full")
