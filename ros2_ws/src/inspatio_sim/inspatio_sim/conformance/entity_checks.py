"""Entities: which there are, where they are, where they are put; and poses that have names."""

from __future__ import annotations

import copy
from functools import partial
import math
import re
from typing import Any

from geometry_msgs.msg import Pose, Vector3
from simulation_interfaces import srv
from simulation_interfaces.msg import (
    Bounds,
    EntityCategory,
    EntityFilters,
    EntityState,
    Result,
    SimulationState,
    TagsFilter,
)
from simulation_interfaces.msg import SimulatorFeatures as F

from inspatio_sim.conformance.client import Client, Skipped
from inspatio_sim.conformance.registry import check

S = SimulationState
NOBODY = 'nobody_has_this_name'
# How close poses are that are the same; and how far entities are put from where they are.
SAME_M, SAME_SINE = 1e-3, 1e-3
AWAY_M, AWAY_RAD = 0.15, 0.3
INVALID_POSE = srv.SetEntityState.Response.INVALID_POSE
_MOVES = (F.ENTITY_STATE_GETTING, F.ENTITY_STATE_SETTING)


def poses_differ(one: Any, other: Any) -> str:
    """Return in words how two poses differ; empty if they do not."""
    a, b = one.position, other.position
    apart_m = math.dist((a.x, a.y, a.z), (b.x, b.y, b.z))
    p, q = one.orientation, other.orientation
    cosine = abs(p.x * q.x + p.y * q.y + p.z * q.z + p.w * q.w)
    sine = math.sqrt(max(0.0, 1.0 - min(1.0, cosine) ** 2))
    if apart_m <= SAME_M and sine <= SAME_SINE:
        return ''
    return f'is {apart_m:.4f} m and {2 * math.degrees(math.asin(sine)):.2f} degrees from there'


def moved_away(sim: Client, name: str) -> Pose:
    """Put an entity beside where it is, turned about the upright axis; return its new pose."""
    state = EntityState(pose=copy.deepcopy(sim.entity_state(name).pose))
    state.pose.position.x += AWAY_M
    state.pose.position.y -= AWAY_M
    q, w, z = state.pose.orientation, math.cos(AWAY_RAD / 2), math.sin(AWAY_RAD / 2)
    q.x, q.y, q.z, q.w = (w * q.x - z * q.y, w * q.y + z * q.x, w * q.z + z * q.w,
                          w * q.w - z * q.z)
    sim.expect(Result.RESULT_OK, of=srv.SetEntityState, entity=name, state=state, set_pose=True)
    return state.pose


def sphere(centre: Any, radius_m: float) -> EntityFilters:
    """Return the filter of what overlaps a sphere."""
    points = [Vector3(x=centre.x, y=centre.y, z=centre.z), Vector3(x=radius_m)]
    return EntityFilters(bounds=Bounds(type=Bounds.TYPE_SPHERE, points=points))


def _named(sim: Client, filters: EntityFilters) -> list[str]:
    return list(sim.expect(Result.RESULT_OK, of=srv.GetEntities, filters=filters).entities)


# Who is there.

