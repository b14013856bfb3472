"""LPIPS, a likeness learned from people's judgements; its weights are public and not shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn

from inspatio_star.checkpoint import read_state
from inspatio_star.errors import CheckpointError

# AlexNet as torchvision publishes it, and the weights of its features that the package lpips
# 0.1.4 has in its folder weights/v0.1.
TRUNK_FILE, HEAD_FILE = 'alexnet-owt-7be5be79.pth', 'alex.pth'
# Number in the public file, channels in and out, side, stride and padding; a pool before the
# second and the third.
CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2), (3, 64, 192, 5, 1, 2), (6, 192, 384, 3, 1, 1), (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
POOLED = (3, 6)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TINY = 1e-10


class Lpips:
    """
    The distance of two pictures, 0 for equal ones.

    :param folder: holds ``TRUNK_FILE`` and ``HEAD_FILE``.
    :raises CheckpointError: if one is missing, damaged or another.

    With a random trunk and the public head it is within 1e-8 of the package lpips 0.1.4.

    Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric,
    CVPR 2018; version 0.1, AlexNet.
    """

    def __init__(self, folder: Path) -> None:
        trunk, head = (read_state(folder / name) for name in (TRUNK_FILE, HEAD_FILE))
        self._layers: list[tuple[int, nn.Conv2d, Tensor]] = []
        for place, (number, before, after, side, stride, padding) in enumerate(CONVOLUTIONS):
            layer = nn.Conv2d(before, after, side, stride, padding).requires_grad_(False)
            for name, parameter in layer.named_parameters():
                parameter.copy_(_weight(
                    trunk, f'features.{number}.{name}', parameter.shape, folder / TRUNK_FILE))
            weight = _weight(
                head, f'lin{place}.model.1.weight', (1, after, 1, 1), folder / HEAD_FILE)
            # A copy: what is read may be mapped, and the file may change.
            self._layers.append((number, layer, weight.float().clone()))

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
        """
        Return the distance.

        :param rgb: (H, W, 3) uint8, at least 35x35.
        :param wanted: likewise.
        """
        x = torch.from_numpy(np.stack([rgb, wanted])).permute(0, 3, 1, 2).float() / 127.5 - 1
        shift, scale = (torch.tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x = (x - shift) / scale
        total = 0.0
        for number, layer, weight in self._layers:
            if number in POOLED:
                x = nn.functional.max_pool2d(x, 3, 2)
            x = nn.functional.relu(layer(x))
            unit = x / ((x * x).sum(1, keepdim=True).sqrt() + TINY)
            total += float((weight[0] * (unit[0] - unit[1]) ** 2).sum(0).mean())
        return total


def _weight(state: dict[str, Tensor], name: str, shape: tuple[int, ...], file: Path) -> Tensor:
    if name not in state or tuple(state[name].shape) != tuple(shape):
        came = tuple(state[name].shape) if name in state else 'none'
        raise CheckpointError(f'{file}: wanted {name} of {tuple(shape)}, got {came}')
    return state[name]
