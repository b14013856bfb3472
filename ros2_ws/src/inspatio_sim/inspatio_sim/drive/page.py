"""The page itself: what a person sees and presses, in terms of viser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import html
import time
from typing import Any

from simulation_interfaces.msg import Resource, SimulationState
from simulation_interfaces.srv import ResetSimulation
import viser
from viser import Icon

from inspatio_sim import convert
from inspatio_sim.drive import link as ros
from inspatio_sim.drive.calls import Answer
from inspatio_sim.drive.drawing import (
    SOURCES,
    DepthPainter,
    cloud_of,
    empty_picture,
    metres_of_depth,
    sources_of_mask,
    tint,
)
from inspatio_sim.drive.helm import Direction, Helm
from inspatio_sim.drive.scene import Scene, View
from inspatio_sim_msgs.srv import SetWorldTime
from inspatio_star.contract import F64
from inspatio_star.frames import rigid_from_pose

PICTURE_HZ = 12.0
# Depth and points are shown with every second picture, words twice a second.
SLOW_PICTURES, WORDS_S = 2, 0.5
JPEG_QUALITY = 85
HOLD_HZ = 10.0
PICTURE_PIXELS, CONTROLS_PIXELS = 620, 320

KEYS: dict[Direction, tuple[str, ...]] = {
    Direction.TURN_LEFT: ('Q', 'arrowleft'),
    Direction.FORWARD: ('W', 'arrowup'),
    Direction.TURN_RIGHT: ('E', 'arrowright'),
    Direction.LEFT: ('A',),
    Direction.BACK: ('S', 'arrowdown'),
    Direction.RIGHT: ('D',),
}
VIEW_KEYS = [f'Key{key}' for key in 'WASDQE'] + [
    f'Arrow{way}' for way in ('Up', 'Down', 'Left', 'Right')]
STOP_KEYS = ('X', 'space')
ICONS = {
    Direction.TURN_LEFT: Icon.ROTATE_2,
    Direction.FORWARD: Icon.ARROW_UP,
    Direction.TURN_RIGHT: Icon.ROTATE_CLOCKWISE_2,
    Direction.LEFT: Icon.ARROW_LEFT,
    Direction.BACK: Icon.ARROW_DOWN,
    Direction.RIGHT: Icon.ARROW_RIGHT,
}
MODES = {
    SetWorldTime.Request.MODE_FREEZE: 'Freeze',
    SetWorldTime.Request.MODE_PLAY: 'Once',
    SetWorldTime.Request.MODE_LOOP: 'Loop',
    SetWorldTime.Request.MODE_PINGPONG: 'Swing',
}
VIEWS = {
    View.FREE: 'this browser only: as you turn it with the mouse',
    View.BEHIND: 'this browser only: follow the camera',
    View.THROUGH: 'this browser only: ride in the camera',
}

# viser stacks what is in a folder; buttons that belong together stand side by side, a last one
# that fills no row goes across, and pictures are as wide as their panel.
ROW = """<div class="row-of-{columns}"></div><style>
div:has(> div > .row-of-{columns}) {{
  display: grid; grid-template-columns: repeat({columns}, 1fr); padding: 0 6px; }}
div:has(> div > .row-of-{columns}) > div {{ min-width: 0; margin: 0 2px; padding-bottom: 4px; }}
div:has(> div > .row-of-{columns}) > div:has(> .row-of-{columns}) {{ display: none; }}
div:has(> div > .row-of-{columns}) > div:nth-child(8) {{ grid-column: 1 / -1; }}
div:has(> div > .row-of-{columns}) .mantine-Button-root {{ padding: 0; font-size: 13px; }}
img {{ width: 100%; }}
</style>"""

# viser moves the browser's view by the keys that drive here: its listener is on the document, that
# of hotkeys one step before it, where these keys end. And hotkeys are deaf while a checkbox or a
# button has the focus, which those keep after a click.
FREE_KEYS = f"""<img src="data:," style="display: none" onerror="
  document.documentElement.addEventListener('keydown', event => {{
    if ({VIEW_KEYS}.includes(event.code)) event.stopPropagation(); }});
  document.documentElement.addEventListener('click', () => setTimeout(() => {{
    if (document.activeElement.type != 'text') document.activeElement.blur(); }}));">"""


