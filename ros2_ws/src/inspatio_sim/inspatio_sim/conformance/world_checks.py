"""Worlds: loaded, told of, listed and unloaded."""

from __future__ import annotations

from pathlib import Path
import tempfile

from simulation_interfaces import srv
from simulation_interfaces.msg import Resource, Result, SimulationState, TagsFilter
from simulation_interfaces.msg import SimulatorFeatures as F

from inspatio_sim.conformance.client import Client, expect
from inspatio_sim.conformance.registry import check

S = SimulationState
LOAD = srv.LoadWorld
L = LOAD.Response
BROKEN = (L.RESOURCE_PARSE_ERROR, L.UNSUPPORTED_FORMAT)
NO_WORLD = srv.GetCurrentWorld.Response.NO_WORLD_LOADED
NONSENSE = 'this is no world\n\0\x01'
# Of the worlds that are listed, how many are loaded to see whether they can be.
LOADED_OF_LIST = 2


def _settled(sim: Client) -> None:
    state = sim.state()
    assert state in (S.STATE_NO_WORLD, S.STATE_STOPPED), f'wanted NO_WORLD or STOPPED, got {state}'


@check('a load of nothing: NO_RESOURCE', F.WORLD_LOADING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(L.NO_RESOURCE, of=LOAD)
    _settled(sim)


@check('a load of a string is unsupported where it is not claimed', F.WORLD_LOADING,
       without=(F.WORLD_RESOURCE_STRING,), state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_FEATURE_UNSUPPORTED, L.UNSUPPORTED_FORMAT, of=LOAD,
               world_resource=Resource(resource_string=NONSENSE))
    _settled(sim)


@check('a load of a nonsense string is refused', F.WORLD_LOADING, F.WORLD_RESOURCE_STRING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(*BROKEN, of=LOAD, world_resource=Resource(resource_string=NONSENSE))
    _settled(sim)


@check('a load of a file that is not there is refused', F.WORLD_LOADING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        uri = str(Path(folder) / 'nothing.world')
    sim.expect(*BROKEN, L.MISSING_ASSETS, Result.RESULT_NOT_FOUND, of=LOAD,
               world_resource=Resource(uri=uri))
    _settled(sim)


@check('a load of a file of nonsense is refused, and a world can be loaded after it',
       F.WORLD_LOADING, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'nonsense.world'
        path.write_text(NONSENSE)
        sim.expect(*BROKEN, of=LOAD, world_resource=Resource(uri=str(path)))
    _settled(sim)
    sim.load()
    assert sim.state() == S.STATE_STOPPED, f'wanted STOPPED, got {sim.state()}'


def _stopped_after_load(sim: Client) -> None:
    answer = sim.load()
    uri = answer.world.world_resource.uri
    assert uri == sim.worlds[0], f'wanted the uri {sim.worlds[0]}, got {uri!r}'
    assert sim.state() == S.STATE_STOPPED, f'wanted STOPPED, got {sim.state()}'


for _begin, _name in ((S.STATE_PLAYING, 'PLAYING'), (S.STATE_STOPPED, 'STOPPED'),
                      (S.STATE_NO_WORLD, 'NO_WORLD')):
    check(f'{_name}: a load ends STOPPED', F.WORLD_LOADING, state=_begin)(_stopped_after_load)


@check('the world that is loaded is told of', F.WORLD_LOADING, F.WORLD_INFO_GETTING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    loaded = sim.load().world
    current = sim.expect(Result.RESULT_OK, of=srv.GetCurrentWorld).world
    assert current == loaded, f'wanted {loaded}, got {current}'


@check('a world is unloaded once, and then there is none', F.WORLD_UNLOADING,
       state=S.STATE_PLAYING)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_OK, of=srv.UnloadWorld)
    assert sim.state() == S.STATE_NO_WORLD, f'wanted NO_WORLD, got {sim.state()}'
    if sim.has(F.WORLD_INFO_GETTING):
        sim.expect(NO_WORLD, of=srv.GetCurrentWorld)
    sim.expect(srv.UnloadWorld.Response.NO_WORLD_LOADED, of=srv.UnloadWorld)
    assert sim.state() == S.STATE_NO_WORLD, f'wanted NO_WORLD, got {sim.state()}'


@check('worlds that are listed can be loaded', F.AVAILABLE_WORLDS, F.WORLD_LOADING,
       state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    worlds = sim.expect(Result.RESULT_OK, of=srv.GetAvailableWorlds).worlds
    for world in worlds:
        resource = world.world_resource
        assert resource.uri or resource.resource_string, f'{world.name}: wanted a resource'
    for world in worlds[:LOADED_OF_LIST]:
        answer = sim.call(LOAD, world_resource=world.world_resource)
        expect(answer.result, Result.RESULT_OK, of=LOAD)
        assert sim.state() == S.STATE_STOPPED, f'wanted STOPPED, got {sim.state()}'


@check('a source of worlds that is not there is told', F.AVAILABLE_WORLDS, state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(folder) / 'nothing')
    answer = sim.call(srv.GetAvailableWorlds, additional_sources=[source])
    assert answer.result.result != Result.RESULT_OK, 'wanted a refusal, got OK'
    usual = sim.expect(Result.RESULT_OK, of=srv.GetAvailableWorlds).worlds
    answer = sim.call(srv.GetAvailableWorlds, additional_sources=[source], continue_on_error=True)
    if usual:
        expect(answer.result, Result.RESULT_OK, of=srv.GetAvailableWorlds)
        assert list(answer.worlds) == list(usual), 'wanted the worlds of the other sources'


@check('a filter of worlds by tags is unsupported where it is not claimed', F.AVAILABLE_WORLDS,
       without=(F.WORLD_TAGS,), state=S.STATE_STOPPED)
def _(sim: Client) -> None:
    sim.expect(Result.RESULT_FEATURE_UNSUPPORTED, of=srv.GetAvailableWorlds,
               filter=TagsFilter(tags=['a tag']))
