"""
Bring the camera back to where a picture was taken, by what is seen alone.

    ros2 run inspatio_sim sim_node         (in one terminal)
    python examples/03_visual_homing.py    (in another; --lockstep with the node's clock:=lockstep)

The policy has a goal picture with its depth, and the pictures that come.  SIFT features of both
are matched, PnP with RANSAC says where the goal is, and velocities in proportion go there.  It is
put at START places, one after another; a judge, who alone hears odometry, says how it ended.
The last line is one JSON document; the exit code is 0 if enough of them ended well.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
import json
import math
from pathlib import Path
import sys
import time

import cv2
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image
from simulation_interfaces.msg import EntityState, Result, SimulationState
from simulation_interfaces.srv import (
    GetEntities,
    GetSimulationState,
    ResetSimulation,
    SetEntityState,
    SetSimulationState,
    StepSimulation,
)

GAIN_HZ, SPEED_MPS, TURN_RADPS = 1.2, 0.35, 0.5
# Closer than this it is there, if three pictures in a row say so.
THERE_M, THERE_RAD, THERE_TIMES = 0.04, math.radians(2.0), 3
# Matches that are better than the second best by this; and how many must agree, within how far.
RATIO, LEAST_INLIERS, NEAR_PX = 0.8, 10, 3.0
# It believes in where it goes for so long without seeing it; then it looks around.
MEMORY_S, SWEEP_S, BACK_MPS = 1.0, 8.0, 0.1
# The judge's: how far starts are, how much of the goal picture is seen, what is good enough.
FAR_M, FAR_RAD, LEAST_SEEN = 1.0, math.radians(40.0), 0.4
GOOD_M, GOOD_RAD = 0.3, math.radians(20.0)
STEPS_PER_ACTION = 3
# A model may take minutes to load.
WAIT_S, SETTLE_S, LOADING_S = 60.0, 3.0, 300.0


class Homing:
    """
    A policy: pictures in, velocities of the body out.

    :param rgb: (H, W, 3) uint8, the goal picture.
    :param depth_m: (H, W) its depth, NaN unknown.
    :param K: (3, 3) intrinsics of the camera.
    """

    def __init__(self, rgb, depth_m, K):
        self._sift = cv2.SIFT_create(1500, contrastThreshold=0.015)
        self._matcher = cv2.BFMatcher()
        self._K = K
        pixels, features = self._features(rgb)
        u, v = np.rint(pixels).astype(int).T
        z = depth_m[v, u]
        known = np.isfinite(z)
        rays = np.linalg.solve(K, np.vstack([pixels.T, np.ones(len(pixels))])).T
        self._points, self._goal = (rays * z[:, None])[known], features[known]
        self.forget()

    def forget(self):
        """Begin anew."""
        self._goal_xyt = None
        self._seen_s = self._last_s = None
        self._there = 0
        self._velocity = np.zeros(3)

    @property
    def arrived(self):
        """Whether it has seen often enough that it is there."""
        return self._there >= THERE_TIMES

    def _features(self, rgb):
        found, features = self._sift.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
        return np.array([point.pt for point in found]).reshape(-1, 2), features

    def see(self, rgb):
        """Return where the goal is: forward and left in metres, and the turn; None if unseen."""
        pixels, features = self._features(rgb)
        if features is None or len(features) < LEAST_INLIERS:
            return None
        pairs = [pair for pair in self._matcher.knnMatch(self._goal, features, 2)
                 if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]
        if len(pairs) < LEAST_INLIERS:
            return None
        points = self._points[[best.queryIdx for best, _ in pairs]]
        ok, rotation, t, inliers = cv2.solvePnPRansac(
            points, pixels[[best.trainIdx for best, _ in pairs]], self._K, None,
            iterationsCount=500, reprojectionError=NEAR_PX, flags=cv2.SOLVEPNP_SQPNP)
        if not ok or inliers is None or len(inliers) < LEAST_INLIERS:
            return None
        R, t = cv2.Rodrigues(rotation)[0], t.ravel()
        # The body stays upright at one height: a goal that is elsewhere is a mistake.
        if R[1, 1] < 0.95 or abs(t[1]) > 0.1 + 0.2 * np.hypot(t[0], t[2]):
            return None
        return np.array([t[2], -t[0], math.atan2(-R[0, 2], R[2, 2])])

    def act(self, rgb, now_s):
        """Return velocities for a picture: forward and left, m/s, and the turn, rad/s."""
        dt = 0.0 if self._last_s is None else now_s - self._last_s
        if self._seen_s is None:
            self._seen_s = now_s
        self._last_s = now_s
        seen = self.see(rgb)
        if seen is not None:
            self._goal_xyt, self._seen_s = seen, now_s
        elif self._goal_xyt is not None:
            self._goal_xyt = after(self._goal_xyt, self._velocity, dt)
        unseen_s = now_s - self._seen_s
        if self._goal_xyt is None or unseen_s > MEMORY_S:
            # Look to either side, and back off for a wider view.
            turn = TURN_RADPS * math.copysign(1.0, math.cos(2 * math.pi * unseen_s / SWEEP_S))
            self._there, self._velocity = 0, np.array([-BACK_MPS, 0.0, turn])
            return self._velocity
        x, y, yaw = self._goal_xyt
        there = math.hypot(x, y) < THERE_M and abs(yaw) < THERE_RAD
        self._there = self._there + 1 if there and seen is not None else 0
        speed = min(GAIN_HZ, SPEED_MPS / max(math.hypot(x, y), 1e-9))
        turn = float(np.clip(GAIN_HZ * yaw, -TURN_RADPS, TURN_RADPS))
        self._velocity = np.array([speed * x, speed * y, turn])
        return self._velocity


def after(goal_xyt, velocity, dt):
    """Return where the goal is after a motion of the body."""
    x, y = goal_xyt[:2] - velocity[:2] * dt
    turn = velocity[2] * dt
    c, s = math.cos(turn), math.sin(turn)
    return np.array([c * x + s * y, c * y - s * x, goal_xyt[2] - turn])


@dataclass(frozen=True)
class Ended:
    """How it went from one start: where that was, and how far from the goal it ended."""

    start_xyt: list[float]
    apart_m: float
    apart_deg: float
    took_s: float
    arrived: bool
    good: bool


class Judge(Node):
    """
    Puts the camera somewhere, lets the policy act, and says how it ended.

    :param sim: name of the simulator's node.
    :param lockstep: whether the world moves by steps alone.
    :param look: folder for the goal picture and those that were seen; None for none.
    """

    def __init__(self, sim, lockstep, look):
        super().__init__('visual_homing')
        self._sim, self._lockstep, self._look = sim, lockstep, look
        self._asked, self._heard = {}, {}
        self._out = self.create_publisher(Twist, 'cmd_vel', 10)
        for kind, topic in ((Image, 'camera/image_raw'), (Image, 'camera/depth/image_rect_raw'),
                            (CameraInfo, 'camera/camera_info'), (Odometry, 'odom')):
            self.create_subscription(
                kind, topic, lambda msg, topic=topic: self._hear(topic, msg), QoSProfile(depth=5))

    def _hear(self, topic, msg):
        self._heard[topic] = msg

    def _newest_s(self, topic='camera/image_raw'):
        msg = self._heard.get(topic)
        return -1.0 if msg is None else msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9

    def _wait(self, holds, what, limit_s=WAIT_S):
        end_s = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {limit_s:g} s for {what}')
            rclpy.spin_once(self, timeout_sec=0.1)

    def call(self, kind, name, **fields):
        """Return the answer of one of the simulator's services; it must be OK."""
        if name not in self._asked:
            self._asked[name] = self.create_client(kind, f'{self._sim}/{name}')
            self._wait(self._asked[name].service_is_ready, f'service {self._sim}/{name}')
            rclpy.spin_once(self, timeout_sec=0.2)
        future = self._asked[name].call_async(kind.Request(**fields))
        self._wait(future.done, f'an answer of {name}')
        answer = future.result()
        if answer.result.result != Result.RESULT_OK:
            raise RuntimeError(f'{name}: {answer.result.error_message}')
        return answer

    def state(self):
        """Return what the simulation does."""
        return self.call(GetSimulationState, 'get_simulation_state').state.state

    def next_picture(self):
        """Let time go on until the next picture, and return it with its time."""
        before_s = self._newest_s()
        if self._lockstep:
            self.call(StepSimulation, 'step_simulation', steps=1)
        self._wait(lambda: self._newest_s() > before_s, 'a picture')
        now_s = self._newest_s()
        for topic in ('camera/depth/image_rect_raw', 'camera/camera_info', 'odom'):
            self._wait(lambda topic=topic: self._newest_s(topic) >= now_s, topic)
        return rgb_of(self._heard['camera/image_raw']), now_s

    def command(self, velocity):
        """Say a velocity."""
        msg = Twist()
        msg.linear.x, msg.linear.y, msg.angular.z = map(float, velocity)
        self._out.publish(msg)

    def body_xyt(self):
        """Return where odometry says that the body is."""
        pose = self._heard['odom'].pose.pose
        q = pose.orientation
        return np.array([pose.position.x, pose.position.y, 2 * math.atan2(q.z, q.w)])

    def begin(self):
        """Go to the start of the world, and return the goal picture, its depth and K."""
        S = SimulationState
        self._wait(lambda: self.state() not in (S.STATE_LOADING_WORLD, S.STATE_NO_WORLD),
                   'a world', LOADING_S)
        wanted = S.STATE_PAUSED if self._lockstep else S.STATE_PLAYING
        try:
            self._wait(lambda: self.state() == wanted, 'the node to play by itself', SETTLE_S)
        except TimeoutError:
            for state in (S.STATE_PLAYING, wanted):
                if self.state() != state:
                    self.call(SetSimulationState, 'set_simulation_state', state=S(state=state))
        self._wait(lambda: self._out.get_subscription_count() > 0, 'a listener of cmd_vel')
        self._entity = self.call(GetEntities, 'get_entities').entities[0]
        self.put(np.zeros(3))
        rgb, _ = self.next_picture()
        depth = self._heard['camera/depth/image_rect_raw']
        if depth.encoding != '32FC1':
            raise RuntimeError(f'depth: wanted 32FC1, got {depth.encoding}')
        depth_m = np.frombuffer(depth.data, np.float32).reshape(depth.height, depth.width)
        self._goal_xyt = self.body_xyt()
        self._save('goal', rgb)
        return rgb, depth_m, np.array(self._heard['camera/camera_info'].k).reshape(3, 3)

    def put(self, xyt):
        """Put the body somewhere, at rest, and wait until it is seen there."""
        self.command(np.zeros(3))
        self.call(ResetSimulation, 'reset_simulation', scope=ResetSimulation.Request.SCOPE_STATE)
        state = EntityState()
        state.pose.position.x, state.pose.position.y = float(xyt[0]), float(xyt[1])
        state.pose.orientation.z, state.pose.orientation.w = (
            math.sin(xyt[2] / 2), math.cos(xyt[2] / 2))
        self.call(SetEntityState, 'set_entity_state', entity=self._entity, state=state,
                  set_pose=True, set_twist=True)
        end_s = time.monotonic() + WAIT_S
        while True:
            self.next_picture()
            if np.abs(self.body_xyt() - xyt).max() < 1e-3:
                return
            if time.monotonic() > end_s:
                raise TimeoutError(f'waited {WAIT_S:g} s to be at {xyt}')

    def judge(self, policy, number, start_xyt, limit_s):
        """Let the policy act from a start until it says that it is there, or time is up."""
        self.put(start_xyt)
        policy.forget()
        rgb, begin_s = self.next_picture()
        self._save(f'{number:02}-start', rgb)
        now_s = begin_s
        while not policy.arrived and now_s < begin_s + limit_s:
            self.command(policy.act(rgb, now_s))
            for _ in range(STEPS_PER_ACTION if self._lockstep else 1):
                rgb, now_s = self.next_picture()
        self.command(np.zeros(3))
        took_s = now_s - begin_s
        while now_s < begin_s + took_s + 1.0:
            rgb, now_s = self.next_picture()
        self._save(f'{number:02}-end', rgb)
        apart = self.body_xyt() - self._goal_xyt
        apart_m = math.hypot(apart[0], apart[1])
        apart_rad = abs((apart[2] + math.pi) % (2 * math.pi) - math.pi)
        return Ended(np.round(start_xyt, 3).tolist(), round(apart_m, 4),
                     round(math.degrees(apart_rad), 2), round(took_s, 3), policy.arrived,
                     bool(apart_m < GOOD_M and apart_rad < GOOD_RAD))

    def _save(self, name, rgb):
        if self._look is not None:
            cv2.imwrite(str(self._look / f'{name}.png'), rgb[..., ::-1])


