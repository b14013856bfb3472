"""The golden vectors of the Wan2.1 VAE: encode and decode, as whole clips and as streams."""

from collections.abc import Iterator
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inspatio_star.checkpoint_codec import vae_state_from_reference
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.codec.wan_vae import DecodeRule, WanVAE, WanVAEConfig
from inspatio_star.golden import Comparison, Vectors, compare, largest_difference

RULES: dict[str, DecodeRule] = {'decode': 'star', 'decode_original_wan_cache': 'wan'}


def check(vectors: Vectors, folder: Path) -> Iterator[Comparison]:
    """Compare both directions of the VAE, and both rules of its decoder."""
    sizes = json.loads((folder / 'vae.json').read_text())
    config = WanVAEConfig(
        width=sizes['dim'], multipliers=tuple(sizes['dim_mult']),
        residual_blocks=sizes['num_res_blocks'], temporal=tuple(sizes['temporal_downsample']),
        latent_mean=tuple(vectors['latent_mean'].tolist()),
        latent_std=tuple(vectors['latent_std'].tolist()))
    if len(config.latent_mean) == len(WanVAEConfig().latent_mean):
        for name in ('latent_mean', 'latent_std'):
            public = np.array(getattr(WanVAEConfig(), name), np.float32)
            yield compare(vectors, name, 'config', public)
    video, latents = (torch.from_numpy(vectors[name]) for name in ('in.video', 'in.latent'))
    weights = {name.removeprefix('w.'): torch.from_numpy(array)
               for name, array in vectors.items() if name.startswith('w.')}
    frames_of_latents = sizes['decode_stream_frames_per_latent']
    decoded = {}
    for vector, rule in RULES.items():
        vae = WanVAE(dataclasses.replace(config, decode_rule=rule))
        vae.load_state_dict(vae_state_from_reference(weights, vae))
        if rule == config.decode_rule:
            for name in vectors:
                stem, _, kind = name.partition('.')
                if stem.startswith('encode') and kind == 'latent':
                    clip = video[:, :, :int(stem.removeprefix('encode') or video.shape[2])]
                    ours = vae.encoder.encode_clip(clip)
                    yield compare(vectors, name, 'whole', ours.numpy())
            yield compare(vectors, 'encode.latent', 'stream',
                          _encode_stream(vae, video, frames_of_latents).numpy())
            yield compare(vectors, 'decode3.video', 'whole',
                          vae.decoder.decode_clip(latents[:, :, :3]).numpy())
        decoded[vector] = vae.decoder.decode_clip(latents)
        yield compare(vectors, f'{vector}.video', 'whole', decoded[vector].numpy())
        frames = _decode_stream(vae, latents)
        counts = [chunk.shape[2] for chunk in frames]
        yield compare(vectors, f'{vector}.video', 'stream', torch.cat(frames, 2).numpy())
        yield Comparison('decode_stream_frames_per_latent', rule, largest_difference(
            np.array(counts), np.array(frames_of_latents)))
    between = (decoded['decode'] - decoded['decode_original_wan_cache']).abs()
    yield compare(vectors, 'decode_vs_original_wan.maxabs_per_frame', 'whole',
                  between.amax((0, 1, 3, 4)).numpy())


def _encode_stream(vae: WanVAE, video: Tensor, counts: list[int]) -> Tensor:
    state = EncoderState()
    return torch.cat([vae.encoder.encode(chunk, state) for chunk in video.split(counts, 2)], 2)


def _decode_stream(vae: WanVAE, latents: Tensor) -> list[Tensor]:
    state = DecoderState()
    return [vae.decoder.decode(latent, state) for latent in latents.split(1, 2)]
