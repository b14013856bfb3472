"""The house: who may import what, and that the facts about the packages agree."""

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import sys
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / 'ros2_ws' / 'src'

# Rooms and their doors, the table of the architecture. A room is a module, or a package with all
# that is in it. It may import the standard library, the modules of its own room, and what its door
# names: rooms, and libraries by their top name. The first room that fits a module is its room.
ARRAYS = {'numpy', 'scipy'}
PICTURES = {'PIL', 'av', 'cv2', 'skimage'}
ROS_MESSAGES = {
    'action_msgs', 'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'inspatio_sim_msgs',
    'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces', 'rosgraph_msgs', 'sensor_msgs',
    'simulation_interfaces', 'std_msgs', 'std_srvs', 'tf2_msgs',
}
ROS = ROS_MESSAGES | {'ament_index_python', 'launch', 'launch_ros', 'rclpy', 'tf2_ros'}

CONTRACT = {f'inspatio_star.{name}' for name in (
    'contract', 'errors', 'frames', 'motion', 'progress', 'session', 'trajectory', 'whole_folder',
    'world_time')}
WORLD = CONTRACT | {f'inspatio_star.{name}' for name in (
    'conditioning', 'depth_codec', 'pictures', 'video', 'warp', 'warp_torch', 'world')}
MODEL = {'inspatio_star.codec', 'inspatio_star.star'}
SESSIONS = {f'inspatio_star.{name}' for name in (
    'checkpoint', 'checkpoint_codec', 'checkpoint_dit', 'checkpoint_text', 'depth', 'fake',
    'fill', 'filler', 'golden', 'local', 'memory', 'nano_dit', 'nano_session', 'overlap',
    'parity', 'parity_dit', 'parity_keys', 'parity_scheduler', 'parity_t5', 'parity_taehv',
    'parity_vae', 'presets', 'reproject', 'sessions', 'silhouettes', 'text', 'warp_session',
    'weights')}
CONSUMERS = {'inspatio_star.env', 'inspatio_star.eval', 'inspatio_star.render'}
REMOTE = {'inspatio_star.remote.client', 'inspatio_star.remote.server'}
CORE = WORLD | MODEL | SESSIONS | CONSUMERS | REMOTE  # all but train: nobody imports it

