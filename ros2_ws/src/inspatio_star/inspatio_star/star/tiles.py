"""
The tile unit of the processor (AMX): `tiles.cpp`, compiled where it is first used.

The library is kept in the user's cache and made anew when its source or the compiler changes.
"""

from __future__ import annotations

import ctypes
from functools import cache
import hashlib
import logging
import os
from pathlib import Path
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inspatio_star.star.products import Norm

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name('tiles.cpp')
FLAGS = ('-O3', '-std=c++17', '-march=sapphirerapids', '-fopenmp', '-shared', '-fPIC')
# What the kernel calls the unit and the vectors that are needed beside it.
NEEDED = {'amx_tile', 'amx_bf16', 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512_bf16'}
COMPILE_TIMEOUT_S = 120.0
ENDS = {'store': 0, 'gelu': 1, 'add': 2}

End = Literal['store', 'gelu', 'add']


class Tiles:
    """
    The compiled products; every tensor is float32 on the CPU, its last dimension packed.

    :param library: from `load_tiles`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def pack(self, weight_NK: Tensor) -> Tensor:
        """Return a matrix in the form in which `linear` takes it, bfloat16 parts by block."""
        weight_NK = weight_NK.detach()
        _require(weight_NK)
        rows, inner = weight_NK.shape
        size = self._library.tiles_packed(_long(rows), _long(inner))
        packed = torch.empty(size, dtype=torch.bfloat16)
        self._library.tiles_pack(_at(weight_NK), _long(rows), _long(inner),
                                 _long(weight_NK.stride(0)), _at(packed))
        return packed

    def linear(
        self, x: Tensor, packed: Tensor, bias_N: Tensor | None, y: Tensor, end: End,
        gate_N: Tensor | None = None, norm: Norm | None = None,
    ) -> None:
        """
        Write, or add, x times a packed matrix.

        :param x: (..., K); its leading dimensions must be one in memory.
        :param y: (..., N), likewise.
        :param gate_N: what is added is multiplied by it.
        """
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        scale, shift, eps = (None, None, 0.0) if norm is None else norm
        for tensor in (x, y, bias_N, gate_N, scale, shift):
            _require(tensor)
        self._library.tiles_linear(
            _at(x), _long(len(x)), _long(x.shape[1]), _long(x.stride(0)), _at(packed),
            _at(bias_N), _long(y.shape[1]), _at(y), _long(y.stride(0)),
            ctypes.c_int(ENDS[end]), _at(gate_N), _at(scale), _at(shift), ctypes.c_float(eps))

    def attention(
        self, q_NHD: Tensor, k_SHD: Tensor, v_SHD: Tensor, bias_S: Tensor | None, out_NHD: Tensor
    ) -> None:
        """Write softmax(q k^T / sqrt(D) + bias) v; keys and values have the same strides."""
        for tensor in (q_NHD, k_SHD, v_SHD, bias_S, out_NHD):
            _require(tensor)
        if k_SHD.stride() != v_SHD.stride():
            raise ValueError('values: wanted the strides of the keys, '
                             f'{k_SHD.stride()}, got {v_SHD.stride()}')
        tokens, heads, channels = q_NHD.shape
        self._library.tiles_attention(
            _at(q_NHD), *map(_long, q_NHD.stride()[:2]), _at(k_SHD), _at(v_SHD),
            *map(_long, k_SHD.stride()[:2]), _at(bias_S), _at(out_NHD),
            *map(_long, out_NHD.stride()[:2]), _long(tokens), _long(len(k_SHD)), _long(heads),
            _long(channels))

    def place(
        self, x_NW: Tensor, out_NHD: Tensor, weight_W: Tensor | None, eps: float,
        turn_N1d: Tensor | None,
    ) -> None:
        """Write heads, normalised and turned: see `Products.place`."""
        turn = None if turn_N1d is None else torch.view_as_real(turn_N1d)
        for tensor in (x_NW, out_NHD, weight_W, turn):
            _require(tensor)
        tokens, heads, channels = out_NHD.shape
        self._library.tiles_place(
            _at(x_NW), _long(tokens), _long(x_NW.stride(0)), _at(weight_W), ctypes.c_float(eps),
            _at(turn), _at(out_NHD), *map(_long, out_NHD.stride()[:2]), _long(heads),
            _long(channels))


@cache
def load_tiles() -> Tiles | None:
    """Return the products on the tile unit; None, and a line in the log, where there is none."""
    missing = NEEDED - _processor_flags()
    if missing:
        log.info('no tile unit: the processor lacks %s; torch makes all products',
                 ', '.join(sorted(missing)))
        return None
    try:
        # Its threads are those of torch, whose OpenMP library is loaded already.
        library = ctypes.CDLL(str(_compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, 'stderr', None) or str(error)
        log.warning('the tile unit is not used, torch makes all products: %s',
                    said.strip().splitlines()[0] if said.strip() else type(error).__name__)
        return None
    library.tiles_packed.restype = ctypes.c_int64
    if not library.tiles_start():
        log.warning('the tile unit is not used, torch makes all products: '
                    'the kernel does not let this process use it')
        return None
    return Tiles(library)


def _processor_flags() -> set[str]:
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith('flags'))
    return set(next(lines, '').split())


def _compiled() -> Path:
    """
    Return the library, made if it is not there.

    :raises OSError: if there is no compiler, or the cache cannot be written.
    :raises subprocess.SubprocessError: if the compiler fails.
    """
    name = os.environ.get('CXX') or 'c++'
    compiler = shutil.which(name)
    if compiler is None:
        raise FileNotFoundError(f'wanted a C++ compiler, got none named {name}')
    version = subprocess.run([compiler, '--version'], check=True, capture_output=True, text=True,
                             timeout=COMPILE_TIMEOUT_S).stdout
    key = hashlib.sha256('\n'.join((version, *FLAGS, SOURCE.read_text())).encode()).hexdigest()
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'inspatio_star'
    library = folder / f'tiles-{key[:16]}.so'
    if not library.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = Path(place) / library.name
            subprocess.run([compiler, *FLAGS, '-o', made, SOURCE], check=True,
                           capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
            made.replace(library)
    return library


def _require(tensor: Tensor | None) -> None:
    """
    Refuse what the compiled code cannot read.

    :raises ValueError: if it is not float32 on the CPU with a packed last dimension.
    """
    if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != 'cpu'
                               or tensor.stride(-1) != 1):
        raise ValueError('tiles: wanted float32 on the CPU with a packed last dimension, '
                         f'got {tensor.dtype} on {tensor.device} with strides {tensor.stride()}')


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _long(value: int) -> ctypes.c_int64:
    return ctypes.c_int64(value)
