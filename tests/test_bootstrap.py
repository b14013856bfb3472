"""The set-up script on broken machines, with a Python that only pretends to install and build."""

from collections.abc import Callable
import importlib.util
import os
from pathlib import Path
import shutil
import sys
from types import ModuleType

import pytest

WORKSPACE = Path(__file__).parents[1] / 'ros2_ws'

# Answers what bootstrap.py asks of an interpreter and notes every command; makes nothing but what
# bootstrap.py looks at. A pip that fails leaves its reason behind.
FAKE_PYTHON = """#!{shell}
echo "$@" | {head} -n 1 >> {calls}
case "$*" in
    *has_venv*) echo '{{"executable": "{python}", "prefix": "{prefix}",
        "version": [3, {minor}], "has_venv": {has_venv},
        "has_headers": {has_headers}, "modules": {modules}, "numpy": "1.26.4"}}' ;;
    "-m venv "*) for directory; do :; done
        {mkdir} -p "$directory/bin" "$directory/lib/python3.12/site-packages/pip"
        : > "$directory/lib/python3.12/site-packages/pip/__main__.py"
        {copy} "$0" "$directory/bin/python" ;;
    "-m pip "*) [ ! -e {no_network} ] || {{ echo 'ERROR: No matching distribution'; exit 1; }} ;;
    "-m colcon "*) while [ "$1" != --install-base ]; do shift; done; {mkdir} -p "$2" ;;
esac
"""


class Machine:
    """
    A checkout with the set-up script, and the programs that it finds.

    :param folder: empty directory.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / 'checkout'
        self.programs = folder / 'bin'
        self.calls = folder / 'calls'
        self.no_network = folder / 'no_network'
        self.programs.mkdir()
        (self.root / 'ros2_ws').mkdir(parents=True)
        for path in (WORKSPACE / 'bootstrap.py', *WORKSPACE.glob('*.txt')):
            shutil.copy(path, self.root / 'ros2_ws')
        self.add_package('src/robot')
        self.add_package('underlay/tf')
        self.add_program('cc')
        self.add_program('c++')
        self.python = self.add_python('python3')
        monkeypatch.setattr('platform.system', lambda: 'Linux')
        monkeypatch.setattr('platform.machine', lambda: 'x86_64')
        monkeypatch.setattr('platform.libc_ver', lambda: ('glibc', '2.36'))
        for name in ('CC', 'CXX', 'ROS_DISTRO', 'TORCH'):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv('PATH', str(self.programs))
        monkeypatch.setenv('PYTHON', str(self.python))

    def add_package(self, place: str) -> None:
        name = place.split('/')[-1]
        package = self.root / 'ros2_ws' / place
        (package / name).mkdir(parents=True)
        (package / 'package.xml').write_text(f'<package><name>{name}</name></package>')
        (package / name / '__init__.py').touch()

    def add_program(self, name: str, text: str = '#!/bin/sh\n') -> Path:
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)
        return program

    def add_python(self, name: str, *, minor: int = 12, has_venv: str = 'true',
                   has_headers: str = 'true', modules: str = '[]', prefix: str = '/usr') -> Path:
        return self.add_program(name, FAKE_PYTHON.format(
            shell='/bin/sh', head='/usr/bin/head', mkdir='/bin/mkdir', copy='/bin/cp',
            calls=self.calls, no_network=self.no_network, python=self.programs / name,
            minor=minor, has_venv=has_venv, has_headers=has_headers, modules=modules,
            prefix=prefix))

    def script(self) -> ModuleType:
        path = self.root / 'ros2_ws' / 'bootstrap.py'
        spec = importlib.util.spec_from_file_location('bootstrap_of_a_test', path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def calls_of(self, run: Callable[[], int]) -> list[str]:
        """Run the script; :returns: what the fake Python was called for, questions left out."""
        self.calls.write_text('')
        run()
        return [line for line in self.calls.read_text().splitlines() if line.startswith('-m')]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def refusal(machine: Machine, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the script, which must refuse; :returns: the one line that it says."""
    assert machine.script().main() == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert not (machine.root / '.venv').exists()
    return lines[0]


def test_sets_up_once_and_a_second_run_changes_nothing(machine, capsys):
    script = machine.script()
    calls = machine.calls_of(script.main)
    # Builds and libraries run side by side, in no fixed order.
    kinds = [call.split()[1] for call in calls]
    assert kinds[:2] == ['venv', 'pip']
    assert sorted(kinds[2:]) == ['colcon', 'colcon', 'pip']
    assert [line[:5] for line in capsys.readouterr().out.splitlines()] == [
        f'[{number}/6]' for number in range(1, 7)]
    assert (machine.root / '.venv' / 'made_for').read_text() == 'wheels\n'
    before = {path: path.stat().st_mtime_ns
              for path in machine.root.rglob('*') if path.is_file() and path.name != 'lock'}
    assert machine.calls_of(script.main) == []
    assert capsys.readouterr().out == ''
    after = {path: path.stat().st_mtime_ns
             for path in machine.root.rglob('*') if path.is_file() and path.name != 'lock'}
    assert after == before


