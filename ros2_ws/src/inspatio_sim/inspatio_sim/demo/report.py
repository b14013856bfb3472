"""What a recorded drive was like: numbers, pictures and a bag, from the messages alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
import tf2_ros

from inspatio_sim.convert import array_from_image_msg, ns_from_time
from inspatio_sim.demo.recorder import TOPICS, read_spool
from inspatio_star.contract import F64
from inspatio_star.eval.metrics import psnr_db
from inspatio_star.frames import exp_se3
from inspatio_star.motion import MotionConfig
from inspatio_star.pictures import colour_depth, contact_sheet, depth_range_m
from inspatio_star.video import Mp4Writer

RGB = '/camera/image_raw'
DEPTH = '/camera/depth/image_rect_raw'
MASK = '/camera/mask'
IMAGES = {RGB, DEPTH, MASK}
I64 = NDArray[np.int64]
# One frame is all of these, with one stamp.
OF_A_FRAME = IMAGES | {'/camera/camera_info', '/camera/depth/camera_info', '/odom', '/tf',
                       '/status'}
SHEET_COLUMNS = 6
_STEP_S = 0.001


def _lists() -> dict[str, list[Any]]:
    return {topic: [] for topic in TOPICS}


@dataclass
class Drive:
    """
    What was heard, by topic.

    :param received_ns: arrival of each message.
    :param stamp_ns: stamp of each message.
    :param messages: the messages, but for the pictures.
    """

    received_ns: dict[str, list[int]] = field(default_factory=_lists)
    stamp_ns: dict[str, list[int]] = field(default_factory=_lists)
    messages: dict[str, list[Any]] = field(default_factory=_lists)


def _stamp_ns(msg: Any) -> int:
    header = msg.transforms[0].header if hasattr(msg, 'transforms') else msg.header
    return ns_from_time(header.stamp)


def read_drive(spool: Path) -> Drive:
    """Return what a spool file holds; of the pictures only when they came and their stamps."""
    drive = Drive()
    for record in read_spool(spool):
        # A picture's header stands at its beginning: the rest need not be decoded for the stamp.
        if record.topic in IMAGES:
            stamp_ns = int.from_bytes(record.data[4:8], 'little', signed=True) * 1_000_000_000
            stamp_ns += int.from_bytes(record.data[8:12], 'little')
        else:
            msg = deserialize_message(record.data, TOPICS[record.topic])
            drive.messages[record.topic].append(msg)
            stamp_ns = _stamp_ns(msg)
        drive.received_ns[record.topic].append(record.received_ns)
        drive.stamp_ns[record.topic].append(stamp_ns)
    return drive


def _position(vector: Any) -> F64:
    return np.array([vector.x, vector.y, vector.z])


def integrate(commands: Iterable[Any], config: MotionConfig, stamps_ns: I64) -> F64:
    """
    Return where the commands lead, by the rule as it is documented, in small steps.

    This is not the simulator's own integration but a check on it: velocity goes straight to the
    commanded one at the greatest acceleration, from each command's stamp on, and to zero after
    the timeout.

    :param commands: TwistStamped messages in order.
    :param config: the limits of the body.
    :param stamps_ns: (N,) when; none before the first command.
    :returns: (N, 3) metres in ``odom``; the body starts at its origin, at rest.
    """
    commands = list(commands)
    start_ns = ns_from_time(commands[0].header.stamp)
    begins_s = [(ns_from_time(msg.header.stamp) - start_ns) / 1e9 for msg in commands]
    count = int(np.ceil((max(stamps_ns) - start_ns) / 1e9 / _STEP_S)) + 1
    velocity, velocities, newest = np.zeros(6), np.zeros((count + 1, 6)), -1
    accel = np.repeat([config.max_linear_accel_mps2, config.max_angular_accel_radps2], 3)
    for k in range(count):
        t_s = k * _STEP_S
        while newest + 1 < len(commands) and begins_s[newest + 1] <= t_s + 1e-9:
            newest += 1
        twist = commands[newest].twist
        target = np.concatenate([_position(twist.linear), _position(twist.angular)])
        if t_s - begins_s[newest] >= config.command_timeout_s - 1e-9:
            target = np.zeros(6)
        for part in (slice(0, 3), slice(3, 6)):
            change = target[part] - velocity[part]
            size = float(np.linalg.norm(change))
            if size > 0.0:
                velocity[part] += change * min(1.0, accel[part][0] * _STEP_S / size)
        velocities[k + 1] = velocity
    motions = exp_se3((velocities[:-1] + velocities[1:]) / 2 * _STEP_S)
    T, track = np.eye(4), np.zeros((count + 1, 3))
    for k, motion in enumerate(motions):
        T = T @ motion
        track[k + 1] = T[:3, 3]
    asked_s = (stamps_ns - start_ns) / 1e9
    grid_s = np.arange(count + 1) * _STEP_S
    return np.stack([np.interp(asked_s, grid_s, track[:, axis]) for axis in range(3)], axis=1)


def _command_to_image_ms(drive: Drive) -> F64:
    """
    Return for each command how long it took to the first picture that obeys it, ms.

    The picture's status names the newest command that its pose obeys; the time runs from the
    command's stamp to the arrival of the picture.
    """
    arrival_ns = dict(zip(drive.stamp_ns[RGB], drive.received_ns[RGB], strict=True))
    shown = [
        (ns_from_time(status.command_stamp), arrival_ns[stamp_ns])
        for status, stamp_ns in zip(
            drive.messages['/status'], drive.stamp_ns['/status'], strict=True
        )
        if stamp_ns in arrival_ns
    ]
    delays = []
    for command_ns in drive.stamp_ns['/cmd_vel']:
        arrivals = [arrived_ns for obeyed_ns, arrived_ns in shown if obeyed_ns >= command_ns]
        if arrivals:
            delays.append((min(arrivals) - command_ns) / 1e6)
    return np.array(delays)


def _stamp_mismatches(drive: Drive) -> int:
    """Return how many frames lack a topic, between the first and the last frame heard whole."""
    stamps = {topic: set(drive.stamp_ns[topic]) for topic in OF_A_FRAME}
    first_ns = max(min(values) for values in stamps.values())
    last_ns = min(max(values) for values in stamps.values())
    every = set().union(*stamps.values())
    return sum(
        any(stamp_ns not in values for values in stamps.values())
        for stamp_ns in every
        if first_ns <= stamp_ns <= last_ns
    )


def _tf_error_m(drive: Drive) -> float:
    """Return how far odometry and tf, looked up at its stamp, are apart at most, metres."""
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=3600.0))
    for msg in drive.messages['/tf']:
        for transform in msg.transforms:
            buffer.set_transform(transform, 'recorder')
    worst = 0.0
    heard = set(drive.stamp_ns['/tf'])
    for odom in drive.messages['/odom']:
        stamp = odom.header.stamp
        if ns_from_time(stamp) not in heard:
            continue
        found = buffer.lookup_transform(
            odom.header.frame_id, odom.child_frame_id, Time.from_msg(stamp)
        )
        apart = _position(found.transform.translation) - _position(odom.pose.pose.position)
        worst = max(worst, float(np.linalg.norm(apart)))
    return worst


def measure(drive: Drive, config: MotionConfig) -> dict[str, Any]:
    """
    Return the numbers of a drive; of the driven time only, from the first to the last command.

    :param drive: what was heard, on every topic something.
    :param config: the limits of the body.
    """
    first_ns, last_ns = drive.received_ns['/cmd_vel'][0], drive.received_ns['/cmd_vel'][-1]

    def arrivals(topic: str) -> I64:
        heard = np.array(drive.received_ns[topic], dtype=np.int64)
        return heard[(heard >= first_ns) & (heard <= last_ns)]

    def rate_hz(topic: str) -> float:
        # By stamp: a frame that is lost or left out lowers it, a late arrival is in interval_ms.
        came = np.array(drive.received_ns[topic], dtype=np.int64)
        stamps_ns = np.array(drive.stamp_ns[topic])[(came >= first_ns) & (came <= last_ns)]
        return float((len(stamps_ns) - 1) / ((stamps_ns[-1] - stamps_ns[0]) / 1e9))

    intervals_ms = np.diff(arrivals(RGB)) / 1e6
    delays_ms = _command_to_image_ms(drive)
    begin_ns = drive.stamp_ns['/cmd_vel'][0]
    driven = [
        (transform, stamp_ns)
        for msg, stamp_ns in zip(drive.messages['/tf'], drive.stamp_ns['/tf'], strict=True)
        for transform in msg.transforms
        if stamp_ns >= begin_ns
    ]
    track = np.array([_position(t.transform.translation) for t, _ in driven])
    stamps_ns = np.array([stamp_ns for _, stamp_ns in driven], dtype=np.int64)
    ideal = integrate(drive.messages['/cmd_vel'], config, stamps_ns)
    statuses = drive.messages['/status']
    return {
        'world': statuses[-1].world,
        'session': statuses[-1].session,
        'resolution': '{0.height}x{0.width}'.format(drive.messages['/camera/camera_info'][0]),
        'frames': len(arrivals(RGB)),
        'generated_fps': round(_generated_fps(drive, first_ns, last_ns), 3),
        'rgb_hz': round(rate_hz(RGB), 3),
        'depth_hz': round(rate_hz(DEPTH), 3),
        'mask_hz': round(rate_hz(MASK), 3),
        'interval_ms': _percentiles(intervals_ms, p50=50, p99=99),
        'command_to_image_ms': _percentiles(delays_ms, p50=50, p95=95),
        'stamp_mismatches': _stamp_mismatches(drive),
        'tf_error_m_max': _tf_error_m(drive),
        'pose_error_m_max': float(np.linalg.norm(track - ideal, axis=1).max()),
        'way_m': round(float(np.linalg.norm(np.diff(track, axis=0), axis=1).sum()), 3),
        'reprojected_share': round(float(np.mean([s.reprojected for s in statuses])), 4),
        'known_share_mean': round(float(np.mean([s.known_share for s in statuses])), 4),
        'chunk_ms': _percentiles(np.array([s.chunk_ms for s in statuses]), p50=50, p95=95),
        'skipped_frames': int(statuses[-1].skipped_frames),
    }


def _generated_fps(drive: Drive, first_ns: int, last_ns: int) -> float:
    """Return how many pictures the session made each second between two arrivals."""
    heard = [status.frame for status, came_ns
             in zip(drive.messages['/status'], drive.received_ns['/status'], strict=True)
             if first_ns <= came_ns <= last_ns]
    return (max(heard) - min(heard) + 1) / ((last_ns - first_ns) / 1e9)


def _percentiles(values: F64, **shares: float) -> dict[str, float]:
    return {name: round(float(np.percentile(values, q)), 3) for name, q in shares.items()}


def draw(spool: Path, drive: Drive, out: Path, title: str) -> dict[str, Any]:
    """
    Write ``rgb.mp4``, ``depth.mp4`` and ``sheet.png``.

    :param spool: the recorded messages.
    :param drive: what was heard.
    :param out: folder for the files.
    :param title: of the sheet.
    :returns: ``return_psnr_db``, of the last picture against the first.
    """
    import cv2

    stamps = sorted(set.intersection(*(set(drive.stamp_ns[topic]) for topic in IMAGES)))
    begin_ns = drive.stamp_ns['/cmd_vel'][0]
    driven = [stamp_ns for stamp_ns in stamps if stamp_ns >= begin_ns]
    shown = {driven[round(share * (len(driven) - 1))]
             for share in np.linspace(0.0, 1.0, SHEET_COLUMNS)}
    fps = 1e9 / float(np.median(np.diff(stamps)))
    cells: dict[int, dict[str, Any]] = {stamp_ns: {} for stamp_ns in sorted(shown)}
    first: Any = None
    last: Any = None
    depth_range = None
    with (
        Mp4Writer(out / 'rgb.mp4', fps) as rgb_out,
        Mp4Writer(out / 'depth.mp4', fps) as depth_out,
    ):
        for record in read_spool(spool, IMAGES):
            msg = deserialize_message(record.data, TOPICS[record.topic])
            image = array_from_image_msg(msg)
            stamp_ns = ns_from_time(msg.header.stamp)
            if stamp_ns in cells:
                cells[stamp_ns][record.topic] = image
            if record.topic == RGB:
                first, last = image if first is None else first, image
                rgb_out.add(image)
            elif record.topic == DEPTH:
                depth_range = depth_range or depth_range_m(image)
                depth_out.add(colour_depth(image, *depth_range))
    sheet = contact_sheet(
        [cell[RGB] for cell in cells.values()],
        [cell[DEPTH] for cell in cells.values()],
        [cell[MASK] > 0 for cell in cells.values()],
        [f'{(stamp_ns - begin_ns) / 1e9:.1f} s' for stamp_ns in cells],
        title,
    )
    cv2.imwrite(str(out / 'sheet.png'), sheet[..., ::-1])
    # JSON knows no infinity: pictures that are equal to the last bit count as 99 dB.
    return {'return_psnr_db': round(min(psnr_db(first, last), 99.0), 2)}


def write_bag(spool: Path, out: Path) -> None:
    """Write every message into an MCAP bag, its chunks compressed with zstd."""
    store = get_typestore(Stores.ROS2_KILTED)
    share = Path(get_package_share_directory('inspatio_sim_msgs'))
    own = 'inspatio_sim_msgs/msg/SimStatus'
    store.register(get_types_from_msg((share / 'msg' / 'SimStatus.msg').read_text(), own))
    writer = Writer(out, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind in TOPICS.items():
            package, module, *_ = kind.__module__.split('.')
            connections[topic] = writer.add_connection(
                topic, f'{package}/{module}/{kind.__name__}', typestore=store
            )
        for record in read_spool(spool):
            writer.write(connections[record.topic], record.received_ns, record.data)

