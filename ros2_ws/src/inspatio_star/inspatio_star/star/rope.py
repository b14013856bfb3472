"""
Rotary positions over time, rows and columns of tokens.

The channels of a head are pairs (2j, 2j + 1); each pair is turned by an angle, the first pairs by
the position in time, the next by the row, the last by the column.
Shapes: B samples, N tokens, H heads, D channels of a head.
"""

import torch
from torch import Tensor

BASE = 10000.0


def rotation(
    head_dim: int, first_frame: int, frames: int, rows: int, columns: int,
    device: torch.device | str = 'cpu',
) -> Tensor:
    """
    Compute the turn of every token and channel pair, in float64.

    :param head_dim: D, even and at least 6.
    :param first_frame: temporal position of the first frame.
    :param frames: how many frames follow each other.
    :param rows: of tokens in a frame.
    :param columns: of tokens in a frame.
    :returns: (N, 1, D/2) complex64 of length 1; tokens by frame, row, column.
    """
    pairs = head_dim // 2
    pairs_space = pairs // 3

    def turns(count: int, first: int, positions: int) -> Tensor:
        speed = BASE ** -(torch.arange(count, dtype=torch.float64) / count)
        at = torch.arange(first, first + positions, dtype=torch.float64)
        return at[:, None] * speed

    time = turns(pairs - 2 * pairs_space, first_frame, frames)
    row = turns(pairs_space, 0, rows)
    column = turns(pairs_space, 0, columns)
    grid = (frames, rows, columns)
    angles = torch.cat([
        time[:, None, None].expand(*grid, -1),
        row[None, :, None].expand(*grid, -1),
        column[None, None].expand(*grid, -1),
    ], -1).reshape(-1, 1, pairs)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64).to(device)


def rotate(x_BNHD: Tensor, rotation_N1d: Tensor) -> Tensor:
    """
    Turn the channel pairs of queries or keys.

    :param x_BNHD: any floating dtype; the result has it too, the product is in float32.
    :param rotation_N1d: from `rotation`, for the same N and D.
    """
    pairs = torch.view_as_complex(x_BNHD.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation_N1d).flatten(-2).to(x_BNHD.dtype)
