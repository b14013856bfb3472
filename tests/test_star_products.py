"""The products on the tile unit are those of torch, as exact as float32, and refuse the rest."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from inspatio_star.star import tiles as tile_unit
from inspatio_star.star.config import DitConfig
from inspatio_star.star.products import Norm, TileProducts, TorchProducts, products_for
from inspatio_star.star.tiles import load_tiles

CPU = torch.device('cpu')


@pytest.fixture(params=['torch', 'tiles'])
def products(request: pytest.FixtureRequest) -> TorchProducts | TileProducts:
    if request.param == 'torch':
        return TorchProducts()
    tiles = load_tiles()
    if tiles is None:
        pytest.skip('this processor has no tile unit')
    return TileProducts(tiles)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_exact(ours: torch.Tensor, exact: torch.Tensor, plain: torch.Tensor) -> None:
    """Hold a result against float64: not much worse than torch's own float32."""
    error, allowed = ((part.double() - exact).abs().max() for part in (ours, plain))
    assert ours.shape == exact.shape and error < 3 * allowed + 1e-6


# One block, tails on all sides, more than one round of rows, an inner width beyond one part.
@pytest.mark.parametrize('tokens, inner, outputs', [
    (1, 16, 16), (32, 32, 32), (37, 50, 70), (200, 64, 6), (1300, 96, 40), (70, 500, 33),
    (45, 2240, 64),
])
def test_linear_layers(products: TileProducts, tokens: int, inner: int, outputs: int) -> None:
    x, weight, bias = noise(2, tokens, inner), noise(outputs, inner, seed=1), noise(outputs)
    weight /= inner ** 0.5
    scale, shift, gate = noise(inner, seed=2), noise(inner, seed=3), noise(outputs, seed=4)
    before = noise(2, tokens, outputs, seed=5)

    def expected(dtype: torch.dtype) -> list[torch.Tensor]:
        X, W, b, c, s, g, y = (
            part.to(dtype) for part in (x, weight, bias, scale, shift, gate, before))
        normed = F.layer_norm(X, (inner,), c, s, 1e-6)
        return [F.linear(X, W, b), F.linear(X, W), F.linear(normed, W, b),
                F.gelu(F.linear(normed, W, b), approximate='tanh'), y + g * F.linear(X, W, b),
                y + F.linear(X, W)]

    layer, bare = products.linear(weight, bias), products.linear(weight, None)
    norm = Norm(scale, shift, 1e-6)
    gated, added = before.clone(), before.clone()
    layer.add_to(gated, x, gate)
    bare.add_to(added, x)
    ours = [layer(x), bare(x), layer(x, norm), layer(x, norm, gelu=True), gated, added]
    scattered = layer(x.transpose(1, 2).contiguous().transpose(1, 2))
    torch.testing.assert_close(scattered, ours[0], atol=1e-5, rtol=0)
    for case in zip(ours, expected(torch.float64), expected(torch.float32), strict=True):
        assert_exact(*case)


@pytest.mark.parametrize('channels', [16, 64, 128])
@pytest.mark.parametrize('queries, keys', [(1, 1), (20, 128), (100, 65), (700, 300), (33, 1)])
def test_attention(products: TileProducts, queries: int, keys: int, channels: int) -> None:
    q, k, v = (noise(2, n, 3, channels, seed=n) for n in (queries, keys, keys + 1000))
    v = v[:, :keys]
    bias = 3 * noise(keys)
    for extra in (None, bias):
        exact, plain = (F.scaled_dot_product_attention(
            *(part.to(dtype).transpose(1, 2) for part in (2 * q, k, v)),
            None if extra is None else extra.to(dtype).expand(2, 3, queries, keys),
        ).transpose(1, 2).flatten(2) for dtype in (torch.float64, torch.float32))
        assert_exact(products.attention(2 * q, k, v.clone(), extra), exact, plain)


def test_attention_with_scores_far_apart(products: TileProducts) -> None:
    q, k, v = 30 * noise(1, 40, 2, 32), 30 * noise(1, 300, 2, 32, seed=1), noise(1, 300, 2, 32)
    exact = F.scaled_dot_product_attention(
        *(part.double().transpose(1, 2) for part in (q, k, v))).transpose(1, 2).flatten(2)
    assert (products.attention(q, k, v) - exact).abs().max() < 2e-3


