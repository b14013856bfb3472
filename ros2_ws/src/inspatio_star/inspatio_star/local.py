"""
A session in which STAR imagines what the reference does not show.

Chunk by chunk: warp, condition, sample, decode, depth.  What it remembers between two chunks is
the last chunk's latents, what the codec carries, and the latents of a source that stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from inspatio_star.checkpoint import place, read_state, require_weights_file
from inspatio_star.checkpoint_codec import (
    taehv_state_from_reference,
    vae_state_from_reference,
)
from inspatio_star.checkpoint_dit import dit_state_from_reference
from inspatio_star.codec.stream import DecoderState, EncoderState
from inspatio_star.codec.taehv import TAEHV, TAEHVDecoder
from inspatio_star.codec.wan_vae import WanDecoder, WanEncoder, WanVAE, WanVAEConfig
from inspatio_star.conditioning import latents_from_masks
from inspatio_star.contract import Chunk, SessionState, WorldInfo
from inspatio_star.depth import complete_depth
from inspatio_star.errors import SessionError
from inspatio_star.overlap import InParts, Making, Overlap
from inspatio_star.presets import Preset
from inspatio_star.progress import Progress, timed
from inspatio_star.star.config import SamplerConfig
from inspatio_star.star.dit import Dit
from inspatio_star.star.sampler import Sampler, chunk_noise
from inspatio_star.star.stream import StreamDit
from inspatio_star.text import TextEncoder, cached_rows, fingerprint
from inspatio_star.warp import FloatRender, Rule, View, Warper, float_from_rgb_u8
from inspatio_star.weights import default_folder, files_of, path_of, sha256_of
from inspatio_star.world import World, world_at

# What keeps the names of saved tensors apart.
LAST, STILL, ENCODER, DECODER = 'last', 'still', 'encoder/', 'decoder/'
# Channels times frames times rows of one clip in float32, up to which PyTorch's CPU convolutions
# take a slower way than they take for two clips (its ConvParams::use_mkldnn).
SLOW_ALONE = 20480

T = TypeVar('T')


@dataclass(frozen=True)
class StarModel:
    """
    All networks of a generator, on one device and of one dtype.

    :param dit: the transformer.
    :param sampler: its schedule.
    :param encoder: pictures to latents.
    :param decoder: latents to pictures: the VAE's, or TAEHV's, which is faster and not the same.
    :param compiled: whether a session has torch compile the transformer and the decoder; see
        :func:`require_compiler`.
    """

    dit: Dit
    sampler: SamplerConfig
    encoder: WanEncoder
    decoder: WanDecoder | TAEHVDecoder
    compiled: bool = False


def random_model(
    preset: Preset, seed: int = 0, decoder: str = 'vae', device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> StarModel:
    """
    Make a model that nobody has trained: its pictures are noise, its shapes and times are real.

    :param preset: sizes.
    :param seed: of the weights.
    :param decoder: ``vae`` or ``taehv``.
    :raises ValueError: if the decoder is another.
    """
    _require_decoder(decoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = WanVAE(preset.vae)
        dit = Dit(preset.dit).requires_grad_(False)
        chosen = vae.decoder if decoder == 'vae' else TAEHV(preset.taehv).decoder
    for part in (dit, vae.encoder, chosen):
        part.to(device, dtype).eval()
    return StarModel(dit, preset.sampler, vae.encoder, chosen)


def load_model(
    preset: Preset, folder: Path, decoder: str = 'vae', device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> StarModel:
    """
    Load a model from the public files of its weights, each tensor accounted for.

    :param preset: sizes, and which files.
    :param folder: where they are.
    :param decoder: ``vae`` or ``taehv``.
    :raises CheckpointError: if a file is missing, damaged, or not of this preset.
    :raises ValueError: if the decoder is another.
    """
    _require_decoder(decoder)
    paths = {file.part: path_of(file, folder) for file in files_of(preset)}
    with torch.device('meta'):
        dit, vae, taehv = Dit(preset.dit), WanVAE(preset.vae), TAEHV(preset.taehv)
    options: Any = {'device': device, 'dtype': dtype}
    state = dit_state_from_reference(read_state(paths['dit']), preset.dit)
    place(dit, state, str(paths['dit']), **options)
    state = vae_state_from_reference(read_state(paths['vae']), vae)
    place(vae, state, str(paths['vae']), **options)
    if decoder == 'vae':
        return StarModel(dit, preset.sampler, vae.encoder, vae.decoder)
    state = taehv_state_from_reference(read_state(paths['taehv']), taehv)
    place(taehv, state, str(paths['taehv']), **options)
    return StarModel(dit, preset.sampler, vae.encoder, taehv.decoder)


def prompt_rows(prompt: str, preset: Preset) -> Tensor | None:
    """
    Return the rows (L, text_dim) of a prompt, kept on disk once made; None for the empty prompt.

    :raises CheckpointError: if the text encoder or its tokenizer is missing or damaged.
    """
    if not prompt:
        return None
    folder = default_folder()
    paths = {file.part: path_of(file, folder) for file in files_of(preset, ('text', 'tokenizer'))}
    for path in paths.values():
        require_weights_file(path)
    return cached_rows(
        prompt,
        preset.text,
        folder / 'prompts',
        f'{fingerprint(paths["text"])} {sha256_of(paths["tokenizer"])}',
        lambda: TextEncoder.load(preset.text, paths['text'], paths['tokenizer']),
    )


def require_compiler(device: torch.device) -> None:
    """
    Compile a small function, to see whether torch can.

    :raises SessionError: if it cannot.
    """
    double: Callable[[Tensor], Tensor] = torch.compile(
        lambda x: x + x, options={'fx_graph_cache': False}
    )
    try:
        double(torch.ones(8, device=device))
    # Behind torch.compile are several compilers, which agree on no class of errors.
    except Exception as error:
        said = str(error).strip().splitlines() or ['']
        raise SessionError(
            f'compile: wanted a compiler that torch.compile can use for {device.type} (g++, and '
            f'Triton for cuda), got {type(error).__name__}: {said[0]}'
        ) from error


def _require_decoder(decoder: str) -> None:
    if decoder not in ('vae', 'taehv'):
        raise ValueError(f"decoder: wanted 'vae' or 'taehv', got {decoder!r}")


@dataclass
class _Making(Making):
    renders: list[FloatRender] = field(init=False)
    known: NDArray[np.bool_] = field(init=False)
    reference: Tensor = field(init=False)
    condition: Tensor = field(init=False)
    last: Tensor = field(init=False)


class StarSession(InParts[_Making]):
    """
    A :class:`~inspatio_star.session.Session` whose pictures a model makes.

    Each frame is conditioned on the source frame that its path names.  Where the reference has
    seen the surface the depth is the constraint's; elsewhere it is completed from the generated
    picture.

    Source and render are encoded as one batch.  Once a chunk of a world of one picture leaves the
    source's half of the encoder's state as it was, to the bit, all chunks after it would give the
    same latents: they are kept, and the render is encoded alone.

    :param world: what to move in.
    :param model: what imagines.
    :param height: rows of the pictures, a multiple of 16; None, with ``width``, for the world's.
    :param width: columns of the pictures, likewise.
    :param text: (L, text_dim) rows of the text encoder; None for the empty prompt's zeros.
    :param rule: of the splat, see :class:`~inspatio_star.warp.Warper`.
    :param reuse_still: whether a still source's latents are kept; None for where that is faster.
    :param overlap: whether parts of a chunk are made beside those of others, if it is submitted;
        None for where the model does not run on the processor that warps.
    :raises ValueError: if sizes do not fit.
    """

    _making = _Making

    def __init__(
        self,
        world: World,
        model: StarModel,
        height: int | None = None,
        width: int | None = None,
        text: Tensor | None = None,
        rule: Rule = 'v1.5',
        reuse_still: bool | None = None,
        overlap: bool | None = None,
    ) -> None:
        """Scale the world, prepare prompt and timesteps."""
        world, config = world_at(world, height, width), model.dit.config
        vae = model.encoder.config
        side = vae.spatial_factor * config.patch
        if world.height % side or world.width % side:
            raise ValueError(
                f'size: wanted multiples of {side}, got {world.height}x{world.width}'
            )
        self._info = world.info(
            'star', 1 + vae.temporal_factor * (config.chunk_frames - 1),
            vae.temporal_factor * config.chunk_frames)
        self._progress = Progress(self._info)
        self._frames = world.frames
        weight = model.dit.patch.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._overlap = Overlap(3, not weight.is_cpu if overlap is None else overlap)
        self._reuse_still = reuse_still
        if reuse_still is None:
            self._reuse_still = not (weight.is_cpu and self._dtype == torch.float32
                                     and _is_slow_alone(vae, world.height))
        self._warper = Warper(world.height, world.width, self._info.K, rule)
        self._warper.warm_up()
        self._views: dict[int, View] = {}
        known = np.concatenate([f.depth_m[np.isfinite(f.depth_m)] for f in world.frames])
        self._unseen_m = float(np.median(known)) if known.size else 1.0
        self._latent_hw = (world.height // vae.spatial_factor, world.width // vae.spatial_factor)
        self._sampler = Sampler(model.dit, model.sampler, *self._latent_hw)
        if model.compiled:
            model = replace(model, decoder=_compiled(model.decoder, 'frames'))
            plain = StreamDit(model.dit, *self._latent_hw, 'torch')
            self._sampler.stream = _compiled(plain, 'flow', 'write_context')
        self._model = model
        stream = self._sampler.stream
        rows = torch.zeros(1, config.text_dim) if text is None else text
        self._prompt = stream.prompt(rows[None].to(self._device, self._dtype))
        self._cache = stream.new_cache()
        self._last: Tensor | None
        self._still: Tensor | None
        self._encoder: EncoderState
        self._decoder: DecoderState
        self._forget()

    @property
    def info(self) -> WorldInfo:
        """What the pictures will be like."""
        return self._info

    @property
    def carry_nbytes(self) -> int:
        """What the codec carries from chunk to chunk, bytes: most of a saved state."""
        return self._encoder.nbytes + self._decoder.nbytes

    def reset(self, seed: int = 0) -> None:
        """Forget every chunk; noise follows from the seed."""
        self._overlap.settle()
        self._progress.reset(seed)
        self._forget()

    @torch.inference_mode()
    def _prepare(self, making: _Making) -> _Making:
        with timed(making.stage_ms, 'warp'):
            making.renders = [
                self._warper.render_float([self._view(source)], T)
                for source, T in zip(making.sources, making.path.T_world_camera, strict=True)
            ]
            making.known = np.stack([render.known for render in making.renders])
        with timed(making.stage_ms, 'encode'):
            making.reference, making.condition, encoder, still = self._conditions(
                making.sources, making.renders, making.known, making.chunk)
        self._carry_on(making, _encoder=encoder, _still=still)
        return making

    @torch.inference_mode()
    def _sample(self, making: _Making) -> _Making:
        with timed(making.stage_ms, 'sample'):
            noise = chunk_noise(
                making.seed, making.chunk, making.reference.shape, self._device, self._dtype
            )
            making.last = self._sampler.chunk(
                self._cache, self._prompt, noise, making.reference, self._last, making.condition
            )
        self._carry_on(making, _last=making.last)
        return making

    @torch.inference_mode()
    def _decode(self, making: _Making) -> Chunk:
        decoder = self._decoder.branch()
        with timed(making.stage_ms, 'decode'):
            video = self._model.decoder.decode(making.last.transpose(1, 2), decoder)[0]
            rgb = _bytes_from_video(video)
        with timed(making.stage_ms, 'depth'):
            depth_m = np.stack([
                complete_depth(render.depth_m, picture, self._unseen_m)
                for render, picture in zip(making.renders, rgb, strict=True)
            ])
        chunk = Chunk(making.chunk, making.path, rgb, depth_m, making.known, self._info.K,
                      making.stage_ms)
        self._decoder = decoder
        return chunk

    def save(self) -> SessionState:
        """Return the last latents, what the codec carries, and what is kept of a still source."""
        self._overlap.settle()
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, latents in ((LAST, self._last), (STILL, self._still)):
            if latents is not None:
                arrays[name] = _array(latents)
        for prefix, state in ((ENCODER, self._encoder), (DECODER, self._decoder)):
            for name, tensor in state.tensors.items():
                arrays[prefix + name] = _array(tensor)
        return self._progress.saved(arrays)

    def restore(self, state: SessionState) -> None:
        """Go on from a saved state; see :meth:`~inspatio_star.session.Session.restore`."""
        self._overlap.settle()
        self._progress.require_fit(state)
        model, begun = self._model, state.chunk > 0
        wanted = {LAST} | ({STILL} & state.arrays.keys()) | {
            prefix + name
            for prefix, codec in ((ENCODER, model.encoder), (DECODER, model.decoder))
            for name in codec.looking_back
        }
        if set(state.arrays) != (wanted if begun else set()):
            odd = sorted(set(state.arrays) ^ (wanted if begun else set()))
            raise SessionError(
                f'state: wanted {len(wanted) if begun else 0} arrays after {state.chunk} chunks, '
                f'got {len(state.arrays)}; the first odd one is {odd[0]!r}'
            )
        config = model.dit.config
        shape = (1, config.chunk_frames, config.latent_channels, *self._latent_hw)
        tensors = {name: self._tensor(array, name) for name, array in state.arrays.items()}
        for name in {LAST, STILL} & tensors.keys():
            if tensors[name].shape != shape:
                raise SessionError(
                    f'state: wanted {name} latents {shape}, got {tuple(tensors[name].shape)}'
                )
        streams = 1 if STILL in tensors else 2
        for name, tensor in _under(tensors, ENCODER).items():
            if len(tensor) != streams:
                raise SessionError(
                    f'state: wanted {streams} streams in {ENCODER}{name}, got {len(tensor)}'
                )
        self._progress.restore(state)
        self._last, self._still = tensors.get(LAST), tensors.get(STILL)
        self._encoder = EncoderState(_under(tensors, ENCODER))
        self._decoder = DecoderState(_under(tensors, DECODER))

    def close(self) -> None:
        """Give back the model and all that is carried; a second call does nothing."""
        if not self._progress.closed:
            self._overlap.settle()
            self._overlap.close()
            self._progress.closed = True
            self._forget()
            self._views.clear()
            del self._model, self._sampler, self._cache, self._prompt, self._warper

    def _forget(self) -> None:
        """Be as before the first chunk."""
        self._last, self._still = None, None
        self._encoder, self._decoder = EncoderState(), DecoderState()

    def _view(self, index: int) -> View:
        """Return a source frame; of a video only those around it are kept."""
        if index not in self._views:
            frame = self._frames[index]
            self._views = {k: view for k, view in self._views.items() if abs(k - index) <= 1}
            self._views[index] = View(frame.rgb, frame.depth_m, frame.K, frame.T_world_camera)
        return self._views[index]

    def _conditions(
        self, frames: list[int], renders: list[FloatRender], known: NDArray[np.bool_], chunk: int
    ) -> tuple[Tensor, Tensor, EncoderState, Tensor | None]:
        """
        Encode source and render in lockstep, and put the masks before the render's latents.

        :returns: reference (1, F, c, h, w) and condition (1, F, mask + c, h, w); the encoder's
            state after them; the reference again if it is that of all chunks to come.
        """
        still, before, after = self._still, self._encoder, self._encoder.branch()
        clips = [np.stack([render.rgb for render in renders])]
        if still is None:
            source = np.stack([float_from_rgb_u8(self._frames[frame].rgb) for frame in frames])
            clips.insert(0, source)
        video_BTHW3 = torch.from_numpy(np.stack(clips))
        video = video_BTHW3.permute(0, 4, 1, 2, 3).to(self._device, self._dtype)
        latents = self._model.encoder.encode(video, after).transpose(1, 2)
        reference = latents[:1] if still is None else still
        # A video that stands can go on again.
        stands = self._reuse_still and still is None and len(self._frames) == 1
        if stands and _stream(before, 0).equals(_stream(after, 0)):
            # Clones, because views would keep what is no longer needed alive.
            still = reference.clone()
            alone = _stream(after, 1).tensors
            after = EncoderState({name: tensor.clone() for name, tensor in alone.items()})
        masks = torch.from_numpy(latents_from_masks(known, continued=chunk > 0))
        masks = masks[None].to(self._device, self._dtype)
        return reference, torch.cat([masks, latents[-1:]], 2), after, still

    def _tensor(self, array: NDArray[np.generic], name: str) -> Tensor:
        """Return a saved array as it was; bfloat16 travels as int16, which numpy knows."""
        tensor = torch.from_numpy(np.array(array))
        wanted = torch.int16 if self._dtype == torch.bfloat16 else self._dtype
        if tensor.dtype != wanted:
            raise SessionError(f'state: wanted {name} as {wanted}, got {tensor.dtype}')
        return tensor.view(self._dtype).to(self._device)


def _compiled(part: T, *names: str) -> T:
    """Return a twin, of the same weights, whose methods of these names torch compiles."""
    twin = copy(part)
    for name in names:
        setattr(twin, name, torch.compile(getattr(part, name), dynamic=False))
    return twin


def _is_slow_alone(config: WanVAEConfig, height: int) -> bool:
    """Return whether pictures are so small that to encode one clip takes longer than two."""
    # Of the first layers, which take most of the time; a latent's frames and those before them.
    return config.width * (config.temporal_factor + 2) * height <= SLOW_ALONE


def _stream(state: EncoderState, index: int) -> EncoderState:
    """Return one stream of a batch, as views."""
    return EncoderState({name: tensor[index:][:1] for name, tensor in state.tensors.items()})


def _bytes_from_video(video_3THW: Tensor) -> NDArray[np.uint8]:
    """Return (T, H, W, 3) bytes of a video in about [-1, 1], truncated as the public code does."""
    unit = video_3THW.permute(1, 2, 3, 0).clamp(-1, 1).float() * 0.5 + 0.5
    return np.ascontiguousarray((unit * 255).to(torch.uint8).cpu().numpy())


def _array(tensor: Tensor) -> NDArray[np.generic]:
    """Return a copy of a tensor, to the bit; bfloat16 travels as int16, which numpy knows."""
    plain = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    return np.array(plain.cpu().numpy())


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a stream by the names that it knows."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}
