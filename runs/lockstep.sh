#!/usr/bin/env bash
# The Gymnasium environment in lockstep: two runs of STEPS (500) random actions with one seed, and the
# session alone along the same path.  Digests of all pictures, depths, poses and stamps, and steps per
# second; ends with 1 where digests differ.  SESSION (star), RESOLUTION (240x416).  The last line is
# one JSON document.
#
#     runs/lockstep.sh [STEPS]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
exec python - "${1:-500}" "${SESSION:-star}" "${RESOLUTION:-240x416}" <<'PYTHON'
import hashlib
import json
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import track

from inspatio_star.contract import CameraPath
from inspatio_star.gym_worlds import make_world
from inspatio_star.sessions import open_session

STEPS, SESSION, RESOLUTION = int(sys.argv[1]), sys.argv[2], sys.argv[3]
SEED = 0
console = Console(stderr=True)


def run(name):
    """Return a digest, steps per second, and the session's seed and paths."""
    env = make_world('motorcycle', SESSION, resolution=RESOLUTION)
    paths, seeds, inner = [], [], env._session
    step, reset = inner.step, inner.reset
    inner.step = lambda path: (paths.append(path), step(path))[1]
    inner.reset = lambda seed: (seeds.append(seed), reset(seed))[1]
    rng, digest = np.random.default_rng(SEED), hashlib.sha256()
    env.reset(seed=SEED)
    spent_s = 0.0
    for _ in track(range(STEPS), name, console=console):
        # Now ahead, now back: it stays where there is something to see.
        action = rng.uniform(-0.3, 0.3, 3).astype(np.float32)
        began_s = time.perf_counter()
        observation, *_, info = env.step(action)
        spent_s += time.perf_counter() - began_s
        for part in (*observation.values(), info['rgb_frames'], info['T_world_camera']):
            digest.update(np.ascontiguousarray(part).tobytes())
        digest.update(str(info['stamp_ns']).encode())
    rate = STEPS / spent_s
    env.close()
    return digest.hexdigest(), rate, seeds[0], paths


def bare(seed, paths):
    """Return chunks per second of the session alone."""
    session = open_session(SESSION, 'motorcycle', RESOLUTION)
    session.reset(seed)
    session.step(paths[0])
    began_s = time.perf_counter()
    for path in track(paths[1:], 'session alone', console=console):
        session.step(CameraPath(path.stamps_ns, path.T_world_camera))
    rate = (len(paths) - 1) / (time.perf_counter() - began_s)
    session.close()
    return rate


one, rate_one, seed, paths = run('first run')
other, rate_other, *_ = run('second run')
alone = bare(seed, paths)
found = {'steps': STEPS, 'equal': one == other, 'digest': one[:16],
         'steps_per_s': round(max(rate_one, rate_other), 2), 'session_alone': round(alone, 2),
         'ratio': round(max(rate_one, rate_other) / alone, 3)}
for name, value in found.items():
    console.print(f'{name:>14} {value}')
print(json.dumps(found))
sys.exit(one != other)
PYTHON
