from glob import glob
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

package = ElementTree.parse(Path(__file__).resolve().with_name('package.xml'))
name = package.findtext('name')

setup(
    name=name,
    version=package.findtext('version'),
    description=package.findtext('description'),
    license=package.findtext('license'),
    packages=find_packages(include=[name, f'{name}.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{name}']),
        (f'share/{name}', ['package.xml']),
        (f'share/{name}/launch', glob('launch/*.launch.py')),
        (f'share/{name}/config', glob('config/*.yaml') + glob('config/*.xml')),
        (f'share/{name}/rviz', glob('rviz/*.rviz')),
    ],
    python_requires='>=3.11',
    install_requires=['inspatio_star', 'numpy', 'opencv-python<5', 'psutil', 'rich', 'viser>=1.1'],
    extras_require={'test': ['pytest']},
    entry_points={
        'console_scripts': [
            'sim_node = inspatio_sim.node:main',
            'inspatio-sim = inspatio_sim.node:main',
            'inspatio-drive = inspatio_sim.drive.__main__:main',
            'inspatio-conformance = inspatio_sim.conformance.__main__:main',
        ],
    },
    zip_safe=False,
)