def rgb_of(msg):
    """Return the pixels of a picture, (H, W, 3)."""
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)


def starts(rng, count, depth_m, K):
    """Draw starts from which enough of the goal picture is seen."""
    v, u = np.nonzero(np.isfinite(depth_m))
    z = depth_m[v, u]
    # Of the goal's optical frame: forward and left are those of the body.
    forward, left = z, -(u - K[0, 2]) / K[0, 0] * z
    down = (v - K[1, 2]) / K[1, 1] * z
    height, width = depth_m.shape
    found = []
    while len(found) < count:
        x, y = rng.uniform(-FAR_M, FAR_M, 2)
        yaw = rng.uniform(-FAR_RAD, FAR_RAD)
        ahead, beside, _ = after_turn(forward - x, left - y, yaw)
        with np.errstate(divide='ignore', invalid='ignore'):
            px = K[0, 2] - K[0, 0] * beside / ahead
            py = K[1, 2] + K[1, 1] * down / ahead
        seen = (ahead > 0.3) & (px >= 0) & (px < width) & (py >= 0) & (py < height)
        if math.hypot(x, y) <= FAR_M and seen.mean() >= LEAST_SEEN:
            found.append(np.array([x, y, yaw]))
    return found


def after_turn(forward, left, yaw):
    """Return what is so far forward and left in the axes of a body that has turned."""
    c, s = math.cos(yaw), math.sin(yaw)
    return c * forward + s * left, c * left - s * forward, yaw


