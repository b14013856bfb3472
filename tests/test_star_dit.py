"""The transformer: golden vectors, what breaks them, every saving of the stream, refusals."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
import torch
import torch.nn.functional as F

from inspatio_star import parity, parity_dit
from inspatio_star.checkpoint_dit import dit_state_from_reference
from inspatio_star.errors import CheckpointError
from inspatio_star.star import dit as plain
from inspatio_star.star import rope
from inspatio_star.star.config import DitConfig
from inspatio_star.star.dit import Dit, attention
from inspatio_star.star.products import TorchLinear, TorchProducts
from inspatio_star.star.stream import StreamDit
from inspatio_star.star.tiles import load_tiles

GOLDEN = Path(__file__).parent / 'golden'
CONFIG = DitConfig(dim=48, ffn_dim=80, num_heads=3, num_layers=3, freq_dim=16, text_dim=12,
                   text_len=20)
HEIGHT, WIDTH = 6, 8
TIMESTEPS = (1000.0, 937.5, 625.0)


@pytest.fixture(scope='module')
def vectors() -> dict:
    return load_file(GOLDEN / 'dit.safetensors')


@pytest.fixture(scope='module')
def model() -> Dit:
    torch.manual_seed(0)
    made = Dit(CONFIG)
    for parameter in made.parameters():
        # Norms of 1 and biases of 0 would hide a mistake.
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.requires_grad_(False)


@pytest.fixture(scope='module', params=['torch', 'tiles'])
def stream(model: Dit, request: pytest.FixtureRequest) -> StreamDit:
    if request.param == 'tiles' and load_tiles() is None:
        pytest.skip('this processor has no tile unit')
    return StreamDit(model, HEIGHT, WIDTH, request.param)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def chunk(frames: int = 3, channels: int = 16, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return noise(batch, frames, channels, HEIGHT, WIDTH, seed=seed)


def text(rows: int, batch: int = 1) -> torch.Tensor:
    return noise(batch, rows, CONFIG.text_dim, seed=9)


def assert_same(ours: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(ours, other, atol=2e-5, rtol=0)


@pytest.mark.golden
def test_every_vector_of_the_transformer_agrees(vectors: dict) -> None:
    comparisons = list(parity_dit.check(vectors, GOLDEN))
    outputs = {name for name in vectors if not name.startswith(parity_dit.INPUT_PREFIXES)}
    assert {comparison.vector for comparison in comparisons} == outputs
    for comparison in comparisons:
        if comparison.vector == 'pipeline.latents_bf16':
            assert comparison.difference is None and 'bf16' in comparison.note
        else:
            assert comparison.difference < parity.BAR / 10, comparison


@pytest.mark.golden
def test_attention_written_out_is_that_of_torch() -> None:
    """What training in bfloat16 uses on a CPU, with its gradients, within bfloat16's rounding."""
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(2, 4, count, 64, generator=generator, requires_grad=True)
             for count in (30, 50, 50)]
    rough = [part.detach().bfloat16().requires_grad_() for part in exact]
    seen = attention(*rough)
    assert seen.dtype == torch.bfloat16 and 'Scaled' not in type(seen.grad_fn).__name__
    wanted = F.scaled_dot_product_attention(*exact)
    for mixed in (seen.float(), wanted):
        mixed.square().sum().backward()
    pairs = [(seen.float(), wanted), *((a.grad.float(), b.grad)
                                       for a, b in zip(rough, exact, strict=True))]
    for came, true in pairs:
        assert (came - true).norm() < 0.02 * true.norm()


def test_bf16_stays_within_its_rounding(vectors: dict) -> None:
    ours = parity_dit.sampled(vectors, GOLDEN, torch.bfloat16)
    golden = torch.from_numpy(vectors['pipeline.latents_bf16'])
    # A processor without units for bfloat16 rounds at other places than the one that wrote the
    # vectors: one number in a thousand may be off by up to twice as much.
    apart = ~torch.isclose(ours.float(), golden, atol=3e-2, rtol=1e-2)
    assert apart.float().mean() < 1e-3
    torch.testing.assert_close(ours.float(), golden, atol=6e-2, rtol=2e-2)
    difference = (ours.float() - golden).abs().mean()
    rounding = (golden - torch.from_numpy(vectors['pipeline.latents'])).abs().mean()
    assert difference < 1.5 * rounding


