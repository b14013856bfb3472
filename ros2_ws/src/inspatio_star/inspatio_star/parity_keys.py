"""Names and shapes of the public weights at full size: our loading code places all of them."""

from collections.abc import Iterator
import json
import math
from pathlib import Path

import torch

from inspatio_star.errors import CheckpointError
from inspatio_star.golden import Comparison, Vectors
from inspatio_star.presets import PRESETS
from inspatio_star.weights import require_fit

PRESET = 'star-1.3b'
# What the list calls a part of a preset.
PARTS = {'dit': 'dit', 'vae': 'vae', 'taehv': 'taehv', 'umt5': 'text'}


def check(_: Vectors, folder: Path) -> Iterator[Comparison]:
    """Fill every part on the meta device; one that is not filled exactly is infinitely far off."""
    listed = json.loads((folder / 'full_size_keys.json').read_text())
    for name in sorted(PARTS.keys() | listed.keys()):
        if name not in PARTS:
            yield Comparison(name, '', None)
            continue
        shapes = {key: torch.empty(shape, device='meta')
                  for key, shape in listed[name]['keys'].items()}
        try:
            require_fit(PRESETS[PRESET], PARTS[name], shapes, name)
        except CheckpointError as error:
            yield Comparison(name, 'meta', math.inf, str(error))
        else:
            yield Comparison(name, 'meta', 0.0, f'all {len(shapes)} tensors placed')
