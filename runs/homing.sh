#!/usr/bin/env bash
# How often a policy that sees pictures alone brings the camera back to its goal picture: of STARTS (20)
# starts, with SESSIONS (warp star) in CLOCKS (lockstep realtime), at RESOLUTION (160x240).  In lockstep
# a second run must end equally.  The status is 1 where fewer than 18 of 20 end within 0.3 m and 20
# degrees.  The last line is one JSON document.
#
#     runs/homing.sh [STARTS]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
[ -e worlds/motorcycle.world ] || inspatio-star world bundled -o worlds/motorcycle.world
exec python - "${1:-20}" "${SESSIONS:-warp star}" "${CLOCKS:-lockstep realtime}" \
    "${RESOLUTION:-160x240}" <<'PYTHON'
import json
import os
import signal
import subprocess
import sys

from inspatio_sim.domain import free_domain

STARTS, SESSIONS, CLOCKS, RESOLUTION = sys.argv[1:]
BAR = 0.9
TIMEOUT_S, END_TIMEOUT_S = 3600.0, 20.0


def homing(session, clock):
    """Return what the example says of one session in one clock; it has a node of its own."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(free_domain())}
    node = subprocess.Popen(
        [sys.executable, '-m', 'inspatio_sim.node', '--ros-args', '-p', f'session:={session}',
         '-p', f'clock:={clock}', '-p', f'resolution:={RESOLUTION}'],
        env=environment, stdout=sys.stderr)
    try:
        done = subprocess.run(
            [sys.executable, 'examples/03_visual_homing.py', '--starts', STARTS,
             *(['--lockstep'] if clock == 'lockstep' else [])],
            env=environment, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
        print(done.stdout, file=sys.stderr)
        if done.returncode not in (0, 1):
            raise SystemExit(f'{session}, {clock}: the example ended with {done.returncode}')
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        node.send_signal(signal.SIGINT)
        try:
            node.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


found, fine = [], True
for session in SESSIONS.split():
    for clock in CLOCKS.split():
        said = homing(session, clock)
        entry = {'session': session} | {
            name: said[name]
            for name in ('clock', 'starts', 'good', 'median_m', 'median_deg', 'wall_s')}
        if clock == 'lockstep':
            entry['equal'] = homing(session, clock)['ended'] == said['ended']
            fine &= entry['equal']
        fine &= said['rate'] >= BAR
        found.append(entry)
print(json.dumps({'resolution': RESOLUTION, 'bar': BAR, 'runs': found}))
sys.exit(not fine)
PYTHON
