"""
From renders to what the model is conditioned on: latent masks, and the choice of source views.

Plain numpy; knows nothing about the model itself.
"""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

# Pixels per latent along each side, and frames per latent after the first one.
CELL = 8
GROUP = 4


def latents_from_masks(
    known_THW: NDArray[np.bool_], continued: bool = False
) -> NDArray[np.float32]:
    """
    Resize masks to the latent grid and pack frames into channels.

    Channel c of latent k >= 1 is frame 4k - 3 + c; latent 0 holds frame 0 four times. Bilinear
    resizing by 1/8 (half-pixel centres, no antialiasing) is the mean of the 2x2 pixels in the
    middle of each 8x8 cell, and exact.

    :param known_THW: (T, H, W) bool; H and W multiples of 8; frames that do not fill a group of
        four after the first frame are dropped.
    :param continued: whether frames of the same clip came before; the first frame is then one
        of a group of four like all others.
    :returns: ((T + 3) // 4, or T // 4 if continued, 4, H / 8, W / 8) float32 in [-1, 1], +1
        known, -1 hole.
    :raises ValueError: if shape or dtype differ from the above.

    Source: INSPATIO-WORLD (arXiv 2604.07209), public code.
    """
    if known_THW.ndim != 3 or known_THW.dtype != np.bool_ or 0 in known_THW.shape \
            or known_THW.shape[1] % CELL or known_THW.shape[2] % CELL:
        raise ValueError(f'wanted masks (T, H, W) bool with H and W multiples of {CELL}, '
                         f'got {known_THW.shape} {known_THW.dtype}')
    signed = np.where(known_THW, np.float32(1), np.float32(-1))
    low, high = CELL // 2 - 1, CELL // 2
    rows = signed[:, low::CELL] + signed[:, high::CELL]
    cells = (rows[:, :, low::CELL] + rows[:, :, high::CELL]) / np.float32(4)
    again = np.repeat(cells[:1], 0 if continued else GROUP - 1, axis=0)
    frames = np.concatenate((again, cells))
    latents = len(frames) // GROUP
    return frames[:latents * GROUP].reshape(latents, GROUP, *cells.shape[1:])


def views_of_latents(known_pixels_LV: NDArray[np.int64], chunk: int = 3) -> NDArray[np.int64]:
    """
    Choose one source view per latent, so that a chunk shows the views that matter most.

    Per chunk: the views with the largest totals (the lower index wins a tie), one for each
    latent, by the assignment with the largest sum (the lexicographically smallest wins a tie).

    :param known_pixels_LV: (L, V) int64, pixels that view V projects into the frames of latent L;
        L a multiple of chunk, V >= chunk.
    :param chunk: latents per chunk.
    :returns: (L,) int64 view indices.
    :raises ValueError: if the shape does not fit.

    Source: INSPATIO-WORLD v1.5, public code.
    """
    if known_pixels_LV.ndim != 2 or known_pixels_LV.shape[0] % chunk \
            or known_pixels_LV.shape[1] < chunk:
        raise ValueError(f'wanted pixel counts (L, V) with L a multiple of {chunk} and '
                         f'V >= {chunk}, got {known_pixels_LV.shape}')
    choices: list[int] = []
    latents = np.arange(chunk)
    for score in known_pixels_LV.reshape(-1, chunk, known_pixels_LV.shape[1]):
        orders = sorted(permutations(best_views(score, chunk).tolist()))
        choices += max(orders, key=lambda order: score[latents, list(order)].sum())
    return np.array(choices, np.int64)


def best_views(known_pixels_LV: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the `count` views with the largest totals, best first; lower index wins a tie."""
    return np.argsort(-known_pixels_LV.sum(0), kind='stable')[:count]
