"""
The public names of the text encoder's weights to those of the `transformers` library, strictly.

models_t5_umt5-xxl-enc-bf16.pth holds a flat dictionary of tensors; this reads no file.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from inspatio_star.checkpoint import require_shapes

# Within a block: the public name, and the library's.
BLOCK_NAMES = {
    'norm1': 'layer.0.layer_norm',
    'attn.q': 'layer.0.SelfAttention.q',
    'attn.k': 'layer.0.SelfAttention.k',
    'attn.v': 'layer.0.SelfAttention.v',
    'attn.o': 'layer.0.SelfAttention.o',
    'pos_embedding.embedding': 'layer.0.SelfAttention.relative_attention_bias',
    'norm2': 'layer.1.layer_norm',
    'ffn.gate.0': 'layer.1.DenseReluDense.wi_0',
    'ffn.fc1': 'layer.1.DenseReluDense.wi_1',
    'ffn.fc2': 'layer.1.DenseReluDense.wo',
}
NAMES = {
    'token_embedding.weight': 'shared.weight',
    'norm.weight': 'encoder.final_layer_norm.weight',
}
# The library has two names for the one table of tokens.
TWIN = ('shared.weight', 'encoder.embed_tokens.weight')


def text_state_from_reference(
    reference: Mapping[str, Tensor], model: nn.Module
) -> dict[str, Tensor]:
    """
    Rename the weights of the umT5 encoder.

    :param reference: tensors under their public names.
    :param model: the library's encoder that they are for; may be on the meta device.
    :returns: what `model.load_state_dict` takes.
    :raises CheckpointError: if a tensor is missing, surplus, or of another shape.
    """
    table, twin = TWIN
    wanted = model.state_dict()
    blocks = {name.split('.')[2] for name in wanted if name.startswith('encoder.block.')}
    ours = dict(NAMES)
    for block in sorted(blocks, key=int):
        for public, name in BLOCK_NAMES.items():
            ours[f'blocks.{block}.{public}.weight'] = f'encoder.block.{block}.{name}.weight'
    assert set(ours.values()) == wanted.keys() - {twin}, 'the library has renamed its weights'
    shapes = {public: tuple(wanted[name].shape) for public, name in ours.items()}
    require_shapes('umT5 encoder', shapes, reference)
    state = {name: reference[public] for public, name in ours.items()}
    return {**state, twin: state[table]}