@check('names of entities are unique', F.ENTITY_STATE_GETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.entity()
    names = _named(sim, EntityFilters())
    assert len(names) == len(set(names)), f'wanted each name once, got {names}'


@check('GetEntitiesStates tells of the same entities as GetEntities', F.ENTITY_STATE_GETTING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    answer = sim.expect(Result.RESULT_OK, of=srv.GetEntitiesStates)
    assert sorted(answer.entities) == sorted(_named(sim, EntityFilters()))
    assert len(answer.states) == len(answer.entities), 'wanted a state of each'
    told = answer.states[list(answer.entities).index(name)].pose
    assert not (why := poses_differ(told, sim.entity_state(name).pose)), why
    none = sim.expect(Result.RESULT_OK, of=srv.GetEntitiesStates,
                      filters=EntityFilters(filter=NOBODY))
    assert not none.entities and not none.states, f'wanted none, got {list(none.entities)}'


@check('entities are filtered by a regular expression', F.ENTITY_STATE_GETTING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    literal = re.escape(name)
    for pattern in (f'^{literal}$', f'^({NOBODY}|{literal})$', '.*'):
        found = _named(sim, EntityFilters(filter=pattern))
        assert name in found, f'{pattern}: wanted {name}, got {found}'
    for pattern in (NOBODY, f'^{literal}{literal}$'):
        found = _named(sim, EntityFilters(filter=pattern))
        assert not found, f'{pattern}: wanted none, got {found}'


@check('a filter that is no regular expression is refused', F.ENTITY_STATE_GETTING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.entity()
    answer = sim.call(srv.GetEntities, filters=EntityFilters(filter='(('))
    assert answer.result.result != Result.RESULT_OK, 'wanted a refusal, got OK'


@check('entities are filtered by a sphere', F.ENTITY_STATE_GETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    here = sim.entity_state(name).pose.position
    found = _named(sim, sphere(here, 0.5))
    assert name in found, f'sphere about {name}: wanted it, got {found}'
    far = Vector3(x=here.x + 1e5, y=here.y, z=here.z)
    assert name not in (found := _named(sim, sphere(far, 0.5))), f'far away: got {found}'
    both = sphere(here, 0.5)
    both.filter = NOBODY
    assert not (found := _named(sim, both)), f'sphere and another name: wanted none, got {found}'


def _filter_is_unsupported(sim: Client, filters: EntityFilters) -> None:
    sim.entity()
    sim.expect(Result.RESULT_FEATURE_UNSUPPORTED, of=srv.GetEntities, filters=filters)


_CORNERS = [Vector3(x=1.0, y=1.0, z=1.0), Vector3(x=-1.0, y=-1.0, z=-1.0), Vector3(x=1.0)]
for _title, _feature, _filters in (
    ('by a box', F.ENTITY_BOUNDS_BOX,
     EntityFilters(bounds=Bounds(type=Bounds.TYPE_BOX, points=_CORNERS[:2]))),
    ('by a convex hull', F.ENTITY_BOUNDS_CONVEX,
     EntityFilters(bounds=Bounds(type=Bounds.TYPE_CONVEX_HULL, points=_CORNERS))),
    ('by category', F.ENTITY_CATEGORIES,
     EntityFilters(categories=[EntityCategory(category=EntityCategory.CATEGORY_OBJECT)])),
    ('by tags', F.ENTITY_TAGS, EntityFilters(tags=TagsFilter(tags=['a tag']))),
):
    check(f'a filter {_title} is unsupported where it is not claimed', F.ENTITY_STATE_GETTING,
          without=(_feature,), state=S.STATE_STOPPED)(
        partial(_filter_is_unsupported, filters=_filters))


@check('unknown names are not found', F.ENTITY_STATE_GETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    for name in (NOBODY, ''):
        sim.expect(Result.RESULT_NOT_FOUND, of=srv.GetEntityState, entity=name)


@check('an unknown name cannot be told of', F.ENTITY_INFO_GETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_NOT_FOUND, of=srv.GetEntityInfo, entity=NOBODY)


@check('an unknown name cannot be put anywhere', F.ENTITY_STATE_SETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_NOT_FOUND, of=srv.SetEntityState, entity=NOBODY, set_pose=True,
               state=EntityState(pose=Pose()))


@check('every entity is told of', F.ENTITY_INFO_GETTING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    known = {getattr(EntityCategory, name) for name in dir(EntityCategory)
             if name.startswith('CATEGORY_')}
    answer = sim.expect(Result.RESULT_OK, of=srv.GetEntityInfo, entity=sim.entity())
    category = answer.info.category.category
    assert category in known, f'wanted a category of the standard, got {category}'


@check('NO_WORLD: there are no entities', F.ENTITY_STATE_GETTING, state=S.STATE_NO_WORLD)
def _(sim: Client) -> None:
    answer = sim.call(srv.GetEntities)
    assert not answer.entities, f'wanted none, got {list(answer.entities)}'
    answer = sim.call(srv.GetEntityState, entity=NOBODY)
    assert answer.result.result != Result.RESULT_OK, 'GetEntityState: wanted a refusal, got OK'


# Where they are.

def _read_back(sim: Client) -> None:
    name = sim.entity()
    pose = moved_away(sim, name)
    state = sim.entity_state(name)
    assert not (why := poses_differ(state.pose, pose)), f'the pose that was set: {why}'
    assert not (why := poses_differ(
        sim.expect(Result.RESULT_OK, of=srv.GetEntitiesStates).states[
            _named(sim, EntityFilters()).index(name)].pose, pose)), f'GetEntitiesStates: {why}'


check('STOPPED: a pose that is set is read back', *_MOVES, state=S.STATE_STOPPED)(_read_back)
check('PAUSED: a pose that is set is read back', *_MOVES, state=S.STATE_PAUSED)(_read_back)


@check('a pose in the frame that poses are told in is set', *_MOVES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    state = sim.entity_state(name)
    state.pose.position.x += AWAY_M
    sim.expect(Result.RESULT_OK, of=srv.SetEntityState, entity=name, state=state, set_pose=True)
    assert not (why := poses_differ(sim.entity_state(name).pose, state.pose)), why


@check('what no flag names is not set', *_MOVES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    before = sim.entity_state(name).pose
    state = EntityState(pose=copy.deepcopy(before))
    state.pose.position.x += AWAY_M
    sim.expect(Result.RESULT_OK, of=srv.SetEntityState, entity=name, state=state)
    assert not (why := poses_differ(sim.entity_state(name).pose, before)), why


def _invalid(sim: Client, spoil: Any) -> None:
    name = sim.entity()
    before = sim.entity_state(name).pose
    state = EntityState(pose=copy.deepcopy(before))
    state.pose.position.x += AWAY_M
    spoil(state)
    sim.expect(INVALID_POSE, of=srv.SetEntityState, entity=name, state=state, set_pose=True)
    assert not (why := poses_differ(sim.entity_state(name).pose, before)), f'it moved: {why}'


def _nan_position(state: EntityState) -> None:
    state.pose.position.y = math.nan


def _infinite_position(state: EntityState) -> None:
    state.pose.position.z = math.inf


def _nan_quaternion(state: EntityState) -> None:
    state.pose.orientation.x = math.nan


def _zero_quaternion(state: EntityState) -> None:
    q = state.pose.orientation
    q.x = q.y = q.z = q.w = 0.0


def _unknown_frame(state: EntityState) -> None:
    state.header.frame_id = NOBODY


for _title, _spoil in (
    ('a position that is not a number', _nan_position),
    ('a position at infinity', _infinite_position),
    ('a quaternion that is not a number', _nan_quaternion),
    ('a quaternion of zeros', _zero_quaternion),
    ('an unknown frame', _unknown_frame),
):
    check(f'{_title} is an invalid pose, and nothing moves', *_MOVES, state=S.STATE_STOPPED)(
        partial(_invalid, spoil=_spoil))


@check('velocities that are no numbers are refused, and nothing moves', *_MOVES,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    before = sim.entity_state(name).pose
    state = EntityState(pose=copy.deepcopy(before))
    state.pose.position.x += AWAY_M
    state.twist.linear.x = math.nan
    answer = sim.call(srv.SetEntityState, entity=name, state=state, set_pose=True, set_twist=True)
    assert answer.result.result != Result.RESULT_OK, 'wanted a refusal, got OK'
    assert not (why := poses_differ(sim.entity_state(name).pose, before)), f'it moved: {why}'


# Poses with names.

def _poses(sim: Client, **fields: Any) -> list[Any]:
    return list(sim.expect(Result.RESULT_OK, of=srv.GetNamedPoses, **fields).poses)


@check('named poses are poses, and their names unique', F.NAMED_POSES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    poses = _poses(sim)
    names = [pose.name for pose in poses]
    assert len(names) == len(set(names)), f'wanted each name once, got {names}'
    for named in poses:
        q = named.pose.orientation
        norm = math.hypot(q.x, q.y, q.z, q.w)
        assert abs(norm - 1.0) < 1e-3, f'{named.name}: wanted a unit quaternion, norm is {norm}'


@check('named poses are filtered by tags', F.NAMED_POSES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    found = _poses(sim, tags=TagsFilter(tags=[NOBODY]))
    assert not found, f'wanted none, got {[pose.name for pose in found]}'
    tagged = next((pose for pose in _poses(sim) if pose.tags), None)
    if tagged is None:
        raise Skipped('no named pose has tags')
    for tags, mode, wanted in (
        ([tagged.tags[0]], TagsFilter.FILTER_MODE_ANY, True),
        ([tagged.tags[0], NOBODY], TagsFilter.FILTER_MODE_ANY, True),
        (list(tagged.tags), TagsFilter.FILTER_MODE_ALL, True),
        ([tagged.tags[0], NOBODY], TagsFilter.FILTER_MODE_ALL, False),
    ):
        names = [pose.name for pose in _poses(sim, tags=TagsFilter(tags=tags, filter_mode=mode))]
        assert (tagged.name in names) == wanted, f'tags {tags}, mode {mode}: got {names}'


@check('an entity can be put at every named pose', F.NAMED_POSES, *_MOVES, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    name = sim.entity()
    for named in _poses(sim):
        sim.expect(Result.RESULT_OK, of=srv.SetEntityState, entity=name, set_pose=True,
                   state=EntityState(pose=named.pose))
        assert not (why := poses_differ(sim.entity_state(name).pose, named.pose)), (
            f'{named.name}: {why}')
