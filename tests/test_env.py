"""The Gymnasium environment: what it asks and returns, that time stands still, that it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any
import warnings

import gymnasium
from gymnasium.utils.env_checker import check_env
import numpy as np
import pytest

from inspatio_star.env import WorldEnv
from inspatio_star.errors import CommandError
from inspatio_star.fake import FakeSession
from inspatio_star.motion import MotionConfig
from inspatio_star.nano_session import NanoSession, random_nano
from inspatio_star.presets import preset_named
from inspatio_star.session import Session
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World, intrinsics_matrix, save

pytestmark = pytest.mark.usefixtures('one_thread')
NAME = 'inspatio_star.gym_worlds:inspatio/World-v0'
SIZES = {'height': 32, 'width': 48,
         'dit': {'dim': 32, 'ffn_dim': 32, 'num_heads': 2, 'num_layers': 2}}


def wall() -> World:
    """Return a random picture on a wall at 2 m, without depth in a corner."""
    rgb = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    depth_m = np.full((32, 48), 2.0, np.float32)
    depth_m[:4, :4] = np.nan
    return World('wall', (Frame(rgb, depth_m, intrinsics_matrix(40, 40, 23.5, 15.5), np.eye(4)),))


def sessions() -> dict[str, Any]:
    """Return what opens one session of each kind."""
    model = random_nano(preset_named('star-nano', SIZES))
    return {'warp': lambda: WarpSession(wall()), 'fake': lambda: FakeSession(32, 48),
            'star-nano': lambda: NanoSession(wall(), model)}


@pytest.mark.parametrize('kind', list(sessions()))
@pytest.mark.parametrize('mode', ['planar', 'free'])
def test_gymnasium_finds_nothing_wrong(kind: str, mode: str) -> None:
    env = WorldEnv(sessions()[kind](), motion=MotionConfig(mode=mode), render_mode='rgb_array')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        # That it was not made by its name.
        warnings.filterwarnings('ignore', message='.*alternative render modes')
        check_env(env, skip_close_check=True)
    assert env.action_space.shape == {'planar': (3,), 'free': (6,)}[mode]
    env.close()
    env.close()


def test_the_body_has_moved_as_the_action_says() -> None:
    motion = MotionConfig(max_linear_accel_mps2=1e4, max_angular_accel_radps2=1e4)
    env = WorldEnv(WarpSession(wall()), frame_rate_hz=10.0, motion=motion)
    observation, info = env.reset(seed=0)
    shown = wall().frames[0].rgb * observation['known'][..., None]
    np.testing.assert_allclose(observation['rgb'].astype(int), shown, atol=1)
    assert info['stamp_ns'] == 100_000_000 and info['chunk'] == 0
    np.testing.assert_array_equal(info['T_odom_base'], np.eye(4))
    assert observation['depth_m'][0, 0] == 0 and observation['depth_m'][20, 20] == 2
    for step in range(1, 4):
        # To the left by a pixel: half a metre is 10 of them.
        observation, reward, terminated, truncated, info = env.step(np.array([0.0, 0.5, 0.0]))
        assert (reward, terminated, truncated) == (0.0, False, False)
        np.testing.assert_allclose(info['T_odom_base'][:3, 3], (0, 0.05 * step, 0), atol=2e-5)
        np.testing.assert_allclose(info['T_world_camera'][:3, 3], (-0.05 * step, 0, 0), atol=2e-5)
        np.testing.assert_allclose(observation['twist'], (0, 0.5, 0, 0, 0, 0), atol=1e-6)
        # The pose of the pixels is that of the info.
        geometry = wall().frames[0].rgb[8:, : 48 - step]
        off = observation['rgb'][8:, step:].astype(int) - geometry
        assert np.abs(off).mean() < 2
    env.close()


def test_an_action_is_held_for_the_whole_of_a_chunk() -> None:
    session = sessions()['star-nano']()
    env = WorldEnv(session, frame_rate_hz=12.0)
    env.reset(seed=0)
    *_, info = env.step(np.array([0.2, 0.0, 0.0]))
    assert info['rgb_frames'].shape == (12, 32, 48, 3)
    # It takes 0.2 s to 0.2 m/s, and then it goes on until the end of the second.
    np.testing.assert_allclose(info['T_odom_base'][0, 3], 0.2 * 1.0 - 0.2 * 0.2 / 2, atol=1e-4)
    assert env.metadata['render_fps'] == 1.0
    env.close()


@pytest.mark.parametrize('kind', list(sessions()))
def test_equal_seeds_and_actions_give_equal_episodes(kind: str) -> None:
    def episode(env: WorldEnv, seed: int | None) -> list[dict[str, Any]]:
        rng = np.random.default_rng(3)
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(rng.uniform(-1, 1, 3).astype(np.float32))[0] for _ in range(3)]
        return seen

    one, other = (WorldEnv(sessions()[kind]()) for _ in range(2))
    first = episode(one, 7)
    for again in (episode(other, 7), episode(one, 7)):
        for a, b in zip(first, again, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)
    if kind == 'star-nano':
        later = episode(one, None)
        assert any(not np.array_equal(a['rgb'], b['rgb'])
                   for a, b in zip(first, later, strict=True))
    one.close(), other.close()


def test_a_task_gives_rewards_and_ends() -> None:
    def task(observation: dict[str, Any], info: dict[str, Any]) -> tuple[float, bool]:
        return -float(info['T_odom_base'][0, 3]), info['chunk'] == 2

    env = WorldEnv(WarpSession(wall()), task)
    env.reset()
    _, reward, terminated, *_ = env.step(np.array([1.0, 0, 0]))
    assert reward < 0 and not terminated
    assert env.step(np.array([1.0, 0, 0]))[2]
    env.close()


def test_bad_input_is_refused_and_loses_nothing() -> None:
    with pytest.raises(ValueError, match='frame_rate_hz'):
        WorldEnv(FakeSession(32, 48), frame_rate_hz=0)
    with pytest.raises(ValueError, match='render_mode'):
        WorldEnv(FakeSession(32, 48), render_mode='human')
    env = WorldEnv(FakeSession(32, 48))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(3))
    env.reset(seed=1)
    with pytest.raises(ValueError, match=r'action: wanted \(3,\), got \(6,\)'):
        env.step(np.zeros(6))
    with pytest.raises(CommandError, match='finite'):
        env.step(np.array([np.nan, 0, 0]))
    assert env.step(np.zeros(3))[4]['chunk'] == 1
    env.close()


def test_it_has_a_name_and_comes_in_vectors(tmp_path: Path) -> None:
    path = str(save(wall(), tmp_path / 'wall.world'))
    env = gymnasium.make(NAME, world=path, session='warp', resolution='32x48',
                         max_episode_steps=2)
    env.reset(seed=0)
    assert not env.step(env.action_space.sample())[3] and env.step(env.action_space.sample())[3]
    env.close()
    many = gymnasium.make_vec(NAME, 3, 'sync', world=path, session='warp',
                              resolution='32x48')
    observations, _ = many.reset(seed=0)
    assert observations['rgb'].shape == (3, 32, 48, 3)
    observations, rewards, *_ = many.step(np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32))
    assert rewards.shape == (3,)
    assert not np.array_equal(observations['rgb'][0], observations['rgb'][1])
    many.close()


def test_sessions_see_what_a_node_would_ask_of_them() -> None:
    """The first frame of an episode is a period after its start, as any later one."""
    seen = []

    class Spy(FakeSession):
        def step(self, path: Any) -> Any:
            seen.extend(path.stamps_ns.tolist())
            return super().step(path)

    session: Session = Spy(32, 48)
    env = WorldEnv(session, frame_rate_hz=24.0)
    env.reset()
    env.step(np.zeros(3))
    assert np.diff(seen).tolist() == [41_666_666] * (len(seen) - 1)
    env.close()
