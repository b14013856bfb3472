"""
The explicit spatial constraint in plain torch: what `warp` computes, written to be read.

Batched, on a CPU or a GPU; legend: B frames, N = H * W source pixels, h and w the target's size.
Knows nothing about numba.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from inspatio_star.warp import (
    FAR_M,
    L_MIN,
    SHARPNESS,
    V1_DEPTH_RANGE_M,
    Z_MIN_M,
    Rule,
    require_rule,
)


class TorchRender(NamedTuple):
    """
    What cameras see of one picture each.

    :param rgb_B3hw: (B, 3, h, w) float32 in [-1, 1], -1 in holes.
    :param depth_m_Bhw: (B, h, w) float32, metres along optical z, NaN in holes.
    :param known_Bhw: (B, h, w) bool, True where at least one point landed.
    """

    rgb_B3hw: Tensor
    depth_m_Bhw: Tensor
    known_Bhw: Tensor


def forward_warp(
    rgb_B3HW: Tensor, depth_m_BHW: Tensor, inv_K_B33: Tensor, K_B33: Tensor,
    T_target_source_B44: Tensor, shape: tuple[int, int] | None = None, rule: Rule = 'v1.5',
    l_max: float | None = None,
) -> TorchRender:
    """
    Splat pictures into other cameras.

    :param rgb_B3HW: (B, 3, H, W) float32 in [-1, 1].
    :param depth_m_BHW: (B, H, W) float32, metres along optical z; NaN, infinite or <= 0 unknown.
    :param inv_K_B33: (B, 3, 3) float32, inverse of the sources' intrinsics.
    :param K_B33: (B, 3, 3) float32, intrinsics of the targets, pixels, centres at integers.
    :param T_target_source_B44: (B, 4, 4) float32; p_target = T_target_source @ p_source.
    :param shape: rows and columns of the target; None for those of the source.
    :param rule: 'v1': depth clipped, visible where z >= 0, weights scaled by the batch's largest
        log depth. 'v1.5': visible where z > 0, weights scaled frame by frame.
    :param l_max: what log(1 + z) is divided by in the depth weight, instead of those.
    :returns: colours, depth and mask of the targets.
    :raises ValueError: if a shape, a dtype or the rule differs from the above.

    Source: STAR's explicit spatial constraint. Deviation: a point without a known depth, with
    z == 0 or without a finite pixel is dropped, where the public v1 code is undefined. Sums over
    a GPU's threads have no fixed order, so the last bits may differ from run to run there.
    """
    require_rule(rule)
    B, _, H, W = _checked(rgb_B3HW, 'rgb', (None, 3, None, None)).shape
    _checked(depth_m_BHW, 'depth_m', (B, H, W))
    _checked(inv_K_B33, 'inv_K', (B, 3, 3))
    _checked(K_B33, 'K', (B, 3, 3))
    _checked(T_target_source_B44, 'T_target_source', (B, 4, 4))
    h, w = shape or (H, W)

    # Every source pixel as a point in front of the target camera, and where that one sees it.
    v_HW, u_HW = torch.meshgrid(
        torch.arange(H, dtype=torch.float32, device=rgb_B3HW.device),
        torch.arange(W, dtype=torch.float32, device=rgb_B3HW.device), indexing='ij')
    has_depth_BHW = torch.isfinite(depth_m_BHW) & (depth_m_BHW > 0)
    if rule == 'v1':
        depth_m_BHW = depth_m_BHW.clamp(*V1_DEPTH_RANGE_M)
    d_BN = torch.where(has_depth_BHW, depth_m_BHW, 0.0).reshape(B, -1)
    one = torch.ones(())
    rays_BN = _product(inv_K_B33, (u_HW.reshape(1, -1), v_HW.reshape(1, -1), one))
    x_BN, y_BN, z_BN = _product(
        T_target_source_B44[:, :3], (*(d_BN * ray for ray in rays_BN[:2]), d_BN, one))
    px_BN, py_BN, _ = _product(K_B33, (x_BN, y_BN, z_BN))
    divisor_BN = z_BN.clamp(min=0.0 if rule == 'v1' else Z_MIN_M)
    u_BN = px_BN / divisor_BN + 1  # in a canvas with one pixel of border
    v_BN = py_BN / divisor_BN + 1
    lands_BN = (has_depth_BHW.reshape(B, -1) & (z_BN > 0)
                & (u_BN > 0) & (u_BN < w + 1) & (v_BN > 0) & (v_BN < h + 1))

    # A soft z-buffer: the nearer, the heavier.
    log_z_BN = torch.log(1 + z_BN.clamp(0, FAR_M))
    if l_max is not None:
        scale = torch.as_tensor(l_max, dtype=torch.float32, device=log_z_BN.device)
    else:
        scale = log_z_BN.amax() if rule == 'v1' else log_z_BN.amax(1, keepdim=True)
        scale = scale.clamp(min=L_MIN)
    weight_BN = 1 / torch.exp(log_z_BN / scale * SHARPNESS)

    # Deposit colour, distance and weight in the four cells around each point.
    frame_BN = torch.arange(B, device=rgb_B3HW.device)[:, None].expand_as(z_BN)[lands_BN]
    u_P, v_P, weight_P = u_BN[lands_BN], v_BN[lands_BN], weight_BN[lands_BN]
    colour_BN3 = rgb_B3HW.reshape(B, 3, -1).transpose(1, 2)
    values_P5 = torch.cat((colour_BN3[lands_BN], z_BN[lands_BN][:, None],
                           torch.ones_like(u_P)[:, None]), dim=1)
    sums_C5 = values_P5.new_zeros(B * (h + 2) * (w + 2), 5)
    for u_cell_P in (u_P.floor(), u_P.ceil()):  # both the same where u is an integer
        for v_cell_P in (v_P.floor(), v_P.ceil()):
            corner_P = (1 - (u_P - u_cell_P).abs()) * (1 - (v_P - v_cell_P).abs())
            cell_P = (frame_BN * (h + 2) + v_cell_P.long()) * (w + 2) + u_cell_P.long()
            sums_C5.index_add_(0, cell_P, values_P5 * (corner_P * weight_P)[:, None])

    sums_Bhw5 = sums_C5.reshape(B, h + 2, w + 2, 5)[:, 1:-1, 1:-1]
    known_Bhw = sums_Bhw5[..., 4] > 0
    means_Bhw4 = sums_Bhw5[..., :4] / sums_Bhw5[..., 4:]
    rgb_Bhw3 = torch.where(known_Bhw[..., None], means_Bhw4[..., :3].clamp(-1, 1), -1.0)
    depth_m_Bhw = torch.where(known_Bhw, means_Bhw4[..., 3], torch.nan)
    return TorchRender(rgb_Bhw3.permute(0, 3, 1, 2), depth_m_Bhw, known_Bhw)


def fuse(renders: Sequence[TorchRender]) -> TorchRender:
    """
    Keep the smallest distance per pixel; between equal ones the first render stays.

    :param renders: one or more renders of the same shape from the same poses.
    :raises ValueError: if there is none.
    """
    if not renders:
        raise ValueError('wanted one or more renders, got none')
    best = renders[0]
    for render in renders[1:]:
        nearer_Bhw = render.known_Bhw & ~(best.depth_m_Bhw <= render.depth_m_Bhw)
        best = TorchRender(
            torch.where(nearer_Bhw[:, None], render.rgb_B3hw, best.rgb_B3hw),
            torch.where(nearer_Bhw, render.depth_m_Bhw, best.depth_m_Bhw),
            best.known_Bhw | render.known_Bhw)
    return best


def rgb_u8_from_float(rgb: Tensor) -> Tensor:
    """Map [-1, 1] to bytes: trunc((x + 1) * 127.5)."""
    return ((rgb + 1) * 127.5).to(torch.uint8)


def _product(M_Bij: Tensor, x_j: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """
    Multiply matrices with vectors given by component, one rounding per product and per sum.

    A matmul may fuse or reorder these, differently on each device; the soft z-buffer makes such
    last bits visible beside depth edges (see the remark in `warp`).
    """
    rows = []
    for i in range(M_Bij.shape[1]):
        row = M_Bij[:, i, 0, None] * x_j[0]
        for j in range(1, len(x_j)):
            row = row + M_Bij[:, i, j, None] * x_j[j].to(M_Bij.device)
        rows.append(row)
    return tuple(rows)


def _checked(tensor: Tensor, name: str, shape: tuple[int | None, ...]) -> Tensor:
    fits = tensor.ndim == len(shape) and 0 not in tensor.shape and all(
        n is None or n == m for n, m in zip(shape, tensor.shape, strict=True))
    if not fits or tensor.dtype != torch.float32:
        wanted = ', '.join('any' if n is None else str(n) for n in shape)
        raise ValueError(f'wanted {name} as ({wanted}) float32, '
                         f'got {tuple(tensor.shape)} {tensor.dtype}')
    return tensor
