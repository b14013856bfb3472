"""How near pictures are to the truth: measures of single frames, and what is said of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inspatio_star.eval.metrics import SquaredError, ssim
from inspatio_star.eval.perceptual import fsim, haarpsi
from inspatio_star.eval.takes import CHUNK, FIRST_CHUNK

U8 = NDArray[np.uint8]
Measure: TypeAlias = Callable[[U8, U8], float]
Row: TypeAlias = dict[str, float | None]

MEASURES: Mapping[str, Measure] = {'ssim': ssim, 'haarpsi': haarpsi, 'fsim': fsim}


@dataclass
class Quality:
    """
    What is known of one kind of pictures of a take.

    Squared errors are pooled over all frames; other measures are means over frames.

    :param measures: of whole pictures, by name.
    """

    measures: Mapping[str, Measure] = field(default_factory=lambda: MEASURES)
    psnr_db_of_frame: dict[int, float | None] = field(default_factory=dict)
    _whole: SquaredError = field(default_factory=SquaredError)
    _known: SquaredError = field(default_factory=SquaredError)
    _unseen: SquaredError = field(default_factory=SquaredError)
    _chunks: dict[int, SquaredError] = field(default_factory=dict)
    _values: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self, frame: int, rgb: U8, truth: U8, known: NDArray[np.bool_], with_measures: bool
    ) -> None:
        """
        Take in a frame.

        :param frame: its number in the path.
        :param rgb: (H, W, 3) uint8.
        :param truth: likewise.
        :param known: (H, W) bool, what the reference has seen.
        :param with_measures: or else squared errors alone, which are cheap.
        """
        chunk = 0 if frame < FIRST_CHUNK else 1 + (frame - FIRST_CHUNK) // CHUNK
        here = SquaredError()
        for pool, where in ((self._known, known), (self._unseen, ~known)):
            part = SquaredError()
            part.add(rgb, truth, where)
            for wider in (pool, here, self._whole, self._chunks.setdefault(chunk, SquaredError())):
                wider.take_in(part)
        self.psnr_db_of_frame[frame] = here.psnr_db
        if with_measures:
            for name, measure in self.measures.items():
                self._values.setdefault(name, []).append(measure(rgb, truth))

    @property
    def row(self) -> Row:
        """Return every number by its name; None where no pixel counts."""
        return {
            'psnr_db': self._whole.psnr_db,
            'psnr_known_db': self._known.psnr_db,
            'psnr_unseen_db': self._unseen.psnr_db,
            **{name: mean(self._values.get(name, ())) for name in self.measures},
        }

    @property
    def psnr_db_of_chunk(self) -> dict[int, float | None]:
        """Return the drift: PSNR over chunks of 9, then 12 frames, whoever made them."""
        return {chunk: error.psnr_db for chunk, error in self._chunks.items()}


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers, None if there is none."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of the numbers, None if there is none."""
    numbers = [value for value in values if value is not None]
    return float(np.median(numbers)) if numbers else None


def mean_row(rows: Iterable[Row]) -> Row:
    """Return the mean of each number of rows that have the same names."""
    rows = list(rows)
    return {name: mean(row[name] for row in rows) for name in rows[0]}
