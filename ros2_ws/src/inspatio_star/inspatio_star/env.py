"""
A session as a Gymnasium environment: time stands still until the agent has acted.

An action is a velocity of the body, obeyed within the limits of the same motion model as a node's
`cmd_vel`; a step makes one chunk of pictures under it and returns what the last of them shows.
Knows no kind of session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import gymnasium
from gymnasium import spaces
import numpy as np
from numpy.typing import NDArray

from inspatio_star.contract import F64, CameraPath, Chunk, TwistCommand
from inspatio_star.frames import R_BODY_OPTICAL, rigid_from_rotation
from inspatio_star.motion import NS, Motion, MotionConfig, camera_poses
from inspatio_star.session import Session

Observation: TypeAlias = dict[str, Any]
# Of an observation and its info: the reward, and whether the episode has come to its end.
Task: TypeAlias = Callable[[Observation, dict[str, Any]], tuple[float, bool]]

# What is farther counts as unknown.
FAR_M = np.float32(1000)
# Which of vx, vy, vz, wx, wy, wz an action has, by mode.
AXES = {'planar': (0, 1, 5), 'free': (0, 1, 2, 3, 4, 5)}


class WorldEnv(gymnasium.Env[Observation, NDArray[Any]]):
    """
    Drive a camera through a world.

    An action is a body velocity in ``base_link`` (x forward, y left, z up) in shares of the
    motion's greatest speed and rate, -1 to 1: planar (vx, vy, wz), free (vx, vy, vz, wx, wy, wz).
    It is held for the step.

    An observation is of the last frame of a step: ``rgb`` (H, W, 3) uint8; ``depth_m`` (H, W)
    float32, metres along optical z, 0 unknown or beyond 1 km; ``known`` (H, W) uint8, 1 where the
    reference has seen the surface; ``twist`` (6,) float32, how the body moves, m/s and rad/s.

    An info has ``stamp_ns``, ``T_odom_base`` and ``T_world_camera`` (4, 4) of that frame, ``K``
    (3, 3), ``rgb_frames`` (N, H, W, 3) of all frames of the step, and ``chunk``, its index.

    The same seed and actions give the same pictures, as far as the session does.

    :param session: an open one; it is closed with the environment.
    :param task: gives rewards; None for 0, without an end.
    :param frame_rate_hz: of the pictures: a step takes a chunk of them.
    :param motion: what the body can do; a velocity is held for a step at least.
    :param T_base_optical: (4, 4) the camera's optical frame in ``base_link``; None for a camera
        that looks ahead from its origin.
    :param render_mode: None, or ``rgb_array``.
    :raises ValueError: if a value is out of range.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 24}

    def __init__(
        self,
        session: Session,
        task: Task | None = None,
        frame_rate_hz: float = 24.0,
        motion: MotionConfig | None = None,
        T_base_optical: F64 | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Take its sizes from the session."""
        if not 0.0 < frame_rate_hz < np.inf:
            raise ValueError(f'frame_rate_hz: wanted a positive number, got {frame_rate_hz}')
        if render_mode not in (None, 'rgb_array'):
            raise ValueError(f"render_mode: wanted None or 'rgb_array', got {render_mode!r}")
        info = session.info
        motion = motion or MotionConfig()
        self._session, self._task = session, task
        self._period_ns = int(NS / frame_rate_hz)
        held_s = info.chunk_frames * self._period_ns / NS
        self._config = replace(motion, command_timeout_s=max(motion.command_timeout_s, held_s))
        self._T_base_optical = (rigid_from_rotation(R_BODY_OPTICAL, np.zeros(3))
                                if T_base_optical is None else T_base_optical)
        self._axes = list(AXES[motion.mode])
        self._limit = np.repeat((motion.max_linear_mps, motion.max_angular_radps), 3)
        self.action_space = spaces.Box(-1, 1, (len(self._axes),), np.float32)
        most = (1.001 * self._limit).astype(np.float32)
        size = (info.height, info.width)
        observed: dict[str, spaces.Space[Any]] = {
            'rgb': spaces.Box(0, 255, (*size, 3), np.uint8),
            'depth_m': spaces.Box(0, float(FAR_M), size, np.float32),
            'known': spaces.Box(0, 1, size, np.uint8),
            'twist': spaces.Box(-most, most, dtype=np.float32),
        }
        self.observation_space = spaces.Dict(observed)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, 'render_fps': frame_rate_hz / info.chunk_frames}
        self._motion: Motion | None = None
        self._stamp_ns = 0
        self._rgb: NDArray[np.uint8] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """
        Begin again at the start, at rest; the first chunk is made there.

        :param seed: of this and all later episodes; None goes on with the one before.
        :param options: none.
        """
        super().reset(seed=seed)
        self._session.reset(int(self.np_random.integers(2**31)))
        self._stamp_ns, self._motion = 0, Motion(self._config)
        return self._made(self._session.info.first_chunk_frames)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """
        Move for one chunk.

        :raises ValueError: if the action is not as many finite numbers as wanted.
        :raises CommandError: likewise.
        """
        if self._motion is None:
            raise gymnasium.error.ResetNeeded('wanted a reset before the first step')
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(f'action: wanted {self.action_space.shape}, got {action.shape}')
        twist = np.zeros(6)
        twist[self._axes] = action * self._limit[self._axes]
        self._motion.command(TwistCommand(self._stamp_ns, twist[:3], twist[3:]))
        observation, info = self._made(self._session.info.chunk_frames)
        reward, terminated = (0.0, False) if self._task is None else self._task(observation, info)
        return observation, float(reward), bool(terminated), False, info

    def render(self) -> NDArray[np.uint8] | None:
        """Return the last picture, (H, W, 3) uint8; None without a render mode."""
        return self._rgb if self.render_mode == 'rgb_array' else None

    def close(self) -> None:
        """Close the session; a second call does nothing."""
        self._session.close()

    def _made(self, frames: int) -> tuple[Observation, dict[str, Any]]:
        """Let the session make so many frames; return observation and info of the last."""
        assert self._motion is not None
        stamps_ns = self._stamp_ns + self._period_ns * np.arange(1, frames + 1, dtype=np.int64)
        moves = [self._motion.at(int(stamp_ns)) for stamp_ns in stamps_ns]
        T_odom_base = np.array([T for T, _ in moves])
        path = CameraPath(stamps_ns, camera_poses(
            T_odom_base, self._session.info.T_world_camera, self._T_base_optical))
        chunk: Chunk = self._session.step(path)
        self._stamp_ns = int(stamps_ns[-1])
        depth_m = chunk.depth_m[-1]
        self._rgb = chunk.rgb[-1]
        observation: Observation = {
            'rgb': self._rgb,
            # What is unknown is NaN, and compares false.
            'depth_m': np.where(depth_m < FAR_M, depth_m, np.float32(0)),
            'known': chunk.known[-1].view(np.uint8),
            'twist': moves[-1][1].astype(np.float32),
        }
        return observation, {
            'stamp_ns': self._stamp_ns, 'T_odom_base': T_odom_base[-1],
            'T_world_camera': path.T_world_camera[-1], 'K': chunk.K, 'rgb_frames': chunk.rgb,
            'chunk': chunk.index,
        }
