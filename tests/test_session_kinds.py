"""What is particular to each kind of session."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inspatio_star.contract import CameraPath
from inspatio_star.errors import SessionError, WorldError
from inspatio_star.fake import FakeSession, tag_from_rgb
from inspatio_star.sessions import open_session
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World, intrinsics_matrix, save


def plane(colour: int = 100, K: np.ndarray | None = None) -> Frame:
    """Return a frame of one colour, 24 by 32 pixels, 2 m away."""
    rgb = np.full((24, 32, 3), colour, np.uint8)
    K = intrinsics_matrix(30.0, 30.0, 15.5, 11.5) if K is None else K
    return Frame(rgb, np.full((24, 32), 2.0, np.float32), K, np.eye(4))


def still(count: int = 1) -> CameraPath:
    return CameraPath(np.arange(count), np.tile(np.eye(4), (count, 1, 1)))


def colours(session: WarpSession, chunks: int) -> list[int]:
    """Return the colour in the middle of every frame of some chunks."""
    found = []
    for chunk in range(chunks):
        info = session.info
        count = info.chunk_frames if chunk else info.first_chunk_frames
        found += session.step(still(count)).rgb[:, 12, 16, 0].tolist()
    return found


@pytest.mark.parametrize(('first', 'later'), [(1, 1), (3, 2), (4, 4)])
def test_video_plays_on_and_its_last_frame_stays(first: int, later: int) -> None:
    world = World('film', tuple(plane(10 * t) for t in range(1, 6)))
    session = WarpSession(world, first_chunk_frames=first, chunk_frames=later)
    # The rule of the splat rounds colours down, so one may be less by 1.
    wanted = np.array([10, 20, 30, 40, 50, 50, 50, 50])
    difference = wanted - colours(session, 8)[:8]
    assert ((difference == 0) | (difference == 1)).all()


def test_warp_from_the_photographs_own_camera_shows_the_photograph() -> None:
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    depth_m = np.full((24, 32), 2.0, np.float32)
    depth_m[5, 6] = np.nan
    frame = Frame(rgb, depth_m, plane().K, np.eye(4))
    chunk = WarpSession(World('photo', (frame,))).step(still())
    # Where the depth is unknown, float32 may let a trace of the neighbours land.
    difference = np.abs(chunk.rgb[0].astype(int) - rgb)[np.isfinite(depth_m)]
    assert difference.max() <= 1
    assert chunk.known[0][np.isfinite(depth_m)].all()
    np.testing.assert_allclose(chunk.depth_m[0][chunk.known[0]], 2.0, rtol=1e-6)


def test_warp_moves_the_picture_as_the_camera_says() -> None:
    """A step of 3 z / fx to the right moves a plane by three pixels to the left."""
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    frame = Frame(rgb, np.full((24, 32), 2.0, np.float32), plane().K, np.eye(4))
    T = np.eye(4)[None].copy()
    T[0, 0, 3] = 3 * 2.0 / 30.0
    chunk = WarpSession(World('photo', (frame,))).step(CameraPath(np.array([0]), T))
    assert np.abs(chunk.rgb[0, :, :-3].astype(int) - rgb[:, 3:]).max() <= 1
    # Rounding may leave a trace in the first of the three columns that nothing shows.
    assert not chunk.known[0, :, -2:].any()
    assert (chunk.rgb[0, :, -2:] == 0).all()
    assert np.isnan(chunk.depth_m[0, :, -2:]).all()


def test_warp_starts_where_the_first_picture_was_taken() -> None:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler('y', 30, degrees=True).as_matrix()
    T[:3, 3] = (1.0, 2.0, 3.0)
    first = plane()
    session = WarpSession(World('off', (Frame(first.rgb, first.depth_m, first.K, T),)))
    np.testing.assert_array_equal(session.info.T_world_camera, T)
    chunk = session.step(CameraPath(np.array([0]), session.info.T_world_camera[None]))
    assert chunk.known.mean() > 0.9
    np.testing.assert_allclose(chunk.depth_m[chunk.known], 2.0, rtol=1e-5)


def test_warp_at_another_size_and_with_another_camera() -> None:
    session = WarpSession(World('big', (plane(),)), 48, 64)
    assert (session.info.height, session.info.width) == (48, 64)
    np.testing.assert_allclose(session.info.K[0], [60.0, 0.0, 31.5])
    K = intrinsics_matrix(20.0, 20.0, 10.0, 8.0)
    session = WarpSession(World('wide', (plane(),)), K=K)
    np.testing.assert_array_equal(session.info.K, K)
    chunk = session.step(still())
    np.testing.assert_array_equal(chunk.K, K)
    # A wider camera sees more than the picture shows.
    assert chunk.known.mean() < 0.6


def test_warp_refuses_half_a_size() -> None:
    with pytest.raises(ValueError, match='both height and width'):
        WarpSession(World('flat', (plane(),)), height=48)


def test_info_tells_whose_pictures_they_are() -> None:
    world = World('flat', (plane(),), prompt='a wall', licence='CC0', source='made here')
    info = WarpSession(world).info
    assert (info.world, info.session) == ('flat', 'warp')
    assert (info.prompt, info.licence, info.source) == ('a wall', 'CC0', 'made here')


def test_fake_frames_tell_their_number_and_pose() -> None:
    session = FakeSession()
    T = np.tile(np.eye(4), (9, 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(np.outer(np.arange(9) / 8, (0, 1, 0))).as_matrix()
    T[:, :3, 3] = np.arange(27).reshape(9, 3) / 8
    chunk = session.step(CameraPath(np.arange(9), T))
    for k in range(9):
        frame, T_read = tag_from_rgb(chunk.rgb[k])
        assert frame == k
        np.testing.assert_allclose(T_read, T[k], atol=1e-6)
    later = session.step(CameraPath(np.arange(9, 21), np.tile(np.eye(4), (12, 1, 1))))
    assert [tag_from_rgb(rgb)[0] for rgb in later.rgb] == list(range(9, 21))


def test_fake_colour_follows_the_position_and_digits_differ() -> None:
    session = FakeSession(first_chunk_frames=3)
    T = np.tile(np.eye(4), (3, 1, 1))
    T[1, 0, 3] = 1.0
    rgb = session.step(CameraPath(np.arange(3), T)).rgb
    assert rgb[1, -1, -1, 0] > rgb[0, -1, -1, 0]
    assert rgb[1, -1, -1, 1] == rgb[0, -1, -1, 1]
    # Frames 0 and 2 have one pose: only number and digits tell them apart.
    assert (rgb[0, 1:] != rgb[2, 1:]).any()


def test_fake_depth_and_mask() -> None:
    chunk = FakeSession(64, 96, first_chunk_frames=1, depth_m=3.5).step(still())
    assert (chunk.depth_m == np.float32(3.5)).all()
    assert chunk.known[0, :56].all()
    assert not chunk.known[0, 56:].any()


@pytest.mark.parametrize('wrong', [{'height': 8}, {'width': 8}, {'depth_m': 0.0}])
def test_fake_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match='wanted'):
        FakeSession(**wrong)


def test_open_session(tmp_path: object) -> None:
    folder = f'{tmp_path}/flat.world'
    save(World('flat', (plane(),)), folder)
    session = open_session('warp', folder, '48x64')
    assert (session.info.world, session.info.session) == ('flat', 'warp')
    assert (session.info.height, session.info.width) == (48, 64)
    assert open_session('warp', folder).info.height == 24
    assert open_session('fake', None, '32x48').info.width == 48


def test_open_session_refuses() -> None:
    with pytest.raises(SessionError, match='wanted one of warp, star, fake, got'):
        open_session('dream', None)
    with pytest.raises(SessionError, match='wanted a world'):
        open_session('warp', None)
    with pytest.raises(WorldError, match='wanted native or HxW'):
        open_session('fake', None, '48 by 64')


def test_fake_takes_any_name_but_a_path_must_lead_to_a_world(tmp_path) -> None:
    assert open_session('fake', 'whatever').info.world == 'fake'
    folder = save(World(name='plane', frames=(plane(),)), tmp_path / 'plane.world')
    assert open_session('fake', str(folder)).info.world == 'fake'
    with pytest.raises(WorldError, match='no such folder'):
        open_session('fake', str(tmp_path / 'nothing.world'))