@pytest.mark.parametrize(('missing', 'language'), [('cc', 'C'), ('c++', 'C++')])
def test_missing_compiler(machine, capsys, missing, language):
    (machine.programs / missing).unlink()
    line = refusal(machine, capsys)
    assert f'no {language} compiler on PATH' in line
    assert line.endswith('apt install g++')


def test_compiler_named_by_the_environment(machine, capsys, monkeypatch):
    monkeypatch.setenv('CXX', 'nonesuch -O2')
    assert 'looked for nonesuch)' in refusal(machine, capsys)
    monkeypatch.setenv('CXX', f'{machine.add_program("clang++-19")} -O2')
    assert machine.script().main() == 0


@pytest.mark.parametrize('minor', [10, 14])
def test_wrong_python(machine, capsys, minor):
    machine.add_python('python3', minor=minor)
    line = refusal(machine, capsys)
    assert f'is Python 3.{minor}, wanted one of 3.11, 3.12, 3.13: install one' in line
    machine.add_python('python3.12')
    assert refusal(machine, capsys).endswith(': run again with PYTHON=python3.12')


def test_python_that_does_not_run(machine, capsys, monkeypatch):
    monkeypatch.setenv('PYTHON', '/nowhere/python3')
    assert "the interpreter '/nowhere/python3' does not run" in refusal(machine, capsys)


@pytest.mark.parametrize(('lack', 'package'), [('has_venv', 'venv'), ('has_headers', 'dev')])
def test_python_without_a_part(machine, capsys, lack, package):
    machine.add_python('python3', **{lack: 'false'})
    assert refusal(machine, capsys).endswith(f'apt install python3.12-{package}')


@pytest.mark.parametrize(('what', 'value', 'said'), [
    ('machine', 'aarch64', 'Linux on aarch64'),
    ('system', 'Darwin', 'Darwin on x86_64'),
    ('libc_ver', ('glibc', '2.27'), 'with glibc 2.27'),
    ('libc_ver', ('', ''), 'with glibc none'),
])
def test_machine_without_wheels(machine, capsys, monkeypatch, what, value, said):
    monkeypatch.setattr(f'platform.{what}', lambda: value)
    line = refusal(machine, capsys)
    assert said in line
    assert 'install ROS 2 (jazzy, kilted, lyrical) and source it' in line


def test_full_disk(machine, capsys, monkeypatch):
    usage = shutil.disk_usage('/')
    monkeypatch.setattr('shutil.disk_usage', lambda _: usage._replace(free=2**30))
    assert '1.0 GiB free at ' in refusal(machine, capsys)


@pytest.mark.parametrize('damage', ['interrupted', 'no pip', 'broken python', 'no python'])
def test_half_made_venv_is_made_again(machine, capsys, damage):
    script = machine.script()
    assert script.main() == 0
    venv = machine.root / '.venv'
    (venv / 'mark').touch()
    if damage == 'interrupted':
        (venv / 'stamps' / 'venv').unlink()
    elif damage == 'no pip':
        shutil.rmtree(venv / 'lib' / 'python3.12' / 'site-packages' / 'pip')
    elif damage == 'broken python':
        (venv / 'bin' / 'python').write_text('#!/nowhere/python3.12\n')
    else:
        (venv / 'bin' / 'python').unlink()
    capsys.readouterr()
    assert machine.calls_of(script.main)[0] == f'-m venv {venv}'
    assert not (venv / 'mark').exists()
    assert '[2/6] Python environment .venv (the ' in capsys.readouterr().out
    assert script.venv_fault(venv, (venv / 'stamps' / 'venv').read_text()) is None


def test_another_interpreter_has_a_venv_of_its_own(machine, monkeypatch):
    script = machine.script()
    assert script.main() == 0
    monkeypatch.setenv('PYTHON', str(machine.add_python('python')))
    assert machine.calls_of(script.main) == [], 'another name of the same interpreter'
    machine.add_python('python', prefix='/opt')
    assert machine.calls_of(script.main)[0].startswith('-m venv')


def test_venv_that_is_a_link_is_left_alone(machine, capsys, tmp_path):
    theirs = tmp_path / 'theirs'
    theirs.mkdir()
    (machine.root / '.venv').symlink_to(theirs)
    assert machine.script().main() == 1
    assert 'is not a directory, wanted none or one that' in capsys.readouterr().err
    assert theirs.is_dir()


