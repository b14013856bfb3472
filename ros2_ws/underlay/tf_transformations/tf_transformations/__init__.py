"""
Stand-in for tf_transformations where no ROS is installed: the functions in common use.

Quaternions are xyzw; matrices are 4x4 float64 and act on column vectors; angles are radians.
Names, arguments, conventions and kinds of result follow tf_transformations 1.1. Left out: the
arcball, and projections, reflections, scalings, shears and their like.
"""

from tf_transformations.euler import (
    euler_from_matrix,
    euler_from_quaternion,
    euler_matrix,
    quaternion_from_euler,
)
from tf_transformations.matrices import (
    concatenate_matrices,
    identity_matrix,
    inverse_matrix,
    is_same_transform,
    rotation_matrix,
    translation_from_matrix,
    translation_matrix,
)
from tf_transformations.quaternions import (
    quaternion_about_axis,
    quaternion_conjugate,
    quaternion_from_matrix,
    quaternion_inverse,
    quaternion_matrix,
    quaternion_multiply,
    quaternion_slerp,
)
from tf_transformations.vectors import unit_vector, vector_norm

__all__ = [
    'concatenate_matrices',
    'euler_from_matrix',
    'euler_from_quaternion',
    'euler_matrix',
    'identity_matrix',
    'inverse_matrix',
    'is_same_transform',
    'quaternion_about_axis',
    'quaternion_conjugate',
    'quaternion_from_euler',
    'quaternion_from_matrix',
    'quaternion_inverse',
    'quaternion_matrix',
    'quaternion_multiply',
    'quaternion_slerp',
    'rotation_matrix',
    'translation_from_matrix',
    'translation_matrix',
    'unit_vector',
    'vector_norm',
]