class Page:
    """
    The page of a node.

    :param server: what shows it.
    :param link: to the node.
    :param helm: what the node is steered by.
    """

    def __init__(self, server: viser.ViserServer, link: ros.Link, helm: Helm) -> None:
        self._server, self._link, self._helm = server, link, helm
        self._depth = DepthPainter()
        self._shown: tuple[int, int] | None = None
        self._ticks = 0
        self._next_words_s = 0.0
        self._world = self._state = ''
        self._refused = -1
        self._is_empty = True
        self._views: dict[int, View] = {}
        # Buttons of services, which may not be there, and of states in which they make no sense.
        self._service_of: list[tuple[Any, str]] = []
        self._worlds: dict[str, Resource] = {}

        gui = server.gui
        gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, brand_color=(40, 120, 255)
        )
        gui.set_panel_label('inspatio_sim')
        self._scene = Scene(server)
        self._add_picture(gui)
        gui.add_html(FREE_KEYS)
        self._head = gui.add_html('')
        self._add_helm(gui)
        self._add_simulation(gui)
        self._add_view(gui)
        with gui.add_folder('World and branches', expand_by_default=False):
            self._add_worlds(gui)
        with gui.add_folder('Numbers', expand_by_default=False):
            self._numbers = gui.add_html('')
        gui.main_panel.dock_right()
        gui.main_panel.set_width(CONTROLS_PIXELS)
        server.on_client_connect(self._scene.greet)
        server.on_client_disconnect(self._leave)

    # What is on it.

    def _add_picture(self, gui: viser.GuiApi) -> None:
        panel = gui.add_panel()
        with panel.add_tab('Camera', Icon.CAMERA):
            nothing = empty_picture(480, 832, 'waiting for a picture')
            self._picture = gui.add_image(nothing, format='jpeg', jpeg_quality=JPEG_QUALITY)
            self._legend = gui.add_html('')
            self._depth_picture = gui.add_image(
                empty_picture(240, 416, ''), format='jpeg', jpeg_quality=JPEG_QUALITY
            )
            self._caption = gui.add_html('')
        panel.dock_left()
        panel.set_width(PICTURE_PIXELS)

    def _add_helm(self, gui: viser.GuiApi) -> None:
        with gui.add_folder('Drive'):
            gui.add_html(ROW.format(columns=3))
            for direction, (key, *_) in KEYS.items():
                name = direction.name.lower().replace('_', ' ')
                button = gui.add_button(key, icon=ICONS[direction], hint=name, color='gray')
                button.on_hold(partial(self._hold, direction), callback_hz=HOLD_HZ)
                button.on_click(partial(self._release, direction))
            stop = gui.add_button('Stop (space)', color='red')
            stop.on_click(lambda _: self._helm.stop())
        for direction, keys in KEYS.items():
            name = direction.name.lower().replace('_', ' ').capitalize()
            for key in keys:
                gui.add_command(name, hotkey=key).on_trigger(partial(self._press, direction))  # type: ignore[arg-type]
        for key in STOP_KEYS:
            gui.add_command('Stop', hotkey=key).on_trigger(lambda _: self._helm.stop())  # type: ignore[arg-type]
        speed = gui.add_slider('m/s', 0.05, 1.0, 0.05, self._helm.speed)
        turn = gui.add_slider('rad/s', 0.05, 1.5, 0.05, self._helm.turn_rate)
        speed.on_update(lambda _: setattr(self._helm, 'speed', speed.value))
        turn.on_update(lambda _: setattr(self._helm, 'turn_rate', turn.value))

    def _add_simulation(self, gui: viser.GuiApi) -> None:
        with gui.add_folder('Simulation'):
            gui.add_html(ROW.format(columns=3))
            self._play = gui.add_button('Pause')
            self._play.on_click(lambda _: self._play_or_pause())
            self._serve(self._play, 'set_simulation_state')
            self._step = gui.add_button('Step', hint='one picture, while paused')
            self._step.on_click(lambda _: self._ask('Step', 'step_simulation', steps=1))
            self._serve(self._step, 'step_simulation')
            reset = gui.add_button('Reset', hint='back to the start')
            reset.on_click(lambda _: self._reset())
            self._serve(reset, 'reset_simulation')
        with gui.add_folder('Time of the world'):
            gui.add_html(ROW.format(columns=4))
            for mode, label in MODES.items():
                button = gui.add_button(label, hint='for a world that is a video')
                button.on_click(partial(self._set_time, mode))
                self._serve(button, 'set_world_time')

    def _add_view(self, gui: viser.GuiApi) -> None:
        with gui.add_folder('Look from'):
            gui.add_html(ROW.format(columns=3))
            for view, hint in VIEWS.items():
                button = gui.add_button(view.value, hint=hint, color='gray')
                button.on_click(partial(self._choose_view, view))
        self._tinted = gui.add_checkbox(
            'Provenance', False, hint='tint the picture by where its pixels come from'
        )
        self._with_cloud = gui.add_checkbox('Points', True)
        self._with_depth = gui.add_checkbox('Depth', True)

    def _add_worlds(self, gui: viser.GuiApi) -> None:
        self._chooser = gui.add_dropdown('World', ('',))
        self._loader = gui.add_button('Load and play')
        self._loader.on_click(lambda _: self._load())
        self._serve(self._loader, 'load_world')
        self._serve(self._chooser, 'get_available_worlds')
        self._name = gui.add_text('Name', 'here')
        with gui.add_folder('Branch'):
            gui.add_html(ROW.format(columns=2))
            for label, service in (('Save', 'save_session'), ('Go back', 'restore_session')):
                button = gui.add_button(label)
                button.on_click(partial(self._ask_branch, label, service))
                self._serve(button, service)

    def _serve(self, handle: Any, service: str) -> None:
        handle.disabled = True
        self._service_of.append((handle, service))

    # What is pressed.

    # On the event loop: these keep their order.

    async def _hold(self, direction: Direction, event: viser.GuiEvent[Any]) -> None:
        if event.client_id is not None:
            self._helm.hold(event.client_id, direction)

    async def _release(self, direction: Direction, event: viser.GuiEvent[Any]) -> None:
        if event.client_id is not None:
            self._helm.release(event.client_id, direction)

    async def _press(self, direction: Direction, event: viser.CommandEvent) -> None:
        if event.client_id is not None:
            self._helm.press(event.client_id, direction)

    def _leave(self, client: viser.ClientHandle) -> None:
        self._helm.leave(client.client_id)
        self._views.pop(client.client_id, None)

    def _choose_view(self, view: View, event: viser.GuiEvent[Any]) -> None:
        if event.client_id is not None:
            self._views[event.client_id] = view

    def _ask(
        self, what: str, service: str, then: Callable[[Answer], None] | None = None, /,
        **fields: Any,
    ) -> None:
        """Call a service and show what the node says to it."""
        def take(answer: Answer) -> None:
            done = 'done' if answer.success else 'refused'
            self._tell(f'{what}: {done}', answer.words, 'green' if answer.success else 'red')
            if then is not None and answer.success:
                then(answer)

        self._link.calls.call(service, take, **fields)

    def _tell(self, title: str, words: str, color: Any) -> None:
        for client in self._server.get_clients().values():
            client.add_notification(title, words, color=color, auto_close_seconds=4.0)

    def _play_or_pause(self) -> None:
        paused = self._state == 'PLAYING'
        state = SimulationState.STATE_PAUSED if paused else SimulationState.STATE_PLAYING
        self._ask(
            'Pause' if paused else 'Play', 'set_simulation_state',
            state=SimulationState(state=state),
        )

    def _ask_branch(self, what: str, service: str, _: Any) -> None:
        self._ask(f'{what}: {self._name.value}', service, name=self._name.value)

    def _set_time(self, mode: str, _: Any) -> None:
        self._ask(f'Time: {mode}', 'set_world_time', mode=mode)

    def _reset(self) -> None:
        self._helm.stop()
        self._ask('Reset', 'reset_simulation', lambda _: self._scene.forget_way(),
                  scope=ResetSimulation.Request.SCOPE_STATE)

    def _load(self) -> None:
        resource = self._worlds.get(self._chooser.value)
        if resource is None:
            return
        playing = SimulationState(state=SimulationState.STATE_PLAYING)
        self._tell('Load', f'{self._chooser.value} ...', 'blue')
        self._ask(
            'Load', 'load_world',
            lambda _: self._ask('Play', 'set_simulation_state', state=playing),
            world_resource=resource,
        )

    # What is shown.

    def run(self, is_over: Callable[[], bool]) -> None:
        """Show what there is until it is over."""
        while not is_over():
            began_s = time.monotonic()
            self.refresh(began_s)
            time.sleep(max(0.005, 1 / PICTURE_HZ - (time.monotonic() - began_s)))

    def refresh(self, now_s: float) -> None:
        """Show what is new, if anybody looks."""
        clients = self._server.get_clients()
        source = self._source_topic()
        topics = self._topics(source) | {ros.STATUS}
        self._link.wanted = frozenset(topics if clients else ())
        if not clients:
            return
        self._ticks += 1
        if now_s >= self._next_words_s:
            self._next_words_s = now_s + WORDS_S
            self._show_words()
        if not self._link.health:
            self._show_nothing()
            return
        with self._server.atomic():
            self._show_frame(source)
            self._scene.show_plan(self._link.plan)
        for view in View:
            here = [clients[k] for k, v in list(self._views.items()) if v is view and k in clients]
            if not self._is_empty:
                self._scene.look(here, view)

    def _source_topic(self) -> str | None:
        if not self._tinted.value:
            return None
        return ros.PROVENANCE if self._link.has_provenance else ros.MASK

    def _topics(self, source: str | None) -> set[str]:
        topics = {ros.RGB, ros.INFO, ros.ODOM}
        if self._with_cloud.value or self._with_depth.value:
            topics.add(ros.DEPTH)
        return topics | ({source} if source else set())

    def _show_nothing(self) -> None:
        if not self._is_empty:
            self._is_empty = True
            self._picture.image = empty_picture(480, 832, 'waiting for a picture')
            self._scene.hide_cloud()

    def _show_frame(self, source: str | None) -> None:
        topics = self._topics(source)
        if self._ticks % SLOW_PICTURES:
            topics.discard(ros.DEPTH)
        frame = self._link.frames.newest(topics)
        if frame is None:
            return
        header = frame[ros.RGB].header
        stamp = header.stamp.sec, header.stamp.nanosec
        if stamp == self._shown:
            return
        self._shown, self._is_empty = stamp, False
        rgb = convert.array_from_image_msg(frame[ros.RGB])
        if source is None:
            self._picture.image = rgb
        else:
            sources = convert.array_from_image_msg(frame[source])
            if source == ros.MASK:
                sources = sources_of_mask(sources)
            self._picture.image = tint(rgb, sources)
        K = frame[ros.INFO].k.reshape(3, 3)
        T_odom_optical = self._pose(frame[ros.ODOM], header.frame_id)
        if T_odom_optical is not None:
            self._scene.show_camera(T_odom_optical, K[1, 1], rgb)
        if ros.DEPTH in frame:
            depth_m = metres_of_depth(convert.array_from_image_msg(frame[ros.DEPTH]))
            if self._with_depth.value:
                self._depth_picture.image = self._depth.paint(depth_m)
                _set(self._caption, caption_of(*self._depth.range_m))
            if self._with_cloud.value and T_odom_optical is not None:
                self._scene.show_cloud(T_odom_optical, cloud_of(rgb, depth_m, K))

    def _pose(self, odom: Any, optical_frame: str) -> F64 | None:
        T_base_optical = self._link.fixed_pose(odom.child_frame_id, optical_frame)
        if T_base_optical is None:
            return None
        T: F64 = rigid_from_pose(convert.pose_from_msg(odom.pose.pose)) @ T_base_optical
        return T

    def _show_words(self) -> None:
        health = self._link.health
        state = health.get('state', '')
        if state != self._state:
            self._state = state
            self._play.label = 'Pause' if state == 'PLAYING' else 'Play'
        for handle, service in self._service_of:
            disabled = not health or not self._link.calls.is_ready(service)
            if handle is self._step:
                disabled |= state != 'PAUSED'
            elif handle is self._loader:
                disabled |= not self._worlds
            if handle.disabled != disabled:
                handle.disabled = disabled
                if handle is self._chooser and not disabled:
                    self._link.calls.call('get_available_worlds', self._take_worlds)
        self._depth_picture.visible = self._caption.visible = self._with_depth.value
        if not self._with_cloud.value:
            self._scene.hide_cloud()
        _set(self._legend, legend() if self._tinted.value else '')
        _set(self._head, head_of(health))
        told = self._link.frames.newest({ros.STATUS}) or {}
        _set(self._numbers, table_of(dict(health) | numbers_of(told.get(ros.STATUS))))
        if (world := health.get('world', '')) != self._world:
            self._world = world
            self._scene.forget_way()
        refused = int(health.get('refused_commands', 0))
        if 0 <= self._refused < refused:
            self._tell('Refused', health['last_refusal'], 'orange')
        self._refused = refused

    def _take_worlds(self, answer: Answer) -> None:
        if not answer.success:
            self._tell('Worlds: refused', answer.words, 'red')
            return
        found = [(world.name, world.world_resource) for world in answer.response.worlds]
        names = [name for name, _ in found]
        self._worlds = {
            name if names.count(name) == 1 else resource.uri: resource for name, resource in found
        }
        if self._worlds:
            self._chooser.options = tuple(self._worlds)


