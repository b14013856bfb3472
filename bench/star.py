"""
Speed of one steady chunk of the transformer, beside what the processor could do at best.

The work of the plain algorithm (all text rows, every layer whole, nothing prepared) is counted on
paper; divided by our time it is a rate, which is held against that of a 2048x2048 float32 product
of the same machine, measured by turns.  Above 1 we are faster than the plain algorithm could be.
Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

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
from inspatio_star.star.sampler import Sampler, chunk_noise

CONFIG = DitConfig(dim=384, ffn_dim=2240, num_heads=6, num_layers=8)
SAMPLER = SamplerConfig()
HEIGHT, WIDTH = 30, 52
SIDE = 2048
TURNS = 7
PRODUCTS = 7
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
    sampler = Sampler(Dit(CONFIG).requires_grad_(False), SAMPLER, HEIGHT, WIDTH)
    cache = sampler.stream.new_cache()
    shape = (1, CONFIG.chunk_frames, CONFIG.latent_channels, HEIGHT, WIDTH)
    reference, last = torch.randn(2, *shape)
    condition = torch.randn(*shape[:2], CONFIG.condition_channels, HEIGHT, WIDTH)
    noise = chunk_noise(0, 1, shape)
    prompts = {rows: sampler.stream.prompt(torch.randn(1, rows, CONFIG.text_dim))
               for rows in ROWS}
    a, b = torch.randn(2, SIDE, SIDE)
    product = torch.empty(SIDE, SIDE)

    def seconds_of_chunk(rows: int) -> float:
        start_s = time.perf_counter()
        sampler.chunk(cache, prompts[rows], noise, reference, last, condition)
        return time.perf_counter() - start_s

    def seconds_of_products() -> list[float]:
        times_s = []
        for _ in range(PRODUCTS):
            start_s = time.perf_counter()
            torch.mm(a, b, out=product)
            times_s.append(time.perf_counter() - start_s)
        return times_s

    seconds_of_products()
    chunks_s: dict[int, list[float]] = {rows: [] for rows in ROWS}
    products_s: list[float] = []
    for rows in ROWS:
        seconds_of_chunk(rows)
    for _ in track(range(TURNS), 'star, by turns', console=Console(stderr=True)):
        for rows in ROWS:
            products_s += seconds_of_products()
            chunks_s[rows].append(seconds_of_chunk(rows))

    plain = chunk_flops(CONFIG, len(SAMPLER.steps), HEIGHT, WIDTH)
    peak = 2 * SIDE ** 3 / statistics.median(products_s)
    best_peak = 2 * SIDE ** 3 / min(products_s)
    table = Table('', 'median', 'best', 'rate, GFLOP/s', 'of the product',
                  title=f'a steady chunk, latent {HEIGHT}x{WIDTH}, {len(SAMPLER.steps)} steps, '
                        f'float32, {torch.get_num_threads()} threads')
    table.add_row(f'product {SIDE}x{SIDE}', f'{statistics.median(products_s) * 1e3:.1f} ms',
                  f'{min(products_s) * 1e3:.1f} ms', f'{peak / 1e9:.0f}', '1')
    ratios = {}
    for rows, times_s in chunks_s.items():
        rate = plain / statistics.median(times_s)
        ratios[rows] = rate / peak
        table.add_row(f'chunk, prompt of {rows} rows', f'{statistics.median(times_s):.3f} s',
                      f'{min(times_s):.3f} s', f'{rate / 1e9:.0f}', f'{ratios[rows]:.2f}')
    table.caption = (f'the plain algorithm has {plain / 1e9:.0f} GFLOP, '
                     f'{CONFIG.text_len} text rows among them; bar {BAR}')
    Console().print(table)
    rows = ROWS[0]
    print(json.dumps({
        'bench': Path(__file__).stem,
        'plain_gflop': round(plain / 1e9, 1),
        'product_gflops': round(peak / 1e9, 1),
        'product_best_gflops': round(best_peak / 1e9, 1),
        'threads': torch.get_num_threads(),
        'prompt_rows': rows,
        'chunk_s': round(statistics.median(chunks_s[rows]), 4),
        'chunk_best_s': round(min(chunks_s[rows]), 4),
        'ratio': round(ratios[rows], 3),
        'ratio_of_bests': round(plain / min(chunks_s[rows]) / best_peak, 3),
        'ratio_empty_prompt': round(ratios[0], 3),
        'bar': BAR,
    }))
    return 0


if __name__ == '__main__':
    sys.exit(main())
