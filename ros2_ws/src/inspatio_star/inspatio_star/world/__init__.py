"""Worlds: pictures with metric depth and cameras, on disk and in memory."""

from inspatio_star.world.folder import load, save
from inspatio_star.world.library import world_path
from inspatio_star.world.resolution import size_from_text, world_at
from inspatio_star.world.world import Frame, World, intrinsics_matrix

__all__ = [
    'Frame',
    'World',
    'intrinsics_matrix',
    'load',
    'save',
    'size_from_text',
    'world_at',
    'world_path',
]
