"""What every Session must do, whatever makes its pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from drives import drive, path_of
import numpy as np
import pytest
import torch

from inspatio_star.contract import CameraPath, Chunk
from inspatio_star.errors import SessionError
from inspatio_star.fake import FakeSession
from inspatio_star.local import StarModel, StarSession, random_model
from inspatio_star.nano_session import NanoModel, NanoSession, random_nano
from inspatio_star.presets import preset_named
from inspatio_star.session import Session
from inspatio_star.warp_session import WarpSession
from inspatio_star.world import Frame, World, intrinsics_matrix


def small_world(name: str = 'hill', frames: int = 1) -> World:
    """Return a world of random colour on a slope, 24 by 32 pixels, other in every frame."""
    random = np.random.default_rng(3)
    depth_m = np.linspace(2.0, 4.0, 24 * 32, dtype=np.float32).reshape(24, 32)
    depth_m[:3, :3] = np.nan
    K = intrinsics_matrix(30.0, 30.0, 15.5, 11.5)
    return World(
        name,
        tuple(
            Frame(random.integers(0, 256, (24, 32, 3), dtype=np.uint8), depth_m, K, np.eye(4))
            for _ in range(frames)
        ),
    )


@cache
def star_model(decoder: str = 'vae') -> StarModel:
    """Return the smallest model, with random weights."""
    # On so small a model a second thread costs more than it helps.
    torch.set_num_threads(1)
    return random_model(preset_named('star-tiny'), decoder=decoder)


@cache
def nano_model() -> NanoModel:
    """Return a small model whose codec is pixels, with random weights."""
    torch.set_num_threads(1)
    sizes = {'dim': 32, 'ffn_dim': 32, 'num_heads': 2, 'num_layers': 2}
    return random_nano(preset_named('star-nano', {'height': 32, 'width': 32, 'dit': sizes}))


@dataclass(frozen=True)
class Kind:
    """How to make sessions of a kind: the same one again and again, and one of another world."""

    make: Callable[[], Session]
    make_other: Callable[[], Session]


KINDS = {
    'warp': Kind(
        lambda: WarpSession(small_world()),
        lambda: WarpSession(small_world('valley')),
    ),
    'warp-video': Kind(
        lambda: WarpSession(small_world(frames=5)),
        lambda: WarpSession(small_world('valley', frames=5)),
    ),
    'warp-chunks': Kind(
        lambda: WarpSession(small_world(frames=5), 20, 30, first_chunk_frames=3, chunk_frames=2),
        lambda: WarpSession(small_world('valley'), 20, 30, first_chunk_frames=3, chunk_frames=2),
    ),
    'star': Kind(
        lambda: StarSession(small_world(), star_model(), 32, 48),
        lambda: StarSession(small_world('valley'), star_model(), 32, 48),
    ),
    'star-taehv-video': Kind(
        lambda: StarSession(small_world(frames=12), star_model('taehv'), 32, 48),
        lambda: StarSession(small_world('valley', 12), star_model('taehv'), 32, 48),
    ),
    'star-overlap': Kind(
        lambda: StarSession(small_world(), star_model(), 32, 48, overlap=True),
        lambda: StarSession(small_world('valley'), star_model(), 32, 48, overlap=True),
    ),
    'star-nano': Kind(
        lambda: NanoSession(small_world(), nano_model()),
        lambda: NanoSession(small_world('valley'), nano_model()),
    ),
    'star-nano-video': Kind(
        lambda: NanoSession(small_world(frames=12), nano_model(), 40, 56),
        lambda: NanoSession(small_world('valley', 12), nano_model(), 40, 56),
    ),
    'star-nano-overlap': Kind(
        lambda: NanoSession(small_world(), nano_model(), overlap=True),
        lambda: NanoSession(small_world('valley'), nano_model(), overlap=True),
    ),
    'fake': Kind(lambda: FakeSession(), lambda: FakeSession(name='other')),
    'fake-singles': Kind(
        lambda: FakeSession(32, 48, first_chunk_frames=1, chunk_frames=1),
        lambda: FakeSession(32, 48, first_chunk_frames=1, chunk_frames=1, name='other'),
    ),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> Kind:
    """One kind of session after the other."""
    return request.param


def assert_same(chunks: list[Chunk], wanted: list[Chunk]) -> None:
    """Compare pictures bit for bit; the time they took is no part of them."""
    for chunk, other in zip(chunks, wanted, strict=True):
        assert chunk.index == other.index
        for name in ('rgb', 'depth_m', 'known', 'K'):
            np.testing.assert_array_equal(getattr(chunk, name), getattr(other, name))
        np.testing.assert_array_equal(chunk.path.stamps_ns, other.path.stamps_ns)


def test_chunk_is_what_info_says(kind: Kind) -> None:
    session = kind.make()
    info = session.info
    for index, chunk in enumerate(drive(session, 0, 3)):
        count = info.chunk_frames if index else info.first_chunk_frames
        assert chunk.index == index
        assert chunk.rgb.shape == (count, info.height, info.width, 3)
        assert chunk.depth_m.shape == chunk.known.shape == (count, info.height, info.width)
        assert (chunk.rgb.dtype, chunk.depth_m.dtype, chunk.known.dtype) == (
            np.uint8,
            np.float32,
            np.bool_,
        )
        np.testing.assert_array_equal(chunk.K, info.K)
        known_m = chunk.depth_m[np.isfinite(chunk.depth_m)]
        assert known_m.size
        assert (known_m > 0).all()
        assert np.isfinite(chunk.depth_m[chunk.known]).all()
        assert chunk.stage_ms
        assert all(np.isfinite(spent) and spent >= 0 for spent in chunk.stage_ms.values())


def test_info_is_constant(kind: Kind) -> None:
    session = kind.make()
    info = session.info
    drive(session, 0, 2)
    assert session.info is info
    session.reset(4)
    assert session.info is info


def test_path_is_handed_back(kind: Kind) -> None:
    session = kind.make()
    path = path_of(session, 0)
    assert session.step(path).path is path


def test_another_camera_gives_another_picture(kind: Kind) -> None:
    near, far = kind.make(), kind.make()
    chunk, other = near.step(path_of(near, 0)), far.step(path_of(far, 0, shift_m=0.7))
    assert (chunk.rgb != other.rgb).any()


def test_same_seed_and_path_give_same_frames(kind: Kind) -> None:
    first, second = kind.make(), kind.make()
    first.reset(7)
    second.reset(7)
    assert_same(drive(first, 0, 3), drive(second, 0, 3))


def test_chunks_that_were_begun_together_are_those_made_one_by_one(kind: Kind) -> None:
    session, other = kind.make(), kind.make()
    session.reset(7)
    other.reset(7)
    futures = [session.submit(path_of(session, chunk)) for chunk in range(4)]
    assert_same([future.result(60.0) for future in futures], drive(other, 0, 4))
    # What is asked of it next waits for all of them.
    begun = session.submit(path_of(session, 4))
    state = session.save()
    assert begun.done()
    assert state.chunk == 5
    drive(other, 4, 5)
    assert_same(drive(session, 5, 6), drive(other, 5, 6))


def test_reset_forgets(kind: Kind) -> None:
    session = kind.make()
    session.reset(7)
    wanted = drive(session, 0, 3)
    session.reset(7)
    assert_same(drive(session, 0, 3), wanted)


def test_chunks_keep_their_pictures(kind: Kind) -> None:
    """A chunk that somebody holds is not painted over by the next."""
    session = kind.make()
    chunk = session.step(path_of(session, 0))
    before = chunk.rgb.copy(), chunk.depth_m.copy(), chunk.known.copy()
    drive(session, 1, 3)
    for array, copy in zip((chunk.rgb, chunk.depth_m, chunk.known), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize('at', [0, 1, 2, 3])
def test_restored_session_goes_on_bit_for_bit(kind: Kind, at: int) -> None:
    original = kind.make()
    original.reset(5)
    drive(original, 0, at)
    state = original.save()
    wanted = drive(original, at, at + 3)
    # Elsewhere, after other work; and on the spot.
    elsewhere = kind.make()
    drive(elsewhere, 0, 2)
    for session in (elsewhere, original):
        session.restore(state)
        assert_same(drive(session, at, at + 3), wanted)


def test_state_survives_what_follows(kind: Kind) -> None:
    session = kind.make()
    drive(session, 0, 1)
    state = session.save()
    counts = state.chunk, state.frame, state.seed
    arrays = {name: array.copy() for name, array in state.arrays.items()}
    drive(session, 1, 3)
    session.reset(9)
    assert (state.chunk, state.frame, state.seed) == counts
    for name, array in arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array)


def test_branches_do_not_disturb_each_other(kind: Kind) -> None:
    session = kind.make()
    drive(session, 0, 2)
    state = session.save()
    left, right = kind.make(), kind.make()
    left.restore(state)
    right.restore(state)
    left_chunk = left.step(path_of(left, 2, shift_m=-0.5))
    right_chunk = right.step(path_of(right, 2, shift_m=0.5))
    assert (left_chunk.rgb != right_chunk.rgb).any()
    session.restore(state)
    assert_same([session.step(path_of(session, 2, shift_m=0.5))], [right_chunk])


@pytest.mark.parametrize('chunk', [0, 1])
@pytest.mark.parametrize('more', [-1, 1])
def test_wrong_length_is_refused_and_loses_nothing(kind: Kind, chunk: int, more: int) -> None:
    session, untouched = kind.make(), kind.make()
    assert_same(drive(session, 0, chunk), drive(untouched, 0, chunk))
    right = path_of(session, chunk)
    # A path of no camera cannot be made: three are wrong for one as well.
    count = len(right) + more or 3
    wrong = CameraPath(np.arange(1, count + 1), np.tile(np.eye(4), (count, 1, 1)))
    with pytest.raises(ValueError, match=rf'wanted {len(right)} .*got {count}'):
        session.step(wrong)
    assert_same([session.step(right)], [untouched.step(right)])


@pytest.mark.parametrize('seed', [-1, 1.5, True])
def test_wrong_seed_is_refused_and_loses_nothing(kind: Kind, seed: int) -> None:
    session, untouched = kind.make(), kind.make()
    drive(session, 0, 1)
    drive(untouched, 0, 1)
    with pytest.raises(ValueError, match='seed'):
        session.reset(seed)
    assert_same(drive(session, 1, 2), drive(untouched, 1, 2))


def test_foreign_states_are_refused_and_lose_nothing(kind: Kind) -> None:
    session, untouched, other = kind.make(), kind.make(), kind.make_other()
    drive(session, 0, 1)
    drive(untouched, 0, 1)
    drive(other, 0, 2)
    own = session.save()
    foreign = [
        (other.save(), 'world'),
        (replace(own, session='somebody else'), 'session'),
        (replace(own, frame=own.frame + 1), 'frames'),
        (replace(own, chunk=-1), 'chunks'),
        (replace(own, seed=-1), 'seed'),
    ]
    for state, what in foreign:
        with pytest.raises(SessionError, match=what):
            session.restore(state)
    assert_same(drive(session, 1, 2), drive(untouched, 1, 2))


def test_seed_is_kept(kind: Kind) -> None:
    session = kind.make()
    session.reset(11)
    drive(session, 0, 1)
    state = session.save()
    assert state.seed == 11
    session.reset()
    assert session.save().seed == 0
    session.restore(state)
    assert session.save().seed == 11


def test_closed_session_refuses(kind: Kind) -> None:
    session = kind.make()
    path = path_of(session, 0)
    state = session.save()
    session.close()
    session.close()
    for act in (
        lambda: session.step(path),
        lambda: session.reset(),
        lambda: session.save(),
        lambda: session.restore(state),
    ):
        with pytest.raises(SessionError, match='closed'):
            act()
    assert session.info.width > 0
