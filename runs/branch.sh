#!/usr/bin/env bash
# The simulation in lockstep, as the node plays it, but without ROS: STEPS (500) steps under random
# velocities, three times with one seed.  Twice alone: digests of all pictures, depths, provenances, poses
# and stamps must be equal.  Once with a rollout of 8 ways of two chunks, and a save and a restore, in
# the middle: the digest must be that of the run that never branched.  Prints steps per second, and
# those of the bare session along the same chunks, each the better of two by turns.  SESSION (star), RESOLUTION (240x416), LATE (true; false
# for frames as they were made, which are not moved to the newest pose).  Ends with 1 where digests
# differ; the last line is one JSON document.
#
#     runs/branch.sh [STEPS]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export OMP_WAIT_POLICY=passive
exec python - "${1:-500}" "${SESSION:-star}" "${RESOLUTION:-240x416}" "${LATE:-true}" <<'PYTHON'
# As the node does, before numpy begins threads.
from inspatio_star.memory import keep_freed_memory

keep_freed_memory()

import hashlib
import json
from pathlib import Path
import sys
import tempfile
import time

import numpy as np
from rich.console import Console
from rich.progress import track

from inspatio_sim import saving
from inspatio_sim.pacer import SimClock
from inspatio_sim.simulator import Simulator, State
from inspatio_star.contract import TwistCommand
from inspatio_star.frames import R_BODY_OPTICAL, rigid_from_rotation
from inspatio_star.motion import MotionConfig
from inspatio_star.sessions import open_session

STEPS, SESSION, RESOLUTION, LATE = int(sys.argv[1]), *sys.argv[2:4], sys.argv[4] == 'true'
WAYS, CHUNKS, HOLD = 8, 2, 6
console = Console(stderr=True)


def run(name, branch):
    """Return the digest of a run, its steps per second, and the paths of its chunks."""
    digest, paths, moved, shown = hashlib.sha256(), {}, [0], []

    def write_down(frame):
        picture = frame.picture
        for part in (picture.rgb, picture.depth_m, picture.provenance, frame.T_odom_base,
                     frame.twist):
            digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(f'{frame.stamp_ns} {frame.number} {frame.command_ns}'.encode())
        paths[frame.chunk.index] = frame.chunk.path
        moved[0] += frame.moved is not None

    simulator = Simulator(
        SimClock(time.monotonic_ns, own=True), 24.0, MotionConfig(),
        rigid_from_rotation(R_BODY_OPTICAL), shown.append, late_reprojection=LATE, lockstep=True)
    simulator.load(lambda told: open_session(SESSION, 'motorcycle', RESOLUTION, told=told), 0,
                   State.PAUSED).result()
    random, spent_s = np.random.default_rng(0), 0.0

    def velocity(stamp_ns=None):
        x, y, turn = random.uniform(-0.2, 0.2, 3)
        return TwistCommand(simulator.next_command_ns if stamp_ns is None else stamp_ns,
                            np.array([x, y, 0]), np.array([0, 0, turn]))

    for k in track(range(0, STEPS, HOLD), name, console=console):
        if branch and k // HOLD == STEPS // HOLD // 2:
            state = random.bit_generator.state
            made = simulator.imagine([[velocity(0)] for _ in range(WAYS)], CHUNKS,
                                     lambda _: True).result()
            assert [len(way) for way in made] == [CHUNKS] * WAYS
            with tempfile.TemporaryDirectory() as folder:
                path = saving.path_of(Path(folder), 'here')
                saving.write(simulator.save().result(), path)
                simulator.restore(saving.read(path)).result()
            random.bit_generator.state = state
        simulator.command(velocity())
        began_s = time.perf_counter()
        simulator.step(min(HOLD, STEPS - k)).result()
        spent_s += time.perf_counter() - began_s
        while shown:
            write_down(shown.pop(0))
    simulator.quit()
    return digest.hexdigest(), STEPS / spent_s, list(paths.values()), moved[0] / STEPS


def bare(paths):
    """Return frames per second of the session alone."""
    session = open_session(SESSION, 'motorcycle', RESOLUTION)
    session.reset(0)
    began_s = time.perf_counter()
    for path in track(paths, 'session alone', console=console):
        session.step(path)
    rate = sum(map(len, paths)) / (time.perf_counter() - began_s)
    session.close()
    return rate


one, rate_one, paths, moved = run('first run', branch=False)
alone = bare(paths)
other, rate_other, *_ = run('second run', branch=False)
alone = max(alone, bare(paths))
branched, *_ = run('with branches', branch=True)
rate = max(rate_one, rate_other)
found = {'steps': STEPS, 'late_reprojection': LATE, 'equal': one == other, 'branched_equal': one == branched,
         'digest': one[:16], 'steps_per_s': round(rate, 2),
         'session_alone_frames_per_s': round(alone, 2), 'ratio': round(rate / alone, 3),
         'moved_share': round(moved, 3)}
for key, value in found.items():
    console.print(f'{key:>26} {value}')
print(json.dumps(found))
sys.exit(one != other or one != branched)
PYTHON