DOORS: dict[str, set[str]] = {
    **dict.fromkeys(CONTRACT, CONTRACT | ARRAYS),
    **dict.fromkeys(WORLD - CONTRACT, WORLD | ARRAYS | PICTURES | {'numba', 'torch'}),
    **dict.fromkeys(MODEL, MODEL | {'torch'}),
    **dict.fromkeys(SESSIONS, WORLD | MODEL | SESSIONS | ARRAYS | PICTURES | {
        'numba', 'rich', 'safetensors', 'torch', 'inspatio_star.remote.client'}),
    'inspatio_star.text': CONTRACT | SESSIONS | {'ftfy', 'tokenizers', 'torch', 'transformers'},
    'inspatio_star.weights': CONTRACT | MODEL | SESSIONS | {'huggingface_hub', 'rich', 'torch'},
    # A robot without a GPU needs no torch.
    'inspatio_star.remote.client': CONTRACT | ARRAYS | {
        'google', 'grpc', 'inspatio_star.remote.wire'},
    'inspatio_star.remote.wire': CONTRACT | ARRAYS | {'google', 'grpc'},
    'inspatio_star.remote': CORE | ARRAYS | {'google', 'grpc', 'ray', 'torch'},
    # They see a Session, never which one.
    **dict.fromkeys(CONSUMERS, CONTRACT | ARRAYS | PICTURES | {
        'gymnasium', 'inspatio_star.pictures', 'inspatio_star.video'}),
    'inspatio_star.eval': CONTRACT | ARRAYS | PICTURES | {
        'inspatio_star.fill', 'inspatio_star.render', 'inspatio_star.warp', 'inspatio_star.world',
        'rich'},
    'inspatio_star.eval.lpips': CONTRACT | {'inspatio_star.checkpoint', 'numpy', 'torch'},
    'inspatio_star.train': CORE | ARRAYS | PICTURES | {
        'inspatio_star.train', 'moderngl', 'numba', 'rich', 'safetensors', 'tensorboardX',
        'torch'},
    'inspatio_star.gym_worlds': CONTRACT | SESSIONS | {'gymnasium', 'inspatio_star.env'},
    'inspatio_star.cli': CORE | ARRAYS | {'inspatio_star.eval.lpips', 'rich'},
    'inspatio_star': set(),
    # The one home of the two libraries that differ most between ROS 2 and its stand-ins.
    'inspatio_sim.convert': CONTRACT | ARRAYS | ROS_MESSAGES | {
        'cv2', 'cv_bridge', 'tf_transformations'},
    # Its clock is passed in: it is tested without ROS.
    'inspatio_sim.pacer': {'inspatio_star.contract'} | ARRAYS,
    # Knows a simulator by the standard alone.
    'inspatio_sim.conformance': ROS_MESSAGES | {'rclpy', 'rich'},
    # Wires any Session to the topics; which kinds there are stands behind `sessions`.
    'inspatio_sim.demo': CONTRACT | CONSUMERS | ARRAYS | PICTURES | ROS | {
        'inspatio_sim', 'inspatio_sim.convert', 'inspatio_star.pictures', 'inspatio_star.video',
        'mcap', 'psutil', 'rich', 'rosbags'},
    # A viewer: it has no session.
    'inspatio_sim.drive': CONTRACT | ARRAYS | PICTURES | ROS | {
        'inspatio_sim', 'inspatio_sim.convert', 'inspatio_sim.drive.drawing',
        'inspatio_sim.drive.helm', 'inspatio_star.pictures', 'viser'},
    'inspatio_sim.drive.helm': set(),
    'inspatio_sim.drive.drawing': CONTRACT | ARRAYS | PICTURES | {'inspatio_star.pictures'},
    # What is saved, and what is moved to where the camera is now: tested without ROS, too.
    'inspatio_sim.frame': CONTRACT | ARRAYS | {'inspatio_star.reproject'},
    'inspatio_sim.view': CONTRACT | ARRAYS | {'inspatio_sim.frame', 'inspatio_star.reproject'},
    'inspatio_sim.dream': CONTRACT | ARRAYS,
    'inspatio_sim.saving': CONTRACT | ARRAYS | {
        'inspatio_sim.frame', 'inspatio_star.reproject', 'safetensors'},
    'inspatio_sim.simulator': CONTRACT | ARRAYS | {
        'inspatio_sim.dream', 'inspatio_sim.frame', 'inspatio_sim.pacer', 'inspatio_sim.saving',
        'inspatio_sim.view', 'inspatio_star.memory', 'inspatio_star.reproject'},
    'inspatio_sim': CONTRACT | ARRAYS | ROS | {
        'inspatio_sim.convert', 'inspatio_sim.frame', 'inspatio_sim.pacer', 'inspatio_sim.saving',
        'inspatio_sim.simulator', 'inspatio_star.memory', 'inspatio_star.sessions',
        'inspatio_star.world', 'psutil'},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Name every module of the two packages, with its file."""
    for package in ('inspatio_star', 'inspatio_sim'):
        base = SOURCES / package
        for path in sorted((base / package).rglob('*.py')):
            yield '.'.join(path.relative_to(base).with_suffix('').parts), path


def room_of(name: str) -> str | None:
    """Find the room of a module: the longest name in the table that it has in front."""
    parts = name.removesuffix('.__init__').split('.')
    if parts[0] == 'inspatio_star' and len(parts) > 1:
        # The core has no common room: a new module needs a line in the table.
        names = ['.'.join(parts[:count]) for count in range(len(parts), 1, -1)]
    else:
        names = ['.'.join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((name for name in names if name in DOORS), None)


def imports_of(path: Path, name: str) -> set[str]:
    """Name what a module imports, anywhere in it, from outside the standard library."""
    known = {module.removesuffix('.__init__') for module, _ in modules()}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{name}: relative import, wanted the whole name'
            assert node.module is not None
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                found.add(inner if inner in known else node.module)
    return {target for target in found if target.split('.')[0] not in sys.stdlib_module_names}


def closed_doors(name: str, imports: set[str]) -> set[str]:
    """
    Find the imports that the table does not have.

    :param name: of the importing module.
    :param imports: full names of what it imports.
    """
    room = room_of(name)
    assert room is not None, f'{name} is in no room: add it to DOORS, with its doors'
    closed = set()
    for target in imports:
        if target.split('.')[0] in ('inspatio_star', 'inspatio_sim'):
            there = room_of(target)
            if there == room or there in DOORS[room] or there == 'inspatio_star':
                continue
        elif target.split('.')[0] in DOORS[room]:
            continue
        closed.add(target)
    return closed


@pytest.mark.parametrize(('name', 'path'), list(modules()), ids=lambda value: str(value))
def test_imports_go_through_doors(name, path):
    assert closed_doors(name, imports_of(path, name)) == set()


@pytest.mark.parametrize(('name', 'target'), [
    ('inspatio_star.contract', 'torch'),
    ('inspatio_star.motion', 'inspatio_star.world.folder'),
    ('inspatio_star.world.folder', 'inspatio_star.sessions'),
    ('inspatio_star.star.dit', 'numpy'),
    ('inspatio_star.remote.client', 'torch'),
    ('inspatio_star.remote.server', 'rclpy'),
    ('inspatio_star.sessions', 'inspatio_star.train.trainer'),
    ('inspatio_star.eval.metrics', 'inspatio_star.warp_session'),
    ('inspatio_sim.sim_node', 'cv_bridge'),
    ('inspatio_sim.sim_node', 'torch'),
    ('inspatio_sim.node', 'torch'),
    ('inspatio_sim.demo.report', 'tf_transformations'),
    ('inspatio_sim.pacer', 'rclpy.time'),
    ('inspatio_sim.drive.page', 'inspatio_star.sessions'),
    ('inspatio_sim.drive.helm', 'rclpy.time'),
    ('inspatio_sim.conformance.client', 'inspatio_sim.simulator'),
])
def test_doors_that_are_closed(name, target):
    assert closed_doors(name, {target}) == {target}


def test_a_module_of_no_room_is_told():
    with pytest.raises(AssertionError, match='is in no room'):
        closed_doors('inspatio_star.attic', set())


def test_no_module_is_a_drawer_for_everything():
    assert [name for name, _ in modules() if re.search(r'util|helper|common|misc', name)] == []


def packages() -> list[Path]:
    """List the directories of all packages, ours and the stand-ins."""
    return sorted(path.parent for base in (SOURCES, ROOT / 'ros2_ws' / 'underlay')
                  for path in base.glob('*/package.xml'))


@pytest.mark.parametrize('package', packages(), ids=lambda path: path.name)
def test_package_is_complete(package):
    xml = ElementTree.parse(package / 'package.xml').getroot()
    assert xml.get('format') == '3'
    assert xml.findtext('name') == package.name
    assert xml.findtext('license') == 'Apache-2.0'
    assert xml.find('maintainer').get('email')
    is_python = not (package / 'CMakeLists.txt').exists()
    assert xml.findtext('export/build_type') == ('ament_python' if is_python else 'ament_cmake')
    if is_python:
        assert (package / 'resource' / package.name).is_file()
        assert (package / package.name / '__init__.py').is_file()
        # The version stands in package.xml alone.
        assert "findtext('version')" in (package / 'setup.py').read_text()
        assert not re.search(r'version=.\d', (package / 'setup.py').read_text())


def test_versions_agree():
    versions = {path.name: ElementTree.parse(path / 'package.xml').findtext('version')
                for path in packages()}
    assert len(set(versions.values())) == 1, versions
    newest = re.search(r'^## (\S+)', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    assert newest.group(1) == versions['inspatio_sim']


@pytest.mark.parametrize('package', ['inspatio_star', 'inspatio_sim'])
def test_requirements_of_setup_are_those_that_the_set_up_installs(package):
    lines = (ROOT / 'ros2_ws' / 'requirements.txt').read_text().splitlines()
    installed = {line.split('#')[0].strip() for line in lines} | {'inspatio_star', 'torch'}
    tree = ast.parse((SOURCES / package / 'setup.py').read_text())
    wanted = next(ast.literal_eval(node.value) for node in ast.walk(tree)
                  if isinstance(node, ast.keyword) and node.arg == 'install_requires')
    assert set(wanted) <= installed


def test_every_requirement_has_a_version_in_the_constraints():
    constraints = (ROOT / 'ros2_ws' / 'constraints.txt').read_text()
    pinned = set(re.findall(r'^(\S+)==', constraints, re.MULTILINE))
    for name in ('requirements.txt', 'requirements-ros.txt', 'requirements-build.txt'):
        for line in (ROOT / 'ros2_ws' / name).read_text().splitlines():
            wanted = re.match(r'[a-z][\w-]*', line.lower())
            if wanted is not None and wanted.group() != 'torch':
                assert wanted.group().replace('_', '-') in pinned


@pytest.mark.parametrize(('link', 'place'), [
    ('launch', 'ros2_ws/src/inspatio_sim/launch'),
    ('config', 'ros2_ws/src/inspatio_sim/config'),
    ('msg', 'ros2_ws/src/inspatio_sim_msgs/msg'),
])
def test_links_lead_somewhere(link, place):
    assert (ROOT / link).is_symlink()
    assert (ROOT / link).resolve(strict=True) == ROOT / place
    assert any((ROOT / link).iterdir())


def test_readme_names_only_what_is_there():
    readme = ROOT / 'README.md'
    if not readme.exists():
        pytest.skip('no README.md yet')
    links = re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', readme.read_text())
    layout = re.findall(r'^\s*((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml|py|sh))(?:\s|$)',
                        readme.read_text(), re.MULTILINE)
    made = ('out/', 'build/', 'worlds/')
    names = [name for name in [*links, *layout] if not name.startswith(made)]
    assert [name for name in names if not (ROOT / name).exists()] == []
