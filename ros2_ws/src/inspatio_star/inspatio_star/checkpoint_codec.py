"""
The public names of the codecs' weights to ours, strictly.

Wan2.1_VAE.pth and taew2_1.pth hold flat dictionaries of tensors; this reads no file.
"""

from collections.abc import Mapping
import re

from torch import Tensor

from inspatio_star.checkpoint import require_shapes
from inspatio_star.codec.taehv import TAEHV
from inspatio_star.codec.wan_vae import WanVAE

# In order: each pattern in our name, and what stands there in the public one.
VAE_NAMES = (
    (r'^encoder\.moments\.', 'conv1.'),
    (r'^decoder\.from_latent\.', 'conv2.'),
    (r'\.stem\.conv\.', '.conv1.'),
    (r'\.head_norm\.', '.head.0.'),
    (r'\.head\.conv\.', '.head.2.'),
    (r'\.(?:halve|double)_time\.conv\.', '.time_conv.'),
    (r'\.norm1\.', '.residual.0.'),
    (r'\.conv1\.conv\.', '.residual.2.'),
    (r'\.norm2\.', '.residual.3.'),
    (r'\.conv2\.conv\.', '.residual.6.'),
    (r'(\.layers\.\d+)\.conv\.', r'\1.resample.1.'),
    (r'^encoder\.layers\.', 'encoder.downsamples.'),
    (r'^decoder\.layers\.', 'decoder.upsamples.'),
    (r'\.qkv\.', '.to_qkv.'),
)


def vae_state_from_reference(reference: Mapping[str, Tensor], vae: WanVAE) -> dict[str, Tensor]:
    """
    Rename the weights of the Wan2.1 VAE.

    :param reference: tensors under their public names.
    :param vae: whom they are for; may be on the meta device.
    :returns: what `vae.load_state_dict` takes.
    :raises CheckpointError: if a tensor is missing, surplus, or of another shape.
    """
    state, shapes, names = vae.state_dict(), {}, {}
    for ours, tensor in state.items():
        name = ours
        for pattern, replacement in VAE_NAMES:
            name = re.sub(pattern, replacement, name)
        # A public gamma has an axis for each of the picture's, and of time unless per frame.
        axes = (2 if '.middle.1.' in ours else 3) if name.endswith('.gamma') else 0
        names[ours] = name
        shapes[name] = (*tensor.shape, *(1,) * axes)
    require_shapes('the Wan2.1 VAE', shapes, reference)
    return {ours: reference[names[ours]].reshape(tensor.shape) for ours, tensor in state.items()}


def taehv_state_from_reference(
    reference: Mapping[str, Tensor], taehv: TAEHV
) -> dict[str, Tensor]:
    """
    Rename the weights of TAEHV, and leave out those that it does not use.

    The file makes two frames in the first stage of the decoder, and the model keeps the later one.

    :param reference: tensors under their public names.
    :param taehv: whom they are for; may be on the meta device.
    :returns: what `taehv.load_state_dict` takes.
    :raises CheckpointError: if a tensor is missing, surplus, or of another shape.
    """
    names = {ours: _taehv_name(ours, taehv) for ours in taehv.state_dict()}
    shapes = taehv_reference_shapes(taehv)
    first = names['decoder.stages.0.grow.weight']
    rows, *others = shapes[first]
    if first in reference and tuple(reference[first].shape) == (2 * rows, *others):
        reference = {**reference, first: reference[first][rows:]}
    require_shapes('TAEHV', shapes, reference)
    return {ours: reference[name] for ours, name in names.items()}


def taehv_reference_shapes(taehv: TAEHV) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of TAEHV under their public names."""
    return {_taehv_name(ours, taehv): tuple(tensor.shape)
            for ours, tensor in taehv.state_dict().items()}


def _taehv_name(ours: str, taehv: TAEHV) -> str:
    """Find the place of a layer in the public chain of layers, which has no names."""
    codec, layer, *inner = ours.split('.')
    encodes = codec == 'encoder'
    stages, per_stage = len(getattr(taehv, codec).stages), 5 if encodes else 6
    if layer == 'stem':
        return '.'.join((codec, '0' if encodes else '1', *inner))
    if layer == 'head':
        # After the stages; before it, the decoder has an activation.
        return '.'.join((codec, str(2 + per_stage * stages if encodes else 4 + per_stage * stages),
                         *inner))
    stage, part, *inner = inner
    start = per_stage * int(stage) + (2 if encodes else 3)
    if part == 'memory':
        block, conv, *inner = inner
        place = start + int(block) + (2 if encodes else 0)
        return '.'.join((codec, str(place), 'conv', str(2 * int(conv[-1]) - 2), *inner))
    if encodes:
        return '.'.join((codec, str(start + (part == 'conv')),
                         *(('conv',) if part == 'pool' else ()), *inner))
    return '.'.join((codec, str(start + (4 if part == 'grow' else 5)),
                     *(('conv',) if part == 'grow' else ()), *inner))
