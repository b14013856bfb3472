"""What the node publishes: one stamp, one pose, one frame; as an experienced user expects it."""

import signal

import cv2
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from inspatio_sim_msgs.msg import SimStatus
from inspatio_star.fake import tag_from_rgb

pytestmark = [pytest.mark.dds, pytest.mark.timeout(120)]

OF_A_FRAME = {
    'camera/image_raw': Image,
    'camera/camera_info': CameraInfo,
    'camera/depth/image_rect_raw': Image,
    'camera/depth/camera_info': CameraInfo,
    'camera/mask': Image,
    'odom': Odometry,
    'status': SimStatus,
    '/tf': TFMessage,
}


def stamp_of(msg):
    """Return the stamp of a message, nanoseconds."""
    header = msg.transforms[0].header if isinstance(msg, TFMessage) else msg.header
    return Time.from_msg(header.stamp).nanoseconds


def rigid(transform):
    """Return the 4x4 matrix of a transform message."""
    t, q = transform.translation, transform.rotation
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    T[:3, 3] = t.x, t.y, t.z
    return T


def picture(msg, dtype=np.uint8):
    """Return the pixels of an image message, (H, W) or (H, W, 3)."""
    pixels = np.frombuffer(msg.data, dtype).reshape(msg.height, msg.width, -1)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def test_all_topics_of_a_frame_carry_one_stamp_and_the_right_frames(start, probe):
    heard = {topic: probe.hear(kind, topic) for topic, kind in OF_A_FRAME.items()}
    start()
    probe.wait(lambda: all(len(messages) > 40 for messages in heard.values()), 'all topics')
    messages = {topic: {stamp_of(m): m for m in list(ms)} for topic, ms in heard.items()}
    first = max(min(stamps) for stamps in messages.values())
    last = min(max(stamps) for stamps in messages.values())
    sets = {topic: {s for s in stamps if first <= s <= last}
            for topic, stamps in messages.items()}
    assert len(sets['odom']) > 20
    assert all(stamps == sets['odom'] for stamps in sets.values())
    steps = np.diff(sorted(sets['odom']))
    assert (steps % int(1e9 / 24) == 0).all(), 'stamps are on one grid'
    for topic in ('camera/image_raw', 'camera/camera_info', 'camera/depth/image_rect_raw',
                  'camera/depth/camera_info', 'camera/mask', 'status'):
        assert {m.header.frame_id for m in heard[topic]} == {'camera_optical_frame'}
    odom = heard['odom'][0]
    assert (odom.header.frame_id, odom.child_frame_id) == ('odom', 'base_link')
    rgb, depth, mask = (heard[t][0] for t in ('camera/image_raw', 'camera/depth/image_rect_raw',
                                              'camera/mask'))
    assert (rgb.encoding, rgb.height, rgb.width, rgb.step) == ('rgb8', 96, 160, 480)
    assert (depth.encoding, depth.step) == ('32FC1', 640)
    assert mask.encoding == 'mono8' and set(np.unique(picture(mask))) == {0, 255}
    info = heard['camera/camera_info'][0]
    assert info.distortion_model == 'plumb_bob' and list(info.d) == [0.0] * 5
    assert (info.height, info.width) == (96, 160)
    assert info.p[0] == info.k[0] > 0 and info.p[2] == info.k[2] and info.k[8] == 1.0
    numbers = [status.frame for status in heard['status']]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert heard['status'][0].session == 'fake' and heard['status'][0].chunk_ms > 0
    assert 0.8 < heard['status'][0].known_share < 0.95


def test_pixels_show_the_pose_that_tf_tells_at_their_stamp(start, probe):
    pictures = probe.hear(Image, 'camera/image_raw')
    start(camera_xyz='[0.1, -0.2, 0.3]', camera_rpy='[0.0, 0.2, -0.1]', motion_mode='free',
          cmd_vel_timeout=20.0, late_reprojection=False)
    cmd_vel = probe.speaker(Twist, 'cmd_vel')
    probe.wait(lambda: pictures, 'the first picture')
    msg = Twist()
    msg.linear.x, msg.linear.z, msg.angular.y, msg.angular.z = 0.5, 0.1, 0.1, 0.4
    cmd_vel.publish(msg)
    seen = len(pictures)
    probe.wait(lambda: len(pictures) > seen + 60, 'pictures in motion')
    newest = Time.from_msg(pictures[seen + 59].header.stamp)
    probe.wait(lambda: probe.tf.can_transform('odom', 'camera_optical_frame', newest), 'tf')
    static = rigid(probe.tf.lookup_transform('base_link', 'camera_optical_frame',
                                             Time()).transform)
    forward = static[:3, 2]
    assert forward[0] > 0.9, 'the camera looks along x of the base'
    T_start = static
    for image in list(pictures)[seen : seen + 60 : 7]:
        stamp = Time.from_msg(image.header.stamp)
        told = probe.tf.lookup_transform('odom', 'camera_optical_frame', stamp).transform
        _, T_world_camera = tag_from_rgb(picture(image))
        np.testing.assert_allclose(T_world_camera, np.linalg.inv(T_start) @ rigid(told),
                                   atol=1e-6)
    assert np.linalg.norm(T_world_camera[:3, 3]) > 0.3, 'it has moved'


