"""
The evaluation: every session plays every take, and what it made is measured.

Knows no kind of session: who calls it says how one is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio_star.eval.consistency import consistency
from inspatio_star.eval.control import ControlError, control_errors
from inspatio_star.eval.quality import MEASURES, Measure, Quality, Row, mean, mean_row, median
from inspatio_star.eval.rollout import FILL, INPAINTERS, Rollout, filled, rollout
from inspatio_star.eval.takes import EvalError, Take
from inspatio_star.session import Session
from inspatio_star.world import World, world_at

U8 = NDArray[np.uint8]
# World, height and width to a new session.
Opener: TypeAlias = Callable[[World, int, int], Session]

# The pictures of geometry alone, whose holes are black.
CONSTRAINT = 'constraint'
CLASSICAL = (*INPAINTERS, FILL)
# So many takes of a group are shown in pictures, and so many frames of each.
SHOWN_TAKES, SHOWN_FRAMES = 6, 2
# An error of this much, of 255, is drawn in the hottest colour.
HOT = 96


@dataclass(frozen=True, eq=False)
class Settings:
    """
    How to evaluate.

    :param size: height and width of all pictures; None for those of each world.
    :param seed: of the sessions.
    :param every: measures of whole pictures are taken from every so many frames, and the last.
    :param measures: those measures by name.
    :raises EvalError: if a number is out of range.
    """

    size: tuple[int, int] | None = None
    seed: int = 0
    every: int = 8
    measures: Mapping[str, Measure] = field(default_factory=lambda: MEASURES)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, least in (('seed', 0), ('every', 1)):
            if getattr(self, name) < least:
                raise EvalError(f'{name}: wanted at least {least}, got {getattr(self, name)}')


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures of one frame of a take, side by side: what each is, and its pixels."""

    take: str
    frame: int
    cells: Mapping[str, U8]


@dataclass(eq=False)
class TakeResult:
    """
    What was measured of one take.

    :param quality: by the kind of pictures.
    :param itself: consistency, by session.
    :param control: errors of the camera, by session.
    """

    name: str
    group: str
    frames: int
    unseen_share: float
    quality: dict[str, Quality] = field(default_factory=dict)
    itself: dict[str, Row] = field(default_factory=dict)
    control: dict[str, list[ControlError | None]] = field(default_factory=dict)
    ms_per_frame: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


def evaluate(
    takes: Sequence[Take], reference: Opener, sessions: Mapping[str, Opener], settings: Settings,
    on_frames: Callable[[int], None] = lambda count: None,
) -> list[TakeResult]:
    """
    Play and measure.

    :param takes: those of one world should lie together, so that a session plays on.
    :param reference: opens geometry alone: its masks say what has been seen, its pictures are
        what the classical in-painters fill.
    :param sessions: what is to be measured, by name.
    :param on_frames: called now and then with the number of frames that are done; a take of n
        frames counts n for each session, and n for the reference.
    :raises EvalError: if there is nothing to do, a name is taken, or a session has another size.
    """
    taken = {CONSTRAINT, *CLASSICAL} & set(sessions)
    if not takes or not sessions or taken:
        raise EvalError(
            f'evaluation: wanted takes and sessions with names of their own, got {len(takes)} '
            f'takes and {", ".join(sessions) or "no session"}')
    results: list[TakeResult] = []
    with _Stage(reference) as geometry:
        stages = {name: _Stage(opener) for name, opener in sessions.items()}
        try:
            for take in takes:
                shown = sum(result.group == take.group for result in results) < SHOWN_TAKES
                results.append(_measured(take, geometry, stages, settings, shown, on_frames))
        finally:
            for stage in stages.values():
                stage.close()
    return results


def summary(results: Sequence[TakeResult]) -> dict[str, Any]:
    """
    Return the means of each group of takes, fit for JSON.

    ``margin`` is a session's mean less that of the better of OpenCV's in-painters, measure by
    measure.
    """
    groups: dict[str, Any] = {}
    for group in dict.fromkeys(result.group for result in results):
        own = [result for result in results if result.group == group]
        names, sessions = own[0].quality, own[0].itself
        quality = {
            name: mean_row(result.quality[name].row for result in own) for name in names
        }
        groups[group] = {
            'takes': len(own),
            'unseen_share': mean(result.unseen_share for result in own),
            'quality': quality,
            'psnr_db_of_chunk': {
                name: [
                    mean(result.quality[name].psnr_db_of_chunk[chunk] for result in own)
                    for chunk in own[0].quality[name].psnr_db_of_chunk
                ]
                for name in names
            },
            'margin': {
                name: _margin(quality[name], [quality[how] for how in INPAINTERS])
                for name in sessions if name != CONSTRAINT
            },
            'itself': {
                name: mean_row(result.itself[name] for result in own) for name in sessions
            },
            'control': {
                name: control_row([error for result in own for error in result.control[name]])
                for name in sessions
            },
            'ms_per_frame': {
                name: mean(result.ms_per_frame[name] for result in own) for name in sessions
            },
        }
    return groups


