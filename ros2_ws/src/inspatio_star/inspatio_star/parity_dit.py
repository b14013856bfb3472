"""Parity of the diffusion transformer."""

from collections.abc import Iterator
import json
from pathlib import Path

import torch
from torch import Tensor

from inspatio_star.checkpoint_dit import dit_state_from_reference
from inspatio_star.golden import Comparison, Vectors, compare, largest_difference
from inspatio_star.star import dit as plain
from inspatio_star.star import schedule
from inspatio_star.star.config import DitConfig, SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.sampler import Sampler
from inspatio_star.star.stream import StreamDit

INPUT_PREFIXES = ('in.', 'w.')


def model(vectors: Vectors, folder: Path, dtype: torch.dtype = torch.float32) -> Dit:
    """Build the transformer of a golden file and fill it with its weights."""
    facts = json.loads((folder / 'dit.json').read_text())
    sizes = dict(facts['config'])
    in_channels, latent = sizes.pop('in_dim'), sizes.pop('out_dim')
    config = DitConfig(**sizes, latent_channels=latent, mask_channels=in_channels - 2 * latent,
                       chunk_frames=facts['frames_per_chunk'])
    state = {name.removeprefix('w.'): torch.from_numpy(array)
             for name, array in vectors.items() if name.startswith('w.')}
    made = Dit(config)
    made.load_state_dict(dit_state_from_reference(state, config))
    return made.to(dtype).requires_grad_(False)


def check(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare the plain transformer, then the one for a stream and its sampler."""
    yield from _check_plain(vectors, folder)
    yield from _check_stream(vectors, folder)
    name = 'pipeline.latents_bf16'
    ours = sampled(vectors, folder, torch.bfloat16)
    difference = largest_difference(ours.float().numpy(), vectors[name])
    # Two chains of bf16 roundings are compared, not two computations of one number.
    yield Comparison(name, 'stream', None, f'bf16: {difference:.1e}, not held against the bar')


def _check_plain(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    def compared(name: str, ours: Tensor, note: str = '') -> Comparison:
        return compare(vectors, name, 'plain', ours.float().numpy(), note)

    def at(timestep: float) -> Tensor:
        return torch.tensor([timestep])

    net = model(vectors, folder)
    config = net.config
    given = inputs(vectors)
    timesteps = given['denoising_timesteps']
    text = given['prompt_embeds']
    grid = schedule.make_schedule(SamplerConfig())
    condition = torch.cat([given['mask_latent'], given['render_latent']], 2)
    frames = config.chunk_frames

    time_BW, time_B6W = net.embed_time(torch.cat([at(0.0), timesteps]))
    yield compared('time.e', time_BW)
    yield compared('time.e0', time_B6W)
    yield compared('text.embedded', net.embed_text(text))

    for frames_seen, name in ((frames, 'ctx3'), (2 * frames, 'ctx6')):
        # A context of six frames belongs to the second chunk.
        own = slice(frames_seen - frames, frames_seen)
        seen = given['ref_latent'][:, own]
        if frames_seen > frames:
            seen = torch.cat([seen, given['last_chunk']], 1)
        flow, context = net(plain.with_condition(seen, config), at(0.0), text,
                            config.reference_position)
        yield compared(f'{name}.flow', flow)
        for layer, (k, v) in enumerate(context):
            yield compared(f'{name}.k.{layer}', k)
            yield compared(f'{name}.v.{layer}', v)
        calls = ({f'{name}.denoise{step}': timesteps[step:step + 1] for step in range(4)}
                 if name == 'ctx3' else {f'{name}.denoise': timesteps[1:2]})
        noisy = given['noise'][:, own]
        for call, timestep in calls.items():
            x = plain.with_condition(noisy, config, condition[:, own])
            flow, _ = net(x, timestep, text, config.current_position, context)
            yield compared(f'{call}.flow', flow)
            yield compared(f'{call}.x0', schedule.x0_from_flow(
                flow, noisy, grid.sigma_at(timestep)))
    noisy = given['noise'][:, :frames]
    flow, _ = net(plain.with_condition(noisy, config), timesteps[:1], text,
                  config.current_position)
    yield compared('t2v.flow', flow)
    yield compared('t2v.x0', schedule.x0_from_flow(flow, noisy, grid.sigma_at(timesteps[:1])))


def _check_stream(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    def compared(name: str, ours: Tensor) -> Comparison:
        return compare(vectors, name, 'stream', ours.float().numpy())

    net = model(vectors, folder)
    frames = net.config.chunk_frames
    given = inputs(vectors)
    stream = StreamDit(net, *given['noise'].shape[-2:])
    cache = stream.new_cache()
    prompt = stream.prompt(given['prompt_embeds'])
    condition = torch.cat([given['mask_latent'], given['render_latent']], 2)
    steps = [float(timestep) for timestep in given['denoising_timesteps']]

    for name, context, own, calls in (
        ('ctx3', given['ref_latent'][:, :frames], slice(frames),
         {f'denoise{index}': step for index, step in enumerate(steps)}),
        ('ctx6', torch.cat([given['ref_latent'][:, frames:], given['last_chunk']], 1),
         slice(frames, None), {'denoise': steps[1]}),
    ):
        stream.write_context(context, stream.instant(0.0), prompt, cache)
        for layer in range(net.config.num_layers):
            yield compared(f'{name}.k.{layer}', cache.context(layer).k_BNHD)
            yield compared(f'{name}.v.{layer}', cache.context(layer).v_BNHD)
        embedded = stream.condition(condition[:, own])
        for call, step in calls.items():
            yield compared(f'{name}.{call}.flow', stream.flow(
                given['noise'][:, own], embedded, stream.instant(step), prompt, cache))
    cache.frames = 0
    yield compared('t2v.flow', stream.flow(
        given['noise'][:, :frames], stream.condition(None), stream.instant(steps[0]), prompt,
        cache))
    yield compared('pipeline.latents', sampled(vectors, folder, torch.float32))


def sampled(vectors: Vectors, folder: Path, dtype: torch.dtype) -> Tensor:
    """Sample all chunks of the golden clip with its noise."""
    net = model(vectors, folder, dtype)
    frames = net.config.chunk_frames
    facts = json.loads((folder / 'dit.json').read_text())
    given = {name: tensor.to(dtype) for name, tensor in inputs(vectors).items()}
    config = SamplerConfig(facts['timestep_shift'])
    sampler = Sampler(net, config, *given['noise'].shape[-2:])
    cache, prompt = sampler.stream.new_cache(), sampler.stream.prompt(given['prompt_embeds'])
    condition = torch.cat([given['mask_latent'], given['render_latent']], 2)
    chunks: list[Tensor] = []
    for index, again in enumerate(given['step_noise']):
        own = slice(index * frames, (index + 1) * frames)
        noises = [given['noise'][:, own], *again]
        chunks.append(sampler.chunk(
            cache, prompt, noises.__getitem__, given['ref_latent'][:, own],
            chunks[-1] if chunks else None, condition[:, own]))
    return torch.cat(chunks, 1)


def inputs(vectors: Vectors) -> dict[str, Tensor]:
    """Return what a golden file hands to the model."""
    return {name.removeprefix('in.'): torch.from_numpy(array)
            for name, array in vectors.items() if name.startswith('in.')}
