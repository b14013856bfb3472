"""
A session in real time on a processor: what is known from geometry, the rest from a small STAR.

The model imagines at a size of its own.  Of a picture, pixels that the reference has seen are the
constraint's at full size, the edges of near things softened; to all others, which are filled at
full size too, comes what the model would have otherwise, enlarged.  Between two chunks the
session remembers the last chunk's latents, and fills as points in space: what has been made up
once stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import cv2
from numba import njit
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
import torch
from torch import Tensor

from inspatio_star.checkpoint import place, read_state, require_weights_file
from inspatio_star.codec.nano import BEGUN, NanoConfig, NanoDecoder, NanoEncoder, mask_latents
from inspatio_star.codec.stream import DecoderState, EncoderState, StreamState
from inspatio_star.contract import F64, Chunk, SessionState, WorldInfo
from inspatio_star.errors import CheckpointError, SessionError
from inspatio_star.filler import Filled, Filler, first_filled
from inspatio_star.nano_dit import dit_of
from inspatio_star.overlap import InParts, Making, Overlap
from inspatio_star.presets import Preset, preset_named
from inspatio_star.progress import Progress, timed
from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.sampler import Sampler, chunk_noise
from inspatio_star.warp import Points, Rule, View, Warper, float_from_rgb_u8
from inspatio_star.world import World, world_at

# What the metadata of our own weights is, and of which version.
SCHEMA = 'inspatio-star-weights/1'
LAST = 'last'
XYZ_M, RGB = 'filled_xyz_m', 'filled_rgb'
# Renders at a time; numba and OpenCV let go of the interpreter.
THREADS = 2
# Of the frames that are filled last, so many are begun while the first ones are filled.
AHEAD = 2

Cache: TypeAlias = Literal['on', 'fills', 'off']
T = TypeVar('T')
S = TypeVar('S', bound=StreamState)


@dataclass(frozen=True)
class NanoModel:
    """
    A generator whose codec is pixels.

    :param dit: the transformer.
    :param sampler: its schedule.
    :param codec: how pixels become latents.
    :param pixels: of a picture, about as many as it was trained on.
    """

    dit: Dit
    sampler: SamplerConfig
    codec: NanoConfig
    pixels: int


def random_nano(
    preset: Preset, seed: int = 0, device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> NanoModel:
    """
    Make a model that nobody has trained.

    :param preset: sizes; one whose codec is pixels.
    :param seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dit = dit_of(preset).requires_grad_(False)
    return _model(preset, dit.to(device, dtype))


def load_nano(
    path: Path, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32
) -> NanoModel:
    """
    Load a model that `inspatio_star.train.export` wrote; its sizes are those that it says.

    :raises CheckpointError: if the file is missing, damaged, or another.
    """
    require_weights_file(path)
    try:
        with safe_open(path, 'pt') as file:
            said = file.metadata() or {}
        if said.get('schema') != SCHEMA:
            raise ValueError(f'schema: wanted {SCHEMA}, got {said.get("schema")!r}')
        sizes = json.loads(said['preset'])
        preset = preset_named(sizes.pop('name'), sizes)
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f'{path}: wanted weights of a preset of ours, got: {error}') from None
    with torch.device('meta'):
        dit = dit_of(preset).requires_grad_(False)
    place(dit, read_state(path), str(path), device=device, dtype=dtype)
    return _model(preset, dit)


def _model(preset: Preset, dit: Dit) -> NanoModel:
    if preset.nano is None:
        raise CheckpointError(f'preset {preset.name}: wanted one whose codec is pixels')
    return NanoModel(dit.eval(), preset.sampler, preset.nano, preset.height * preset.width)


class _Small(NamedTuple):
    """What the model is told of a picture: (h, w, 3) float32 in [-1, 1], and (h, w) shares."""

    rgb: NDArray[np.float32]
    known: NDArray[np.float32]


@dataclass
class _Making(Making):
    views: list[View] = field(init=False)
    guesses: list[Filled] = field(init=False)
    small: list[_Small] = field(init=False)
    pictures: NDArray[np.float32] = field(init=False)


