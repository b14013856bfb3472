"""The one place that turns the name of a session, a world and a resolution into a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING

import numpy as np

from inspatio_star.contract import F64, CameraPath
from inspatio_star.errors import SessionError
from inspatio_star.memory import keep_freed_memory
from inspatio_star.session import Session
from inspatio_star.world import World, load, size_from_text, world_path

if TYPE_CHECKING:
    import torch

    from inspatio_star.nano_session import Cache
    from inspatio_star.presets import Preset

log = logging.getLogger(__name__)

KINDS = ('warp', 'star', 'fake')
DECODERS = ('vae', 'taehv')
DTYPES = ('auto', 'float32', 'bfloat16')
CACHES = ('on', 'fills', 'off')


@dataclass(frozen=True)
class StarOptions:
    """
    How a star session computes.

    :param decoder: latents to pictures: ``vae``, or ``taehv``, which is faster and not the same.
    :param device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto``: cuda where it is, else cpu.
    :param dtype: ``float32`` or ``bfloat16``; ``auto``: bfloat16 on cuda, float32 on a cpu.
    :param compile: whether torch compiles transformer and decoder, which takes minutes at first.
    :param cache: ``on``; of ``star-nano`` also ``fills`` and ``off``, only to measure what it is
        worth: see :class:`~inspatio_star.nano_session.NanoSession`.
    :param weights: file of a ``star-nano`` of one's own; empty for the one that comes with this.
    :raises SessionError: if a value is none of these.
    """

    decoder: str = 'vae'
    device: str = 'auto'
    dtype: str = 'auto'
    compile: bool = False
    cache: Cache = 'on'
    weights: str = ''

    def __post_init__(self) -> None:
        for name, value, known in (
            ('decoder', self.decoder, DECODERS),
            ('dtype', self.dtype, DTYPES),
            ('cache', self.cache, CACHES),
        ):
            if value not in known:
                raise SessionError(f'{name}: wanted one of {", ".join(known)}, got {value!r}')
        if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device):
            raise SessionError(f'device: wanted auto, cpu, cuda or cuda:N, got {self.device!r}')


DEFAULTS = StarOptions()


def open_session(
    kind: str, world: str | None, resolution: str = 'native', K: F64 | None = None,
    preset: str = 'star-nano', options: StarOptions = DEFAULTS,
    told: Callable[[str], None] = lambda _: None,
) -> Session:
    """
    Return a new session.

    :param kind: ``warp``, ``star`` or ``fake``.
    :param world: path or name of a world; a fake session shows nothing of it, and takes any name,
        yet a path must lead to a world.
    :param resolution: ``native`` or ``HxW``.
    :param K: (3, 3) intrinsics of the pictures, pixels; None for the world's.
    :param preset: of a star session: the model. One without public weights gets random ones.
    :param options: of a star session.
    :param told: hears what is being done, in words.
    :raises SessionError: if the kind is unknown, or wants a world and has none; if this machine
        has not the device that is wanted, or no compiler.
    :raises WorldError: if the world or the resolution is unusable.
    :raises PresetError: if the preset is unknown.
    :raises CheckpointError: if its weights are missing or do not fit.
    """
    size = size_from_text(resolution)
    if kind == 'fake':
        from inspatio_star.fake import FakeSession

        if world is not None and os.sep in world:
            told('reading the world')
            load(world_path(world))
        return FakeSession(*size, K=K) if size else FakeSession(K=K)
    if kind not in KINDS:
        raise SessionError(f'session: wanted one of {", ".join(KINDS)}, got {kind!r}')
    if world is None:
        raise SessionError(f'{kind} session: wanted a world, got none')
    height, width = size or (None, None)
    told('reading the world')
    opened = load(world_path(world))
    if kind == 'star':
        from inspatio_star.presets import preset_named

        sizes = preset_named(preset)
        if sizes.nano is not None:
            keep_freed_memory()
            return _open_nano(opened, height, width, K, sizes, options, told)
        if K is not None:
            raise SessionError(
                f'star session, {preset}: wanted the intrinsics of the world, got others')
        if options.weights or options.cache != 'on':
            raise SessionError(
                f'star session, {preset}: wanted the weights of the preset, and the cache on, '
                f'got weights {options.weights!r} and cache {options.cache}')
        return _open_star(opened, height, width, sizes, options, told)
    from inspatio_star.warp_session import WarpSession

    told('preparing the warp')
    keep_freed_memory()
    return WarpSession(opened, height, width, K)


def _open_star(
    world: World, height: int | None, width: int | None, sizes: Preset, options: StarOptions,
    told: Callable[[str], None],
) -> Session:
    from dataclasses import replace

    from inspatio_star.local import (
        StarSession,
        load_model,
        prompt_rows,
        random_model,
        require_compiler,
    )
    from inspatio_star.weights import default_folder

    device, dtype = place(options)
    log.info(
        'star session: preset %s, decoder %s, %s on %s%s', sizes.name, options.decoder,
        str(dtype).removeprefix('torch.'), device, ', compiled' if options.compile else '',
    )
    if options.compile:
        require_compiler(device)
    told(f'loading the weights of {sizes.name}')
    if sizes.files:
        model = load_model(sizes, default_folder(), options.decoder, device, dtype)
        text = prompt_rows(world.prompt, sizes)
    else:
        log.warning('preset %s has no trained weights: its pictures are noise', sizes.name)
        model = random_model(sizes, decoder=options.decoder, device=device, dtype=dtype)
        text = None
    model = replace(model, compiled=options.compile)
    session = StarSession(world, model, height, width, text)
    if options.compile:
        log.info('compiling: this takes minutes')
        told('compiling the model, which takes minutes')
        _rehearse(session)
    return session


def _open_nano(
    world: World, height: int | None, width: int | None, K: F64 | None, sizes: Preset,
    options: StarOptions, told: Callable[[str], None],
) -> Session:
    from inspatio_star.nano_session import NanoSession, load_nano
    from inspatio_star.weights import trained_file

    if options.compile:
        raise SessionError(f'compile: wanted false for preset {sizes.name}, got true')
    device, dtype = place(options)
    path = Path(options.weights) if options.weights else trained_file(sizes)
    log.info('star session: preset %s, %s on %s, weights %s', sizes.name,
             str(dtype).removeprefix('torch.'), device, path)
    told(f'loading the weights of {sizes.name}')
    session = NanoSession(world, load_nano(path, device, dtype), height, width, K,
                          cache=options.cache)
    told('making two chunks, to warm up')
    _rehearse(session)
    return session


def place(options: StarOptions) -> tuple[torch.device, torch.dtype]:
    """
    Choose device and dtype of a star session, with what ``auto`` means on this machine.

    :raises SessionError: if it has not the device.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = ('cuda' if count else 'cpu') if options.device == 'auto' else options.device
    device = torch.device(name)
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise SessionError(f'device: wanted {name}, got {count} CUDA devices')
    dtype = options.dtype
    if dtype == 'auto':
        dtype = 'bfloat16' if device.type == 'cuda' else 'float32'
    return device, {'float32': torch.float32, 'bfloat16': torch.bfloat16}[dtype]


def _rehearse(session: Session) -> None:
    """Make both kinds of chunks once, so that all is compiled before a picture is due."""
    info = session.info
    for count in (info.first_chunk_frames, info.chunk_frames):
        session.step(CameraPath(np.arange(count), np.tile(info.T_world_camera, (count, 1, 1))))
    session.reset()
