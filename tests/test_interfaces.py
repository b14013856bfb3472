"""The messages and services are those that other programs know, field by field."""

import json
import os

from ament_index_python.packages import get_package_share_path
import pytest
from simulation_interfaces.msg import (
    Bounds,
    EntityCategory,
    Resource,
    Result,
    SimulationState,
    SimulatorFeatures,
    TagsFilter,
    WorldResource,
)
from simulation_interfaces.srv import (
    GetAvailableWorlds,
    GetCurrentWorld,
    GetSimulationState,
    GetSimulatorFeatures,
    LoadWorld,
    ResetSimulation,
    SetEntityState,
    SetSimulationState,
    UnloadWorld,
)
from tf2_msgs.msg import TF2Error, TFMessage

from inspatio_sim_msgs.msg import SimStatus

RESULT = {'result': 'simulation_interfaces/Result'}
WORLD = {'world': 'simulation_interfaces/WorldResource'}
STATE = {'state': 'simulation_interfaces/SimulationState'}

FIELDS = {
    TFMessage: {'transforms': 'sequence<geometry_msgs/TransformStamped>'},
    TF2Error: {'error': 'uint8', 'error_string': 'string'},
    Result: {'result': 'uint8', 'error_message': 'string'},
    Resource: {'uri': 'string', 'resource_string': 'string'},
    WorldResource: {
        'name': 'string', 'world_resource': 'simulation_interfaces/Resource',
        'description': 'string', 'tags': 'sequence<string>',
    },
    SimulationState: {'state': 'uint8'},
    SimulatorFeatures: {
        'features': 'sequence<uint16>', 'spawn_formats': 'sequence<string>',
        'custom_info': 'string',
    },
    GetSimulatorFeatures.Response: {'features': 'simulation_interfaces/SimulatorFeatures'},
    GetSimulationState.Response: STATE | RESULT,
    SetSimulationState.Request: STATE,
    SetSimulationState.Response: RESULT,
    ResetSimulation.Request: {'scope': 'uint8'},
    ResetSimulation.Response: RESULT,
    LoadWorld.Request: {
        'world_resource': 'simulation_interfaces/Resource',
        'fail_on_unsupported_element': 'boolean',
        'ignore_missing_or_unsupported_assets': 'boolean',
    },
    LoadWorld.Response: RESULT | WORLD,
    GetCurrentWorld.Response: RESULT | WORLD,
    SimStatus: {
        'header': 'std_msgs/Header',
        'world': 'string',
        'session': 'string',
        'frame': 'uint64',
        'chunk': 'uint32',
        'frame_in_chunk': 'uint16',
        'chunk_frames': 'uint16',
        'chunk_ms': 'float',
        'stage_names': 'sequence<string>',
        'stage_ms': 'sequence<float>',
        'session_cpu_s': 'double',
        'known_share': 'float',
        'command_stamp': 'builtin_interfaces/Time',
        'skipped_frames': 'uint64',
        'refused_commands': 'uint64',
        'generated_stamp': 'builtin_interfaces/Time',
        'reprojected': 'boolean',
        'source_frame': 'uint32',
    },
}

# Codes that a client written for another simulator sends or compares with.
CONSTANTS = {
    TF2Error: {
        'NO_ERROR': 0, 'LOOKUP_ERROR': 1, 'CONNECTIVITY_ERROR': 2, 'EXTRAPOLATION_ERROR': 3,
        'INVALID_ARGUMENT_ERROR': 4, 'TIMEOUT_ERROR': 5, 'TRANSFORM_ERROR': 6,
    },
    Result: {
        'RESULT_FEATURE_UNSUPPORTED': 0, 'RESULT_OK': 1, 'RESULT_NOT_FOUND': 2,
        'RESULT_INCORRECT_STATE': 3, 'RESULT_OPERATION_FAILED': 4,
    },
    SimulationState: {
        'STATE_STOPPED': 0, 'STATE_PLAYING': 1, 'STATE_PAUSED': 2, 'STATE_QUITTING': 3,
        'STATE_NO_WORLD': 4, 'STATE_LOADING_WORLD': 5,
    },
    SimulatorFeatures: {
        'SPAWNING': 0, 'NAMED_POSES': 2, 'ENTITY_STATE_GETTING': 10, 'ENTITY_STATE_SETTING': 11,
        'ENTITY_INFO_GETTING': 12, 'SIMULATION_RESET': 20, 'SIMULATION_RESET_TIME': 21,
        'SIMULATION_RESET_STATE': 22, 'SIMULATION_RESET_SPAWNED': 23,
        'SIMULATION_STATE_GETTING': 24, 'SIMULATION_STATE_SETTING': 25,
        'SIMULATION_STATE_PAUSE': 26, 'STEP_SIMULATION_SINGLE': 31,
        'STEP_SIMULATION_MULTIPLE': 32, 'STEP_SIMULATION_ACTION': 33, 'WORLD_LOADING': 40,
        'WORLD_RESOURCE_STRING': 41, 'WORLD_TAGS': 42, 'WORLD_UNLOADING': 43,
        'WORLD_INFO_GETTING': 44, 'AVAILABLE_WORLDS': 45,
    },
    ResetSimulation.Request: {
        'SCOPE_DEFAULT': 0, 'SCOPE_TIME': 1, 'SCOPE_STATE': 2, 'SCOPE_SPAWNED': 4,
        'SCOPE_ALL': 255,
    },
    SetSimulationState.Response: {
        'ALREADY_IN_TARGET_STATE': 101, 'STATE_TRANSITION_ERROR': 102,
        'INCORRECT_TRANSITION': 103,
    },
    LoadWorld.Response: {
        'UNSUPPORTED_FORMAT': 101, 'NO_RESOURCE': 102, 'RESOURCE_PARSE_ERROR': 103,
        'MISSING_ASSETS': 104, 'UNSUPPORTED_ASSETS': 105, 'UNSUPPORTED_ELEMENTS': 106,
    },
    GetCurrentWorld.Response: {'NO_WORLD_LOADED': 101},
    UnloadWorld.Response: {'NO_WORLD_LOADED': 101},
    GetAvailableWorlds.Response: {'DEFAULT_SOURCES_FAILED': 101},
    SetEntityState.Response: {'INVALID_POSE': 101},
    EntityCategory: {
        'CATEGORY_OBJECT': 0, 'CATEGORY_ROBOT': 1, 'CATEGORY_HUMAN': 2,
        'CATEGORY_DYNAMIC_OBJECT': 4, 'CATEGORY_STATIC_OBJECT': 5,
    },
    Bounds: {'TYPE_EMPTY': 0, 'TYPE_BOX': 1, 'TYPE_CONVEX_HULL': 2, 'TYPE_SPHERE': 3},
    TagsFilter: {'FILTER_MODE_ANY': 0, 'FILTER_MODE_ALL': 1},
}

