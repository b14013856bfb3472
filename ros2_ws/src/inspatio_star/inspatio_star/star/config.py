"""The numbers that fix a model and a sampler; all others follow from them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DitConfig:
    """
    Size of the diffusion transformer; the defaults are those of the published 1.3B model.

    :param dim: width of a token.
    :param ffn_dim: width inside the feed-forward layers.
    :param num_heads: attention heads; dim / num_heads must be even and at least 6.
    :param num_layers: blocks.
    :param latent_channels: channels of a latent, and of a render's latent.
    :param mask_channels: channels of a latent mask.
    :param freq_dim: width of the sinusoid that encodes a timestep.
    :param text_dim: width of a row of the text encoder.
    :param text_len: rows that every prompt is padded to; all are attended.
    :param patch: latent pixels along each side of a token.
    :param chunk_frames: latent frames of a chunk.
    :param eps: of all normalisations.
    :raises ValueError: if a number does not fit the others.
    """

    dim: int = 1536
    ffn_dim: int = 8960
    num_heads: int = 12
    num_layers: int = 30
    latent_channels: int = 16
    mask_channels: int = 4
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    patch: int = 2
    chunk_frames: int = 3
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f'{name}: wanted more than 0, got {value}')
        if self.dim % (2 * self.num_heads) or self.dim // self.num_heads < 6:
            raise ValueError('wanted dim / num_heads to be even and at least 6, '
                             f'got {self.dim} / {self.num_heads}')
        if self.freq_dim % 2:
            raise ValueError(f'freq_dim: wanted an even number, got {self.freq_dim}')

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def condition_channels(self) -> int:
        """Of mask and render, in this order."""
        return self.mask_channels + self.latent_channels

    @property
    def in_channels(self) -> int:
        """Of latent and condition, in this order."""
        return self.latent_channels + self.condition_channels

    # The fixed temporal positions: the current chunk stands at the same ones in every chunk, also
    # in the first, which has no last chunk before it.
    @property
    def reference_position(self) -> int:
        return 0

    @property
    def last_position(self) -> int:
        return self.chunk_frames

    @property
    def current_position(self) -> int:
        return 2 * self.chunk_frames

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """
        Return the rows and columns of tokens of a latent frame.

        :param height: of the latent.
        :param width: of the latent.
        :raises ValueError: if the patches do not tile it.
        """
        if height < 1 or width < 1 or height % self.patch or width % self.patch:
            raise ValueError(f'wanted latent height and width in multiples of {self.patch}, '
                             f'got {height}x{width}')
        return height // self.patch, width // self.patch


@dataclass(frozen=True)
class SamplerConfig:
    """
    Schedule of the few-step sampler.

    :param shift: bends the schedule towards noise; 1 is a straight line.
    :param steps: where to denoise, in steps of the unbent schedule, first the noisiest.
    :param train_steps: length of the unbent schedule.
    :param prediction: what the model's output is: 'flow', noise - x0; or 'residual', x0 - render,
        with zeros for the render where there is no condition.
    :raises ValueError: if the steps do not fall, or lie outside the schedule, or there is no such
        prediction.
    """

    shift: float = 5.0
    steps: tuple[int, ...] = (1000, 750, 500, 250)
    train_steps: int = 1000
    prediction: str = 'flow'

    def __post_init__(self) -> None:
        if not self.shift > 0:
            raise ValueError(f'shift: wanted more than 0, got {self.shift}')
        inside = {step for step in self.steps if 0 < step <= self.train_steps}
        if not self.steps or list(self.steps) != sorted(inside, reverse=True):
            raise ValueError(f'steps: wanted falling ones in 1..{self.train_steps}, '
                             f'got {self.steps}')
        if self.prediction not in ('flow', 'residual'):
            raise ValueError("prediction: wanted 'flow' or 'residual', "
                             f'got {self.prediction!r}')