class NanoSession(InParts[_Making]):
    """
    A :class:`~inspatio_star.session.Session` whose unseen pixels a small model makes.

    Each frame is conditioned on the source frame that its path names.  Where the reference has
    seen the surface colour and depth are the constraint's, but that a near thing's edge, which
    covers a pixel in part, mixes with what is behind it; elsewhere the colour is the model's, the
    depth that of the background, which goes on behind what hid it.

    :param world: what to move in.
    :param model: what imagines.
    :param height: rows of the pictures; None, with ``width``, for the world's own size.
    :param width: columns of the pictures.
    :param K: (3, 3) float64 intrinsics of the rendering camera, pixels; None for those of the
        first frame at this size.
    :param rule: of the splat, see :class:`~inspatio_star.warp.Warper`.
    :param cache: ``on``; or, only to measure what it is worth, ``fills``: the model sees neither
        the reference nor the chunk before; or ``off``: nor are fills remembered.
    :param overlap: whether parts of a chunk are made beside those of others, if it is submitted;
        None for where there are more cores than the renders of one chunk keep busy.
    :raises ValueError: if only one of height and width is given, or one is out of range.
    """

    _making = _Making

    def __init__(
        self,
        world: World,
        model: NanoModel,
        height: int | None = None,
        width: int | None = None,
        K: F64 | None = None,
        rule: Rule = 'v1.5',
        cache: Cache = 'on',
        overlap: bool | None = None,
    ) -> None:
        """Scale the world to both sizes, and make ready to render."""
        world, config, codec = world_at(world, height, width), model.dit.config, model.codec
        self._info = world.info(
            'star', 1 + codec.temporal_factor * (config.chunk_frames - 1),
            codec.temporal_factor * config.chunk_frames, K)
        self._progress = Progress(self._info)
        self._frames, self._model = world.frames, model
        self._use_context, self._use_memory = cache == 'on', cache != 'off'
        self._size = model_size(
            world.height, world.width, model.pixels, codec.spatial_factor * config.patch)
        self._fillers = [Filler(Warper(world.height, world.width, self._info.K, rule))
                         for _ in range(THREADS)]
        self._threads = ThreadPoolExecutor(THREADS, 'constraint')
        self._ahead = ThreadPoolExecutor(1, 'ahead')
        self._overlap = Overlap(
            3, len(os.sched_getaffinity(0)) > THREADS if overlap is None else overlap)
        self._views: dict[int, View] = {}
        self._sources: WeakKeyDictionary[View, NDArray[np.float32]] = WeakKeyDictionary()

        weight = model.dit.patch.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._encoder, self._decoder = NanoEncoder(codec), NanoDecoder(codec)
        side = codec.spatial_factor
        self._sampler = Sampler(
            model.dit, model.sampler, self._size[0] // side, self._size[1] // side)
        stream = self._sampler.stream
        self._prompt = stream.prompt(
            torch.zeros(1, 1, config.text_dim, device=self._device, dtype=self._dtype))
        self._cache = stream.new_cache()
        self._last: Tensor | None = None
        self._memory: Points | None = None

    @property
    def info(self) -> WorldInfo:
        """What the pictures will be like."""
        return self._info

    def reset(self, seed: int = 0) -> None:
        """Forget every chunk; noise follows from the seed."""
        self._overlap.settle()
        self._progress.reset(seed)
        self._last = self._memory = None

    def _prepare(self, making: _Making) -> _Making:
        with timed(making.stage_ms, 'warp'):
            making.views = [self._view(number) for number in making.sources]
            making.guesses, memory = self._guesses(making.views, making.path.T_world_camera)
        with timed(making.stage_ms, 'encode'):
            making.small = self._shared(
                lambda _, k: self._small(making.guesses[k]), len(making.path))
        if self._use_memory:
            self._carry_on(making, _memory=memory)
        return making

    @torch.inference_mode()
    def _sample(self, making: _Making) -> _Making:
        with timed(making.stage_ms, 'encode'):
            reference, condition = self._conditions(making)
        with timed(making.stage_ms, 'sample'):
            noise = chunk_noise(
                making.seed, making.chunk, reference.shape, self._device, self._dtype)
            if self._use_context:
                last = self._sampler.chunk(
                    self._cache, self._prompt, noise, reference, self._last, condition)
            else:
                last = self._sampler.chunk(
                    self._cache, self._prompt, noise, condition=condition)
        with timed(making.stage_ms, 'decode'):
            video = self._decoder.decode(
                last.transpose(1, 2), self._codec_state(DecoderState, making.chunk))[0]
            making.pictures = np.ascontiguousarray(video.permute(1, 2, 3, 0).float().cpu().numpy())
        self._carry_on(making, _last=last)
        return making

    def _decode(self, making: _Making) -> Chunk:
        path, guesses, pictures = making.path, making.guesses, making.pictures
        with timed(making.stage_ms, 'decode'):
            rgb = np.empty((len(path), self._info.height, self._info.width, 3), np.uint8)
            self._shared(lambda _, k: _put_together(
                guesses[k].rgb, guesses[k].render.known, pictures[k] - making.small[k].rgb,
                rgb[k]), len(path))
            depth_m = np.stack([guess.depth_m for guess in guesses])
            known = np.stack([guess.render.known for guess in guesses])
        return Chunk(making.chunk, path, rgb, depth_m, known, self._info.K, making.stage_ms)

    def save(self) -> SessionState:
        """Return the last latents, and what has been filled."""
        self._overlap.settle()
        if self._last is None:
            return self._progress.saved()
        arrays = {LAST: np.array(self._last.float().cpu().numpy())}
        if self._memory is not None:
            arrays |= {XYZ_M: self._memory.xyz_m.copy(), RGB: self._memory.rgb.copy()}
        return self._progress.saved(arrays)

    def restore(self, state: SessionState) -> None:
        """Go on from a saved state; see :meth:`~inspatio_star.session.Session.restore`."""
        self._overlap.settle()
        self._progress.require_fit(state)
        wanted: set[str] = set()
        if state.chunk:
            wanted = {LAST, XYZ_M, RGB} if self._use_memory else {LAST}
        if set(state.arrays) != wanted:
            raise SessionError(f'state: wanted arrays {sorted(wanted)} after {state.chunk} '
                               f'chunks, got {sorted(state.arrays)}')
        last = self._last_of(state) if LAST in wanted else None
        memory = _points_of(state) if XYZ_M in wanted else None
        self._progress.restore(state)
        self._last, self._memory = last, memory

    def close(self) -> None:
        """Give back the model and all that is carried; a second call does nothing."""
        if not self._progress.closed:
            self._overlap.settle()
            self._overlap.close()
            self._progress.closed = True
            self._threads.shutdown()
            self._ahead.shutdown()
            self._last = self._memory = None
            self._views.clear()
            del self._model, self._sampler, self._cache, self._prompt
            del self._fillers

    def _shared(self, work: Callable[[int, int], T], count: int) -> list[T]:
        """Return the results of ``work(worker, k)`` for each k; one thread for each worker."""
        results: list[T | None] = [None] * count
        numbers = iter(range(count))

        def part(worker: int) -> None:
            for k in numbers:  # of both workers: each takes the next one
                results[k] = work(worker, k)

        for done in [self._threads.submit(part, worker) for worker in range(THREADS)]:
            done.result()
        return results  # type: ignore[return-value]  # all are there

    def _view(self, index: int) -> View:
        """Return a source frame; of a video only those around it are kept."""
        if index not in self._views:
            frame = self._frames[index]
            self._views = {k: view for k, view in self._views.items() if abs(k - index) <= 1}
            self._views[index] = View(frame.rgb, frame.depth_m, frame.K, frame.T_world_camera)
        return self._views[index]

    def _guesses(
        self, views: Sequence[View], T_world_camera: F64
    ) -> tuple[list[Filled], Points]:
        """
        Render and fill all frames, first those that the others see again.

        :returns: guesses, and the memory after this chunk.
        """
        count, (main, helper) = len(views), self._fillers
        first = first_filled(count)
        others = [k for k in range(count) if k not in first]
        # What needs no memory is begun meanwhile, as much as takes about as long.
        begun = {k: self._ahead.submit(helper.begin, [views[k]], T_world_camera[k])
                 for k in [*first[1:], *others[:AHEAD]]}
        done, memory = dict[int, Filled](), self._memory

        def filled(filler: Filler, k: int) -> Filled:
            """Fill a frame, with what is remembered by now."""
            one = begun[k].result() if k in begun else filler.begin([views[k]], T_world_camera[k])
            return filler.filled(one, memory)

        for k in first:
            done[k] = filled(main, k)
            memory = main.remembered(done[k], T_world_camera[k], memory)
        wait(begun.values())
        done |= zip(others, self._shared(
            lambda worker, n: filled(self._fillers[worker], others[n]), len(others)), strict=True)
        assert memory is not None
        return [done[k] for k in range(count)], memory

    def _small(self, guess: Filled) -> _Small:
        height, width = self._size
        rgb, known = (
            cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            for part in (guess.rgb, guess.render.known.astype(np.float32)))
        return _Small(np.asarray(rgb, np.float32), np.asarray(known, np.float32))

    def _source(self, view: View) -> NDArray[np.float32]:
        """Return a source picture as the model sees it; made once for each."""
        if view not in self._sources:
            height, width = self._size
            self._sources[view] = float_from_rgb_u8(np.asarray(cv2.resize(
                view.rgb, (width, height), interpolation=cv2.INTER_AREA)))
        return self._sources[view]

    def _conditions(self, making: _Making) -> tuple[Tensor, Tensor]:
        """
        Make latents of source and guess, and put the masks before the guess's.

        :returns: reference (1, F, c, h, w) and condition (1, F, mask + c, h, w).
        """
        views, small, continued = making.views, making.small, making.chunk > 0
        both = np.stack([np.stack([self._source(view) for view in views]),
                         np.stack([one.rgb for one in small])])
        video = torch.from_numpy(both).permute(0, 4, 1, 2, 3)
        video = video.to(self._device, self._dtype)
        latents = self._encoder.encode(
            video, self._codec_state(EncoderState, making.chunk, 2)).transpose(1, 2)
        known = torch.from_numpy(np.stack([one.known for one in small]))
        masks = mask_latents(known[None], self._model.codec, continued)
        return latents[:1], torch.cat([masks.to(self._device, self._dtype), latents[1:]], 2)

    def _last_of(self, state: SessionState) -> Tensor:
        config, side = self._model.dit.config, self._model.codec.spatial_factor
        shape = (1, config.chunk_frames, config.latent_channels,
                 self._size[0] // side, self._size[1] // side)
        array = np.array(state.arrays[LAST])
        if array.shape != shape or array.dtype != np.float32:
            raise SessionError(f'state: wanted last latents {shape} float32, '
                               f'got {array.shape} {array.dtype}')
        return torch.from_numpy(array).to(self._device, self._dtype)

    def _codec_state(self, kind: type[S], chunk: int, batch: int = 1) -> S:
        """Return the state of a codec that knows no more than whether it has begun."""
        if chunk == 0:
            return kind()
        return kind({BEGUN: torch.empty(
            batch, 3, 0, *self._size, device=self._device, dtype=self._dtype)})


def _points_of(state: SessionState) -> Points:
    points = Points(np.array(state.arrays[XYZ_M]), np.array(state.arrays[RGB]))
    for name, array in ((XYZ_M, points.xyz_m), (RGB, points.rgb)):
        shape = (len(points.xyz_m), 3)
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise SessionError(f'state: wanted {name} {shape} float32, finite, '
                               f'got {array.shape} {array.dtype}')
    return points


def model_size(height: int, width: int, pixels: int, side: int) -> tuple[int, int]:
    """
    Choose the size at which a model sees pictures: near theirs in shape, tiled by its tokens.

    :param pixels: wanted, about; pictures are never enlarged by more than the tiling needs.
    :param side: of a token, pixels.
    """
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    rows, columns = (max(1, round(length * scale / side)) for length in (height, width))
    return rows * side, columns * side


@njit(nogil=True, cache=True, error_model='numpy')
def _put_together(
    filled: NDArray[np.float32], known: NDArray[np.bool_], change: NDArray[np.float32],
    out: NDArray[np.uint8],
) -> None:
    """
    Write a picture: what is known as it is, the rest with the model's change, bilinear.

    :param filled: (H, W, 3) in [-1, 1].
    :param known: (H, W).
    :param change: (h, w, 3), of a smaller picture of the same view.
    :param out: (H, W, 3); colours become bytes as in :meth:`~inspatio_star.warp.Warper.render`.
    """
    height, width = known.shape
    rows, columns = change.shape[:2]
    one, full = np.float32(1), np.float32(127.5)
    for v in range(height):
        y = min(max((v + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        y0 = int(y)
        y1, b = min(y0 + 1, rows - 1), np.float32(y - y0)
        for u in range(width):
            if known[v, u]:
                for c in range(3):
                    out[v, u, c] = np.uint8((filled[v, u, c] + one) * full)
                continue
            x = min(max((u + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            x0 = int(x)
            x1, a = min(x0 + 1, columns - 1), np.float32(x - x0)
            for c in range(3):
                top = change[y0, x0, c] * (one - a) + change[y0, x1, c] * a
                low = change[y1, x0, c] * (one - a) + change[y1, x1, c] * a
                colour = filled[v, u, c] + top * (one - b) + low * b
                colour = min(max(colour, -one), one)
                out[v, u, c] = np.uint8((colour + one) * full)
