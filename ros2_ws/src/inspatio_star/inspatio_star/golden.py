"""Golden vectors and one comparison with them: the words that all parity checks share."""

from collections.abc import Callable, Iterator
import math
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Vectors: TypeAlias = dict[str, Array]


class Comparison(NamedTuple):
    """
    One golden vector against one path of ours.

    :param vector: its name in the golden file.
    :param path: which code of ours, e.g. 'numba' or 'torch'.
    :param difference: largest absolute difference; masks and integers count 1 per step.
        None where there is nothing to hold against the bar; the note says why.
    :param note: what else a reader should know.
    """

    vector: str
    path: str
    difference: float | None
    note: str = ''


Check: TypeAlias = Callable[[Vectors, Path], Iterator[Comparison]]


def largest_difference(ours: Array, golden: Array) -> float:
    """Return the largest absolute difference; infinity if the shapes differ or one is NaN."""
    if ours.shape != golden.shape:
        return math.inf
    difference = np.abs(ours.astype(np.float64) - golden.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else math.inf


def compare(vectors: Vectors, name: str, path: str, ours: Array, note: str = '') -> Comparison:
    """Compare one array of ours, made by `path`, with the golden vector of that name."""
    return Comparison(name, path, largest_difference(ours, vectors[name]), note)