def control_row(errors: Sequence[ControlError | None]) -> Row:
    """Return the medians of errors of the camera, and in how many pictures it was found."""
    found = [error for error in errors if error is not None]
    return {
        'rotation_deg': median(error.rotation_deg for error in found),
        'direction_deg': median(error.direction_deg for error in found),
        'found_share': len(found) / len(errors) if errors else None,
    }


class _Stage:
    """The session of the world that is played, opened when the world changes."""

    def __init__(self, opener: Opener) -> None:
        self._open = opener
        self._world: World | None = None
        self._session: Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def play(
        self, take: Take, settings: Settings, on_frames: Callable[[int], None]
    ) -> Rollout:
        height, width = settings.size or (take.world.height, take.world.width)
        if self._session is None or self._world is not take.world:
            self.close()
            self._session, self._world = self._open(take.world, height, width), take.world
        info = self._session.info
        if (info.height, info.width) != (height, width):
            raise EvalError(
                f'session {info.session}: wanted pictures of {height}x{width}, got '
                f'{info.height}x{info.width}')
        return rollout(self._session, take.path, settings.seed, on_frames)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = self._world = None


def _measured(
    take: Take, geometry: _Stage, stages: Mapping[str, _Stage], settings: Settings,
    is_shown: bool, on_frames: Callable[[int], None],
) -> TakeResult:
    made = {CONSTRAINT: geometry.play(take, settings, lambda count: None)}
    known = made[CONSTRAINT].known
    height, width = known.shape[1:]
    on_frames(len(take.path))
    for name, stage in stages.items():
        made[name] = stage.play(take, settings, on_frames)
    last = max(take.truth)
    at = [int(frame) for frame in take.truth]
    chosen = {at[round(k * (len(at) - 1) / SHOWN_FRAMES)] for k in range(1, SHOWN_FRAMES + 1)}
    result = TakeResult(take.name, take.group, len(take.path), float(1 - known[at].mean()))
    names = [CONSTRAINT, *CLASSICAL, *stages]
    result.quality = {name: Quality(settings.measures) for name in names}
    for frame in at:
        truth = take.truth_at(frame, height, width)
        pictures = {CONSTRAINT: made[CONSTRAINT].rgb[frame]}
        pictures |= {how: filled(made[CONSTRAINT], frame, how) for how in CLASSICAL}
        pictures |= {name: made[name].rgb[frame] for name in stages}
        columns = slice(truth.shape[1])
        for name, rgb in pictures.items():
            result.quality[name].add(
                frame, np.ascontiguousarray(rgb[:, columns]), truth, known[frame][:, columns],
                frame % settings.every == 0 or frame == last)
        if is_shown and frame in chosen:
            result.samples.append(_sample(take, frame, pictures, truth, (height, width)))
    for name, played in made.items():
        result.itself[name] = consistency(played, known)
        result.control[name] = control_errors(played)
        result.ms_per_frame[name] = played.ms_per_frame
    return result


def _sample(
    take: Take, frame: int, pictures: Mapping[str, U8], truth: U8, size: tuple[int, int]
) -> Sample:
    """Put the source before the pictures, and the truth and maps of errors behind them."""
    source = world_at(take.world, *size).frames[0].rgb
    cells = {'source': source, **pictures, 'truth': truth}
    for name in list(pictures)[1:]:
        cells[f'error of {name}'] = _error_map(pictures[name][:, : truth.shape[1]], truth)
    return Sample(take.name, frame, cells)


def _error_map(rgb: U8, truth: U8) -> U8:
    """Return the mean absolute error of a pixel in colour: black none, white ``HOT`` or more."""
    error = np.abs(rgb.astype(np.int16) - truth).mean(axis=2)
    level = np.clip(error * (255.0 / HOT), 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_HOT)
    return np.ascontiguousarray(bgr[..., ::-1])


def _margin(ours: Row, theirs: Sequence[Row]) -> Row:
    """Return ours less the best of theirs."""
    margin: Row = {}
    for name, value in ours.items():
        others = [row[name] for row in theirs]
        best = [other for other in others if other is not None]
        less_is_more = name == 'lpips'
        if value is None or not best:
            margin[name] = None
        else:
            margin[name] = value - (min(best) if less_is_more else max(best))
    return margin