def test_compressed_picture_and_points_are_made_for_subscribers(start, probe):
    status = probe.hear(SimStatus, 'status')
    start(jpeg_quality=95)
    probe.wait(lambda: status, 'the first frame')
    topics = dict(probe.node.get_topic_names_and_types())
    assert '/camera/image_raw/compressed' in topics and '/camera/depth/points' in topics
    raw, jpeg, points = (probe.hear(kind, topic) for kind, topic in (
        (Image, 'camera/image_raw'), (CompressedImage, 'camera/image_raw/compressed'),
        (PointCloud2, 'camera/depth/points')))
    depths, infos = (probe.hear(kind, topic) for kind, topic in (
        (Image, 'camera/depth/image_rect_raw'), (CameraInfo, 'camera/depth/camera_info')))
    heard = (raw, jpeg, points, depths, infos)
    stamp = probe.wait(
        lambda: set.intersection(*({stamp_of(m) for m in list(ms)} for ms in heard)), 'all'
    ).pop()
    rgb, compressed, cloud, depth, info = (
        next(m for m in ms if stamp_of(m) == stamp) for ms in heard)
    assert compressed.format == 'rgb8; jpeg compressed bgr8'
    decoded = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)
    # The first row holds the tag, which looks like noise.
    apart = np.abs(decoded[16:, :, ::-1].astype(int) - picture(rgb)[16:])
    assert apart.mean() < 4
    metres = picture(depth, '<f4')
    assert cloud.width * cloud.height == np.isfinite(metres).sum()
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'rgb']
    values = np.frombuffer(cloud.data, '<f4').reshape(-1, 4)
    K = np.array(info.k).reshape(3, 3)
    v, u = np.nonzero(np.isfinite(metres))
    back = values[:, :3].astype(float) @ K.T
    np.testing.assert_allclose(back[:, 0] / back[:, 2], u, atol=1e-3)
    np.testing.assert_allclose(back[:, 1] / back[:, 2], v, atol=1e-3)
    np.testing.assert_array_equal(values[:, 2], metres[v, u])
    colours = np.frombuffer(cloud.data, '<u4').reshape(-1, 4)[:, 3]
    np.testing.assert_array_equal(colours & 255, picture(rgb)[v, u, 2])
    np.testing.assert_array_equal(colours >> 16, picture(rgb)[v, u, 0])


def test_depth_in_millimetres_by_parameter(start, probe):
    depths = probe.hear(Image, 'camera/depth/image_rect_raw')
    start(depth_encoding='16UC1')
    probe.wait(lambda: depths, 'depth')
    assert depths[0].encoding == '16UC1'
    np.testing.assert_array_equal(np.unique(picture(depths[0], '<u2')), [2000])


def test_best_effort_subscriber_is_served_and_map_frame_is_optional(start, probe):
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    pictures = probe.hear(Image, 'camera/image_raw', qos)
    start(publish_map_tf=True, odom_frame='my_odom', publish_tf=True)
    probe.wait(lambda: len(pictures) > 5, 'pictures')
    probe.wait(lambda: probe.tf.can_transform('map', 'camera_link', Time(), Duration()),
               'map -> my_odom -> base_link -> camera_link')


def test_qos_can_be_overridden(start, probe):
    start(**{'qos_overrides./camera/image_raw.publisher.reliability': 'best_effort'})
    found = probe.wait(
        lambda: probe.node.get_publishers_info_by_topic('/camera/image_raw'), 'the publisher')
    assert found[0].qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    others = probe.wait(
        lambda: probe.node.get_publishers_info_by_topic('/camera/mask'), 'the publisher')
    assert others[0].qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_simulation_time_starts_at_zero_and_stamps_follow_it(start, probe):
    pictures, ticks = probe.hear(Image, 'camera/image_raw'), probe.hear(Clock, '/clock')
    start(publish_clock=True)
    probe.wait(lambda: len(pictures) > 24 and len(ticks) > 24, 'pictures and time')
    stamps = [stamp_of(m) for m in pictures]
    assert 0 <= stamps[0] < 30e9
    times = [Time.from_msg(tick.clock).nanoseconds for tick in ticks]
    assert times == sorted(times)
    assert abs(times[-1] - stamps[-1]) < 3e9


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_node_ends_at_once_and_cleanly(start, probe, how):
    pictures = probe.hear(Image, 'camera/image_raw')
    node = start()
    probe.wait(lambda: pictures, 'pictures')
    assert node.end(how) == 0, node.printed
    assert 'Traceback' not in node.printed and 'terminate' not in node.printed


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('where', ['_send_static_transforms', '_subscribe', '_begin'])
def test_node_that_is_interrupted_while_it_is_made_leaves_no_thread_behind(start, where, how):
    program = f"""
import os, sys
from inspatio_sim import sim_node

def interrupted(self, *args, now=sim_node.SimNode.{where}):
    now(self, *args)
    os.kill(os.getpid(), {how.value})

sim_node.SimNode.{where} = interrupted
sys.exit(sim_node.run())
"""
    node = start(('-c', program), publish_clock=True)
    assert node.process.wait(30.0) == 0, node.printed
    assert not node.printed


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_node_that_is_interrupted_while_libraries_are_loaded_says_nothing(start, how):
    program = f"""
import importlib.abc, os, sys
from inspatio_sim.node import main

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == 'inspatio_sim.simulator':
            os.kill(os.getpid(), {how.value})

sys.meta_path.insert(0, Interrupting())
sys.exit(main())
"""
    node = start(('-c', program))
    assert node.process.wait(30.0) == 0, node.printed
    assert not node.printed