def _set(handle: Any, content: str) -> None:
    """Give a piece of the page its content, if that is new: every change is sent to everybody."""
    if handle.content != content:
        handle.content = content


def caption_of(near_m: float, far_m: float) -> str:
    """Return what the colours of a depth mean."""
    return (
        '<div style="font-size:12px; padding:2px 12px 6px">depth: red '
        f'{near_m:.1f} m, blue {far_m:.1f} m, dark unknown</div>'
    )


def legend() -> str:
    """Return what the tints mean."""
    return '<div style="font-size:12px; padding:2px 12px 6px">' + ' '.join(
        f'<span style="border-left:12px solid rgb{source.rgb}; padding-left:4px;'
        f' margin-right:10px">{source.name}</span>'
        if source.rgb else f'<span style="margin-right:10px">no tint: {source.name}</span>'
        for source in SOURCES
    ) + '</div>'


def head_of(health: Mapping[str, str]) -> str:
    """Return in a few words how a node is."""
    if not health:
        light, words = '#e03131', '<b>No node</b><br>none is heard; waiting for one'
    else:
        light = '#2f9e44' if health['is_well'] else '#f08c00'
        if health['error'] or health['state'] == 'NO_WORLD':
            light = '#e03131'
        known, delay = (
            f'{scale * float(health[key] or "nan"):.0f}'.replace('nan', '-')
            for scale, key in ((100, 'known_share'), (1, 'command_to_image_ms_p50'))
        )
        rate = float(health['published_hz'])
        numbers = f'{rate:.1f} Hz · {known} % known · obeys in {delay} ms'
        words = (
            f'<b>{html.escape(health["state"])}</b> · {html.escape(health["world"] or "no world")}'
            f' · {html.escape(health["session"] or "-")}<br>{numbers}'
        )
        if not health['is_well'] or health['state'] == 'LOADING_WORLD':
            words += f'<br>{html.escape(health["message"])}'
    return (
        f'<div style="border-left:6px solid {light}; margin:2px 10px 8px; padding:2px 8px;'
        f' font-size:13px; line-height:1.5; min-height:4.5em">{words}</div>'
    )


def numbers_of(status: Any) -> dict[str, str]:
    """Return what a status tells of the picture that it came with."""
    if status is None:
        return {}
    stages = zip(status.stage_names, status.stage_ms, strict=True)
    return {
        'frame': str(status.frame),
        'chunk': f'{status.chunk}, {status.frame_in_chunk + 1} of {status.chunk_frames}',
        'chunk_ms': f'{status.chunk_ms:.1f}',
        'stages_ms': ', '.join(f'{name} {ms:.1f}' for name, ms in stages),
        'source_frame': str(status.source_frame),
        'reprojected': 'yes' if status.reprojected else 'no',
    }


def table_of(numbers: Mapping[str, str]) -> str:
    """Return all that a node says of how it is."""
    rows = ''.join(
        f'<tr><td style="padding-right:8px; opacity:0.7">{html.escape(key.replace("_", " "))}</td>'
        f'<td>{html.escape(value)}</td></tr>'
        for key, value in numbers.items() if key != 'is_well' and value
    )
    return f'<table style="font-size:12px; margin:0 10px 6px">{rows}</table>'