def test_heads_are_placed(products: TileProducts) -> None:
    x, weight = noise(2, 9, 3 * 96)[..., 96:192], noise(96, seed=1)
    turn = torch.polar(torch.ones(9, 1, 16), noise(9, 1, 16))
    room = torch.zeros(2, 3, 20, 32).transpose(1, 2)[:, 4:13]
    products.place(x, room, weight, 1e-6, turn)
    normed = F.rms_norm(x.double(), (96,), weight.double(), 1e-6).view(2, 9, 3, 16, 2)
    expected = torch.view_as_real(torch.view_as_complex(normed.contiguous()) * turn)
    torch.testing.assert_close(room, expected.flatten(-2).float(), atol=2e-6, rtol=0)
    products.place(x, room)
    assert torch.equal(room.flatten(2), x)


def test_what_is_not_a_number_is_not_hidden(products: TileProducts) -> None:
    x = noise(1, 40, 64)
    x[0, 3, 5] = torch.nan
    layer = products.linear(noise(48, 64, seed=1), None)
    for y in (layer(x), layer(x, gelu=True)):
        assert y[0, 3].isnan().all() and not y[0, [*range(3), *range(4, 40)]].isnan().any()
    q = x.view(1, 40, 2, 32)
    seen = products.attention(q, noise(1, 50, 2, 32), noise(1, 50, 2, 32)).view(1, 40, 2, 32)
    assert seen[0, 3, 0].isnan().all() and not seen[0, :, 1].isnan().any()
    assert products.attention(noise(1, 4, 2, 32), q, q.nan_to_num())[0, :, :32].isnan().all()


def test_the_same_call_gives_the_same_bits(products: TileProducts) -> None:
    x, layer = noise(1, 300, 64), products.linear(noise(64, 64, seed=1), None)
    q = x.view(1, 300, 2, 32)
    assert torch.equal(layer(x), layer(x))
    assert torch.equal(products.attention(q, q, q), products.attention(q, q, q))


def test_other_numbers_are_refused() -> None:
    config = DitConfig(dim=64, ffn_dim=64, num_heads=2, num_layers=1)
    assert isinstance(products_for(config, CPU, torch.bfloat16), TorchProducts)
    assert isinstance(products_for(config, CPU, torch.float32, 'torch'), TorchProducts)
    with pytest.raises(ValueError, match=r'float32 on the CPU .* got cpu, torch.bfloat16, 32'):
        products_for(config, CPU, torch.bfloat16, 'tiles')
    with pytest.raises(ValueError, match="'auto', 'torch' or 'tiles', got 'fast'"):
        products_for(config, CPU, torch.float32, 'fast')
    tiles = load_tiles()
    if tiles is None:
        pytest.skip('this processor has no tile unit')
    packed = tiles.pack(noise(8, 16))
    for x in (noise(4, 16).double(), noise(16, 4).T):
        with pytest.raises(ValueError, match='wanted float32 on the CPU with a packed last'):
            tiles.linear(x, packed, None, torch.empty(4, 8), 'store')


def test_without_a_compiler_torch_does_it_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(tile_unit, '_processor_flags', lambda: tile_unit.NEEDED)
    config = DitConfig(dim=64, ffn_dim=64, num_heads=2, num_layers=1)
    broken = tmp_path / 'broken'
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo no such option >&2; exit 1; }\n')
    broken.chmod(0o755)
    try:
        for compiler, said in ((tmp_path / 'none', 'wanted a C++ compiler, got none named'),
                               (broken, 'no such option')):
            monkeypatch.setenv('CXX', str(compiler))
            load_tiles.cache_clear()
            with caplog.at_level(logging.INFO):
                assert isinstance(products_for(config, CPU, torch.float32), TorchProducts)
            assert said in caplog.text
            with pytest.raises(ValueError, match='wanted a processor with a tile unit'):
                products_for(config, CPU, torch.float32, 'tiles')
        monkeypatch.setattr(tile_unit, '_processor_flags', lambda: {'fpu'})
        load_tiles.cache_clear()
        with caplog.at_level(logging.INFO):
            assert load_tiles() is None
        assert 'the processor lacks amx_bf16, amx_tile' in caplog.text
    finally:
        load_tiles.cache_clear()
