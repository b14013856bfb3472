"""Worlds: pictures with metric depth and cameras, on disk and in memory."""

from inspatio_star.world.folder import load, save
from inspatio_star.world.library import found_worlds, is_world_folder, world_path, worlds_in
from inspatio_star.world.resolution import size_from_text, world_at
from inspatio_star.world.world import Frame, World, intrinsics_matrix

__all__ = [
    'Frame',
    'World',
    'found_worlds',
    'intrinsics_matrix',
    'is_world_folder',
    'load',
    'save',
    'size_from_text',
    'world_at',
    'world_path',
    'worlds_in',
]
