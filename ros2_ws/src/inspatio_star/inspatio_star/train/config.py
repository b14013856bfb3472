"""The numbers of a run of training; all of them stand in one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
import tomllib
from typing import Any

from inspatio_star.errors import PresetError
from inspatio_star.presets import Preset, changed, preset_named, resolved

# The file in the folder of a stage that has all its numbers.
CONFIG = 'config.json'
PRECISIONS = ('float32', 'bfloat16')
# Where a network begins with its published weights.
PUBLIC = 'public'


@dataclass(frozen=True)
class OptimizerConfig:
    """
    AdamW, and how its rate goes: up on a line, then down on half a cosine.

    :param rate: the highest.
    :param warmup: updates until then.
    :param final: the last rate as a share of the highest.
    :param betas: of the two moments.
    :param decay: of the weights.
    :param clip: largest norm of a gradient.
    """

    rate: float = 1e-3
    warmup: int = 50
    final: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.95)
    decay: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """
    What a regression is measured by.

    :param unseen: weight of pixels that the constraint does not know, beside 1 for known ones.
    :param gradient: weight of the difference of picture gradients at several scales, beside 1
        for squared pixels; 0 leaves it out.
    :param scales: of those gradients: halvings of the picture, the first is none.
    :param relative: whether squared pixels count by the logarithm of each clip's mean, as decibels
        do: a clip that is easy counts as much as one that is hard.
    """

    unseen: float = 4.0
    gradient: float = 0.0
    scales: int = 3
    relative: bool = False


@dataclass(frozen=True)
class JdmdConfig:
    """
    The joint distribution matching distillation.

    :param visual: weight of the text-to-video loss.
    :param control: weight of the re-rendering loss.
    :param motion_teacher: the stage, or 'public', whose weights the teacher of re-rendering has.
    :param perceptual_teacher: likewise the teacher of text to video.
    :param regression: weight of the regression to the ground truth of re-rendering clips, beside.
    :param critic_updates: of a critic for each update of the student.
    :param critic: its optimizer.
    :param lowest: sigma of the least noise at which the two scores are compared.
    :param highest: sigma of the most noise.
    """

    motion_teacher: str = 'motion'
    perceptual_teacher: str = 'perceptual'
    visual: float = 1.0
    control: float = 1.0
    regression: float = 0.0
    critic_updates: int = 5
    critic: OptimizerConfig = field(default_factory=OptimizerConfig)
    lowest: float = 0.02
    highest: float = 0.98


@dataclass(frozen=True)
class TrainConfig:
    """
    A run of one stage.

    :param model: what is trained; in a file `preset` is its name, and `model` what differs.
    :param height: of the crops, pixels; both sides in whole tokens once they are shrunk.
    :param width: of the crops, pixels.
    :param shrink: every so many pixels along each side of a crop are one pixel to the model.
    :param batch: clips of an update in each process.
    :param steps: updates.
    :param seed: of weights, clips and noise.
    :param precision: of products: 'bfloat16' by autocast, or 'float32'; weights are float32.
    :param sharded: whether weights are split over the processes (FSDP2), for networks that do not
        fit into each of them.
    :param average: largest decay of the average of weights that is evaluated and handed on.
    :param begin: the stage whose weights it begins with; 'public' for the published ones of the
        preset; empty for random ones.
    :param goal: of the causal initialization: the stage whose results are regressed to; empty for
        the truth.
    :param workers: processes that read clips; 0 for none.
    :param evaluate_every: updates.
    :param evaluate_clips: how many held-out clips.
    :param evaluate_height: of their pictures, pixels.
    :param evaluate_width: of their pictures, pixels.
    :param checkpoint_every: updates.
    :raises ValueError: if a number is out of its range.
    """

    model: Preset = field(default_factory=lambda: preset_named('star-nano'))
    height: int = 160
    width: int = 288
    shrink: int = 1
    batch: int = 2
    steps: int = 1000
    seed: int = 0
    precision: str = 'bfloat16'
    sharded: bool = False
    average: float = 0.99
    begin: str = ''
    goal: str = ''
    workers: int = 1
    evaluate_every: int = 200
    evaluate_clips: int = 8
    evaluate_height: int = 160
    evaluate_width: int = 288
    checkpoint_every: int = 100
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    jdmd: JdmdConfig = field(default_factory=JdmdConfig)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision: wanted one of {", ".join(PRECISIONS)}, '
                             f'got {self.precision!r}')
        for name in ('shrink', 'batch', 'steps', 'evaluate_every', 'evaluate_clips',
                     'checkpoint_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name}: wanted at least 1, got {getattr(self, name)}')
        codec = self.model.nano or self.model.vae
        side = codec.spatial_factor * self.model.dit.patch * self.shrink
        for name in ('height', 'width', 'evaluate_height', 'evaluate_width'):
            if (length := getattr(self, name)) < 1 or length % side:
                raise ValueError(f'{name}: wanted a multiple of {side}, got {length}')


def document_of(config: TrainConfig) -> dict[str, Any]:
    """Return a config fit for JSON, as `read_config` reads it."""
    rest = {name: value for name, value in asdict(config).items() if name != 'model'}
    document: dict[str, Any] = json.loads(json.dumps(
        {'preset': config.model.name, 'model': resolved(config.model), **rest}))
    return document


def read_config(path: Path) -> TrainConfig:
    """
    Read a config from a TOML file, or from the JSON that a run has left.

    What is not in it is as in the classes above.

    :raises PresetError: naming the file, if it is none, or holds what is no part of a config.
    """
    read = json.loads if path.suffix == '.json' else tomllib.loads
    try:
        document = read(path.read_text(encoding='utf-8'))
        model = preset_named(document.pop('preset', 'star-nano'), document.pop('model', None))
        return changed(TrainConfig(model=model), document)
    except (OSError, ValueError) as error:
        raise PresetError(f'{path}: {error}') from error
