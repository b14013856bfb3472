"""What the documents say is so: parameters, fields, arguments, commands, links."""

import ast
from pathlib import Path
import re

import pytest
import yaml

from inspatio_star.cli import _parser

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
INTERFACES = (ROOT / 'docs' / 'interfaces.md').read_text()
SIM = ROOT / 'ros2_ws' / 'src' / 'inspatio_sim'


def rows_under(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading of docs/interfaces.md."""
    section = re.split(rf'^#+ {re.escape(heading)}$', INTERFACES, flags=re.MULTILINE)[1]
    section = re.split(r'^#+ ', section, flags=re.MULTILINE)[0]
    lines = section[section.index('\n|') + 1 :].split('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]


def words(cell: str) -> list[str]:
    """Return what stands in backquotes."""
    return re.findall(r'`([^`]*)`', cell)


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', path.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings}


@pytest.fixture(scope='module')
def parameters():
    """Return the parameters that the node declares, by name."""
    pytest.importorskip('rclpy')
    from inspatio_sim.parameters import PARAMETERS

    return {declared.name: declared for declared in PARAMETERS}


def test_parameters_are_documented_as_declared(parameters):
    rows = {words(row[0])[0]: row for row in rows_under('Parameters')}
    assert list(rows) == list(parameters)
    for name, (_, default, allowed, live, meaning) in rows.items():
        declared = parameters[name]
        value = yaml.safe_load(words(default)[0])
        assert (value, type(value)) == (declared.default, type(declared.default)), name
        assert live == ('yes' if declared.live else 'no'), name
        assert meaning
        if declared.choices:
            assert tuple(words(allowed)) == declared.choices, name
        elif declared.span is not None:
            assert [float(number) for number in allowed.split(' to ')] == list(declared.span), name
        elif declared.length is not None:
            assert allowed == f'{declared.length} numbers', name


def test_parameters_in_the_readme_have_the_right_defaults(parameters):
    readme = (ROOT / 'README.md').read_text()
    table = readme.split('| parameter | default | |')[1].split('\n\n')[0].splitlines()[2:]
    for line in table:
        names, default = line.strip('|').split('|')[:2]
        values = words(default)
        assert set(words(names)) <= set(parameters)
        for name, value in zip(words(names), values, strict=bool(values)):
            assert yaml.safe_load(value) == parameters[name].default, name
        if not values:
            assert all(not any(parameters[name].default) for name in words(names))


def test_sim_yaml_holds_the_defaults(parameters):
    document = yaml.safe_load((SIM / 'config' / 'sim.yaml').read_text())
    values = document['/**']['inspatio_sim']['ros__parameters']
    assert values == {name: declared.default for name, declared in parameters.items()}
    assert all(type(value) is type(parameters[name].default) for name, value in values.items())


def test_status_fields_are_documented():
    text = (ROOT / 'msg' / 'SimStatus.msg').read_text()
    fields = re.findall(r'^[\w/]+(?:\[\])? (\w+)$', text, re.MULTILINE)
    rows = rows_under('Fields of `status`')
    assert [name for row in rows for name in words(row[0])] == fields


def launch_arguments() -> dict[str, object]:
    """Return the arguments of the launch file and their defaults, None where not a constant."""
    tree = ast.parse((SIM / 'launch' / 'sim.launch.py').read_text())
    arguments: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == 'PARAMETERS':
            assert isinstance(node.value, ast.Dict)
            arguments |= {ast.literal_eval(key): '' for key in node.value.keys}
        if not isinstance(node, ast.Call) or not any(
                isinstance(arg, ast.Constant) for arg in node.args[:1]):
            continue
        if ast.unparse(node.func) == '_parameter':
            arguments[ast.literal_eval(node.args[0])] = ''
        if ast.unparse(node.func) == 'DeclareLaunchArgument':
            default = next(k.value for k in node.keywords if k.arg == 'default_value')
            value = default.value if isinstance(default, ast.Constant) else None
            arguments[ast.literal_eval(node.args[0])] = value
    return arguments


def test_launch_arguments_are_documented():
    rows = {words(row[0])[0]: words(row[1]) for row in rows_under('Launch')}
    arguments = launch_arguments()
    assert list(rows) == list(arguments)
    for name, default in arguments.items():
        if default is not None:
            assert rows[name] == ([default] if default else [])


def test_launch_commands_use_arguments_that_exist():
    used = [name for path in DOCS for line in re.findall(r'sim\.launch\.py(.*)', path.read_text())
            for name in re.findall(r'(\w+):=', line)]
    assert 'rviz' in used
    assert set(used) - {'ARGUMENT'} <= set(launch_arguments())


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    broken = []
    for target, anchor in re.findall(r'\]\(([^)#\s]*)(?:#([^)\s]*))?\)', path.read_text()):
        if target.startswith('https://'):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or anchor and anchor not in anchors(file):
            broken.append(f'{target}#{anchor}')
    assert broken == []


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.name)
def test_commands_exist(path):
    text = path.read_text()
    targets = set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    code = '\n'.join(re.findall(r'```sh\n(.*?)```', text, re.DOTALL) + words(text))
    assert set(re.findall(r'\bmake ([a-z]+)', code)) <= targets
    commands = _parser()._subparsers._group_actions[0].choices
    for command, sub in re.findall(r'\binspatio-star (\w+) ?(\w*)', code):
        assert command in commands
        if command == 'world':
            assert sub in commands['world']._subparsers._group_actions[0].choices
    for script in re.findall(r'\b((?:runs|bench|examples|tests)/[\w/]+\.(?:sh|py))\b', text):
        assert (ROOT / script).is_file(), script
    for script in re.findall(r'\bruns/\w+\.sh', text):
        assert (ROOT / script).stat().st_mode & 0o100, f'{script} can be run'


def test_every_script_of_runs_is_in_the_benchmarks():
    text = (ROOT / 'docs' / 'benchmarks.md').read_text()
    scripts = sorted((ROOT / 'runs').iterdir())
    assert scripts
    assert [path.name for path in scripts if f'`runs/{path.name}' not in text] == []


def test_arguments_of_the_page_are_documented():
    source = (SIM / 'inspatio_sim' / 'drive' / '__main__.py').read_text()
    declared = re.findall(r"add_argument\('(--[a-z-]+)'", source)
    rows = [name for row in rows_under('The page') for name in words(row[0])]
    assert [name for name in rows if name != '--ros-args ...'] == declared


def test_policy_in_the_readme_is_the_example():
    block = re.search(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    assert block.group(1) in (ROOT / 'examples' / '02_policy_from_topics.py').read_text()


def test_every_example_is_run_by_a_test():
    text = (ROOT / 'tests' / 'system' / 'test_examples.py').read_text()
    examples = sorted((ROOT / 'examples').glob('*.py'))
    assert examples
    assert [path.name for path in examples if f"'{path.name}'" not in text] == []


@pytest.mark.parametrize(('name', 'most_bytes'), [('demo.jpg', 400_000), ('drive.jpg', 200_000)])
def test_picture_is_light(name, most_bytes):
    picture = ROOT / 'docs' / 'pictures' / name
    assert picture.read_bytes()[:2] == b'\xff\xd8'
    assert picture.stat().st_size < most_bytes
