"""
Speed of one steady chunk of the transformer, beside what the processor could do at best.

The work of the plain algorithm (all text rows, every layer whole, nothing prepared) is counted on
paper; divided by our time it is a rate, which is held against that of a 2048x2048 float32 product
of the same machine, measured by turns.  Above 1 we are faster than the plain algorithm could be.
Once by wall time with all threads, once by CPU time of one, which other work disturbs less; with
the tile unit where the processor has one, and with torch's products alone.
Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import json
from pathlib import Path
import statistics
import sys
import time

from rich.console import Console
from rich.progress import track
from rich.table import Table
import torch

from inspatio_star.star.config import DitConfig, SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.products import Kind
from inspatio_star.star.sampler import Sampler, chunk_noise
from inspatio_star.star.tiles import load_tiles

CONFIG = DitConfig(dim=384, ffn_dim=2240, num_heads=6, num_layers=8)
SAMPLER = SamplerConfig()
HEIGHT, WIDTH = 30, 52
SIDE = 2048
TURNS = 5
PRODUCTS = 5
BAR = 1.05
# Rows of the prompt that are not pads: a sentence or two, and none, which is allowed too.
ROWS = (64, 0)


def call_flops(config: DitConfig, frames: int, context_frames: int, tokens: int) -> int:
    """
    Count the floating point operations of one call of the plain transformer.

    :param frames: latent frames of the call.
    :param context_frames: latent frames that it sees besides.
    :param tokens: of a frame.
    """
    own, seen, dim = frames * tokens, (frames + context_frames) * tokens, config.dim
    text = config.text_len * dim * (config.text_dim + dim)
    ends = own * dim * config.patch ** 2 * (config.in_channels + config.latent_channels)
    layer = own * dim * (6 * dim + 2 * config.ffn_dim)  # qkv and out, q and out, feed-forward
    layer += 2 * config.text_len * dim ** 2
    layer += 2 * own * (seen + config.text_len) * dim
    return 2 * (text + ends + config.num_layers * layer)


def chunk_flops(config: DitConfig, steps: int, height: int, width: int) -> int:
    """Count those of a steady chunk: a context of two chunks, then the steps of the sampler."""
    rows, columns = config.grid(height, width)
    context, tokens = 2 * config.chunk_frames, rows * columns
    return (call_flops(config, context, 0, tokens)
            + steps * call_flops(config, config.chunk_frames, context, tokens))


def main() -> int:
    """Measure by turns, print the table and the JSON line."""
    torch.manual_seed(0)
    dit = Dit(CONFIG).requires_grad_(False)
    kinds: list[Kind] = ['torch'] if load_tiles() is None else ['tiles', 'torch']
    shape = (1, CONFIG.chunk_frames, CONFIG.latent_channels, HEIGHT, WIDTH)
    reference, last = torch.randn(2, *shape)
    condition = torch.randn(*shape[:2], CONFIG.condition_channels, HEIGHT, WIDTH)
    noise = chunk_noise(0, 1, shape)
    a, b = torch.randn(2, SIDE, SIDE)
    works: dict[str, Callable[[], object]] = {
        'product': partial(torch.mm, a, b, out=torch.empty(SIDE, SIDE))}
    for kind in kinds:
        sampler = Sampler(dit, SAMPLER, HEIGHT, WIDTH, kind)
        cache = sampler.stream.new_cache()
        for rows in ROWS:
            prompt = sampler.stream.prompt(torch.randn(1, rows, CONFIG.text_dim))
            works[f'{kind}, prompt of {rows} rows'] = partial(
                sampler.chunk, cache, prompt, noise, reference, last, condition)
    product, first, empty, *_ = works
    threads = torch.get_num_threads()
    plain = chunk_flops(CONFIG, len(SAMPLER.steps), HEIGHT, WIDTH)
    flops = dict.fromkeys(works, plain) | {product: 2 * SIDE ** 3}
    table = Table('', 'median s', 'best s', 'GFLOP/s', 'of the product',
                  title=f'a steady chunk, latent {HEIGHT}x{WIDTH}, {len(SAMPLER.steps)} steps, '
                        'float32')
    table.caption = (f'the plain algorithm has {plain / 1e9:.0f} GFLOP, '
                     f'{CONFIG.text_len} text rows among them; bar {BAR}')
    result: dict[str, object] = {
        'bench': Path(__file__).stem, 'plain_gflop': round(plain / 1e9, 1), 'threads': threads,
        'products': kinds[0], 'prompt_rows': ROWS[0], 'bar': BAR}

    for way, count, clock in (('wall', threads, time.perf_counter), ('cpu', 1, time.thread_time)):
        torch.set_num_threads(count)
        times_s: dict[str, list[float]] = {name: [] for name in works}
        for work in works.values():
            work()
        for _ in track(range(TURNS), f'star, {way} time', console=Console(stderr=True)):
            for name, work in works.items():
                for _ in range(PRODUCTS if name == product else 1):
                    start_s = clock()
                    work()
                    times_s[name].append(clock() - start_s)
        rates = {name: flops[name] / statistics.median(times_s[name]) for name in works}
        for name in works:
            table.add_row(
                f'{way}, {count} thread(s): {name}', f'{statistics.median(times_s[name]):.3f}',
                f'{min(times_s[name]):.3f}', f'{rates[name] / 1e9:.0f}',
                f'{rates[name] / rates[product]:.2f}')
        result |= {
            f'{way}_product_gflops': round(rates[product] / 1e9, 1),
            f'{way}_chunk_s': round(statistics.median(times_s[first]), 4),
            f'{way}_ratio': round(rates[first] / rates[product], 3),
            f'{way}_ratio_empty_prompt': round(rates[empty] / rates[product], 3),
        }
    Console().print(table)
    print(json.dumps(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
