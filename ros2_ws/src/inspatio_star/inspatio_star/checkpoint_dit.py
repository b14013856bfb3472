"""The public names of the transformer's tensors, and how ours are made from them: strictly."""

from collections.abc import Mapping

import torch
from torch import Tensor

from inspatio_star.errors import CheckpointError
from inspatio_star.star.config import DitConfig
from inspatio_star.star.dit import Dit

# A trainer's wrappers put these before a name, in any order and number.
PREFIXES = ('generator.', 'model.', '_fsdp_wrapped_module.')

# Ours on the left; several public tensors are stacked along their first axis.
TOP: dict[str, tuple[str, ...]] = {
    'patch': ('patch_embedding',),
    'text_in': ('text_embedding.0',),
    'text_out': ('text_embedding.2',),
    'time_in': ('time_embedding.0',),
    'time_out': ('time_embedding.2',),
    'time_project': ('time_projection.1',),
    'head.out': ('head.head',),
}
BLOCK: dict[str, tuple[str, ...]] = {
    'self_attention.qkv': ('self_attn.q', 'self_attn.k', 'self_attn.v'),
    'self_attention.norm_q': ('self_attn.norm_q',),
    'self_attention.norm_k': ('self_attn.norm_k',),
    'self_attention.out': ('self_attn.o',),
    'cross_norm': ('norm3',),
    'cross_attention.q': ('cross_attn.q',),
    'cross_attention.kv': ('cross_attn.k', 'cross_attn.v'),
    'cross_attention.norm_q': ('cross_attn.norm_q',),
    'cross_attention.norm_k': ('cross_attn.norm_k',),
    'cross_attention.out': ('cross_attn.o',),
    'up': ('ffn.0',),
    'down': ('ffn.2',),
}


def dit_state_from_reference(state: Mapping[str, Tensor], config: DitConfig) -> dict[str, Tensor]:
    """
    Rename, stack and reshape the tensors of a public checkpoint for `Dit.load_state_dict`.

    :param state: by public name, each with any of `PREFIXES` before it.
    :param config: of the model to be filled.
    :returns: every tensor of `Dit(config)`, in the dtype in which it came.
    :raises CheckpointError: if one is missing, surplus, there twice or of a wrong shape; all such
        are named at once.
    """
    with torch.device('meta'):
        ours = Dit(config).state_dict()
    given: dict[str, Tensor] = {}
    wrong = []
    for name, tensor in state.items():
        bare = bare_name(name)
        if bare in given:
            wrong.append(f'{bare}: there twice')
        given[bare] = tensor
    sources = {name: reference_names(name) for name in ours}
    shapes = {source: reference_shape(source, tuple(ours[name].shape), len(found), config)
              for name, found in sources.items() for source in found}
    wrong += [f'{name}: missing' for name in sorted(shapes.keys() - given.keys())]
    wrong += [f'{name}: surplus' for name in sorted(given.keys() - shapes.keys())]
    wrong += [f'{name}: wanted {list(shape)}, got {list(given[name].shape)}'
              for name, shape in shapes.items()
              if name in given and tuple(given[name].shape) != shape]
    if wrong:
        raise CheckpointError('these tensors do not fit the transformer: ' + '; '.join(wrong))
    return {name: _stacked([given[source] for source in found]).reshape(ours[name].shape)
            for name, found in sources.items()}


def bare_name(name: str) -> str:
    """Take the wrappers' prefixes off a public name."""
    while name.startswith(PREFIXES):
        name = name.split('.', 1)[1]
    # Sharding wraps inner modules too, so its prefix may stand anywhere.
    return name.replace('_fsdp_wrapped_module.', '')


def reference_names(name: str) -> tuple[str, ...]:
    """
    Return the public tensors that one of ours is stacked from.

    :param name: a key of `Dit.state_dict()`.
    """
    if name.startswith('blocks.'):
        _, layer, inner = name.split('.', 2)
        prefix, table = f'blocks.{layer}.', BLOCK
    else:
        prefix, inner, table = '', name, TOP
    if inner.endswith('modulation'):
        return (prefix + inner,)
    stem, kind = inner.rsplit('.', 1)
    return tuple(f'{prefix}{source}.{kind}' for source in table[stem])


def reference_shape(
    source: str, ours: tuple[int, ...], stacked: int, config: DitConfig
) -> tuple[int, ...]:
    """
    Return the shape that a public tensor must have.

    :param source: its name.
    :param ours: shape of the tensor of ours that it is a part of.
    :param stacked: of how many parts.
    """
    if source == 'patch_embedding.weight':
        return config.dim, config.in_channels, 1, config.patch, config.patch
    if source.endswith('modulation'):
        return 1, *ours
    return ours[0] // stacked, *ours[1:]


def _stacked(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
