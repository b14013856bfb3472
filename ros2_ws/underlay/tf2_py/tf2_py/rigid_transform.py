"""
Rigid transforms in plain floats: compose, invert, interpolate.

scipy's RigidTransform does the same at 0.1 ms an operation, too dear for a listener that hears
hundreds of transforms a second; the tests hold this module against it.
"""

from __future__ import annotations

from math import acos, hypot, sin
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Rigid(NamedTuple):
    """p_parent = rotate(rotation, p_child) + translation; metres, unit quaternion xyzw."""

    translation: Vector
    rotation: Quaternion


IDENTITY = Rigid((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def compose(T_a_b: Rigid, T_b_c: Rigid) -> Rigid:
    """Return T_a_c."""
    x, y, z = rotate(T_a_b.rotation, T_b_c.translation)
    tx, ty, tz = T_a_b.translation
    return Rigid((x + tx, y + ty, z + tz), product(T_a_b.rotation, T_b_c.rotation))


def inverse(T_a_b: Rigid) -> Rigid:
    """Return T_b_a."""
    x, y, z, w = T_a_b.rotation
    rotation_b_a = (-x, -y, -z, w)
    tx, ty, tz = rotate(rotation_b_a, T_a_b.translation)
    return Rigid((-tx, -ty, -tz), rotation_b_a)


def interpolate(older: Rigid, newer: Rigid, ratio: float) -> Rigid:
    """
    Return the transform between two others.

    :param ratio: 0 gives the older, 1 the newer; translation runs along the straight line,
        rotation at constant speed the shorter way round.
    """
    x, y, z = (a + ratio * (b - a) for a, b in zip(older.translation, newer.translation,
                                                   strict=True))
    return Rigid((x, y, z), slerp(older.rotation, newer.rotation, ratio))


def product(p: Quaternion, q: Quaternion) -> Quaternion:
    """Return the Hamilton product: the rotation q followed by the rotation p."""
    px, py, pz, pw = p
    qx, qy, qz, qw = q
    return (
        pw * qx + qw * px + py * qz - pz * qy,
        pw * qy + qw * py + pz * qx - px * qz,
        pw * qz + qw * pz + px * qy - py * qx,
        pw * qw - px * qx - py * qy - pz * qz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Return v turned by q: v + 2w (u x v) + 2u x (u x v), with u the vector part of q."""
    ux, uy, uz, w = q
    vx, vy, vz = v
    cx, cy, cz = 2 * (uy * vz - uz * vy), 2 * (uz * vx - ux * vz), 2 * (ux * vy - uy * vx)
    return (
        vx + w * cx + uy * cz - uz * cy,
        vy + w * cy + uz * cx - ux * cz,
        vz + w * cz + ux * cy - uy * cx,
    )


def slerp(p: Quaternion, q: Quaternion, ratio: float) -> Quaternion:
    """Return the rotation at `ratio` of the way from p to q, the shorter way round."""
    cosine = sum(a * b for a, b in zip(p, q, strict=True))
    toward = 1.0 if cosine >= 0 else -1.0
    angle = acos(min(1.0, abs(cosine)))
    if angle == 0.0:
        return p
    share_p = sin((1.0 - ratio) * angle) / sin(angle)
    share_q = toward * sin(ratio * angle) / sin(angle)
    x, y, z, w = (share_p * a + share_q * b for a, b in zip(p, q, strict=True))
    return (x, y, z, w)


def normalized(q: Quaternion) -> Quaternion:
    """
    Return the unit quaternion of the same rotation, with the sign that tf2 gives it.

    tf2 keeps rotations as matrices at its doors. Going through one makes w positive where
    |w| > 1/2, and otherwise the largest of x, y and z.

    :raises ZeroDivisionError: if q is zero.
    """
    length = hypot(*q)
    x, y, z, w = (component / length for component in q)
    leading = w if 4 * w * w > 1 else max(x, y, z, key=abs)
    return (-x, -y, -z, -w) if leading < 0 else (x, y, z, w)
