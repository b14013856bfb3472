"""Start the simulator, and rviz if it is wanted: `ros2 launch inspatio_sim sim.launch.py`."""

from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

PACKAGE = 'inspatio_sim'
SHARE = FindPackageShare(PACKAGE)


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the simulator and rviz."""
    arguments = [
        DeclareLaunchArgument(
            'world',
            default_value='worlds/motorcycle.world',
            description='World to play: a folder, or a name in one of the folders that the '
            'variable INSPATIO_WORLDS lists',
        ),
        DeclareLaunchArgument(
            'session',
            default_value='warp',
            choices=['warp', 'fake'],
            description='What makes the pictures',
        ),
        DeclareLaunchArgument(
            'resolution',
            default_value='480x832',
            description='Rows x columns of the pictures, or native',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution([SHARE, 'config', 'sim.yaml']),
            description='YAML file with parameters of the node; the arguments here go before it',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='Whether the simulation has a time of its own, which it publishes on '
            '/clock and which rviz then uses',
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
    ]
    sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    simulator = Node(
        package=PACKAGE,
        executable='sim_node',
        name='inspatio_sim',
        namespace=LaunchConfiguration('namespace'),
        output='screen',
        emulate_tty=True,
        parameters=[
            LaunchConfiguration('params_file'),
            {
                'world': LaunchConfiguration('world'),
                'session': LaunchConfiguration('session'),
                'resolution': LaunchConfiguration('resolution'),
                # The simulator is the source of the clock, so it must not also listen to it.
                'publish_clock': sim_time,
            },
        ],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', PathJoinSubstitution([SHARE, 'rviz', 'sim.rviz'])],
        parameters=[{'use_sim_time': sim_time}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return LaunchDescription([*arguments, simulator, rviz])
