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
    package_data={
        name: ['trained/*.safetensors'], f'{name}.star': ['*.cpp'],
        f'{name}.train': ['configs/*.toml']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{name}']),
        (f'share/{name}', ['package.xml']),
    ],
    python_requires='>=3.11',
    install_requires=[
        'av',
        'ftfy',
        'gymnasium',
        'huggingface-hub>=1',
        'moderngl',
        'numba',
        'numpy',
        'opencv-python<5',
        'rich',
        'safetensors',
        'scikit-image',
        'scipy>=1.16',
        'tensorboardX',
        'tokenizers',
        'torch',
        'transformers>=5',
    ],
    entry_points={'console_scripts': ['inspatio-star = inspatio_star.cli:main']},
    zip_safe=False,
)
