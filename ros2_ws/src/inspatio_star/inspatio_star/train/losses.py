"""What a prediction is measured by. Shapes: B clips, F latents, c channels, h and w of latents."""

from __future__ import annotations

from torch import Tensor
import torch.nn.functional as F

from inspatio_star.codec.nano import NanoConfig, pixels
from inspatio_star.star.schedule import flow_from_x0
from inspatio_star.train.config import LossConfig

# Mean squares well below this, of a range of 2, are as good as none.
LEAST = 1e-3


def weighted_square(x0: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """
    Return the mean square of an error, weights counted.

    :param weights: (B, F, 1 or c, h, w).
    """
    return ((x0 - truth).square() * weights).mean() / weights.mean()


def log_square(x0: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over clips of the logarithm of `weighted_square`."""
    squares_B = ((x0 - truth).square() * weights).flatten(1).mean(1) / weights.flatten(1).mean(1)
    return (squares_B + LEAST).log().mean()


def picture_gradients(
    x0: Tensor, truth: Tensor, weights: Tensor, codec: NanoConfig, scales: int
) -> Tensor:
    """
    Return the mean difference of gradients along rows and columns, summed over scales.

    :param weights: (B, F, c, h, w).
    :param scales: each next one has half the rows and columns.
    """
    apart, weight = (pixels(part.transpose(1, 2), codec).transpose(1, 2).flatten(0, 1)
                     for part in (x0 - truth, weights))
    total = x0.new_zeros(())
    for scale in range(scales):
        if scale:
            apart, weight = F.avg_pool2d(apart, 2), F.avg_pool2d(weight, 2)
        for dim in (-1, -2):
            total = total + (apart.diff(dim=dim).abs()
                             * weight.narrow(dim, 1, weight.shape[dim] - 1)).mean()
    return total / weight.mean()


def regression(
    x0: Tensor, truth: Tensor, weights: Tensor, config: LossConfig, codec: NanoConfig | None
) -> Tensor:
    """
    Return how far clean latents are from the truth.

    :param codec: whose latents they are; None for one without pixels, which has no gradients.
    :raises ValueError: if gradients are wanted of such a codec.
    """
    loss = (log_square if config.relative else weighted_square)(x0, truth, weights)
    if not config.gradient:
        return loss
    if codec is None:
        raise ValueError('loss.gradient: wanted 0 for a codec whose latents are no pixels, '
                         f'got {config.gradient}')
    return loss + config.gradient * picture_gradients(x0, truth, weights, codec, config.scales)


def flow_matching(x0: Tensor, truth: Tensor, x_t: Tensor, sigmas: Tensor) -> Tensor:
    """
    Return the mean squared error of the flow that a prediction stands for.

    :param x0: predicted clean latents.
    :param truth: clean latents that x_t was made from.
    :param sigmas: (B,), above 0.
    """
    return (flow_from_x0(x0, x_t, sigmas) - flow_from_x0(truth, x_t, sigmas)).square().mean()
