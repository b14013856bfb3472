"""Start the simulator, and rviz if it is wanted: `ros2 launch inspatio_sim sim.launch.py`."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

PACKAGE = 'inspatio_sim'
BOOL = ('true', 'false')
# Arguments that are parameters of the node: what they are, and what they can be.  One that is not
# given leaves the parameters file alone.
PARAMETERS: dict[str, tuple[str, tuple[str, ...]]] = {
    'world': ('World to play: a folder, or a name in worlds/ or one of the folders of the '
              'variable INSPATIO_WORLDS', ()),
    'session': ('What makes the pictures', ('warp', 'star', 'fake')),
    'preset': ('Model of a star session', ()),
    'star_decoder': ('What a star session makes pictures of latents with', ('vae', 'taehv')),
    'star_device': ('Where a star session computes: auto, cpu, cuda, cuda:N', ()),
    'star_dtype': ('What a star session computes in', ('auto', 'float32', 'bfloat16')),
    'star_compile': ('Whether torch compiles the model of a star session', BOOL),
    'resolution': ('Rows x columns of the pictures, or native', ()),
    'clock': ('Whether time runs, or moves by the step services alone and is published on /clock',
              ('realtime', 'lockstep')),
    'late_reprojection': ('Whether generated pictures are moved to the newest pose', BOOL),
    'autostart': ('Whether the node configures and activates itself; false for a lifecycle '
                  'manager', BOOL),
}


def _parameter(name: str, meaning: str, choices: tuple[str, ...]) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value='', choices=['', *choices] if choices else None,
        description=f'{meaning} (empty: as params_file says)')


def _nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes."""
    given: dict[str, str | bool] = {
        name: value == 'true' if choices == BOOL else value
        for name, (_, choices) in PARAMETERS.items()
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
        *(_parameter(name, *told) for name, told in PARAMETERS.items()),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution(
                [FindPackageShare(PACKAGE), 'config', 'sim.yaml']
            ),
            description='YAML file with the parameters of the node; arguments that are given '
            'here count more',
        ),
        _parameter(
            'use_sim_time',
            'Whether the simulation has a time of its own, which it publishes on /clock and which '
            'rviz then uses', BOOL),
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
