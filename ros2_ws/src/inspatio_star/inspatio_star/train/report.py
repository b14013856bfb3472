"""Clips at a glance, and how well a hole fill does on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from inspatio_star.eval.metrics import psnr_db
from inspatio_star.train.clips import open_shard
from inspatio_star.train.v2v import Fill, condition_of

U8 = NDArray[np.uint8]

# Every so many frames are measured, and of those with at least this much unseen.
STRIDE, LEAST_UNSEEN = 4, 0.005


def sheet(shard: Path, rows: int) -> U8:
    """
    Show clips, one a row.

    V2V: source, constraint, its fill and the truth of the frame with the most unseen, and the
    last frame.  T2V: five moments.

    :param shard: of either kind.
    :param rows: how many clips, evenly spread.
    :returns: (h, w, 3) uint8.
    """
    info, arrays = open_shard(shard)
    lines = []
    for k in np.linspace(0, info.count - 1, min(rows, info.count)).astype(int):
        truth = arrays['truth'][k]
        if info.kind == 't2v':
            line = [truth[t] for t in np.linspace(0, info.frames - 1, 5).astype(int)]
        else:
            known = arrays['known'][k]
            t = int(known.mean(axis=(1, 2)).argmin())
            filled = arrays['filled'][k][t]
            line = [arrays['source'][k], filled * known[t][..., None], filled, truth[t], truth[-1]]
        lines.append(np.hstack(line))
    return np.vstack(lines)


def measure(folder: Path, fills: dict[str, Fill]) -> dict[str, object]:
    """
    Measure hole fills against the truth of V2V clips.

    :param folder: of shards.
    :param fills: by name.
    :returns: `unseen`: percentiles 0, 10, 25, 50, 75, 90, 100 over the clips of the largest
        unseen share of a frame; by fill: mean over frames of the PSNR of the whole frame, of
        what is unseen, and of what is known, dB.
    """
    most: list[float] = []
    scores: dict[str, list[tuple[float, ...]]] = {name: [] for name in fills}
    shards = sorted(at.parent for at in folder.glob('*/clips.json'))
    clips = [(arrays, k) for info, arrays in map(open_shard, shards) for k in range(info.count)]
    for arrays, k in track(clips, 'measure'):
        clip = {name: array[k] for name, array in arrays.items()}
        most.append(float(1 - clip['known'].mean(axis=(1, 2)).min()))
        moments = [t for t in range(STRIDE, len(clip['truth']), STRIDE)
                   if 1 - clip['known'][t].mean() >= LEAST_UNSEEN]
        for name, fill in fills.items():
            path_filled, path_known = condition_of(clip, fill)
            for t in moments:
                filled, known, truth = path_filled[t], path_known[t], clip['truth'][t]
                scores[name].append((psnr_db(filled, truth), psnr_db(filled, truth, ~known),
                                     psnr_db(filled, truth, known)))
    result: dict[str, object] = {
        'clips': len(most),
        'unseen': np.percentile(most, (0, 10, 25, 50, 75, 90, 100)).round(3).tolist()}
    for name, rows in scores.items():
        whole, unseen, known = np.mean(rows, axis=0).round(2).tolist()
        result[name] = {'whole_db': whole, 'unseen_db': unseen, 'known_db': known}
    return result
