"""
Likeness as people see it: HaarPSI and FSIMc, from their papers, in numpy.

The package `piq` has both, but wants torchvision, whose usual build does not load beside the CPU
build of PyTorch; its values are in the tests.
"""

from __future__ import annotations

from functools import cache
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

F32 = NDArray[np.float32]

RGB_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)

# HaarPSI: constants of the paper, section 3.
HAAR_C, HAAR_ALPHA, HAAR_SCALES = 30.0, 4.2, 3

# FSIM: constants of the paper, section III; the filters are those of its code (P. Kovesi's).
PC_T, GRADIENT_T, CHROMA_T, CHROMA_POWER = 0.85, 160.0, 200.0, 0.03
SCALES, ORIENTATIONS, SHORTEST_WAVE_PX, OCTAVE = 4, 4, 6.0, 2.0
RADIAL_SIGMA, ANGLE_RATIO, NOISE_DEVIATIONS, NOISE_DIVISOR = 0.55, 1.2, 2.0, 1.7
LOW_PASS_CUT, LOW_PASS_ORDER = 0.45, 15
SCHARR = np.array([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]], np.float32) / 16
TINY = float(np.finfo(np.float32).eps)


def haarpsi(rgb: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """
    Return the Haar wavelet-based perceptual similarity index, 1 for equal pictures.

    :param rgb: (H, W, 3) uint8, at least 16x16.
    :param wanted: likewise.
    :raises ValueError: if a shape or dtype differs from the above.

    Source: Reisenhofer et al., A Haar wavelet-based perceptual similarity index for image
    quality assessment, Signal Processing: Image Communication 2018.
    """
    require_pictures(rgb, wanted)
    ours, theirs = _haar_maps(rgb), _haar_maps(wanted)
    total, weights = 0.0, 0.0
    last = HAAR_SCALES - 1
    chroma_weight = np.zeros_like(ours.chroma[..., 0])
    for along in range(2):
        a, b = ours.haar[along], theirs.haar[along]
        likeness = np.mean([_similarity(a[k], b[k], HAAR_C) for k in range(last)], axis=0)
        weight = np.maximum(a[last], b[last])
        total += float((_sigmoid(likeness) * weight).sum(dtype=np.float64))
        weights += float(weight.sum(dtype=np.float64))
        chroma_weight += weight / 2
    likeness = _similarity(ours.chroma, theirs.chroma, HAAR_C).mean(axis=-1)
    total += float((_sigmoid(likeness) * chroma_weight).sum(dtype=np.float64))
    weights += float(chroma_weight.sum(dtype=np.float64))
    share = (total + TINY) / (weights + TINY)
    return (math.log(share / (1.0 - share)) / HAAR_ALPHA) ** 2


def fsim(rgb: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """
    Return the feature similarity index with colour, FSIMc, 1 for equal pictures.

    :param rgb: (H, W, 3) uint8, at least 16x16.
    :param wanted: likewise.
    :raises ValueError: if a shape or dtype differs from the above.

    Source: Zhang et al., FSIM: a feature similarity index for image quality assessment, IEEE TIP
    2011; phase congruency as in P. Kovesi's code, which theirs uses.
    """
    require_pictures(rgb, wanted)
    a, b = _fsim_maps(rgb), _fsim_maps(wanted)
    likeness = _similarity(a.congruency, b.congruency, PC_T)
    likeness = likeness * _similarity(a.gradient, b.gradient, GRADIENT_T)
    colour = _similarity(a.chroma, b.chroma, CHROMA_T).prod(axis=-1)
    weight = np.maximum(a.congruency, b.congruency)
    likeness = likeness * np.abs(colour) ** CHROMA_POWER
    return float((likeness * weight).sum(dtype=np.float64) / weight.sum(dtype=np.float64))


def require_pictures(rgb: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
    """Raise ValueError unless both are (H, W, 3) uint8 of one shape, at least 16x16."""
    for name, array in (('rgb', rgb), ('wanted', wanted)):
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 \
                or array.shape != rgb.shape or min(array.shape[:2]) < 16:
            raise ValueError(
                f'{name}: wanted uint8 (H, W, 3), both of one shape of at least 16x16, got '
                f'{array.dtype} {array.shape} beside {rgb.shape}')


class _HaarMaps(NamedTuple):
    """Magnitudes of Haar responses (2 directions, scales, h, w) and of I and Q (h, w, 2)."""

    haar: F32
    chroma: F32


class _FsimMaps(NamedTuple):
    """Phase congruency (h, w), gradient (h, w), I and Q (h, w, 2)."""

    congruency: F32
    gradient: F32
    chroma: F32


def _haar_maps(rgb: NDArray[np.uint8]) -> _HaarMaps:
    yiq = rgb.astype(np.float32) @ RGB_TO_YIQ.T
    odd = max(side % 2 for side in rgb.shape[:2])
    yiq = np.pad(yiq, ((0, odd), (0, odd), (0, 0)))
    height, width = (side // 2 for side in yiq.shape[:2])
    half = yiq[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    luma = np.ascontiguousarray(half[..., 0])
    haar = np.empty((2, HAAR_SCALES, height, width), np.float32)
    for scale in range(HAAR_SCALES):
        size = 2 ** (scale + 1)
        step, flat = np.ones(size, np.float32), np.ones(size, np.float32)
        step[size // 2 :] = -1
        anchor, border = (size // 2 - 1, size // 2 - 1), cv2.BORDER_CONSTANT
        for along, (x, y) in enumerate(((flat, step), (step, flat))):
            response = cv2.sepFilter2D(
                luma, cv2.CV_32F, x / size, y, anchor=anchor, borderType=border)
            haar[along, scale] = np.abs(response)
    padded = np.pad(half[..., 1:], ((0, 1), (0, 1), (0, 0)))
    chroma = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    return _HaarMaps(haar, np.abs(chroma / 4))


def _fsim_maps(rgb: NDArray[np.uint8]) -> _FsimMaps:
    step = max(1, round(min(rgb.shape[:2]) / 256))
    height, width = (side // step for side in rgb.shape[:2])
    cells = rgb[: height * step, : width * step].reshape(height, step, width, step, 3)
    yiq = cells.mean(axis=(1, 3), dtype=np.float32) @ RGB_TO_YIQ.T
    luma = np.ascontiguousarray(yiq[..., 0])
    border = cv2.BORDER_CONSTANT
    dx = cv2.filter2D(luma, cv2.CV_32F, SCHARR, borderType=border)
    dy = cv2.filter2D(luma, cv2.CV_32F, np.ascontiguousarray(SCHARR.T), borderType=border)
    return _FsimMaps(_phase_congruency(luma), np.hypot(dx, dy), yiq[..., 1:])


def _phase_congruency(luma: F32) -> F32:
    """Return (h, w): how far the waves at a pixel agree in phase, 0 where there is but noise."""
    bank = _filters(*luma.shape)
    # Real and imaginary part: the answers of even and odd filters.
    waves = fft.ifft2(fft.fft2(luma) * bank.filters)
    size = np.abs(waves)
    mean = waves.sum(axis=1, keepdims=True)
    mean /= np.abs(mean) + TINY
    turned = waves * mean.conj()
    energy = (turned.real - np.abs(turned.imag)).sum(axis=1)
    # The finest scale is mostly noise; its median tells how much.
    noise = np.median(size[:, 0].reshape(ORIENTATIONS, -1) ** 2, axis=1) / math.log(2)
    tau = np.sqrt(noise * bank.noise_gain)
    limit = tau * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2))
    energy = np.maximum(energy - (limit / NOISE_DIVISOR)[:, None, None], 0)
    return np.asarray(
        (energy.sum(axis=0) + TINY) / (size.sum(axis=(0, 1)) + TINY), np.float32)


class _Bank(NamedTuple):
    """
    Log-Gabor filters of a size.

    :param filters: (orientations, scales, h, w) float32, in the order of the FFT.
    :param noise_gain: (orientations,), half the energy of all scales per power of the finest.
    """

    filters: F32
    noise_gain: F32


@cache
def _filters(height: int, width: int) -> _Bank:
    y, x = fft.fftfreq(height)[:, None], fft.fftfreq(width)[None]
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    radius[0, 0] = 1.0
    low_pass = 1.0 / (1.0 + (radius / LOW_PASS_CUT) ** (2 * LOW_PASS_ORDER))
    waves = SHORTEST_WAVE_PX * OCTAVE ** np.arange(SCALES)[:, None, None]
    radial = np.exp(-np.log(radius * waves) ** 2 / (2 * math.log(RADIAL_SIGMA) ** 2)) * low_pass
    radial[:, 0, 0] = 0.0
    directions = np.arange(ORIENTATIONS)[:, None, None] * math.pi / ORIENTATIONS
    apart = np.abs(np.angle(np.exp(1j * (angle - directions))))
    sigma = math.pi / (ORIENTATIONS * ANGLE_RATIO)
    filters = np.exp(-apart**2 / (2 * sigma**2))[:, None] * radial
    kernels = fft.ifft2(filters).real * math.sqrt(height * width)
    # Of each scale with itself once, of each pair of scales twice.
    energy = (kernels.sum(axis=1) ** 2).sum(axis=(1, 2))
    finest = (filters[:, 0] ** 2).sum(axis=(1, 2))
    return _Bank(filters.astype(np.float32), (energy / finest).astype(np.float32))


def _similarity(a: F32, b: F32, constant: float) -> F32:
    return np.asarray((2 * a * b + constant) / (a * a + b * b + constant), np.float32)


def _sigmoid(x: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-HAAR_ALPHA * x)), np.float32)