def test_failing_pip_says_why_and_the_next_run_goes_on(machine, capsys):
    script = machine.script()
    machine.no_network.touch()
    assert script.main() == 1
    said = capsys.readouterr().err
    assert 'ERROR: No matching distribution' in said
    assert 'is the package index within reach' in said
    assert str(machine.root / 'build' / 'log' / 'ros.log') in said
    assert not (machine.root / '.venv' / 'made_for').exists()
    machine.no_network.unlink()
    assert not any('venv' in call.split()[1] for call in machine.calls_of(script.main))
    assert (machine.root / '.venv' / 'made_for').exists()


def test_a_stopped_job_leaves_nothing_running(machine):
    fifo = machine.root / 'fifo'
    os.mkfifo(fifo)
    # The reader of the pipe sees its end only when every process that can write to it is gone.
    job = machine.script().Job('job', [['/bin/sh', '-c', f'exec 9> {fifo}; /bin/sleep 1000']], {})
    with fifo.open() as reader:
        job.stop()
        assert reader.read() == ''
    assert job.process.returncode is not None


def test_a_new_package_or_data_file_is_built_and_an_edit_is_not(machine):
    script = machine.script()
    assert script.main() == 0
    package = machine.root / 'ros2_ws' / 'src' / 'robot'
    (package / 'robot' / '__init__.py').write_text('EDITED = True\n')
    (package / 'robot' / 'module.py').touch()
    assert machine.calls_of(script.main) == []
    for name in ('launch/robot.launch.py', 'robot/arm/__init__.py'):
        path = package / name
        path.parent.mkdir()
        path.touch()
        calls = machine.calls_of(script.main)
        assert len(calls) == 1
        assert f'--base-paths {package}' in calls[0]


def test_torch_of_the_environment_replaces_the_pin(machine, monkeypatch):
    monkeypatch.setenv('TORCH', 'torch==9.9 --extra-index-url https://example.org/whl')
    calls = machine.calls_of(machine.script().main)
    assert any(call.endswith('torch==9.9 --extra-index-url https://example.org/whl')
               for call in calls)
    assert not any('torch==2' in call for call in calls)


def test_unknown_ros(machine, capsys, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    assert "ROS 2 'humble' is sourced, wanted one of jazzy, kilted, lyrical, or none" in \
        refusal(machine, capsys)


def test_sourced_ros_that_lacks_packages(machine, capsys, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert 'cannot import its rclpy' in refusal(machine, capsys)
    machine.add_python('python3', modules='["rclpy", "numpy", "tf2_ros", "tf2_msgs"]')
    assert refusal(machine, capsys).endswith(
        ': apt install ros-jazzy-cv-bridge ros-jazzy-simulation-interfaces '
        'ros-jazzy-tf-transformations')


def test_sourced_ros_is_used(machine, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    script = machine.script()
    machine.add_python('python3', modules=str(
        ['rclpy', 'numpy', 'cv2', *script.NEEDED_OF_ROS]).replace("'", '"'))
    calls = machine.calls_of(script.main)
    assert calls[0] == f'-m venv --system-site-packages {machine.root / ".venv"}'
    installs = [call for call in calls if call.startswith('-m pip')]
    assert len(installs) == 2
    assert all('numpy==1.26.4' in call for call in installs)
    assert not any('requirements-ros' in call or 'opencv' in call for call in installs)
    builds = [call for call in calls if call.startswith('-m colcon')]
    assert len(builds) == 1
    assert str(machine.root / 'ros2_ws' / 'src' / 'robot') in builds[0]
    assert (machine.root / '.venv' / 'made_for').read_text() == 'jazzy\n'
    monkeypatch.delenv('ROS_DISTRO')
    assert machine.calls_of(script.main)[0].startswith('-m venv')


def test_an_earlier_activation_is_forgotten(machine):
    script = machine.script()
    root = str(machine.root)
    assert script.outside_environ({
        'PATH': f'{root}/.venv/bin:/usr/bin', 'PYTHONPATH': f'{root}/ros2_ws/build/robot',
        'VIRTUAL_ENV': f'{root}/.venv', 'HOME': root,
    }) == {'PATH': '/usr/bin', 'HOME': root}


def test_runs_with_the_interpreter_of_these_tests():
    script = importlib.util.spec_from_file_location('bootstrap', WORKSPACE / 'bootstrap.py')
    assert script is not None
    assert script.loader is not None
    module = importlib.util.module_from_spec(script)
    script.loader.exec_module(module)
    probe = module.probe_python(sys.executable, None, {})
    assert tuple(probe['version']) == sys.version_info[:2]
    module.check_python(probe, None, {})
