"""
Models by name: the sizes of every part, and the public files that hold their weights.

Opens no file; what is not known of a public file is None and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from inspatio_star.codec.nano import NanoConfig
from inspatio_star.codec.taehv import TAEHVConfig
from inspatio_star.codec.wan_vae import WanVAEConfig
from inspatio_star.errors import PresetError
from inspatio_star.star.config import DitConfig, SamplerConfig
from inspatio_star.text import TextConfig

PARTS = ('dit', 'vae', 'taehv', 'text', 'tokenizer')

Config = TypeVar('Config')


@dataclass(frozen=True)
class PublicFile:
    """
    A file that others have published.

    :param part: what it is for: one of PARTS.
    :param path: of the file in its repository, and in our folder of weights.
    :param licence: under which it is published, in the words of an SPDX identifier if it has one.
    :param repo: on the Hugging Face hub; None if it is elsewhere.
    :param revision: commit of that repository; None where no known one is pinned.
    :param url: of a file that is elsewhere.
    :param sha256: of the file; None where unknown.
    :param size_bytes: of the file; None where unknown.
    """

    part: str
    path: str
    licence: str
    repo: str | None = None
    revision: str | None = None
    url: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def origin(self) -> str:
        """Return where it comes from, for a person."""
        return self.url or f'{self.repo} @ {self.revision or "newest, not pinned"}'


@dataclass(frozen=True)
class Preset:
    """
    All sizes of a model.

    :param name: how users call it.
    :param height: of a picture, pixels.
    :param width: of a picture, pixels.
    :param nano: of the codec without weights, where it stands for vae and taehv; such a model has
        the zero prompt alone, and no text encoder.
    :param files: of its weights; none if it is only ever trained or filled at random.
    :raises PresetError: if the parts do not fit one another.
    """

    name: str
    height: int = 480
    width: int = 832
    dit: DitConfig = field(default_factory=DitConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    vae: WanVAEConfig = field(default_factory=WanVAEConfig)
    taehv: TAEHVConfig = field(default_factory=TAEHVConfig)
    text: TextConfig = field(default_factory=TextConfig)
    nano: NanoConfig | None = None
    files: tuple[PublicFile, ...] = ()

    def __post_init__(self) -> None:
        codec: tuple[tuple[int, str, int], ...] = (
            (self.dit.text_dim, 'text.width as dit.text_dim', self.text.width),
            (self.dit.text_len, 'text.rows as dit.text_len', self.text.rows),
            (self.dit.latent_channels, 'latent channels of the vae as of the dit',
             self.vae.latent_channels),
            (self.dit.latent_channels, 'taehv.latent_channels as of the dit',
             self.taehv.latent_channels),
        )
        if self.nano is not None:
            codec = (
                (self.dit.latent_channels, 'latent channels of nano as of the dit',
                 self.nano.latent_channels),
                (self.dit.mask_channels, 'mask channels of nano as of the dit',
                 self.nano.mask_channels),
            )
        for wanted, what, came in codec:
            if came != wanted:
                raise PresetError(f'preset {self.name}: wanted {what}, {wanted}, got {came}')
        side = (self.nano or self.vae).spatial_factor * self.dit.patch
        if min(self.height, self.width) < side or self.height % side or self.width % side:
            raise PresetError(f'preset {self.name}: wanted height and width in multiples of '
                              f'{side}, got {self.height}x{self.width}')


WAN = {
    # Its LICENSE.txt; the hashes are those that many who use the file have written down.
    'repo': 'Wan-AI/Wan2.1-T2V-1.3B',
    'revision': '37ec512624d61f7aa208f7ea8140a131f93afc9a',
    'licence': 'Apache-2.0',
}
SHARED_FILES = (
    PublicFile(
        'vae', 'Wan2.1_VAE.pth', **WAN, size_bytes=507_609_880,
        sha256='38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981'),
    # The commit is a late one of the repository; it has not been tried, and no hash is known.
    PublicFile(
        'taehv', 'taew2_1.pth', 'MIT',
        url='https://github.com/madebyollin/taehv/raw/'
            '40b41ad5de6837da8de42a5f1d6a0de8349f9aae/taew2_1.pth'),
    PublicFile(
        'text', 'models_t5_umt5-xxl-enc-bf16.pth', **WAN, size_bytes=11_361_920_418,
        sha256='7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d'),
    PublicFile(
        'tokenizer', 'google/umt5-xxl/tokenizer.json', **WAN, size_bytes=16_837_417,
        sha256='6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b'),
)
# The repositories of these weights name no licence; that of the code beside them is Apache-2.0.
UNSTATED = 'not stated with the weights; Apache-2.0 for the code beside them'
STAR_1_5 = PublicFile(
    'dit', 'InSpatio-World-1.5-1.3B.safetensors', UNSTATED, repo='inspatio/world-1.5',
    # Both from one user of the file alone.
    revision='6a5cf5e27b8a05930911a5416fa8c68eabdda414',
    sha256='44f121356f81b7d1651f7878540a53b3becc2814307497d8f7a54e8687df25f9')
STAR_1 = PublicFile(
    'dit', 'InSpatio-World-1.3B.safetensors', UNSTATED, repo='inspatio/world',
    revision='f8d1abe227d486be8593825f0611974aa6207e4d')

# Not published: a small one for a CPU, and one that is only there to be quick in tests.
SMALL = Preset(
    'star-small', 240, 416,
    dit=DitConfig(dim=384, ffn_dim=2240, num_heads=6, num_layers=8),
    vae=WanVAEConfig(width=32),
    taehv=TAEHVConfig(encoder_width=32, decoder_widths=(64, 48, 32, 32)),
)
TINY = Preset(
    'star-tiny', 48, 64,
    dit=DitConfig(dim=48, ffn_dim=96, num_heads=4, num_layers=2, freq_dim=32, text_dim=32,
                  text_len=16),
    vae=WanVAEConfig(width=8),
    taehv=TAEHVConfig(encoder_width=8, decoder_widths=(16, 12, 8, 8)),
    text=TextConfig(vocabulary=64, width=32, heads=4, head_width=8, ffn_width=64, layers=2,
                    rows=16),
)
# Small enough to be trained and run on a CPU; its weights are made by `inspatio_star.train`.
NANO = Preset(
    'star-nano', 40, 72,
    dit=DitConfig(dim=192, ffn_dim=768, num_heads=4, num_layers=3, latent_channels=768,
                  mask_channels=64, text_dim=16, text_len=1, patch=1),
    sampler=SamplerConfig(shift=3.0, steps=(1000,), prediction='residual'),
    nano=NanoConfig(stem=32),
)
PRESETS = {preset.name: preset for preset in (
    Preset('star-1.3b', files=(STAR_1_5, *SHARED_FILES)),
    Preset('star-1.3b-v1', files=(STAR_1, *SHARED_FILES)),
    SMALL,
    TINY,
    NANO,
)}


def preset_named(name: str, changes: Mapping[str, Any] | None = None) -> Preset:
    """
    Find a preset.

    :param name: of it.
    :param changes: nested like the preset, for example ``{'dit': {'num_layers': 4}}``.
    :raises PresetError: if there is none of that name, or it cannot be changed so.
    """
    if name not in PRESETS:
        raise PresetError(f'preset: wanted one of {", ".join(PRESETS)}, got {name!r}')
    try:
        return changed(PRESETS[name], changes or {}, 'preset')
    except PresetError:
        raise
    # What the parts refuse says what they wanted.
    except ValueError as error:
        raise PresetError(f'preset {name}: {error}') from error


def resolved(preset: Preset) -> dict[str, Any]:
    """
    Return all sizes, fit for JSON, to be kept beside weights that were made with them.

    :returns: what `preset_named` takes as changes; the public files are no part of it.
    """
    return {name: value for name, value in asdict(preset).items() if name != 'files'}


def changed(
    config: Config, changes: Mapping[str, Any], what: str = 'config', place: str = ''
) -> Config:
    """
    Change a dataclass, and those in it.

    :param config: a dataclass of numbers, strings, tuples of one kind, and dataclasses.
    :param changes: nested like it.
    :param what: it is, for the messages.
    :param place: where in it this part stands, likewise; ends with a dot.
    :raises PresetError: if there is no such entry, or a value is of another type.
    :raises ValueError: what the dataclass refuses.
    """
    assert is_dataclass(config) and not isinstance(config, type)
    known = [entry.name for entry in fields(config) if entry.name != 'files']
    values: dict[str, Any] = {}
    for key, value in changes.items():
        where = f'{place}{key}'
        if key not in known:
            raise PresetError(f'{what}: wanted one of {place}{{{", ".join(known)}}}, got {where}')
        old = getattr(config, key)
        if is_dataclass(old):
            if not isinstance(value, Mapping):
                raise PresetError(f'{what}: wanted the parts of {where}, got {value!r}')
            values[key] = changed(old, value, what, f'{where}.')
        else:
            values[key] = _value(old, value, what, where)
    return replace(config, **values)


def _value(old: object, new: object, what: str, where: str) -> object:
    if isinstance(old, tuple) and isinstance(new, (list, tuple)):
        if not old or not new:
            raise PresetError(f'{what}: wanted numbers for {where}, got {new!r}')
        return tuple(_value(old[0], entry, what, where) for entry in new)
    if isinstance(old, float) and type(new) is int:
        return float(new)
    if type(new) is not type(old):
        raise PresetError(f'{what}: wanted {type(old).__name__} for {where}, got {new!r}')
    return new