def golden_flow(vectors: dict, first_frame: int = 6, channels: list | None = None,
                order: tuple[int, int] = (0, 1), timestep: float = 937.5) -> float:
    """Compute the golden call of the second chunk, perhaps wrongly: largest difference."""
    net = parity_dit.model(vectors, GOLDEN)
    given = parity_dit.inputs(vectors)
    own = slice(3, 6)
    halves = (given['ref_latent'][:, own], given['last_chunk'])
    context = plain.with_condition(torch.cat([halves[i] for i in order], 1), net.config)
    _, seen = net(context, torch.zeros(1), given['prompt_embeds'], 0)
    condition = torch.cat([given['mask_latent'], given['render_latent']], 2)[:, own]
    if channels is not None:
        condition = condition[:, :, channels]
    x = plain.with_condition(given['noise'][:, own], net.config, condition)
    flow, _ = net(x, torch.tensor([timestep]), given['prompt_embeds'], first_frame, seen)
    return float((flow - torch.from_numpy(vectors['ctx6.denoise.flow'])).abs().max())


@pytest.mark.golden
@pytest.mark.parametrize('wrong', [
    {'first_frame': 5}, {'channels': [*range(4, 20), *range(4)]}, {'order': (1, 0)},
    {'timestep': 833.333},
], ids=lambda wrong: next(iter(wrong)))
def test_a_wrong_convention_breaks_parity(vectors: dict, wrong: dict) -> None:
    assert golden_flow(vectors) < parity.BAR
    assert golden_flow(vectors, **wrong) > 0.05


@pytest.mark.parametrize('rows', [0, 1, 7, 19, 20])
@pytest.mark.parametrize('frames', [0, 3, 6])
def test_the_stream_equals_the_plain_computation(
    model: Dit, stream: StreamDit, rows: int, frames: int
) -> None:
    batch = 2
    cache, words = stream.new_cache(batch), text(rows, batch)
    prompt, condition = stream.prompt(words), chunk(3, 20, batch, seed=3)
    seen = None
    if frames:
        context = chunk(frames, batch=batch, seed=1)
        stream.write_context(context, stream.instant(0.0), prompt, cache)
        _, seen = model(plain.with_condition(context, CONFIG), torch.zeros(batch), words, 0)
        for layer, expected in enumerate(seen):
            assert_same(cache.context(layer).k_BNHD, expected.k_BNHD)
            assert_same(cache.context(layer).v_BNHD, expected.v_BNHD)
    embedded = stream.condition(condition)
    for step, timestep in enumerate(TIMESTEPS):
        noisy = chunk(batch=batch, seed=10 + step)
        expected, _ = model(plain.with_condition(noisy, CONFIG, condition),
                            torch.full((batch,), timestep), words, 6, seen)
        assert_same(stream.flow(noisy, embedded, stream.instant(timestep), prompt, cache),
                    expected)


def test_equal_rows_are_one_key(stream: StreamDit) -> None:
    for rows, keys in ((0, 1), (1, 2), (7, 8), (19, 20), (20, 20)):
        short = stream.prompt(text(rows))
        assert short.layers[0].k_BLHD.shape[1] == keys
        padded = stream.prompt(plain.pad_text(text(rows), CONFIG.text_len))
        for ours, other in zip(short.layers, padded.layers, strict=True):
            assert torch.equal(ours.k_BLHD, other.k_BLHD)
    # A zero row between others is none of the pad rows.
    gap = text(7)
    gap[:, 3] = 0
    assert stream.prompt(gap).layers[0].k_BLHD.shape[1] == 8


def test_without_a_condition_its_channels_are_zero(model: Dit, stream: StreamDit) -> None:
    prompt, instant, cache = stream.prompt(text(5)), stream.instant(625.0), stream.new_cache()
    by_none = stream.flow(chunk(), stream.condition(None), instant, prompt, cache)
    zeros = stream.condition(torch.zeros(1, 3, 20, HEIGHT, WIDTH))
    assert_same(by_none, stream.flow(chunk(), zeros, instant, prompt, cache))
    expected, _ = model(plain.with_condition(chunk(), CONFIG), torch.tensor([625.0]), text(5), 6)
    assert_same(by_none, expected)


def test_constants_of_a_timestep_are_those_of_the_embedding(model: Dit) -> None:
    instant = StreamDit(model, HEIGHT, WIDTH).instant(937.5)
    time_BW, time_B6W = model.embed_time(torch.tensor([937.5]))
    for layer, block in enumerate(model.blocks):
        expected = (block.modulation + time_B6W)[0]
        expected[[1, 4]] += 1
        torch.testing.assert_close(instant.blocks[layer], expected, atol=1e-6, rtol=0)
    shift, scale = model.head.modulation + time_BW
    torch.testing.assert_close(instant.head, torch.stack([shift, 1 + scale]), atol=1e-6, rtol=0)


