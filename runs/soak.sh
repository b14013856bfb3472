#!/usr/bin/env bash
# MINUTES (30) of a running node at 24 Hz under random commands, resets, pauses, steps of world time and
# loads of worlds: no frame may lack a topic of its stamp, no pose may be other than finite, resident
# memory may not grow by more than 2 % from the second to the last of ten parts of the time, and the exit code must be 0.
# SESSION (star), RESOLUTION (240x416), SEED (0).  Ends with 1 if one of these fails; the last line is
# one JSON document.
#
#     runs/soak.sh [MINUTES]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_LOG_DIR=$PWD/build/ros_log
mkdir -p out/soak
[ -d out/soak/other.world ] || cp -r worlds/motorcycle.world out/soak/other.world
exec python - "${1:-30}" "${SESSION:-star}" "${RESOLUTION:-240x416}" "${SEED:-0}" <<'PYTHON'
from collections import Counter
import json
import os
import signal
import subprocess
import sys
import threading
import time

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, Twist
from inspatio_sim.domain import free_domain
from inspatio_sim.node import make_room_for_pictures
from inspatio_sim_msgs.msg import SimStatus
from inspatio_sim_msgs.srv import RestoreSession, SaveSession
from nav_msgs.msg import Odometry
import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.time import Time
from rich.console import Console
from rich.progress import Progress
from sensor_msgs.msg import CameraInfo, Image
from simulation_interfaces.msg import Resource, SimulationState
from simulation_interfaces.srv import LoadWorld, ResetSimulation, SetSimulationState

MINUTES, SESSION, RESOLUTION, SEED = (float(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]))
WORLDS = ('worlds/motorcycle.world', 'out/soak/other.world')
TOPICS = {'camera/image_raw': Image, 'camera/depth/image_rect_raw': Image,
          'camera/camera_info': CameraInfo, 'odom': Odometry, 'status': SimStatus}
PARTS, GROWTH = 10, 0.02
S = SimulationState
console = Console(stderr=True)
make_room_for_pictures()
domain = free_domain()
log = open('out/soak/node.log', 'wb')
node = subprocess.Popen(
    [sys.executable, '-m', 'inspatio_sim.node', '--ros-args', '-p', f'session:={SESSION}', '-p',
     f'resolution:={RESOLUTION}', '-p', f'world:={WORLDS[0]}', '-p', 'state_folder:=out/soak'],
    env=os.environ | {'ROS_DOMAIN_ID': str(domain)}, stdout=log, stderr=log)
process = psutil.Process(node.pid)
context = rclpy.Context()
rclpy.init(context=context, domain_id=domain)
eyes = rclpy.create_node('soak', context=context)
stamps = {topic: set() for topic in TOPICS}
order, broken, lock = [], [], threading.Lock()


def hear(topic, msg):
    stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
    with lock:
        stamps[topic].add(stamp_ns)
        if topic == 'odom':
            order.append(stamp_ns)
            p, q = msg.pose.pose.position, msg.pose.pose.orientation
            if not np.isfinite([p.x, p.y, p.z, q.x, q.y, q.z, q.w]).all():
                broken.append(stamp_ns)


for topic, kind in TOPICS.items():
    eyes.create_subscription(kind, topic, lambda msg, topic=topic: hear(topic, msg), 100)
twist = eyes.create_publisher(Twist, 'cmd_vel', 10)
goal = eyes.create_publisher(PoseStamped, 'goal_pose', 10)
initial = eyes.create_publisher(PoseWithCovarianceStamped, 'initialpose', 10)
clients = {}
executor = SingleThreadedExecutor(context=context)
executor.add_node(eyes)
thread = threading.Thread(target=executor.spin)
thread.start()
done, failures = Counter(), []


def call(kind, service, /, **fields):
    """Return the answer of a service."""
    client = clients.setdefault(
        service, None) or eyes.create_client(kind, f'inspatio_sim/{service}')
    clients[service] = client
    if not client.wait_for_service(30.0):
        raise TimeoutError(service)
    future = client.call_async(kind.Request(**fields))
    end_s = time.monotonic() + 120.0
    while not future.done():
        if time.monotonic() > end_s or node.poll() is not None:
            raise TimeoutError(f'{service}: no answer')
        time.sleep(0.005)
    return future.result()


def go(state):
    return call(SetSimulationState, 'set_simulation_state', state=S(state=state))