def main():
    """Home from all starts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--starts', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--lockstep', action='store_true', help='move the world by steps')
    parser.add_argument('--limit-s', type=float, default=20.0, help='for each, of sim time')
    parser.add_argument('--bar', type=float, default=0.9, help='share that must end well')
    parser.add_argument('--sim', default='inspatio_sim', help="name of the simulator's node")
    parser.add_argument('--look', type=Path, help='folder for pictures of starts and ends')
    options = parser.parse_args()
    if options.look is not None:
        options.look.mkdir(parents=True, exist_ok=True)
    rclpy.init()
    judge = Judge(options.sim, options.lockstep, options.look)
    console, began_s = Console(stderr=True), time.monotonic()
    table = Table('start x, y, yaw', 'apart', 'turned', 'took', 'good', title='visual homing')
    ended = []
    try:
        rgb, depth_m, K = judge.begin()
        policy = Homing(rgb, depth_m, K)
        places = starts(np.random.default_rng(options.seed), options.starts, depth_m, K)
        for number, start_xyt in enumerate(places):
            one = judge.judge(policy, number, start_xyt, options.limit_s)
            ended.append(one)
            x, y, yaw = one.start_xyt
            table.add_row(f'{x:.2f} m, {y:.2f} m, {math.degrees(yaw):.0f} deg',
                          f'{one.apart_m:.3f} m', f'{one.apart_deg:.1f} deg',
                          f'{one.took_s:.1f} s', 'yes' if one.good else 'no')
            console.print(f'{number + 1:3} of {options.starts}: {one.apart_m:.3f} m, '
                          f'{one.apart_deg:.1f} deg after {one.took_s:.1f} s')
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    except (TimeoutError, RuntimeError) as error:
        print(f'visual homing: {error}', file=sys.stderr)
        return 2
    finally:
        judge.destroy_node()
        rclpy.try_shutdown()
    good = sum(one.good for one in ended)
    console.print(table)
    print(f'{good} of {len(ended)} ended well')
    print(json.dumps({
        'clock': 'lockstep' if options.lockstep else 'realtime', 'seed': options.seed,
        'starts': len(ended), 'good': good, 'rate': good / len(ended),
        'median_m': round(float(np.median([one.apart_m for one in ended])), 4),
        'median_deg': round(float(np.median([one.apart_deg for one in ended])), 2),
        'wall_s': round(time.monotonic() - began_s, 1),
        'ended': [vars(one) for one in ended],
    }))
    return int(good < options.bar * len(ended))


if __name__ == '__main__':
    sys.exit(main())