# Type hashes of Kilted's tf2_msgs and of simulation_interfaces 2.1.0; a service's covers the
# messages in it. Programs whose hashes differ do not take a topic or service for the same.
TYPE_HASHES = {
    'tf2_msgs/msg/TFMessage':
        'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087',
    'simulation_interfaces/srv/GetAvailableWorlds':
        'RIHS01_ce5589b5523f2732d1969a3c5a7e6b17a387091df8190c62f78d7fdd1109e3e3',
    'simulation_interfaces/srv/GetCurrentWorld':
        'RIHS01_79ed4e910e1b7a1c9f7950ff758bfba3535bf0dec669054e8af115a099724ddd',
    'simulation_interfaces/srv/GetEntities':
        'RIHS01_cb90004c48cd50f37732fb008e22c34c261dd680a723bf0f85d8437ea4498bf7',
    'simulation_interfaces/srv/GetEntitiesStates':
        'RIHS01_0a76170d0c1c90e1eaf805cfab78ea801d1f82df309a28c1f0fae4b570f19754',
    'simulation_interfaces/srv/GetEntityInfo':
        'RIHS01_953b7ab6bfc35063f5c9a72463c6ce489baa10249a7fa510926d342a34b0d29e',
    'simulation_interfaces/srv/GetEntityState':
        'RIHS01_749c91f2a2353d98367b64f2995a0f5842ce92a08ec1ffb3e185540a91557fb5',
    'simulation_interfaces/srv/GetNamedPoses':
        'RIHS01_c3d12ab920115bfd4733f6d20516adc3968fb438538540997c37e200e02b04e3',
    'simulation_interfaces/srv/GetSimulationState':
        'RIHS01_3362dcebee4b1afebbf9c4beee5c79c1455385aded62092a892d61fde8644f30',
    'simulation_interfaces/srv/GetSimulatorFeatures':
        'RIHS01_abb9439c8cf196722a469fb6c68b44b484f198c2a1356ac38849a29c2a20a794',
    'simulation_interfaces/srv/LoadWorld':
        'RIHS01_87d0ded1bfddb40a74d0bedb963fdd592fbedb14d0057d597850404b73c338af',
    'simulation_interfaces/srv/ResetSimulation':
        'RIHS01_4ce285d7ff9b8ac70dcc95161f32bf54c05a6f4b13427990e41ab40c36c39646',
    'simulation_interfaces/srv/SetEntityState':
        'RIHS01_fba636c91d38832dbd4f6896ffce54ff98fd9929962b0533546b56ce00f988ac',
    'simulation_interfaces/srv/SetSimulationState':
        'RIHS01_a868b916dce49974f637ba252141258c4b07b0c06858b88af560e3eb6bfbcb30',
    'simulation_interfaces/srv/StepSimulation':
        'RIHS01_913fe0653690ce6bf8f09f316e6a626747012e9fca31e26719910d417aa8565c',
    'simulation_interfaces/srv/UnloadWorld':
        'RIHS01_ac7f9a73df1b5b15015d854c5ac552b7726506e22f886c6792804f0b7f88b30b',
    'simulation_interfaces/action/SimulateSteps':
        'RIHS01_f0837c898e1219cd73bf4c041feab41e8c533e8e1057e982744dba7b093467eb',
}


@pytest.mark.parametrize('interface', FIELDS, ids=lambda interface: interface.__name__)
def test_fields(interface):
    assert interface.get_fields_and_field_types() == FIELDS[interface]
    assert list(interface.get_fields_and_field_types()) == list(FIELDS[interface])


@pytest.mark.parametrize('interface', CONSTANTS, ids=lambda interface: interface.__name__)
def test_constants(interface):
    known = CONSTANTS[interface]
    assert {name: getattr(interface, name) for name in known} == known


@pytest.mark.skipif('ROS_DISTRO' in os.environ, reason='the sourced ROS 2 brings its own version')
@pytest.mark.parametrize('name', TYPE_HASHES)
def test_stand_ins_are_the_same_on_the_wire(name):
    package = name.split('/')[0]
    path = get_package_share_path(package) / f'{name.removeprefix(package + "/")}.json'
    hashes = {entry['type_name']: entry['hash_string']
              for entry in json.loads(path.read_text())['type_hashes']}
    assert hashes[name] == TYPE_HASHES[name]