def random_act(random):
    """Do one thing, and say its name; what must succeed is checked."""
    act = random.choice(['drive', 'goal', 'teleport', 'pause', 'reset', 'save', 'load', 'nonsense'],
                        p=[0.6, 0.1, 0.05, 0.08, 0.05, 0.05, 0.02, 0.05])
    x, y, turn = random.uniform(-0.5, 0.5, 3)
    if act == 'drive':
        msg = Twist()
        msg.linear.x, msg.linear.y, msg.angular.z = x, y, turn
        for _ in range(random.integers(1, 20)):
            twist.publish(msg)
            time.sleep(0.05)
    elif act in ('goal', 'teleport'):
        msg = PoseStamped() if act == 'goal' else PoseWithCovarianceStamped()
        pose = msg.pose if act == 'goal' else msg.pose.pose
        msg.header.frame_id = 'odom'
        pose.position.x, pose.position.y = 0.5 * x, 0.5 * y
        pose.orientation.z, pose.orientation.w = np.sin(turn / 4), np.cos(turn / 4)
        (goal if act == 'goal' else initial).publish(msg)
        time.sleep(1.0)
    elif act == 'pause':
        results = [go(S.STATE_PAUSED).result.result]
        time.sleep(random.uniform(0, 1))
        results.append(go(S.STATE_PLAYING).result.result)
        if results != [1, 1]:
            failures.append(f'{act}: {results}')
    elif act == 'reset':
        answer = call(ResetSimulation, 'reset_simulation', scope=ResetSimulation.Request.SCOPE_STATE)
        if answer.result.result != 1:
            failures.append(f'{act}: {answer.result}')
    elif act == 'save':
        answers = [call(SaveSession, 'save_session', name='soak')]
        time.sleep(random.uniform(0, 2))
        answers.append(call(RestoreSession, 'restore_session', name='soak'))
        if not all(answer.success for answer in answers):
            failures.append(f'{act}: {answers}')
    elif act == 'load':
        answer = call(LoadWorld, 'load_world',
                      world_resource=Resource(uri=str(random.choice(WORLDS))))
        if answer.result.result != 1 or go(S.STATE_PLAYING).result.result != 1:
            failures.append(f'{act}: {answer.result}')
    else:
        msg = Twist()
        msg.linear.x = float('nan')
        twist.publish(msg)
    done[str(act)] += 1


random = np.random.default_rng(SEED)
rss_mib = []
try:
    end_s = time.monotonic() + 180.0
    while len(order) < 48:
        if time.monotonic() > end_s or node.poll() is not None:
            raise TimeoutError('no pictures; see out/soak/node.log')
        time.sleep(0.1)
    begin_s = time.monotonic()
    with Progress(console=console) as progress:
        task = progress.add_task('soak', total=MINUTES * 60)
        while (passed_s := time.monotonic() - begin_s) < MINUTES * 60:
            progress.update(task, completed=passed_s)
            random_act(random)
            rss_mib.append((passed_s, process.memory_info().rss / 2**20))
    span_s = time.monotonic() - begin_s
    time.sleep(2.0)
finally:
    executor.shutdown()
    thread.join()
    if node.poll() is None:
        node.send_signal(signal.SIGINT)
    try:
        code = node.wait(30.0)
    except subprocess.TimeoutExpired:
        node.kill()
        code = node.wait()
    eyes.destroy_node()
    rclpy.shutdown(context=context)

# The first and the last frames may have been heard in part.
common = sorted(set.union(*stamps.values()))[10:-10]
lacking = {topic: sum(stamp not in heard for stamp in common) for topic, heard in stamps.items()}
part = [[mib for at_s, mib in rss_mib if k <= at_s / span_s * PARTS < k + 1] for k in range(PARTS)]
medians = [round(float(np.median(one)), 1) if one else None for one in part]
growth = medians[-1] / medians[1] - 1
found = {
    'minutes': round(span_s / 60, 2), 'session': SESSION, 'resolution': RESOLUTION,
    'acts': dict(sorted(done.items())), 'frames': len(order),
    'frames_lacking_a_topic': lacking, 'stamps_in_order': order == sorted(set(order)),
    'poses_not_finite': len(broken), 'rss_mib': medians, 'rss_growth': round(growth, 4),
    'exit_code': code, 'failures': failures,
}
for name, value in found.items():
    console.print(f'{name:>24} {value}')
print(json.dumps(found))
sys.exit(bool(any(lacking.values()) or not found['stamps_in_order'] or broken
              or growth > GROWTH or code or failures))
PYTHON