def test_the_last_layer_of_a_context_and_the_head_do_no_more_than_asked(
    model: Dit, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {weight.data_ptr(): name for name, weight in model.named_parameters()}
    used: list[str] = []

    class Counted(TorchLinear):
        def __call__(self, *args: object, **kwargs: object) -> torch.Tensor:
            used.append(names.get(self.weight.data_ptr(), 'part of another'))
            return super().__call__(*args, **kwargs)

        def add_to(self, *args: object) -> None:
            used.append(names[self.weight.data_ptr()])
            super().add_to(*args)

    class Counting(TorchProducts):
        def linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Counted:
            return Counted(weight, bias)

    monkeypatch.setattr('inspatio_star.star.stream.products_for', lambda *_: Counting())
    stream = StreamDit(model, HEIGHT, WIDTH)
    prompt, instant, cache = stream.prompt(text(5)), stream.instant(0.0), stream.new_cache()
    assert [name.split('.')[-2] for name in used] == ['kv'] * 3
    used.clear()
    stream.write_context(chunk(), instant, prompt, cache)
    layer = ['self_attention.qkv', 'self_attention.out', 'cross_attention.q',
             'cross_attention.out', 'up', 'down']
    # Of the last layer keys and values only.
    assert used == ['patch.weight', *(f'blocks.{number}.{part}.weight' for number in (0, 1)
                                      for part in layer), 'part of another']


def test_a_chunk_writes_behind_the_context_only(stream: StreamDit) -> None:
    prompt, instant, cache = stream.prompt(text(5)), stream.instant(0.0), stream.new_cache()
    address = cache.k.data_ptr(), cache.v.data_ptr()
    for frames in (3, 6):
        stream.write_context(chunk(frames), instant, prompt, cache)
        assert cache.frames == frames and cache.context_tokens == frames * 12
        before = cache.copy()
        for _ in range(2):
            stream.flow(chunk(), stream.condition(None), instant, prompt, cache)
        for layer in range(CONFIG.num_layers):
            for ours, other in zip(cache.context(layer), before.context(layer), strict=True):
                assert torch.equal(ours, other)
        assert not torch.equal(cache.k, before.k)
    assert address == (cache.k.data_ptr(), cache.v.data_ptr())


def test_a_copied_cache_goes_its_own_way(stream: StreamDit) -> None:
    prompt, instant = stream.prompt(text(5)), stream.instant(0.0)

    def flow(cache: object) -> torch.Tensor:
        return stream.flow(chunk(), stream.condition(None), instant, prompt, cache)

    cache = stream.new_cache()
    stream.write_context(chunk(6, seed=1), instant, prompt, cache)
    expected = flow(cache)
    branch = cache.copy()
    stream.write_context(chunk(3, seed=2), instant, prompt, cache)
    assert torch.equal(flow(branch), expected)
    assert not torch.equal(flow(cache), expected)


def test_scores_depend_on_the_distance_of_positions_only() -> None:
    q, k = noise(1, 24, 3, 16, seed=1), noise(1, 24, 3, 16, seed=2)

    def scores(first: int) -> torch.Tensor:
        turn = rope.rotation(16, first, 2, 3, 4)
        turned = (rope.rotate(part, turn).transpose(1, 2) for part in (q, k))
        return torch.matmul(next(turned), next(turned).transpose(-1, -2))

    assert_same(scores(0), scores(500))
    assert not torch.allclose(scores(0), q.transpose(1, 2) @ k.permute(0, 2, 3, 1), atol=0.1)


def test_patches_and_latents_are_inverse() -> None:
    x = chunk(2, 5)
    tokens = plain.patches(x, 2)
    weight = noise(7, 5, 1, 2, 2)
    by_convolution = F.conv3d(x.transpose(1, 2), weight, stride=(1, 2, 2))
    assert_same(tokens @ weight.flatten(1).T, by_convolution.flatten(2).transpose(1, 2))
    # Out of the model the channel is the fastest, into it the slowest.
    swapped = tokens.unflatten(-1, (5, 4)).transpose(-1, -2).flatten(2)
    assert torch.equal(plain.latents(swapped, 2, 2, HEIGHT // 2, WIDTH // 2), x)


def test_gradients_reach_every_weight() -> None:
    net = Dit(CONFIG)
    _, seen = net(plain.with_condition(chunk(), CONFIG), torch.zeros(1), text(5), 0)
    flow, _ = net(plain.with_condition(chunk(seed=1), CONFIG), torch.tensor([625.0]), text(5), 6,
                  seen)
    flow.square().mean().backward()
    assert [name for name, p in net.named_parameters()
            if p.grad is None or not p.grad.abs().sum() > 0] == []


def full_size_state() -> dict[str, torch.Tensor]:
    keys = json.loads((GOLDEN / 'full_size_keys.json').read_text())['dit']['keys']
    return {f'model.{name}': torch.empty(shape, device='meta') for name, shape in keys.items()}


@pytest.mark.golden
def test_all_tensors_of_the_full_size_are_placed() -> None:
    state = full_size_state()
    assert len(state) == 825
    with torch.device('meta'):
        full = Dit(DitConfig())
    ours = dit_state_from_reference(state, DitConfig())
    full.load_state_dict(ours, strict=True, assign=True)
    counts = json.loads((GOLDEN / 'full_size_keys.json').read_text())['dit']['params']
    assert sum(p.numel() for p in full.parameters()) == counts
    for prefix in ('', 'generator.model.', 'generator._fsdp_wrapped_module.model.'):
        renamed = {prefix + name.removeprefix('model.'): tensor for name, tensor in state.items()}
        assert dit_state_from_reference(renamed, DitConfig()).keys() == ours.keys()


@pytest.mark.golden
def test_checkpoints_that_do_not_fit_get_one_error_with_all_names() -> None:
    state = full_size_state()
    del state['model.head.head.bias']
    state['model.blocks.30.norm3.bias'] = torch.empty(1536, device='meta')
    state['model.blocks.4.ffn.0.weight'] = torch.empty(8960, 1535, device='meta')
    state['patch_embedding.bias'] = torch.empty(1536, device='meta')
    with pytest.raises(CheckpointError) as error:
        dit_state_from_reference(state, DitConfig())
    for part in ('head.head.bias: missing', 'blocks.30.norm3.bias: surplus',
                 'blocks.4.ffn.0.weight: wanted [8960, 1536], got [8960, 1535]',
                 'patch_embedding.bias: there twice'):
        assert part in str(error.value)


@pytest.mark.parametrize('kwargs, message', [
    ({'dim': 50}, '50 / 12'), ({'num_layers': 0}, 'num_layers: wanted more than 0, got 0'),
    ({'freq_dim': 7}, 'even number, got 7'), ({'dim': 48}, 'at least 6, got 48 / 12'),
])
def test_sizes_that_do_not_fit_each_other_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DitConfig(), **kwargs)


def test_wrong_shapes_and_dtypes_are_refused(model: Dit) -> None:
    with pytest.raises(ValueError, match='multiples of 2, got 5x8'):
        StreamDit(model, 5, 8)
    stream = StreamDit(model, HEIGHT, WIDTH)
    prompt, instant, cache = stream.prompt(text(5)), stream.instant(0.0), stream.new_cache()
    none = stream.condition(None)
    with pytest.raises(ValueError, match=r'text: wanted the shape \(any, any, 12\)'):
        stream.prompt(noise(1, 5, 13))
    with pytest.raises(ValueError, match='at most 20 rows, got 21'):
        stream.prompt(text(21))
    with pytest.raises(ValueError, match='text: wanted torch.float32, got torch.bfloat16'):
        stream.prompt(text(5).bfloat16())
    with pytest.raises(ValueError, match='wanted 3 or 6 latent frames'):
        stream.write_context(chunk(4), instant, prompt, cache)
    with pytest.raises(ValueError, match=r'context: wanted the shape \(any, 3, 16, 6, 8\)'):
        stream.write_context(chunk(3, 36), instant, prompt, cache)
    with pytest.raises(ValueError, match=r'noisy latents: .* got \(1, 6, 16, 6, 8\)'):
        stream.flow(chunk(6), none, instant, prompt, cache)
    with pytest.raises(ValueError, match='noisy latents: wanted torch.float32'):
        stream.flow(chunk().double(), none, instant, prompt, cache)
    with pytest.raises(ValueError, match='12 tokens a frame, batch 2.* got 12, 1'):
        stream.flow(chunk(batch=2), none, instant, prompt, cache)
    with pytest.raises(ValueError, match=r'condition: wanted the shape \(any, 3, 20, 6, 8\)'):
        stream.condition(chunk())
    with pytest.raises(ValueError, match=r'x: wanted the shape \(any, any, 36, any, any\)'):
        model(chunk(), torch.zeros(1), text(5), 0)
    with pytest.raises(ValueError, match='wanted 3 layers, got 0'):
        model(plain.with_condition(chunk(), CONFIG), torch.zeros(1), text(5), 0, [])
    with pytest.raises(ValueError, match=r'condition: .* got \(1, 3, 16, 6, 8\)'):
        plain.with_condition(chunk(), CONFIG, chunk())
