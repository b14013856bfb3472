"""What a tensor must be at the edge of the model, said in one error if it is not."""

import torch
from torch import Tensor


def require(
    name: str, tensor: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype | None = None
) -> None:
    """
    Refuse a tensor of another shape or dtype.

    :param name: what the caller calls it.
    :param shape: wanted sizes; None where any will do.
    :param dtype: wanted dtype; None where any floating one will do.
    :raises ValueError: saying what was wanted and what came.
    """
    fits = len(shape) == tensor.ndim and all(
        want in (None, got) for want, got in zip(shape, tensor.shape, strict=True))
    if not fits:
        sizes = ', '.join('any' if size is None else str(size) for size in shape)
        raise ValueError(f'{name}: wanted the shape ({sizes}), got {tuple(tensor.shape)}')
    if dtype is not None and tensor.dtype != dtype:
        raise ValueError(f'{name}: wanted {dtype}, got {tensor.dtype}')
    if dtype is None and not tensor.is_floating_point():
        raise ValueError(f'{name}: wanted a floating dtype, got {tensor.dtype}')
