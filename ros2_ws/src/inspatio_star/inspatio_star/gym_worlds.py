"""
What Gymnasium is told when this is imported: the name `inspatio/World-v0`.

Gymnasium imports it itself: `gymnasium.make('inspatio_star.gym_worlds:inspatio/World-v0', ...)`,
with the parameters of `make_world`.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from inspatio_star.env import WorldEnv
from inspatio_star.sessions import DEFAULTS, StarOptions, open_session


def make_world(
    world: str = 'motorcycle', session: str = 'star', preset: str = 'star-nano',
    resolution: str = '240x416', options: StarOptions = DEFAULTS, **rest: Any,
) -> WorldEnv:
    """
    Open a world as an environment.

    :param world: path or name of a world.
    :param session: ``star``, ``warp`` or ``fake``.
    :param preset: model of a star session.
    :param resolution: ``native`` or ``HxW``.
    :param options: how a star session computes.
    :param rest: of :class:`~inspatio_star.env.WorldEnv`.
    :raises InspatioError: as :func:`~inspatio_star.sessions.open_session`.
    """
    opened = open_session(session, None if session == 'fake' else world, resolution,
                          preset=preset, options=options)
    return WorldEnv(opened, **rest)


gymnasium.register('inspatio/World-v0', entry_point=f'{__name__}:make_world')
