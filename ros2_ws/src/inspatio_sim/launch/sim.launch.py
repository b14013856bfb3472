"""Start the simulator, and rviz if it is wanted: `ros2 launch inspatio_sim sim.launch.py`."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

PACKAGE = 'inspatio_sim'
AS_FILE = 'empty: as params_file says'
# Arguments that are parameters of the node, and what they are there.
PARAMETERS = {
    'world': str,
    'session': str,
    'preset': str,
    'star_decoder': str,
    'star_device': str,
    'star_dtype': str,
    'star_compile': 'true'.__eq__,
    'resolution': str,
    'clock': str,
    'late_reprojection': 'true'.__eq__,
    'autostart': 'true'.__eq__,
}


def _nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; an argument that was not given leaves the parameters file alone."""
    given = {
        name: typed(value)
        for name, typed in PARAMETERS.items()
        if (value := LaunchConfiguration(name).perform(context))
    }
    sim_time = LaunchConfiguration('use_sim_time').perform(context)
    lockstep = given.get('clock') == 'lockstep'
    if sim_time:
        # The simulator is the source of the clock, so it must not also listen to it.
        given['publish_clock'] = sim_time == 'true'
    simulator = Node(
        package=PACKAGE,
        executable='sim_node',
        name='inspatio_sim',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        emulate_tty=True,
        parameters=[LaunchConfiguration('params_file'), given],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', PathJoinSubstitution([FindPackageShare(PACKAGE), 'rviz', 'sim.rviz'])],
        parameters=[{'use_sim_time': sim_time == 'true' or lockstep}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return [simulator, rviz]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the simulator and rviz."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'world',
            default_value='',
            description='World to play: a folder, or a name in worlds/ or one of the folders of '
            f'the variable INSPATIO_WORLDS ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'session',
            default_value='',
            choices=['', 'warp', 'star', 'fake'],
            description=f'What makes the pictures ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'preset',
            default_value='',
            description=f'Model of a star session ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'star_decoder',
            default_value='',
            choices=['', 'vae', 'taehv'],
            description=f'What a star session makes pictures of latents with ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'star_device',
            default_value='',
            description=f'Where a star session computes: auto, cpu, cuda, cuda:N ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'star_dtype',
            default_value='',
            choices=['', 'auto', 'float32', 'bfloat16'],
            description=f'What a star session computes in ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'star_compile',
            default_value='',
            choices=['', 'true', 'false'],
            description=f'Whether torch compiles the model of a star session ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'resolution',
            default_value='',
            description=f'Rows x columns of the pictures, or native ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'clock',
            default_value='',
            choices=['', 'realtime', 'lockstep'],
            description='Whether time runs, or moves by the step services alone and is published '
            f'on /clock ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'late_reprojection',
            default_value='',
            choices=['', 'true', 'false'],
            description=f'Whether generated pictures are moved to the newest pose ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='',
            choices=['', 'true', 'false'],
            description='Whether the node configures and activates itself; false for a lifecycle '
            f'manager ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution(
                [FindPackageShare(PACKAGE), 'config', 'sim.yaml']
            ),
            description='YAML file with the parameters of the node; arguments that are given '
            'here count more',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='',
            choices=['', 'true', 'false'],
            description='Whether the simulation has a time of its own, which it publishes on '
            f'/clock and which rviz then uses ({AS_FILE})',
        ),
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the node and its topics'
        ),
        DeclareLaunchArgument(
            'rviz',
            default_value='false',
            choices=['true', 'false'],
            description='Whether rviz is started, too',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severe messages to be logged',
        ),
        OpaqueFunction(function=_nodes),
    ])
